#include "door/ring.h"

#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)

static void read_one(struct ring_op *op) {
    ssize_t n = recv(op->fd, op->p, op->n, FLAGS);
    op->done = n < 0 ? -errno : n;
}

static void write_one(struct ring_op *op) {
    ssize_t n = send(op->fd, op->p, op->n, FLAGS);
    op->done = n < 0 ? -errno : n;
}

#ifdef HAVE_LIBURING
#include <liburing.h>

#define WORTH 2     /* fewer are one system call either way */
#define TRIES_MAX 8 /* of a submission that does not take all */

struct ring {
    bool on;
    struct io_uring uring;
};

struct ring *ring_new(bool one_by_one) {
    struct ring *r = base_zalloc(sizeof *r);
    r->on = !one_by_one && io_uring_queue_init(RING_MAX, &r->uring, 0) == 0;
    return r;
}

static void turn_off(struct ring *r) {
    if (r->on)
        io_uring_queue_exit(&r->uring);
    r->on = false;
}

void ring_free(struct ring **r) {
    if (!*r)
        return;
    turn_off(*r);
    base_freep(r);
}

static size_t reap(struct ring *r, struct ring_op *ops) {
    struct io_uring_cqe *got[RING_MAX];
    unsigned n = io_uring_peek_batch_cqe(&r->uring, got, RING_MAX);
    for (unsigned i = 0; i < n; i++)
        ops[got[i]->user_data].done = got[i]->res;
    io_uring_cq_advance(&r->uring, n);
    return n;
}

/* What must not wait is done when the submission returns. */
static bool submit(struct ring *r, struct ring_op *ops, size_t n) {
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        io_uring_submit(&r->uring);
        n -= reap(r, ops);
        if (!n)
            return true;
    }
    return false;
}

#define UNDONE INTPTR_MAX /* no socket has so much */

static void run(struct ring *r, struct ring_op *ops, size_t n, bool writes,
                void (*one)(struct ring_op *op)) {
    must(n <= RING_MAX);
    if (!r->on || n < WORTH) {
        for (size_t i = 0; i < n; i++)
            one(&ops[i]);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct io_uring_sqe *e = io_uring_get_sqe(&r->uring);
        if (writes)
            io_uring_prep_send(e, ops[i].fd, ops[i].p, ops[i].n, FLAGS);
        else
            io_uring_prep_recv(e, ops[i].fd, ops[i].p, ops[i].n, FLAGS);
        io_uring_sqe_set_data64(e, i);
        ops[i].done = UNDONE;
    }
    if (submit(r, ops, n))
        return;
    turn_off(r); /* what it has not begun it forgets */
    for (size_t i = 0; i < n; i++)
        if (ops[i].done == UNDONE)
            one(&ops[i]);
}

#else

struct ring {
    bool on;
};

struct ring *ring_new(bool one_by_one) {
    (void)one_by_one;
    return base_zalloc(sizeof(struct ring));
}

void ring_free(struct ring **r) {
    base_freep(r);
}

static void run(struct ring *r, struct ring_op *ops, size_t n, bool writes,
                void (*one)(struct ring_op *op)) {
    (void)r, (void)writes;
    for (size_t i = 0; i < n; i++)
        one(&ops[i]);
}
#endif

void ring_read(struct ring *r, struct ring_op *ops, size_t n) {
    run(r, ops, n, false, read_one);
}

void ring_write(struct ring *r, struct ring_op *ops, size_t n) {
    run(r, ops, n, true, write_one);
}
