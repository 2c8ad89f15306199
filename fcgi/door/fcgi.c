#include "door/fcgi.h"

#include "util/clock.h"
#include "util/spare.h"
#include "util/wait.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcgiapp.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define RECORD_MAX 65528 /* the largest content that needs no padding */
#define TAIL_MAX (128u << 20)
#define QUICK_BODY (64 << 10) /* is there already: the web server sends it with the request */
#define IMPATIENCE_MS 1       /* who has not sent all by then is waited for: wait_begins() */
#define READ_STEP_TIMEOUT_S 5 /* a silent read is looked at this often */

#define PEEK 8192 /* as much as libfcgi reads at once */

enum { FCGI_END = 3, FCGI_PARAMS = 4, FCGI_IN = 5, FCGI_OUT = 6 };

void fcgi_library_init(void) {
    must(FCGX_Init() == 0);
    /* FCGX_Init sets handlers of its own */
    must(signal(SIGPIPE, SIG_IGN) != SIG_ERR && signal(SIGUSR1, SIG_IGN) != SIG_ERR);
}

bool fcgi_inherited(void) {
    int listening = 0;
    socklen_t n = sizeof listening;
    return getsockopt(0, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) == 0 && listening;
}

static int listen_unix(const char *path, int backlog, struct fault *f) {
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (!str_copy(str_c(path), sa.sun_path, sizeof sa.sun_path)) {
        fault_set(f, ERR_FIELD_VALUE, "socket path longer than %zu bytes", sizeof sa.sun_path - 1);
        return -1;
    }
    int fd AUTO(base_closep) = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fault_set(f, ERR_INTERNAL, "socket: errno %d", errno), -1;
    struct stat st;
    if (stat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        if (connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 || errno == EAGAIN) {
            fault_set(f, ERR_CONFLICT, "%s: another process listens there", path);
            return -1;
        }
        unlink(path);
    }
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) != 0 || chmod(path, 0660) != 0 ||
        listen(fd, backlog) != 0) {
        fault_set(f, ERR_FIELD_VALUE, "%s: cannot listen (errno %d)", path, errno);
        return -1;
    }
    int out = fd;
    fd = -1;
    return out;
}

static bool parse_loopback(struct str text, struct sockaddr_in6 *v6, struct sockaddr_in *v4) {
    char host[64];
    uint64_t port;
    if (str_starts(text, STR("["))) {
        ptrdiff_t end = str_find(text, ']');
        if (end < 0 || !str_copy(str_sub(text, 1, (size_t)end - 1), host, sizeof host) ||
            !str_starts(str_from(text, (size_t)end), STR("]:")) ||
            !str_u64(str_from(text, (size_t)end + 2), &port) || port > 65535)
            return false;
        *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
        return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1 &&
               IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    }
    struct str rest = text, name;
    if (!str_cut(&rest, ':', &name) || !str_copy(name, host, sizeof host) ||
        !str_u64(rest, &port) || port > 65535)
        return false;
    *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    return inet_pton(AF_INET, host, &v4->sin_addr) == 1 && ntohl(v4->sin_addr.s_addr) >> 24 == 127;
}

int fcgi_listen(const char *address, int backlog, struct fault *f) {
    if (strchr(address, '/'))
        return listen_unix(address, backlog, f);
    struct sockaddr_in6 v6 = {0};
    struct sockaddr_in v4 = {0};
    if (!parse_loopback(str_c(address), &v6, &v4)) {
        fault_set(f, ERR_FIELD_VALUE, "%s: not a socket path and not a loopback address:port",
                  address);
        return -1;
    }
    bool is6 = v6.sin6_family == AF_INET6;
    int on = 1, fd AUTO(base_closep) =
                    socket(is6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, is6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4,
             is6 ? sizeof v6 : sizeof v4) != 0 ||
        listen(fd, backlog) != 0) {
        fault_set(f, ERR_FIELD_VALUE, "%s: cannot listen (errno %d)", address, errno);
        return -1;
    }
    int out = fd;
    fd = -1;
    return out;
}

