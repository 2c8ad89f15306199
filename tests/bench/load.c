/* load - keep-alive HTTP/1.1 requests over some connections, every begun one finished and counted.
 *
 *   cc -O2 -o load load.c && load PORT PATH CONNECTIONS SECONDS BODY_FILE KEYS_FILE [HEADERS]
 *
 * SECONDS "500x" means 500 requests in all.
 * Each request carries a key drawn at random from KEYS_FILE (one a line), and HEADERS, whole
 * lines with their ends. Prints one line of JSON:
 * answers (2xx, complete), errors, seconds, and p50, p90, p99 of the time to the end in ms.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 8192
#define SAMPLES_MAX ((size_t)1 << 24)

struct connection {
    int fd;
    char *request;
    size_t request_n, sent;
    char head[HEAD_MAX]; /* of the answer; then what is left of a chunk's size line */
    size_t head_n;
    bool in_body, chunked, ok, last; /* last: the server closes behind this answer */
    int64_t left;                    /* of the body, or of the chunk with its line end */
    int64_t started_us;
};

struct load {
    int epoll, n_busy;
    uint16_t port;
    const char *path, *headers;
    char *body;
    size_t body_n;
    char **keys;
    size_t n_keys;
    uint64_t seed;
    int64_t until_us;
    size_t left; /* requests to begin, when not the time but their number is given */
    uint32_t *samples;
    size_t n_samples, errors;
};

static void need(bool ok, const char *what) {
    if (ok)
        return;
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static char *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    need(f != NULL, path);
    need(fseek(f, 0, SEEK_END) == 0, path);
    long size = ftell(f);
    rewind(f);
    char *p = calloc((size_t)size + 1, 1);
    need(p && fread(p, 1, (size_t)size, f) == (size_t)size, path);
    fclose(f);
    *n = (size_t)size;
    return p;
}

static void read_keys(struct load *l, const char *path) {
    size_t n;
    char *rest = read_file(path, &n), *line;
    l->keys = calloc(n + 1, sizeof *l->keys);
    while ((line = strsep(&rest, "\n")))
        if (*line)
            l->keys[l->n_keys++] = line;
    need(l->n_keys > 0, path);
}

static uint64_t random_u64(struct load *l) {
    l->seed ^= l->seed << 13;
    l->seed ^= l->seed >> 7;
    return l->seed ^= l->seed << 17;
}

