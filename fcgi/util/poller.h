/* poller.h - an epoll and its timers, which threads use in turns.
 *
 * A watch is embedded in the object that owns the descriptor; poller_run calls its function with
 * the epoll events. A timer is embedded too and sits in a binary heap; setting it again moves it.
 *
 * Everything here, and whatever the watches and timers belong to, is touched only by the thread
 * that has the turn. The thread that makes the poller has it; poller_run gives it up while it
 * sleeps, so that a guest with something small to do needs not wake the sleeper for it:
 *
 *   if (poller_try_enter(p)) { ...; poller_run_due(p); poller_leave(p); }
 */
#pragma once

#include "util/list.h"
#include "util/lock.h"

struct watch {
    void (*fn)(struct watch *w, uint32_t events);
    int fd;
    uint32_t events; /* 0 = not registered */
};

struct timer {
    void (*fn)(struct timer *t);
    int64_t due_us; /* monotonic */
    size_t at;      /* 1 + index in the heap, 0 = not set */
};

/* Watches that are served in one round. */
#define POLLER_MOST 64

/* Work that gathers while the watches of a round, or a timer, are served: embedded like the others.
 */
struct soon {
    struct list node;
    void (*fn)(struct soon *s);
};

struct poller {
    struct lock turn;
    uint64_t n_gone;         /* watches taken out, memory buried so far */
    int64_t sleeps_until_us; /* of the thread in poller_run; 0: it does not sleep */
    struct watch alarm;      /* wakes it */
    int fd;
    struct list soon;
    struct timer **heap;
    size_t n_timers, cap;
    int64_t now_us; /* monotonic, read once per round */
    int n_served;   /* events of the last round */
    bool firing;    /* timers are being called */
    void **graves;  /* to be freed at the end of the round */
    size_t n_graves, cap_graves;
};

/* The caller has the turn. */
void poller_init(struct poller *p);
/* By the thread that has the turn; no other may want it any more. */
void poller_free(struct poller *p);
/* Waits for the turn. */
void poller_enter(struct poller *p);
/* False when another thread has the turn: it is at work, not asleep. */
must_use bool poller_try_enter(struct poller *p);
/* Gives the turn up; wakes the thread that sleeps in poller_run when a timer is due earlier than
 * that thread knows. */
void poller_leave(struct poller *p);
/* Registers, changes or (events == 0) removes w->fd. */
void poller_watch(struct poller *p, struct watch *w, uint32_t events);
/* Like poller_watch with no events, for a descriptor that is closed before the next round, and
 * whose watch is buried then: closing takes it out of epoll without a call of its own. */
void poller_forget(struct watch *w);
/* A timer that is set by a timer's function fires in the next round at the earliest, so that one
 * that is always due again keeps nobody from his turn. */
void poller_timer_set(struct poller *p, struct timer *t, int64_t due_us);
void poller_timer_clear(struct poller *p, struct timer *t);
/* Waits for events or the next timer, but at most max_wait_ms (-1: as long as it takes), and
 * calls what is due. Others may have the turn while it sleeps. A watch removed by an earlier
 * callback of the same round is not called; its memory must outlive the round, so give it to
 * poller_bury. */
void poller_run(struct poller *p, int max_wait_ms);
/* Sleeps; others may have the turn meanwhile. */
void poller_nap(struct poller *p, int64_t us);
/* Calls the timers that are due and what was put off with poller_soon, and nothing else. */
void poller_run_due(struct poller *p);
void poller_soon_init(struct soon *s, void (*fn)(struct soon *s));
/* Calls s->fn once, when all watches of the round have been served, or the timer has; after those
 * that were put off earlier. */
void poller_soon(struct poller *p, struct soon *s);
void poller_soon_clear(struct soon *s);
/* Frees p (with free) when the current round is over. */
void poller_bury(struct poller *p, void *memory);
