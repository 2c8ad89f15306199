/* streams - both ends of many event streams, on one thread each.
 *
 *   streams provider PORT EVENTS_PER_SECOND
 *   streams client PORT PATH STREAMS SECONDS BODY_FILE KEY_FILE [HEADERS]
 *   streams first PORT PATH STREAMS SECONDS BODY_FILE KEY_FILE [HEADERS]
 *
 * Every event tells the microsecond it was written at (CLOCK_MONOTONIC, the same for both ends).
 * The client opens the streams, waits until all have begun, then counts for SECONDS and prints
 * JSON: events/s and the delays' p50, p99, max. With `first` it opens one stream after the other
 * (SECONDS are not used), and prints JSON of the time from the request to the first event.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STREAMS_MAX 16384 /* of a turn, and of the last one that are still being given up */
#define SAMPLES_MAX ((size_t)1 << 23)
#define BEGIN_US 20000000
#define OPENING_MAX 1024 /* opened and not begun: more at once fill the listen queues of a way */
#define MARK "t="        /* then 16 digits */
#define STAMP_N 18

struct stream {
    int fd;
    bool begun;
    int64_t due_us;
    char kept[STAMP_N]; /* the end of what was read, which may be a stamp's beginning */
    size_t kept_n;
};

static struct stream streams[STREAMS_MAX];
static size_t n_places, n_begun; /* places that were ever used; streams that run */
static int epoll;

/* Reads and writes go to the kernel many at a time. */
#define BATCH 128
static struct io_uring ring;

static void need(bool ok, const char *what) {
    if (ok)
        return;
    fprintf(stderr, "streams: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static struct sockaddr_in loopback(const char *port) {
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)strtol(port, NULL, 10))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void watch(struct stream *s) {
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = s};
    int on = 1; /* refused for who has left already, which is seen with the first read */
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    need(epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &ev) == 0, "epoll_ctl");
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        size_t i = 0;
        while (i < n_places && streams[i].fd)
            i++;
        need(i < STREAMS_MAX, "too many streams");
        n_places += i == n_places;
        streams[i] = (struct stream){.fd = fd};
        watch(&streams[i]);
    }
}

static void end(struct stream *s) {
    n_begun -= s->begun;
    close(s->fd);
    *s = (struct stream){0};
}

/* One chunk with one event. Made once: a stand-in should cost little of what is measured. */
static char chunks[BATCH][300];
static size_t chunk_n, stamp_at;
static unsigned n_told;

static void make_chunk(void) {
    char event[256];
    int n = snprintf(event, sizeof event,
                     "data: "
                     "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
                     "\"model\":\"m\",\"choices\":"
                     "[{\"index\":0,\"delta\":{\"content\":\"" MARK "%016d"
                     "\"},\"finish_reason\":null}]}\n\n",
                     0);
    for (size_t i = 0; i < BATCH; i++)
        chunk_n = (size_t)snprintf(chunks[i], sizeof chunks[i], "%x\r\n%s\r\n", (unsigned)n, event);
    stamp_at = (size_t)(strstr(chunks[0], MARK) - chunks[0]) + sizeof MARK - 1;
}

static void tell_all(void) {
    if (!n_told)
        return;
    need(io_uring_submit_and_wait(&ring, n_told) >= 0, "io_uring");
    struct io_uring_cqe *got[BATCH];
    unsigned n = io_uring_peek_batch_cqe(&ring, got, BATCH);
    need(n == n_told, "completions");
    for (unsigned i = 0; i < n; i++) {
        struct stream *s = io_uring_cqe_get_data(got[i]);
        if (got[i]->res != (int)chunk_n)
            end(s);
    }
    io_uring_cq_advance(&ring, n);
    n_told = 0;
}

static void tell(struct stream *s, int64_t gap_us) {
    char *chunk = chunks[n_told++];
    int64_t now = now_us();
    for (size_t i = 16; i--; now /= 10)
        chunk[stamp_at + i] = (char)('0' + now % 10);
    s->due_us += gap_us;
    struct io_uring_sqe *e = io_uring_get_sqe(&ring);
    io_uring_prep_send(e, s->fd, chunk, chunk_n, MSG_NOSIGNAL | MSG_DONTWAIT);
    io_uring_sqe_set_data(e, s);
    if (n_told == BATCH)
        tell_all();
}

/* The body's first byte begins the stream; what the request says does not matter. The first event
 * comes at once, the others at times of the stream's own. */
