#include "util/poller.h"

#include "util/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define ROUNDING_US 1000 /* a sleep is a whole number of milliseconds, rounded up */

static void silence(struct watch *w, uint32_t events) {
    uint64_t rung;
    ssize_t n = read(w->fd, &rung, sizeof rung);
    (void)n, (void)events; /* the sleep is over, which was all it was for */
}

void poller_init(struct poller *p) {
    *p = (struct poller){.fd = epoll_create1(EPOLL_CLOEXEC), .now_us = clock_mono_us()};
    p->alarm = (struct watch){.fn = silence, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    must(p->fd >= 0 && p->alarm.fd >= 0);
    list_init(&p->soon);
    lock_init(&p->turn);
    lock_take(&p->turn);
    poller_watch(p, &p->alarm, EPOLLIN);
}

void poller_soon_init(struct soon *s, void (*fn)(struct soon *s)) {
    list_init(&s->node);
    s->fn = fn;
}

void poller_soon(struct poller *p, struct soon *s) {
    list_remove(&s->node);
    list_push(&p->soon, &s->node);
}

void poller_soon_clear(struct soon *s) {
    list_remove(&s->node);
}

static void run_soon(struct poller *p) {
    while (!list_empty(&p->soon)) {
        struct soon *s = CONTAINER_OF(p->soon.next, struct soon, node);
        list_remove(&s->node);
        s->fn(s);
    }
}

static void dig(struct poller *p) {
    while (p->n_graves)
        free(p->graves[--p->n_graves]);
}

void poller_bury(struct poller *p, void *memory) {
    if (p->n_graves == p->cap_graves) {
        p->cap_graves = p->cap_graves ? p->cap_graves * 2 : 64;
        p->graves = base_realloc(p->graves, p->cap_graves * sizeof *p->graves);
    }
    p->graves[p->n_graves++] = memory;
    p->n_gone++;
}

void poller_free(struct poller *p) {
    must(p->n_timers == 0);
    dig(p);
    base_freep(&p->graves);
    base_closep(&p->fd);
    base_closep(&p->alarm.fd);
    base_freep(&p->heap);
    lock_drop(&p->turn);
    lock_free(&p->turn);
}

void poller_enter(struct poller *p) {
    lock_take(&p->turn);
    p->now_us = clock_mono_us();
}

bool poller_try_enter(struct poller *p) {
    if (!lock_try(&p->turn))
        return false;
    p->now_us = clock_mono_us();
    return true;
}

void poller_leave(struct poller *p) {
    uint64_t one = 1;
    dig(p);
    if (p->n_timers && p->heap[0]->due_us + ROUNDING_US < p->sleeps_until_us) {
        p->sleeps_until_us = 0; /* once is enough */
        ssize_t n = write(p->alarm.fd, &one, sizeof one);
        must(n == sizeof one);
    }
    lock_drop(&p->turn);
}

void poller_watch(struct poller *p, struct watch *w, uint32_t events) {
    if (w->events == events)
        return;
    int op = !w->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    struct epoll_event ev = {.events = events, .data.ptr = w};
    int rc = epoll_ctl(p->fd, op, w->fd, &ev);
    /* a descriptor closed under us has left epoll by itself */
    must(rc == 0 || (op != EPOLL_CTL_ADD && (errno == EBADF || errno == ENOENT)));
    w->events = events;
    p->n_gone += !events;
}

void poller_forget(struct watch *w) {
    w->events = 0;
}

static void put(struct poller *p, size_t i, struct timer *t) {
    p->heap[i] = t;
    t->at = i + 1;
}

static void sift_up(struct poller *p, size_t i, struct timer *t) {
    while (i && p->heap[(i - 1) / 2]->due_us > t->due_us) {
        put(p, i, p->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put(p, i, t);
}

static void sift_down(struct poller *p, size_t i, struct timer *t) {
    for (;;) {
        size_t kid = 2 * i + 1;
        if (kid >= p->n_timers)
            break;
        if (kid + 1 < p->n_timers && p->heap[kid + 1]->due_us < p->heap[kid]->due_us)
            kid++;
        if (p->heap[kid]->due_us >= t->due_us)
            break;
        put(p, i, p->heap[kid]);
        i = kid;
    }
    put(p, i, t);
}

void poller_timer_set(struct poller *p, struct timer *t, int64_t due_us) {
    if (p->firing && due_us <= p->now_us)
        due_us = p->now_us + 1;
    if (t->at) {
        int64_t was = t->due_us;
        t->due_us = due_us;
        if (due_us < was)
            sift_up(p, t->at - 1, t);
        else
            sift_down(p, t->at - 1, t);
        return;
    }
    if (p->n_timers == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 64;
        p->heap = base_realloc(p->heap, p->cap * sizeof *p->heap);
    }
    t->due_us = due_us;
    sift_up(p, p->n_timers++, t);
}

void poller_timer_clear(struct poller *p, struct timer *t) {
    if (!t->at)
        return;
    size_t i = t->at - 1;
    struct timer *last = p->heap[--p->n_timers];
    t->at = 0;
    if (last == t)
        return;
    if (i && p->heap[(i - 1) / 2]->due_us > last->due_us)
        sift_up(p, i, last);
    else
        sift_down(p, i, last);
}

static int wait_ms(const struct poller *p, int max_wait_ms) {
    if (!p->n_timers)
        return max_wait_ms;
    int64_t left = p->heap[0]->due_us - clock_mono_us();
    int64_t ms = left <= 0 ? 0 : (left + 999) / 1000;
    if (max_wait_ms >= 0 && ms > max_wait_ms)
        ms = max_wait_ms;
    return ms > 60000 ? 60000 : (int)ms;
}

static int poll_now(const struct poller *p, struct epoll_event *ev, int max) {
    int n = epoll_wait(p->fd, ev, max, 0);
    must(n >= 0 || errno == EINTR);
    return n;
}

/* What was told to a sleeper while others had the turn may be about watches that they took out. */
static int sleep_until(struct poller *p, struct epoll_event *ev, int max, int ms) {
    uint64_t seen = p->n_gone;
    p->sleeps_until_us = ms < 0 ? INT64_MAX : clock_mono_us() + (int64_t)ms * 1000;
    lock_drop(&p->turn);
    int n = epoll_wait(p->fd, ev, max, ms);
    must(n >= 0 || errno == EINTR);
    lock_take(&p->turn);
    p->sleeps_until_us = 0;
    return p->n_gone == seen ? n : poll_now(p, ev, max);
}

void poller_nap(struct poller *p, int64_t us) {
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    lock_drop(&p->turn);
    nanosleep(&t, NULL);
    lock_take(&p->turn);
    p->now_us = clock_mono_us();
}

void poller_run_due(struct poller *p) {
    run_soon(p);
    p->firing = true;
    while (p->n_timers && p->heap[0]->due_us <= p->now_us) {
        struct timer *t = p->heap[0];
        poller_timer_clear(p, t);
        t->fn(t);
        run_soon(p);
    }
    p->firing = false;
}

void poller_run(struct poller *p, int max_wait_ms) {
    struct epoll_event ev[POLLER_MOST];
    int most = (int)ARRAY_LEN(ev), ms = wait_ms(p, max_wait_ms);
    bool busy = p->n_served > 1; /* the next ones are likely there already */
    int n = busy || !ms ? poll_now(p, ev, most) : 0;
    if (n <= 0 && ms)
        n = sleep_until(p, ev, most, ms);
    p->n_served = n > 0 ? n : 0;
    p->now_us = clock_mono_us();
    for (int i = 0; i < n; i++) {
        struct watch *w = ev[i].data.ptr;
        if (w->events)
            w->fn(w, ev[i].events);
    }
    poller_run_due(p);
    dig(p);
}
