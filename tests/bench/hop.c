/* hop - the least a FastCGI program can do with event streams: what a provider sends goes on to the
 * web server as it came, unread, received and sent many at a time.
 *
 *   hop SOCKET PROVIDER_PORT
 *
 * The delay it adds to mod_proxy's is the price of a FastCGI program between two connections; what
 * a gateway adds to that is its own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FILES_MAX 16384
#define BATCH 128
#define READ_N (1 << 14)
#define ROOM 128 /* before what is read: the record's head, and the answer's of the first one */
#define RECORD_HEAD 8
#define FCGI_STDIN 5
#define FCGI_STDOUT 6

static const char request[] = "POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\n"
                              "Content-Length: 2\r\n\r\n{}";
static const char head[] = "Status: 200\r\nContent-Type: text/event-stream\r\n\r\n";

/* By descriptor: the other end, 0 when there is none yet. */
static struct end {
    int other;
    bool provider, begun;
} ends[FILES_MAX];

static struct sockaddr_in provider = {.sin_family = AF_INET};
static struct io_uring ring;
static int epoll;
static char texts[BATCH][ROOM + READ_N];

static void need(bool ok, const char *what) {
    if (ok)
        return;
    fprintf(stderr, "hop: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int fd) {
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
    need(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev) == 0, "epoll_ctl");
}

static void end(int fd) {
    int other = ends[fd].other;
    ends[fd] = ends[other] = (struct end){0};
    close(fd);
    if (other)
        close(other);
}

static void accept_all(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        need(fd < FILES_MAX, "too many streams");
        ends[fd] = (struct end){0};
        watch(fd);
    }
}

/* The body's end begins the stream; what the request says does not matter. */
static void ask(int fd) {
    unsigned char text[READ_N];
    ssize_t n = recv(fd, text, sizeof text, 0);
    const unsigned char *last = text + n - RECORD_HEAD;
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        end(fd);
        return;
    }
    if (ends[fd].other || n < RECORD_HEAD || last[1] != FCGI_STDIN || last[4] || last[5])
        return;
    int to = socket(AF_INET, SOCK_STREAM, 0);
    need(to >= 0 && to < FILES_MAX, "socket");
    need(connect(to, (struct sockaddr *)&provider, sizeof provider) == 0, "connect");
    need(send(to, request, sizeof request - 1, MSG_NOSIGNAL) > 0, "send");
    need(fcntl(to, F_SETFL, O_NONBLOCK) == 0, "fcntl");
    ends[fd].other = to;
    ends[to] = (struct end){.other = fd, .provider = true};
    watch(to);
}

/* In a record of its own; the text has ROOM before it. */
static void pass_on(int from, char *text, size_t n) {
    if (!ends[from].begun) {
        char *body = memmem(text, n, "\r\n\r\n", 4);
        need(body != NULL, "the provider's head comes whole");
        n -= (size_t)(body + 4 - text);
        text = body + 4 - (sizeof head - 1);
        memcpy(text, head, sizeof head - 1);
        n += sizeof head - 1;
        ends[from].begun = true;
    }
    text -= RECORD_HEAD;
    const unsigned char record[RECORD_HEAD] = {
        1, FCGI_STDOUT, 0, 1, (unsigned char)(n >> 8), (unsigned char)n};
    memcpy(text, record, sizeof record);
    struct io_uring_sqe *e = io_uring_get_sqe(&ring);
    io_uring_prep_send(e, ends[from].other, text, RECORD_HEAD + n, MSG_NOSIGNAL | MSG_DONTWAIT);
    io_uring_sqe_set_data64(e, (uint64_t)from << 32 | (RECORD_HEAD + n));
}

static unsigned complete(unsigned n, struct io_uring_cqe **done) {
    need(io_uring_submit_and_wait(&ring, n) >= 0, "io_uring");
    need(io_uring_peek_batch_cqe(&ring, done, BATCH) == n, "completions");
    return n;
}

static void relay(const int *from, unsigned n) {
    struct io_uring_cqe *done[BATCH];
    int got[BATCH];
    unsigned sends = 0;
    for (unsigned i = 0; i < n; i++) {
        struct io_uring_sqe *e = io_uring_get_sqe(&ring);
        io_uring_prep_recv(e, from[i], texts[i] + ROOM, READ_N, MSG_DONTWAIT);
        io_uring_sqe_set_data64(e, i);
    }
    complete(n, done);
    for (unsigned i = 0; i < n; i++)
        got[done[i]->user_data] = done[i]->res;
    io_uring_cq_advance(&ring, n);
    for (unsigned i = 0; i < n; i++) {
        if (got[i] > 0) {
            pass_on(from[i], texts[i] + ROOM, (size_t)got[i]);
            sends++;
        } else if (got[i] != -EAGAIN) {
            end(from[i]);
        }
    }
    if (!sends)
        return;
    complete(sends, done);
    for (unsigned i = 0; i < sends; i++)
        if (done[i]->res != (int)(uint32_t)done[i]->user_data) /* it takes no more, or has left */
            end((int)(done[i]->user_data >> 32));
    io_uring_cq_advance(&ring, sends);
}

int main(int argc, char **argv) {
    need(argc == 3, "arguments");
    struct rlimit files = {FILES_MAX, FILES_MAX};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    need(setrlimit(RLIMIT_NOFILE, &files) == 0, "file limit");
    need(strlen(argv[1]) < sizeof at.sun_path, "the socket's name");
    strcpy(at.sun_path, argv[1]);
    provider.sin_port = htons((uint16_t)strtol(argv[2], NULL, 10));
    provider.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    need(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 4096) == 0,
         "listen");
    epoll = epoll_create1(0);
    need(io_uring_queue_init(BATCH, &ring,
                             IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) == 0,
         "io_uring");
    watch(listener);
    for (;;) {
        struct epoll_event got[BATCH];
        int from[BATCH], n = epoll_wait(epoll, got, BATCH, -1);
        unsigned streams = 0;
        for (int i = 0; i < n; i++) {
            int fd = got[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else if (ends[fd].provider)
                from[streams++] = fd;
            else
                ask(fd);
        }
        if (streams)
            relay(from, streams);
    }
}
