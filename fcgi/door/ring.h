/* ring.h - liburing: reads or writes of many sockets in one system call.
 *
 * Entering the kernel costs more than most of what is done there for a socket with a few hundred
 * bytes. Where io_uring is missing or not allowed, the same is done one by one.
 *
 * For one thread at a time, which may change.
 */
#pragma once

#include "util/base.h"

#include <sys/types.h>

#define RING_MAX 64 /* sockets at once */

struct ring;

struct ring_op {
    int fd;
    void *p;
    size_t n;     /* bytes */
    ssize_t done; /* bytes that were read or written, or -errno: -EAGAIN when it had to wait */
};

/* one_by_one: although there is io_uring, for tests. */
struct ring *ring_new(bool one_by_one);
void ring_free(struct ring **r);
/* recv and send that never wait and raise no SIGPIPE; n is at most RING_MAX, each fd there once. */
void ring_read(struct ring *r, struct ring_op *ops, size_t n);
void ring_write(struct ring *r, struct ring_op *ops, size_t n);
