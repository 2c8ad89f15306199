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
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define TAIL_MAX (128u << 20)
#define QUICK_BODY (64 << 10) /* is there already: the web server sends it with the request */
#define IMPATIENCE_MS 1       /* who has not sent all by then is waited for: wait_begins() */
#define READ_STEP_TIMEOUT_S 5 /* a silent read is looked at this often */

#define PEEK 8192 /* as much as libfcgi reads at once */

enum { FCGI_PARAMS = 4, FCGI_IN = 5 };

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
static enum arrived look(int fd, struct fcgi_ahead *ahead) {
    unsigned char b[PEEK];
    ssize_t n = recv(fd, b, sizeof b, MSG_PEEK | MSG_DONTWAIT);
    enum arrived have = n > 0 ? ARRIVED_PART : ARRIVED_NOTHING;
    bool first = true;
    for (size_t at = 0; n > 0 && at + 8 <= (size_t)n;) {
        const unsigned char *h = b + at;
        size_t length = (size_t)h[4] << 8 | h[5];
        if (h[1] == FCGI_PARAMS && !length)
            have = ARRIVED_PARAMS;
        if (h[1] == FCGI_IN && !length && have == ARRIVED_PARAMS)
            return ARRIVED_ALL;
        size_t seen = (size_t)n - at - 8;
        if (h[1] == FCGI_IN && first && n == PEEK && have == ARRIVED_PARAMS && seen < length)
            *ahead = (struct fcgi_ahead){(uint16_t)seen, (uint16_t)(length - seen), h[6]};
        first &= h[1] != FCGI_IN;
        at += 8 + length + h[6];
    }
    return have;
}

static enum arrived await_request(int fd, struct fcgi_ahead *ahead) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    enum arrived have = look(fd, ahead);
    if (have != ARRIVED_NOTHING)
        return have;
    return poll(&p, 1, IMPATIENCE_MS) > 0 ? look(fd, ahead) : ARRIVED_NOTHING;
}

/* The parameters of the request on fd. libfcgi would accept by itself, and then wait for ever for
 * who says nothing. */
static bool read_request(FCGX_Request *r, int fd, struct fcgi_ahead *ahead) {
    enum arrived have = await_request(fd, ahead);
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
    struct fcgi_ahead ahead = {0};
    if (!read_request(r, fd, &ahead)) {
        FCGX_Free(r, 1);
        free(r);
        return false;
    }
    *c = (struct fcgi_conn){.fd = fd,
                            .id = (uint16_t)r->requestId,
                            .ahead = ahead,
                            .tail = BUF(TAIL_MAX),
                            .request = r};
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

/* Where the next n bytes of the body go; NULL when it is larger than it may be, and they are
 * dropped. */
static char *body_room(struct body *b, size_t n, const struct fcgi_body_rule *rule) {
    if ((int64_t)(b->total + n) > rule->max)
        return NULL;
    if (b->n + n + 1 > b->cap) {
        b->cap = b->cap * 2 > b->n + n + 1 ? b->cap * 2 : b->n + n + 1;
        b->p = base_realloc(b->p, b->cap);
    }
    return b->p + b->n;
}

static void body_got(struct body *b, size_t n, bool kept) {
    b->total += n;
    if (!kept)
        return;
    b->n += n;
    b->p[b->n] = '\0';
}

/* Takes what the stream has buffered. */
static enum err take_buffered(FCGX_Stream *in, struct body *b, const struct fcgi_body_rule *rule) {
    size_t have = (size_t)(in->stop - in->rdNext);
    char *to = body_room(b, have, rule);
    if (to)
        memcpy(to, in->rdNext, have);
    body_got(b, have, to);
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

/* --- a large body, read past libfcgi, which reads 8 KiB at a time and then copies ------------- */

#define HEAD_N 8
#define DROPPED_AT_ONCE 16384

struct body_reader {
    int fd;
    uint16_t id;
    size_t left; /* of the record; then its padding and the next one's head follow: */
    size_t padding, behind_n;
    unsigned char behind[UINT8_MAX + HEAD_N];
};

/* What recvmsg returns. Of what is dropped no more than fits. */
static ssize_t read_record(struct body_reader *r, struct body *b,
                           const struct fcgi_body_rule *rule) {
    char dropped[DROPPED_AT_ONCE], *to = body_room(b, r->left, rule);
    size_t want = to || r->left < sizeof dropped ? r->left : sizeof dropped;
    size_t behind = want == r->left ? r->padding + HEAD_N - r->behind_n : 0;
    struct iovec v[] = {{to ? to : dropped, want}, {r->behind + r->behind_n, behind}};
    struct msghdr m = {.msg_iov = v, .msg_iovlen = ARRAY_LEN(v)};
    ssize_t n = recvmsg(r->fd, &m, 0);
    if (n > 0) {
        size_t content = (size_t)n < want ? (size_t)n : want;
        body_got(b, content, to);
        r->left -= content;
        r->behind_n += (size_t)n - content;
    }
    return n;
}

/* The next record begins. False: it is none of this body. */
static bool next_record(struct body_reader *r) {
    const unsigned char *h = r->behind + r->padding;
    r->left = (size_t)h[4] << 8 | h[5];
    r->padding = h[6];
    r->behind_n = 0;
    return h[0] == 1 && h[1] == FCGI_IN && (h[2] << 8 | h[3]) == r->id;
}

static enum err read_past(struct fcgi_conn *c, struct body *b, const struct fcgi_body_rule *rule) {
    struct body_reader r = {
        .fd = c->fd, .id = c->id, .left = c->ahead.left, .padding = c->ahead.padding};
    for (;;) {
        ssize_t n = read_record(&r, b, rule);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return ERR_CLIENT_GONE;
        if (n < 0 && errno == EAGAIN) {
            wait_begins();
            set_read_timeout(c->fd, (struct timeval){.tv_sec = READ_STEP_TIMEOUT_S});
        }
        enum err e = judge_pace(b, rule);
        if (e)
            return e;
        if (r.left || r.behind_n < r.padding + HEAD_N)
            continue;
        if (!next_record(&r))
            return ERR_CLIENT_GONE;
        if (!r.left)
            return OK;
    }
}

static enum err read_stream(struct fcgi_conn *c, struct body *b,
                            const struct fcgi_body_rule *rule) {
    FCGX_Stream *in = ((FCGX_Request *)c->request)->in;
    for (;;) {
        /* one byte makes libfcgi do exactly one fill; the rest of it is taken from the buffer */
        int got = FCGX_GetChar(in);
        bool silent = got == EOF && was_interrupted(in, c->fd);
        if (got == EOF && !silent)
            return FCGX_GetError(in) ? ERR_CLIENT_GONE : OK;
        in->rdNext -= !silent;
        enum err e = silent ? judge_pace(b, rule) : take_buffered(in, b, rule);
        if (e)
            return e;
        if (c->ahead.left && b->total == c->ahead.body)
            return read_past(c, b, rule);
        c->ahead.left = 0; /* libfcgi has read something else than was looked at */
    }
}

enum err fcgi_read_body(struct fcgi_conn *c, int64_t declared, const struct fcgi_body_rule *rule,
                        char **body, size_t *n) {
    if (declared < 0 || declared > QUICK_BODY)
        wait_begins();
    struct body b = {.started_ms = clock_mono_ms()};
    *body = NULL;
    *n = 0;
    if (declared > 0 && declared <= rule->max) {
        b.cap = (size_t)declared + 1;
        b.p = spare_take(b.cap);
    }
    enum err e = read_stream(c, &b, rule);
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