void fcgi_take_over(int listen_fd, int backlog) {
    int flags = fcntl(listen_fd, F_GETFL);
    must(flags >= 0 && fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK) == 0);
    (void)listen(listen_fd, backlog); /* of one that listens, it changes just that */
}

static void set_read_timeout(int fd, struct timeval t) {
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
}

/* The next connection, or -1: none now. */
static int accept_next(int listen_fd) {
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
        wait_begins();
        poll(NULL, 0, 20); /* out of descriptors: wait for some to be given back */
    }
    return fd;
}

enum arrived { ARRIVED_NOTHING, ARRIVED_PART, ARRIVED_PARAMS, ARRIVED_ALL };

/* How much of the request is there: what is there is read without a wait, and needs no time limit,
 * which would be a system call each. */
static enum arrived look(int fd) {
    unsigned char b[PEEK];
    ssize_t n = recv(fd, b, sizeof b, MSG_PEEK | MSG_DONTWAIT);
    enum arrived have = n > 0 ? ARRIVED_PART : ARRIVED_NOTHING;
    for (size_t at = 0; n > 0 && at + 8 <= (size_t)n;) {
        const unsigned char *h = b + at;
        size_t length = (size_t)h[4] << 8 | h[5];
        if (h[1] == FCGI_PARAMS && !length)
            have = ARRIVED_PARAMS;
        if (h[1] == FCGI_IN && !length && have == ARRIVED_PARAMS)
            return ARRIVED_ALL;
        at += 8 + length + h[6];
    }
    return have;
}

static enum arrived await_request(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    enum arrived have = look(fd);
    if (have != ARRIVED_NOTHING)
        return have;
    return poll(&p, 1, IMPATIENCE_MS) > 0 ? look(fd) : ARRIVED_NOTHING;
}

/* The parameters of the request on fd. libfcgi would accept by itself, and then wait for ever for
 * who says nothing. */
static bool read_request(FCGX_Request *r, int fd) {
    enum arrived have = await_request(fd);
    if (have < ARRIVED_PARAMS) {
        wait_begins();
        set_read_timeout(fd, (struct timeval){.tv_sec = READ_STEP_TIMEOUT_S});
    }
    r->ipcFd = fd;
    r->keepConnection = 1; /* it takes this one, */
    r->listen_sock = -1;   /* and no other, which closes it when it makes no sense */
    if (FCGX_Accept_r(r) != 0)
        return false;
    if (have < ARRIVED_ALL)
        set_read_timeout(fd, (struct timeval){.tv_usec = IMPATIENCE_MS * 1000});
    return true;
}

bool fcgi_accept(int listen_fd, struct fcgi_conn *c) {
    int fd = accept_next(listen_fd);
    if (fd < 0)
        return false;
    FCGX_Request *r = base_alloc(sizeof *r);
    must(FCGX_InitRequest(r, listen_fd, 0) == 0);
    if (!read_request(r, fd)) {
        FCGX_Free(r, 1);
        free(r);
        return false;
    }
    *c = (struct fcgi_conn){
        .fd = fd, .id = (uint16_t)r->requestId, .tail = BUF(TAIL_MAX), .request = r};
    return true;
}

const char *fcgi_param(const struct fcgi_conn *c, size_t i) {
    return ((FCGX_Request *)c->request)->envp[i];
}

struct body {
    char *p;
    size_t n, cap, total;
    int64_t started_ms;
};

static enum err judge_pace(const struct body *b, const struct fcgi_body_rule *rule) {
    int64_t ms = clock_mono_ms() - b->started_ms;
    if (ms > rule->deadline_ms ||
        (ms > 10000 && rule->min_rate && (int64_t)b->total * 1000 / ms < rule->min_rate))
        return ERR_BODY_SLOW;
    return OK;
}

