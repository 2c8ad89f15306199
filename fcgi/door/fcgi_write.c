/* Answers are framed and written here, without waiting, which libfcgi can not. */
#include "door/fcgi.h"

#include "util/clock.h"
#include "util/spare.h"
#include "util/wait.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define RECORD_MAX 65528 /* the largest content that needs no padding */

enum { FCGI_END = 3, FCGI_OUT = 6 };

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
