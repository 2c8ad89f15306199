#include "relay/pace.h"

#include "door/fcgi.h"

void pace_wrote(struct pace *p, int fd) {
    const unsigned every = PACE_WINDOW / PACE_SAMPLES;
    if (p->n < PACE_WINDOW && ++p->n % every == 0)
        p->fd[p->n / every - 1] = fd;
}

static bool is_behind(const struct pace *p) {
    unsigned untaken = 0;
    for (size_t i = 0; i < PACE_SAMPLES; i++)
        untaken += fcgi_untaken(p->fd[i]);
    return untaken > PACE_UNTAKEN;
}

void pace_keep(struct pace *p, void (*nap)(void *ctx), void *ctx) {
    unsigned naps = 0;
    if (p->n < PACE_WINDOW)
        return;
    p->n = 0;
    if (p->pass) {
        p->pass--;
        return;
    }
    while (is_behind(p) && naps < PACE_NAPS_MAX) {
        nap(ctx);
        naps++;
    }
    if (naps == PACE_NAPS_MAX)
        p->pass = PACE_PASS;
}
