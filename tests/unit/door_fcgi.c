#include "unit.h"

#include "door/fcgi.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct fcgi_conn pair(int *peer) {
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    *peer = fds[1];
    return (struct fcgi_conn){.fd = fds[0], .id = 1, .tail = BUF(64u << 20)};
}

/* What a web server reads: appends what there is. */
static void drain(int peer, struct buf *in) {
    for (;;) {
        char *room = buf_room(in, 65536);
        ssize_t n = read(peer, room, 65536);
        if (n <= 0)
            return;
        in->n += (size_t)n;
    }
}

/* Joins the stdout records; returns true when the end record came last. */
static bool unframe(struct str in, struct buf *out) {
    bool ended = false;
    while (in.n) {
        assert_false(ended);
        assert_true(in.n >= 8);
        const unsigned char *h = (const unsigned char *)in.p;
        size_t n = (size_t)h[4] << 8 | h[5];
        assert_int_equal(h[0], 1);
        assert_int_equal(h[2] << 8 | h[3], 1);
        assert_true(in.n >= 8 + n + h[6]);
        if (h[1] == 6)
            buf_put(out, in.p + 8, n);
        else if (h[1] == 3)
            ended = true;
        else
            fail();
        in = str_from(in, 8 + n + h[6]);
    }
    return ended;
}

static struct buf pattern(size_t n) {
    struct buf b = BUF(8u << 20);
    for (size_t i = 0; i < n; i++)
        buf_putc(&b, (char)(i * 31 % 251));
    return b;
}

/* All that c still has to write. */
static void flush_all(struct fcgi_conn *c, int peer, struct buf *in) {
    while (fcgi_pending(c)) {
        drain(peer, in);
        assert_true(fcgi_flush(c));
    }
    drain(peer, in);
}

static void answers_of_any_size_arrive_whole(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 65527, 65528, 65529, 1500000, 5000000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        int peer;
        struct fcgi_conn c = pair(&peer);
        struct buf sent AUTO(buf_free) = pattern(sizes[i]), in AUTO(buf_free) = BUF(16u << 20),
                        got AUTO(buf_free) = BUF(8u << 20);
        assert_true(fcgi_send(&c, str_sub(buf_view(&sent), 0, sizes[i] / 2)));
        flush_all(&c, peer, &in);
        assert_true(fcgi_send_end(&c, str_from(buf_view(&sent), sizes[i] / 2)));
        flush_all(&c, peer, &in);
        assert_true(unframe(buf_view(&in), &got));
        assert_int_equal(got.n, sent.n);
        assert_true(got.n == 0 || memcmp(got.p, sent.p, got.n) == 0);
        fcgi_close(&c);
        close(peer);
    }
}

static void what_is_taken_over_follows_what_was_queued(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 65527, 65528, 65529, 131056, 131057, 1 << 20, 5000000};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (int small = 0; small < 2; small++) {
            int peer, few = 1;
            struct fcgi_conn c = pair(&peer);
            struct buf last = pattern(sizes[i]), whole AUTO(buf_free) = pattern(sizes[i]),
                       in AUTO(buf_free) = BUF(16u << 20), got AUTO(buf_free) = BUF(8u << 20);
            if (small)
                setsockopt(c.fd, SOL_SOCKET, SO_SNDBUF, &few, sizeof few);
            fcgi_queue(&c, STR("head"));
            assert_true(fcgi_send_end_taking(&c, &last));
            assert_null(last.p);
            assert_int_equal(fcgi_pending(&c) > 0, sizes[i] > (small ? 8000 : 500000));
            flush_all(&c, peer, &in);
            assert_true(unframe(buf_view(&in), &got));
            assert_int_equal(got.n, 4 + whole.n);
            assert_memory_equal(got.p, "head", 4);
            assert_memory_equal(got.p + 4, whole.p, whole.n);
            assert_null(c.last.p);
            fcgi_close(&c);
            close(peer);
        }
}

