/* pace.h - the relay goes no faster than the web server takes.
 *
 * Where the processor is short, each read of a stream that finds less than it could have found is
 * paid twice: by the relay, and by the web server that writes it on. While the web server has not
 * yet taken what it was given, whatever else is read waits there all the same. So after each WINDOW
 * of writes the relay looks whether the last ones have been taken, and naps until they have: what
 * comes meanwhile is read, scanned and sent in one go. A web server that keeps up has taken them
 * by then, and nothing waits.
 *
 * A client that takes nothing may be what the web server waits for: naps are few, and when they
 * were in vain the next windows pass without. Belongs to who has the poller's turn.
 */
#pragma once

#include "util/base.h"

#define PACE_WINDOW 256  /* writes */
#define PACE_SAMPLES 8   /* of them are looked at, */
#define PACE_UNTAKEN 2   /* of which so many may still be there */
#define PACE_NAP_US 300  /* one nap */
#define PACE_NAPS_MAX 33 /* in a row */
#define PACE_PASS 7      /* windows without a nap after that */

struct pace { /* all zero: nothing was written yet */
    int fd[PACE_SAMPLES];
    unsigned n;    /* writes in this window */
    unsigned pass; /* windows to come that are not looked at */
};

/* Something was written to the web server's connection fd. */
void pace_wrote(struct pace *p, int fd);
/* Returns when the web server has taken the window's writes, or need not be waited for. nap is
 * called with ctx to sleep PACE_NAP_US. */
void pace_keep(struct pace *p, void (*nap)(void *ctx), void *ctx);