/* Takes what the stream has buffered. */
static enum err take_buffered(FCGX_Stream *in, struct body *b, const struct fcgi_body_rule *rule) {
    size_t have = (size_t)(in->stop - in->rdNext);
    b->total += have;
    if ((int64_t)b->total <= rule->max) {
        if (b->n + have + 1 > b->cap) {
            b->cap = b->cap * 2 > b->n + have + 1 ? b->cap * 2 : b->n + have + 1;
            b->p = base_realloc(b->p, b->cap);
        }
        memcpy(b->p + b->n, in->rdNext, have);
        b->n += have;
        b->p[b->n] = '\0';
    }
    in->rdNext = in->stop;
    return judge_pace(b, rule);
}

/* libfcgi takes a read that a signal interrupted (one wakes fronts that wait in accept when the
 * worker stops), or that was silent for a step, for the end. Nothing was read then, so it can go
 * on. */
static bool was_interrupted(FCGX_Stream *in, int fd) {
    int error = FCGX_GetError(in);
    if (error != EINTR && error != EAGAIN)
        return false;
    if (error == EAGAIN) {
        wait_begins();
        set_read_timeout(fd, (struct timeval){.tv_sec = READ_STEP_TIMEOUT_S});
    }
    FCGX_ClearError(in);
    in->isClosed = 0; /* FCGX_ClearError leaves it */
    return true;
}

static enum err read_stream(FCGX_Stream *in, int fd, struct body *b,
                            const struct fcgi_body_rule *rule) {
    for (;;) {
        /* one byte makes libfcgi do exactly one fill; the rest of it is taken from the buffer */
        int c = FCGX_GetChar(in);
        bool silent = c == EOF && was_interrupted(in, fd);
        if (c == EOF && !silent)
            return FCGX_GetError(in) ? ERR_CLIENT_GONE : OK;
        in->rdNext -= !silent;
        enum err e = silent ? judge_pace(b, rule) : take_buffered(in, b, rule);
        if (e)
            return e;
    }
}

enum err fcgi_read_body(struct fcgi_conn *c, int64_t declared, const struct fcgi_body_rule *rule,
                        char **body, size_t *n) {
    FCGX_Request *r = c->request;
    if (declared < 0 || declared > QUICK_BODY)
        wait_begins();
    struct body b = {.started_ms = clock_mono_ms()};
    *body = NULL;
    *n = 0;
    if (declared > 0 && declared <= rule->max) {
        b.cap = (size_t)declared + 1;
        b.p = spare_take(b.cap);
    }
    enum err e = read_stream(r->in, r->ipcFd, &b, rule);
    if (!e && (int64_t)b.total > rule->max)
        e = ERR_BODY_TOO_LARGE;
    if (!e && declared >= 0 && (int64_t)b.total != declared)
        e = b.total ? ERR_BODY_SHORT : ERR_OVERLOADED;
    if (e || !b.n) {
        free(b.p);
        return e;
    }
    *body = b.p;
    *n = b.n;
    return OK;
}

void fcgi_release(struct fcgi_conn *c) {
    FCGX_Request *r = c->request;
    if (!r)
        return;
    r->ipcFd = -1; /* the descriptor stays with us */
    FCGX_Free(r, 0);
    free(r);
    c->request = NULL;
}

static void header(unsigned char h[8], int type, uint16_t id, size_t n) {
    h[0] = 1;
    h[1] = (unsigned char)type;
    h[2] = (unsigned char)(id >> 8);
    h[3] = (unsigned char)id;
    h[4] = (unsigned char)(n >> 8);
    h[5] = (unsigned char)n;
    h[6] = h[7] = 0;
}

#define CLOSING 24 /* the output's end, and the request's */

static void write_closing(const struct fcgi_conn *c, unsigned char to[CLOSING]) {
    header(to, FCGI_OUT, c->id, 0);
    header(to + 8, FCGI_END, c->id, 8);
    memset(to + 16, 0, 8);
}

/* The first n bytes of the tail are written. */
static void drop_written(struct fcgi_conn *c, size_t n) {
    if (n == c->tail.n)
        buf_free(&c->tail); /* idle streams keep no buffer */
    else
        buf_drop(&c->tail, n);
    c->record = 0;
}