/* A write may end anywhere, also within a record's head and within the end records. */
static void a_write_goes_on_where_the_last_one_ended(void **state) {
    (void)state;
    const size_t n = 2 * 65528 + 7, all = n + 3 * 8 + 24;
    struct buf framed AUTO(buf_free) = BUF(1u << 20);
    for (size_t at = 0;
         at<all; at += at % 65536> 40 && at % 65536 < 65500 && at < 2 * 65536 ? 997 : 1) {
        int peer;
        struct fcgi_conn c = pair(&peer);
        struct buf in AUTO(buf_free) = BUF(1u << 20);
        c.last = pattern(n);
        c.last_sent = at;
        c.ended = c.blocked = true;
        assert_int_equal(fcgi_pending(&c), all - at);
        flush_all(&c, peer, &in);
        if (!at)
            buf_str(&framed, buf_view(&in));
        assert_int_equal(in.n, all - at);
        assert_memory_equal(in.p, framed.p + at, in.n);
        fcgi_close(&c);
        close(peer);
    }
}

static void who_leaves_during_what_was_taken_over_is_noticed(void **state) {
    (void)state;
    int peer;
    struct fcgi_conn c = pair(&peer);
    struct buf last = pattern(3000000);
    assert_true(fcgi_send_end_taking(&c, &last));
    assert_true(fcgi_pending(&c) > 0);
    assert_false(fcgi_wait(&c, 20));
    close(peer);
    assert_false(fcgi_flush(&c));
    fcgi_close(&c); /* frees it */
}

static void what_is_queued_leaves_in_one_write_and_in_order(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 200, 65528, 70000, 3, 0, 140000};
    int peer;
    struct fcgi_conn c = pair(&peer);
    struct buf sent AUTO(buf_free) = BUF(8u << 20), in AUTO(buf_free) = BUF(16u << 20),
                    got AUTO(buf_free) = BUF(8u << 20);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t at = sent.n;
        for (size_t k = 0; k < sizes[i]; k++)
            buf_putc(&sent, (char)(sent.n * 31 % 251));
        size_t waits = fcgi_queue(&c, str_sub(buf_view(&sent), at, sizes[i]));
        assert_true(waits >= sent.n);
        assert_int_equal(fcgi_pending(&c), 0); /* no reason to pause a provider */
    }
    drain(peer, &in);
    assert_int_equal(in.n, 0);
    assert_true(fcgi_send_end(&c, STR("last")));
    buf_puts(&sent, "last");
    flush_all(&c, peer, &in);
    assert_true(unframe(buf_view(&in), &got));
    assert_int_equal(got.n, sent.n);
    assert_memory_equal(got.p, sent.p, got.n);
    assert_true(in.n < sent.n + 10 * 8); /* records are filled, not one for each piece */
    fcgi_close(&c);
    close(peer);
}

static void a_web_server_that_left_is_noticed(void **state) {
    (void)state;
    int peer;
    struct fcgi_conn c = pair(&peer);
    close(peer);
    assert_false(fcgi_send(&c, STR("hello")));
    fcgi_close(&c);
}

static void a_full_socket_never_blocks(void **state) {
    (void)state;
    int peer;
    struct fcgi_conn c = pair(&peer);
    struct buf big AUTO(buf_free) = BUF(4u << 20);
    while (big.n < 3u << 20)
        buf_puts(&big, "0123456789abcdef");
    assert_true(fcgi_send(&c, buf_view(&big)));
    assert_true(fcgi_pending(&c) > 0);
    assert_false(fcgi_wait(&c, 20));
    fcgi_close(&c);
    close(peer);
}

