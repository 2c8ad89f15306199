#include "domain/billing/bell.h"

#include "domain/billing/journal_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* False when the path is longer than a socket's name may be: then the bell stays silent. */
static bool address(struct sockaddr_un *a, const char *dir, int64_t worker) {
    *a = (struct sockaddr_un){.sun_family = AF_UNIX};
    int n =
        snprintf(a->sun_path, sizeof a->sun_path, "%s/%016" PRIx64 ".bell", dir, (uint64_t)worker);
    return n > 0 && (size_t)n < sizeof a->sun_path;
}

int bell_open(const char *dir, int64_t worker) {
    struct sockaddr_un a;
    if (!address(&a, dir, worker))
        return -1;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (const struct sockaddr *)&a, sizeof a) != 0)
        base_closep(&fd);
    return fd;
}

void bell_hear(int fd) {
    char c;
    while (recv(fd, &c, 1, MSG_DONTWAIT) >= 0)
        ;
}

struct ringer {
    const char *dir;
    int64_t own;
    int fd;
};

static bool ring_one(void *ctx, int64_t worker) {
    const struct ringer *r = ctx;
    struct sockaddr_un a;
    if (worker != r->own && address(&a, r->dir, worker)) {
        ssize_t n = sendto(r->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&a,
                           sizeof a);
        (void)n; /* gone, or rung already */
    }
    return false;
}

void bell_ring(const char *dir, int64_t own) {
    int fd AUTO(base_closep) = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ringer r = {dir, own, fd};
    if (fd >= 0)
        journal_file_workers(dir, ring_one, &r);
}