static void serve(struct stream *s, int64_t gap_us) {
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    char request[65536];
    ssize_t n = recv(s->fd, request, sizeof request, 0);
    if (n < 0 && errno == EAGAIN) /* told of the place's last stream */
        return;
    if (n <= 0) {
        end(s);
        return;
    }
    if (s->begun || !memchr(request, '{', (size_t)n))
        return;
    s->begun = true;
    n_begun++;
    if (send(s->fd, head, sizeof head - 1, MSG_NOSIGNAL) < 0) {
        end(s);
        return;
    }
    s->due_us = now_us() + (s - streams) * INT64_C(997) % gap_us;
    tell(s, 0);
    tell_all();
}

static void provide(const char *port, int64_t gap_us) {
    struct sockaddr_in at = loopback(port);
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    make_chunk();
    need(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0, "reuse");
    need(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 4096) == 0,
         "listen");
    struct epoll_event ev = {.events = EPOLLIN}, got[256];
    need(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &ev) == 0, "epoll_ctl");
    for (;;) {
        int n = epoll_wait(epoll, got, 256, n_begun ? 1 : -1);
        for (int i = 0; i < n; i++)
            if (got[i].data.ptr)
                serve(got[i].data.ptr, gap_us);
            else
                accept_all(listener);
        int64_t now = now_us();
        for (struct stream *s = streams; s < streams + n_places; s++)
            if (s->begun && s->due_us <= now)
                tell(s, gap_us);
        tell_all();
    }
}

struct count {
    uint32_t *delay_us;
    size_t n, n_begun; /* samples, streams */
    int64_t from_us;
};

#define READ_N (1 << 14)
static char texts[BATCH][READ_N];

static void take(struct count *c, struct stream *s, char *text, int got) {
    need(got > 0, "a stream ended");
    size_t n = s->kept_n + (size_t)got, at = 0;
    int64_t now = now_us();
    char *p;
    while ((p = memmem(text + at, n - at, MARK, 2)) && p + STAMP_N <= text + n) {
        at = (size_t)(p - text) + STAMP_N;
        char stamp[17] = {0};
        memcpy(stamp, p + 2, 16);
        c->n_begun += !s->begun;
        s->begun = true;
        if (c->from_us && c->n < SAMPLES_MAX)
            c->delay_us[c->n++] = (uint32_t)(now - strtoll(stamp, NULL, 10));
    }
    size_t keep = n - at < STAMP_N - 1 ? n - at : STAMP_N - 1;
    memcpy(s->kept, text + n - keep, keep);
    s->kept_n = keep;
}

static void receive(struct count *c, int wait_ms) {
    static struct epoll_event got[STREAMS_MAX];
    int n = epoll_wait(epoll, got, STREAMS_MAX, wait_ms);
    for (int i = 0; i < n;) {
        int m = n - i < BATCH ? n - i : BATCH;
        for (int k = 0; k < m; k++) {
            struct stream *s = got[i + k].data.ptr;
            memcpy(texts[k], s->kept, s->kept_n);
            struct io_uring_sqe *e = io_uring_get_sqe(&ring);
            io_uring_prep_recv(e, s->fd, texts[k] + s->kept_n, READ_N - s->kept_n, MSG_DONTWAIT);
            io_uring_sqe_set_data64(e, (uint64_t)k);
        }
        need(io_uring_submit_and_wait(&ring, (unsigned)m) >= 0, "io_uring");
        struct io_uring_cqe *done[BATCH];
        need(io_uring_peek_batch_cqe(&ring, done, BATCH) == (unsigned)m, "completions");
        for (int k = 0; k < m; k++) {
            uint64_t at = done[k]->user_data;
            take(c, got[i + (int)at].data.ptr, texts[at], done[k]->res);
        }
        io_uring_cq_advance(&ring, (unsigned)m);
        i += m;
    }
}

/* Looks each millisecond, which every way pays alike: being woken for each event would take the
 * processor time that is to be measured elsewhere. */
static void receive_until(struct count *c, int64_t until_us) {
    while (now_us() < until_us) {
        usleep(1000);
        receive(c, 0);
    }
}

static void read_text(const char *path, char *to, size_t cap) {
    FILE *f = fopen(path, "rb");
    need(f != NULL, path);
    size_t n = fread(to, 1, cap - 1, f);
    to[strcspn(to, "\n")] = '\0';
    need(n < cap - 1, path);
    fclose(f);
}