static void only_loopback_and_unix_sockets_are_listened_on(void **state) {
    (void)state;
    static const char *const bad[] = {"0.0.0.0:9000",    "192.0.2.1:9000", "[::]:9000", "127.0.0.1",
                                      "127.0.0.1:99999", "localhost:80",   "[::1]9000"};
    struct fault f = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(fcgi_listen(bad[i], 8, &f), -1);
    int fd = fcgi_listen("127.0.0.1:0", 8, &f);
    assert_true(fd >= 0);
    close(fd);
}

static void a_stale_socket_is_replaced_and_a_live_one_is_not(void **state) {
    (void)state;
    char dir[] = "/tmp/tollgate-unit-XXXXXX", path[64];
    struct fault f = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/s", dir);
    int first = fcgi_listen(path, 8, &f);
    assert_true(first >= 0);
    assert_int_equal(fcgi_listen(path, 8, &f), -1);
    assert_int_equal(f.err, ERR_CONFLICT);
    close(first);
    int second = fcgi_listen(path, 8, &f);
    assert_true(second >= 0);
    close(second);
    unlink(path);
    rmdir(dir);
}

/* The web server's end of a request. */
static void send_record(int fd, unsigned type, size_t n, char fill) {
    unsigned char head[8] = {1, (unsigned char)type,     0,
                             1, (unsigned char)(n >> 8), (unsigned char)n};
    char content[32768];
    assert_true(n <= sizeof content);
    memset(content, fill, n);
    if (type == 1) /* a responder; the connection is closed behind it */
        memcpy(content, "\0\1\0\0\0\0\0\0", 8);
    assert_int_equal(write(fd, head, sizeof head), sizeof head);
    if (n) /* who has read an end may have closed already */
        assert_int_equal(write(fd, content, n), n);
}

struct reading {
    int listener;
    bool accepted; /* atomic */
    enum err e;
    char *body;
    size_t n;
};