/* Writes what waits and then the vector, which begins with room for what waits; what the socket
 * does not take is the tail. */
static bool write_vector(struct fcgi_conn *c, struct iovec *v, size_t nv) {
    ssize_t wrote = 0;
    v[0] = (struct iovec){c->tail.p, c->tail.n};
    if (!c->blocked) {
        struct msghdr m = {.msg_iov = v, .msg_iovlen = nv};
        wrote = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (wrote < 0 && errno != EAGAIN && errno != EINTR)
            return false;
    }
    size_t skip = wrote > 0 ? (size_t)wrote : 0;
    size_t old = skip < c->tail.n ? skip : c->tail.n;
    drop_written(c, old);
    skip -= old;
    for (size_t i = 1; i < nv; i++) {
        size_t cut = skip < v[i].iov_len ? skip : v[i].iov_len;
        skip -= cut;
        buf_put(&c->tail, (char *)v[i].iov_base + cut, v[i].iov_len - cut);
    }
    c->blocked = c->tail.n > 0;
    return !c->tail.failed;
}

/* Frames p in records of RECORD_MAX; `end` adds the closing records to the last write. */
static bool send_records(struct fcgi_conn *c, struct str p, bool end) {
    unsigned char heads[16][8], closing[CLOSING];
    write_closing(c, closing);
    must(!c->ended);
    c->ended = end;
    do {
        struct iovec v[2 * ARRAY_LEN(heads) + 2];
        size_t nv = 1;
        for (size_t i = 0; i < ARRAY_LEN(heads) && p.n; i++) {
            size_t n = p.n < RECORD_MAX ? p.n : RECORD_MAX;
            header(heads[i], FCGI_OUT, c->id, n);
            v[nv++] = (struct iovec){heads[i], 8};
            v[nv++] = (struct iovec){(void *)(uintptr_t)p.p, n};
            p = str_from(p, n);
        }
        if (end && !p.n)
            v[nv++] = (struct iovec){closing, sizeof closing};
        if ((nv > 1 || c->tail.n) && !write_vector(c, v, nv))
            return false;
    } while (p.n);
    return true;
}

size_t fcgi_queue(struct fcgi_conn *c, struct str p) {
    must(!c->ended);
    while (p.n) {
        size_t have = c->record ? c->tail.n - (c->record - 1) - 8 : 0;
        if (!c->record || have == RECORD_MAX) {
            c->record = c->tail.n + 1;
            have = 0;
            buf_put(&c->tail, "\0\0\0\0\0\0\0", 8);
        }
        size_t n = p.n < RECORD_MAX - have ? p.n : RECORD_MAX - have;
        buf_put(&c->tail, p.p, n);
        if (c->tail.failed)
            break;
        header((unsigned char *)c->tail.p + c->record - 1, FCGI_OUT, c->id, have + n);
        p = str_from(p, n);
    }
    return c->tail.n;
}

bool fcgi_send(struct fcgi_conn *c, struct str p) {
    return send_records(c, p, false);
}

bool fcgi_send_end(struct fcgi_conn *c, struct str p) {
    return send_records(c, p, true);
}

/* --- what was taken over: framed as it is written ----------------------------------------------
 */

#define RECORD_ALL (8 + RECORD_MAX) /* with its head */
#define LAST_PIECES 16              /* of a record each, in one write */

static size_t last_size(const struct fcgi_conn *c) {
    size_t records = (c->last.n + RECORD_MAX - 1) / RECORD_MAX;
    return c->last.p ? c->last.n + 8 * records + CLOSING : 0;
}

/* What waits behind the tail. */
static size_t last_left(const struct fcgi_conn *c) {
    return last_size(c) - c->last_sent;
}