static int by_value(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static int connect_to(const struct sockaddr_in *to) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    need(connect(fd, (const struct sockaddr *)to, sizeof *to) == 0, "connect");
    return fd;
}

static void ask(int fd, const char *request) {
    need(send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request), "send");
}

static void open_stream(struct count *c, struct stream *s, const struct sockaddr_in *to,
                        const char *request) {
    s->fd = connect_to(to);
    ask(s->fd, request);
    watch(s);
    receive(c, 0);
}

/* Microseconds until the first event has arrived. */
static uint32_t await_first(const struct sockaddr_in *to, const char *request) {
    char text[16384];
    size_t n = 0;
    int fd = connect_to(to);
    usleep(2000); /* the other end has accepted it: connecting is not measured */
    int64_t from = now_us();
    ask(fd, request);
    do {
        ssize_t got = recv(fd, text + n, sizeof text - n, 0);
        need(got > 0, "the stream ended");
        n += (size_t)got;
    } while (!memmem(text, n, MARK, 2));
    uint32_t us = (uint32_t)(now_us() - from);
    close(fd);
    return us;
}

static void measure_first(const struct sockaddr_in *to, const char *request, size_t n) {
    uint32_t *us = calloc(n, sizeof *us);
    need(us != NULL && n > 0, "streams");
    for (size_t i = 0; i < n; i++)
        us[i] = await_first(to, request);
    qsort(us, n, sizeof *us, by_value);
    printf("{\"p50_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f}\n", us[n / 2] / 1e3,
           us[n * 9 / 10] / 1e3, us[n * 99 / 100] / 1e3);
    free(us);
}

static void consume(char **argv, const char *headers) {
    static char request[8192], body[4096], key[512];
    read_text(argv[6], body, sizeof body);
    read_text(argv[7], key, sizeof key);
    snprintf(request, sizeof request,
             "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nAuthorization: "
             "Bearer %s\r\n"
             "Content-Length: %zu\r\n%s\r\n%s",
             argv[3], key, strlen(body), headers, body);
    struct sockaddr_in to = loopback(argv[2]);
    struct count c = {.delay_us = malloc(SAMPLES_MAX * sizeof(uint32_t))};
    size_t n = (size_t)strtol(argv[4], NULL, 10);
    need(n <= STREAMS_MAX && c.delay_us, "streams");
    if (strcmp(argv[1], "first") == 0) {
        measure_first(&to, request, n);
        return;
    }
    size_t opened = 0;
    for (int64_t from = now_us(); c.n_begun < n;) {
        if (now_us() - from > BEGIN_US)
            fprintf(stderr, "streams: %zu of %zu have begun\n", c.n_begun, n);
        need(now_us() - from <= BEGIN_US, "not all streams begin");
        if (opened < n && opened - c.n_begun < OPENING_MAX)
            open_stream(&c, &streams[opened++], &to, request);
        else
            receive(&c, 100);
    }
    receive_until(&c, now_us() + 1000000);
    puts("begun");
    fflush(stdout);
    c.from_us = now_us();
    int64_t until = c.from_us + (int64_t)(strtod(argv[5], NULL) * 1e6);
    receive_until(&c, until);
    double seconds = (double)(now_us() - c.from_us) / 1e6;
    need(c.n > 0, "no event");
    qsort(c.delay_us, c.n, sizeof *c.delay_us, by_value);
    printf("{\"streams\": %zu, \"events_per_s\": %.0f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
           "\"max_ms\": %.3f}\n",
           n, (double)c.n / seconds, c.delay_us[c.n / 2] / 1e3, c.delay_us[c.n * 99 / 100] / 1e3,
           c.delay_us[c.n - 1] / 1e3);
    free(c.delay_us);
}

int main(int argc, char **argv) {
    need(argc > 1, "arguments");
    struct rlimit files = {STREAMS_MAX + 100, STREAMS_MAX + 100};
    need(setrlimit(RLIMIT_NOFILE, &files) == 0, "file limit");
    epoll = epoll_create1(0);
    need(io_uring_queue_init(BATCH, &ring,
                             IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) == 0,
         "io_uring");
    if (argc == 4 && strcmp(argv[1], "provider") == 0)
        provide(argv[2], 1000000 / strtol(argv[3], NULL, 10));
    bool client = strcmp(argv[1], "client") == 0 || strcmp(argv[1], "first") == 0;
    need((argc == 8 || argc == 9) && client, "arguments");
    consume(argv, argc == 9 ? argv[8] : "");
    return 0;
}