static void *read_one(void *arg) {
    struct reading *r = arg;
    struct fcgi_conn c;
    struct pollfd p = {.fd = r->listener, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_false(fcgi_accept(r->listener, &c)); /* the one that speaks HTTP */
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(fcgi_accept(r->listener, &c));
    __atomic_store_n(&r->accepted, true, __ATOMIC_RELEASE);
    struct fcgi_body_rule rule = {.max = 1 << 20, .deadline_ms = 20000};
    r->e = fcgi_read_body(&c, 40000, &rule, &r->body, &r->n);
    fcgi_close(&c);
    return NULL;
}

static void on_kick(int sig) {
    (void)sig;
}

static int dial(const char *at) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(str_copy(str_c(at), to.sun_path, sizeof to.sun_path));
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* libfcgi takes a read that one interrupts for the end. */
static void a_body_survives_signals(void **state) {
    (void)state;
    char path[] = "/tmp/tollgate-fcgi-XXXXXX", at[64];
    assert_non_null(mkdtemp(path));
    snprintf(at, sizeof at, "%s/s", path);
    fcgi_library_init();
    struct sigaction kick = {.sa_handler = on_kick};
    assert_int_equal(sigaction(SIGUSR1, &kick, NULL), 0);
    struct fault f = {0};
    struct reading r = {.listener = fcgi_listen(at, 4, &f)};
    assert_true(r.listener >= 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_one, &r), 0);
    int lost = dial(at);
    assert_int_equal(write(lost, "GET / HTTP/1.0\r\n\r\n", 18), 18);
    int fd = dial(at);
    send_record(fd, 1, 8, 0);
    send_record(fd, 4, 0, 0);
    send_record(fd, 5, 20000, 'a');
    while (!__atomic_load_n(&r.accepted, __ATOMIC_ACQUIRE))
        usleep(1000);
    for (int i = 0; i < 5; i++) {
        usleep(10000);
        assert_int_equal(pthread_kill(thread, SIGUSR1), 0);
    }
    send_record(fd, 5, 20000, 'b');
    send_record(fd, 5, 0, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(r.e, OK);
    assert_int_equal(r.n, 40000);
    assert_true(r.body[19999] == 'a' && r.body[20000] == 'b');
    free(r.body);
    close(lost);
    close(fd);
    close(r.listener);
    unlink(at);
    rmdir(path);
}

/* --- bodies as web servers may frame them -------------------------------------------------------
 */

static void put_record(struct buf *b, unsigned type, unsigned id, size_t n, size_t padding) {
    const unsigned char head[8] = {1,
                                   (unsigned char)type,
                                   0,
                                   (unsigned char)id,
                                   (unsigned char)(n >> 8),
                                   (unsigned char)n,
                                   (unsigned char)padding,
                                   0};
    buf_put(b, head, sizeof head);
    for (size_t i = 0; i < n; i++)
        buf_putc(b, (char)(b->n * 31 % 251));
    for (size_t i = 0; i < padding; i++)
        buf_putc(b, '#');
}

struct upload {
    const char *at;
    struct buf wire;
    size_t step; /* bytes a write, behind the first 9000 */
};

static void *write_slowly(void *arg) {
    struct upload *u = arg;
    int fd = dial(u->at);
    for (size_t sent = 0; sent < u->wire.n;) {
        size_t n = sent ? u->step : 9000;
        ssize_t wrote =
            send(fd, u->wire.p + sent, n < u->wire.n - sent ? n : u->wire.n - sent, MSG_NOSIGNAL);
        if (wrote <= 0)
            break;
        sent += (size_t)wrote;
    }
    shutdown(fd, SHUT_WR);
    char end[64];
    while (read(fd, end, sizeof end) > 0)
        ;
    close(fd);
    return NULL;
}

/* Sends u->wire and reads its body, which should be *want. */
static void upload_is(struct upload *u, int listener, int64_t declared, int64_t max, enum err e,
                      const struct buf *want) {
    pthread_t thread;
    struct pollfd p = {.fd = listener, .events = POLLIN};
    struct fcgi_conn c;
    const struct fcgi_body_rule rule = {.max = max, .deadline_ms = 20000};
    char *body;
    size_t n;
    assert_int_equal(pthread_create(&thread, NULL, write_slowly, u), 0);
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(fcgi_accept(listener, &c));
    usleep(1000);
    assert_int_equal(fcgi_read_body(&c, declared, &rule, &body, &n), e);
    if (e == OK) {
        assert_int_equal(n, want->n);
        assert_memory_equal(body, want->p, n);
        assert_int_equal(body[n], 0);
        free(body);
    }
    fcgi_close(&c);
    assert_int_equal(pthread_join(thread, NULL), 0);
    buf_free(&u->wire);
}

/* A request with a body in records of these sizes (the last is 0); *body: what is in them. */
static void frame(struct upload *u, const size_t *sizes, size_t padding, struct buf *body) {
    u->wire = BUF(4u << 20);
    buf_put(&u->wire, "\1\1\0\1\0\10\0\0\0\1\0\0\0\0\0\0", 16);
    put_record(&u->wire, 4, 1, 0, 0);
    for (; *sizes; sizes++) {
        size_t from = u->wire.n + 8;
        put_record(&u->wire, 5, 1, *sizes, padding);
        buf_put(body, u->wire.p + from, *sizes);
    }
}

static const struct outcome {
    unsigned last; /* type of the record behind the body, 0 = none: it breaks off */
    int declared;  /* more than there is; -1: not told */
    int max;       /* what is allowed more than there is */
    enum err e;
} outcomes[] = {
    {5, 0, 0, OK},
    {5, -1, 0, OK},
    {5, 0, -1, ERR_BODY_TOO_LARGE},
    {5, 1, 1, ERR_BODY_SHORT},
    {0, 0, 0, ERR_CLIENT_GONE},
    {2, 0, 0, ERR_CLIENT_GONE}, /* FCGI_ABORT_REQUEST */
};

static void upload_one(const char *at, int listener, const size_t *sizes, size_t padding,
                       size_t step, const struct outcome *o) {
    struct upload u = {.at = at, .step = step};
    struct buf body AUTO(buf_free) = BUF(4u << 20);
    frame(&u, sizes, padding, &body);
    if (o->last)
        put_record(&u.wire, o->last, 1, 0, 0);
    int64_t n = (int64_t)body.n;
    upload_is(&u, listener, o->declared < 0 ? -1 : n + o->declared, n + o->max, o->e, &body);
}

static void a_large_body_is_read_however_it_is_framed(void **state) {
    (void)state;
    char path[] = "/tmp/tollgate-fcgi-XXXXXX", at[64];
    struct fault f = {0};
    assert_non_null(mkdtemp(path));
    snprintf(at, sizeof at, "%s/s", path);
    fcgi_library_init();
    int listener = fcgi_listen(at, 4, &f);
    static const size_t framings[][6] = {{8159},        {8160},
                                         {8161},        {8168},
                                         {20000},       {65535, 65535, 65535, 1},
                                         {8150, 30000}, {8144, 9, 30000},
                                         {1, 30000},    {30000, 1, 1, 40000, 7}};
    static const size_t paddings[] = {0, 1, 7, 255}, steps[] = {1, 7, 4096, 1 << 20};
    for (size_t i = 0; i < ARRAY_LEN(framings); i++)
        for (size_t k = 0; k < ARRAY_LEN(paddings); k++)
            for (size_t m = 0; m < ARRAY_LEN(steps); m++)
                for (size_t o = 0; o < ARRAY_LEN(outcomes) && (!o || steps[m] >= 4096); o++)
                    upload_one(at, listener, framings[i], paddings[k], steps[m], &outcomes[o]);
    close(listener);
    unlink(at);
    rmdir(path);
}

static void accepting_does_not_wait(void **state) {
    (void)state;
    char path[] = "/tmp/tollgate-fcgi-XXXXXX", at[64];
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    struct fault f = {0};
    struct fcgi_conn c;
    assert_non_null(mkdtemp(path));
    snprintf(at, sizeof at, "%s/s", path);
    fcgi_library_init();
    int own = fcgi_listen(at, 4, &f);
    assert_false(fcgi_accept(own, &c));
    close(own);
    unlink(at);
    int parents = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(str_copy(str_c(at), here.sun_path, sizeof here.sun_path));
    assert_int_equal(bind(parents, (struct sockaddr *)&here, sizeof here), 0);
    assert_int_equal(listen(parents, 1), 0);
    fcgi_take_over(parents, 4);
    assert_false(fcgi_accept(parents, &c));
    int fd = dial(at);
    send_record(fd, 1, 8, 0);
    send_record(fd, 4, 0, 0);
    assert_true(fcgi_accept(parents, &c));
    assert_int_equal(fcntl(c.fd, F_GETFL) & O_NONBLOCK, 0); /* libfcgi reads it */
    fcgi_close(&c);
    close(fd);
    close(parents);
    unlink(at);
    rmdir(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepting_does_not_wait),
        cmocka_unit_test(a_body_survives_signals),
        cmocka_unit_test(a_large_body_is_read_however_it_is_framed),
        cmocka_unit_test(answers_of_any_size_arrive_whole),
        cmocka_unit_test(what_is_taken_over_follows_what_was_queued),
        cmocka_unit_test(a_write_goes_on_where_the_last_one_ended),
        cmocka_unit_test(who_leaves_during_what_was_taken_over_is_noticed),
        cmocka_unit_test(what_is_queued_leaves_in_one_write_and_in_order),
        cmocka_unit_test(a_web_server_that_left_is_noticed),
        cmocka_unit_test(a_full_socket_never_blocks),
        cmocka_unit_test(only_loopback_and_unix_sockets_are_listened_on),
        cmocka_unit_test(a_stale_socket_is_replaced_and_a_live_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