static void write_some(struct connection *c) {
    ssize_t n =
        send(c->fd, c->request + c->sent, c->request_n - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    need(n > 0 || errno == EAGAIN, "send");
    c->sent += n > 0 ? (size_t)n : 0;
}

static void start(struct load *l, struct connection *c) {
    const char *key = l->keys[random_u64(l) % l->n_keys];
    int n = snprintf(c->request, 1024,
                     "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                     "Authorization: Bearer %s\r\nContent-Length: %zu\r\n%s\r\n",
                     l->path, key, l->body_n, l->headers);
    need(n > 0 && n < 1024, "head of the request");
    memcpy(c->request + n, l->body, l->body_n);
    c->request_n = (size_t)n + l->body_n;
    c->sent = c->head_n = 0;
    c->in_body = c->chunked = c->ok = c->last = false;
    c->started_us = now_us();
    write_some(c);
}

static void open_connection(struct load *l, struct connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(l->port)};
    int on = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    need(c->fd >= 0 && connect(c->fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
    need(setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "nodelay");
    c->request = malloc(1024 + l->body_n);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    start(l, c);
    need(epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &ev) == 0, "epoll_ctl");
    l->n_busy++;
}

/* Servers give a connection up after so many requests. */
static void go_on(struct load *l, struct connection *c) {
    if (!c->last) {
        start(l, c);
        return;
    }
    close(c->fd);
    free(c->request);
    l->n_busy--;
    open_connection(l, c);
}

static void end_answer(struct load *l, struct connection *c) {
    int64_t now = now_us();
    if (!c->ok)
        l->errors++;
    else if (l->n_samples < SAMPLES_MAX)
        l->samples[l->n_samples++] = (uint32_t)(now - c->started_us);
    if (l->left ? --l->left > 0 : now < l->until_us) {
        go_on(l, c);
        return;
    }
    close(c->fd);
    c->fd = -1;
    l->n_busy--;
}

/* The body's framing, once the head is complete. */
static void read_head(struct connection *c) {
    int status = 0;
    c->left = 0;
    sscanf(c->head, "HTTP/1.%*d %d", &status);
    c->ok = status >= 200 && status < 300;
    if (!c->ok)
        fprintf(stderr, "load: %.*s\n", (int)strcspn(c->head, "\r"), c->head);
    for (char *line = c->head; (line = strstr(line, "\r\n"));) {
        line += 2;
        if (strncasecmp(line, "content-length:", 15) == 0)
            c->left = strtoll(line + 15, NULL, 10);
        c->last |= strncasecmp(line, "connection: close", 17) == 0;
        c->chunked |= strncasecmp(line, "transfer-encoding: chunked", 26) == 0;
    }
    c->in_body = true;
    c->head_n = 0;
}

/* Takes a chunk's size line; the last chunk ends the answer (no trailers are expected). */
static bool take_size(struct connection *c, char byte) {
    need(c->head_n < 64, "chunk size");
    c->head[c->head_n++] = byte;
    c->head[c->head_n] = '\0';
    if (byte != '\n')
        return false;
    int64_t size = strtoll(c->head, NULL, 16);
    c->head_n = 0;
    c->left = size + 2;
    c->chunked = size > 0;
    return true;
}

/* How much of p belongs to the answer under way; *done when it is complete. */
static size_t take(struct connection *c, const char *p, size_t n, bool *done) {
    size_t at = 0;
    while (at < n && !*done) {
        if (!c->in_body) {
            need(c->head_n < HEAD_MAX - 1, "head of the answer");
            c->head[c->head_n++] = p[at++];
            c->head[c->head_n] = '\0';
            if (c->head_n >= 4 && memcmp(c->head + c->head_n - 4, "\r\n\r\n", 4) == 0)
                read_head(c);
        } else if (c->left) {
            size_t part = (int64_t)(n - at) < c->left ? n - at : (size_t)c->left;
            at += part;
            c->left -= (int64_t)part;
        } else if (c->chunked) {
            take_size(c, p[at++]);
        }
        *done = c->in_body && !c->left && !c->chunked;
    }
    return at;
}

static void serve(struct load *l, struct connection *c, uint32_t events) {
    static char buffer[1 << 18];
    if (events & EPOLLOUT && c->sent < c->request_n)
        write_some(c);
    while (c->fd >= 0) {
        ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        need(n > 0, "recv");
        bool done = false;
        int fd = c->fd;
        size_t used = take(c, buffer, (size_t)n, &done);
        need(used == (size_t)n, "bytes behind the answer");
        if (done)
            end_answer(l, c);
        if (c->fd != fd)
            return;
    }
}

static int by_value(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static double percentile(const struct load *l, size_t percent) {
    return l->n_samples ? l->samples[l->n_samples * percent / 100] / 1000.0 : 0;
}

int main(int argc, char **argv) {
    need(argc == 7 || argc == 8, "PORT PATH CONNECTIONS SECONDS BODY_FILE KEYS_FILE [HEADERS]");
    struct load l = {.path = argv[2],
                     .headers = argc == 8 ? argv[7] : "",
                     .port = (uint16_t)strtol(argv[1], NULL, 10)};
    int n = (int)strtol(argv[3], NULL, 10);
    l.body = read_file(argv[5], &l.body_n);
    read_keys(&l, argv[6]);
    l.samples = malloc(SAMPLES_MAX * sizeof *l.samples);
    l.epoll = epoll_create1(0);
    int64_t from = now_us();
    l.seed = (uint64_t)from | 1;
    if (strchr(argv[4], 'x'))
        l.left = strtoul(argv[4], NULL, 10);
    else
        l.until_us = from + (int64_t)(strtod(argv[4], NULL) * 1e6);
    struct connection *all = calloc((size_t)n, sizeof *all);
    for (int i = 0; i < n; i++)
        open_connection(&l, &all[i]);
    while (l.n_busy) {
        struct epoll_event ev[256];
        int k = epoll_wait(l.epoll, ev, 256, 60000);
        need(k > 0, "epoll_wait");
        for (int i = 0; i < k; i++)
            serve(&l, ev[i].data.ptr, ev[i].events);
    }
    double seconds = (double)(now_us() - from) / 1e6;
    qsort(l.samples, l.n_samples, sizeof *l.samples, by_value);
    printf("{\"answers\": %zu, \"errors\": %zu, \"seconds\": %.3f, \"rps\": %.1f, "
           "\"p50_ms\": %.3f, \"p90_ms\": %.3f, \"p99_ms\": %.3f}\n",
           l.n_samples, l.errors, seconds, (double)l.n_samples / seconds, percentile(&l, 50),
           percentile(&l, 90), percentile(&l, 99));
    for (int i = 0; i < n; i++)
        free(all[i].request);
    free(all);
    return l.errors != 0;
}