/* The pieces from `at` on, into v; heads is where they stand. Returns how many. */
static size_t last_pieces(const struct fcgi_conn *c, struct iovec *v,
                          unsigned char heads[LAST_PIECES][8], unsigned char closing[CLOSING]) {
    size_t at = c->last_sent, nv = 0;
    for (size_t i = 0; i < LAST_PIECES; i++) {
        size_t from = at / RECORD_ALL * RECORD_MAX, skip = at % RECORD_ALL;
        if (from >= c->last.n)
            break;
        size_t n = c->last.n - from < RECORD_MAX ? c->last.n - from : RECORD_MAX;
        if (skip >= 8 + n) /* the last record, which may be short, is written */
            break;
        header(heads[i], FCGI_OUT, c->id, n);
        if (skip < 8)
            v[nv++] = (struct iovec){heads[i] + skip, 8 - skip};
        size_t done = skip < 8 ? 0 : skip - 8;
        v[nv++] = (struct iovec){c->last.p + from + done, n - done};
        at += 8 + n - skip;
    }
    size_t end = last_size(c) - CLOSING;
    if (at >= end) {
        write_closing(c, closing);
        v[nv++] = (struct iovec){closing + (at - end), CLOSING - (at - end)};
    }
    return nv;
}

/* Until the socket takes no more. */
static bool write_last(struct fcgi_conn *c) {
    while (last_left(c)) {
        unsigned char heads[LAST_PIECES][8], closing[CLOSING];
        struct iovec v[1 + 2 * LAST_PIECES + 1];
        v[0] = (struct iovec){c->tail.p, c->tail.n};
        struct msghdr m = {.msg_iov = v, .msg_iovlen = 1 + last_pieces(c, v + 1, heads, closing)};
        ssize_t n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        c->blocked = n < 0;
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        size_t old = (size_t)n < c->tail.n ? (size_t)n : c->tail.n;
        drop_written(c, old);
        c->last_sent += (size_t)n - old;
    }
    spare_give_buf(&c->last);
    c->last_sent = 0;
    return true;
}

bool fcgi_send_end_taking(struct fcgi_conn *c, struct buf *p) {
    must(!c->ended && p->n);
    c->ended = true;
    c->last = *p;
    *p = BUF(p->max);
    return c->blocked || write_last(c);
}

struct ring_op fcgi_to_write(const struct fcgi_conn *c) {
    return (struct ring_op){.fd = c->fd, .p = c->tail.p, .n = c->tail.n};
}

bool fcgi_wrote(struct fcgi_conn *c, ssize_t n) {
    if (n < 0 && n != -EAGAIN && n != -EINTR)
        return false;
    drop_written(c, n > 0 ? (size_t)n : 0);
    c->blocked = c->tail.n > 0;
    return true;
}

bool fcgi_flush(struct fcgi_conn *c) {
    if (c->last.p)
        return write_last(c);
    if (!c->tail.n)
        return true;
    ssize_t n = send(c->fd, c->tail.p, c->tail.n, MSG_DONTWAIT | MSG_NOSIGNAL);
    return fcgi_wrote(c, n < 0 ? -errno : n);
}

size_t fcgi_pending(const struct fcgi_conn *c) {
    return c->blocked ? c->tail.n + last_left(c) : 0;
}

bool fcgi_untaken(int fd) {
    int n = 0;
    return ioctl(fd, TIOCOUTQ, &n) == 0 && n > 0;
}

bool fcgi_wait(struct fcgi_conn *c, int timeout_ms) {
    int64_t until = clock_mono_ms() + timeout_ms;
    if (c->tail.n + last_left(c))
        wait_begins();
    while (c->tail.n + last_left(c)) {
        int64_t left = until - clock_mono_ms();
        struct pollfd p = {.fd = c->fd, .events = POLLOUT};
        if (left <= 0 || poll(&p, 1, (int)left) < 0 || !fcgi_flush(c))
            return false;
    }
    return true;
}

void fcgi_close(struct fcgi_conn *c) {
    fcgi_release(c);
    base_closep(&c->fd);
    buf_free(&c->tail);
    spare_give_buf(&c->last);
}
