#include "unit.h"

#include "util/clock.h"
#include "util/poller.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct entry {
    struct timer timer;
    int id;
};

static int fired[4000];
static size_t n_fired;

static void note(struct timer *t) {
    fired[n_fired++] = CONTAINER_OF(t, struct entry, timer)->id;
}

static void timers_fire_in_order_of_their_due_time(void **state) {
    (void)state;
    static struct entry e[2000];
    struct poller p;
    poller_init(&p);
    n_fired = 0;
    int64_t base = clock_mono_us() - 1000000;
    for (int i = 0; i < 2000; i++) {
        e[i] = (struct entry){.timer.fn = note, .id = i * 7919 % 2000};
        poller_timer_set(&p, &e[i].timer, base + e[i].id);
    }
    for (int i = 0; i < 2000; i += 3) /* moved back and forth: the place must follow */
        poller_timer_set(&p, &e[i].timer, base + 5000);
    for (int i = 0; i < 2000; i += 3)
        poller_timer_set(&p, &e[i].timer, base + e[i].id);
    for (int i = 0; i < 2000; i += 5)
        poller_timer_clear(&p, &e[i].timer);
    poller_run(&p, 0);
    assert_int_equal(n_fired, 1600);
    for (size_t i = 1; i < n_fired; i++)
        assert_true(fired[i - 1] < fired[i]);
    poller_free(&p);
}

static void a_timer_in_the_future_waits(void **state) {
    (void)state;
    struct entry e = {.timer.fn = note};
    struct poller p;
    poller_init(&p);
    n_fired = 0;
    int64_t start = clock_mono_us();
    poller_timer_set(&p, &e.timer, start + 30000);
    poller_run(&p, 0);
    assert_int_equal(n_fired, 0);
    while (!n_fired)
        poller_run(&p, -1);
    assert_true(clock_mono_us() - start >= 30000);
    poller_free(&p);
}

struct eager {
    struct timer timer;
    struct poller *poller;
    int n;
};

static void again_at_once(struct timer *t) {
    struct eager *e = CONTAINER_OF(t, struct eager, timer);
    if (++e->n < 1000)
        poller_timer_set(e->poller, t, e->poller->now_us);
}

static void a_timer_that_is_always_due_again_gets_one_turn_a_round(void **state) {
    (void)state;
    struct poller p;
    poller_init(&p);
    struct eager a = {.timer.fn = again_at_once, .poller = &p}, b = a;
    poller_timer_set(&p, &a.timer, p.now_us);
    poller_timer_set(&p, &b.timer, p.now_us);
    poller_run(&p, 0);
    assert_int_equal(a.n, 1);
    assert_int_equal(b.n, 1);
    poller_run(&p, -1);
    assert_int_equal(a.n, 2);
    assert_int_equal(b.n, 2);
    poller_timer_clear(&p, &a.timer);
    poller_timer_clear(&p, &b.timer);
    poller_free(&p);
}

struct end {
    struct watch watch;
    struct poller *poller;
    struct end *other;
};

static int calls;

/* Removes both ends, whose memory is gone when the round is over. */
static void on_ready(struct watch *w, uint32_t events) {
    struct end *e = CONTAINER_OF(w, struct end, watch);
    assert_true(events & EPOLLIN);
    calls++;
    poller_watch(e->poller, &e->watch, 0);
    poller_watch(e->poller, &e->other->watch, 0);
    poller_bury(e->poller, e->other);
    poller_bury(e->poller, e);
}

static void a_watch_removed_in_the_same_round_is_not_called(void **state) {
    (void)state;
    struct poller p;
    struct end *ends[2];
    int pipes[2][2];
    poller_init(&p);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe(pipes[i]), 0);
        ends[i] = base_zalloc(sizeof *ends[i]);
        *ends[i] = (struct end){.watch = {.fn = on_ready, .fd = pipes[i][0]}, .poller = &p};
    }
    for (int i = 0; i < 2; i++) {
        ends[i]->other = ends[1 - i];
        poller_watch(&p, &ends[i]->watch, EPOLLIN);
        assert_int_equal(write(pipes[i][1], "x", 1), 1);
    }
    calls = 0;
    poller_run(&p, 100);
    assert_int_equal(calls, 1);
    poller_run(&p, 0);
    assert_int_equal(calls, 1);
    poller_free(&p);
    for (int i = 0; i < 2; i++) {
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
}

/* A finished exchange is forgotten and closed; what came for it meanwhile reaches nobody. */
static void a_forgotten_watch_is_not_called_and_its_number_can_be_used_again(void **state) {
    (void)state;
    struct poller p;
    int pipes[2][2];
    poller_init(&p);
    assert_int_equal(pipe(pipes[0]), 0);
    struct end *gone = base_zalloc(sizeof *gone), *next = base_zalloc(sizeof *next);
    *gone = (struct end){.watch = {.fn = on_ready, .fd = pipes[0][0]}, .poller = &p};
    poller_watch(&p, &gone->watch, EPOLLIN);
    assert_int_equal(write(pipes[0][1], "x", 1), 1);
    poller_forget(&gone->watch);
    close(pipes[0][0]);
    calls = 0;
    poller_run(&p, 0);
    assert_int_equal(calls, 0);
    assert_int_equal(pipe(pipes[1]), 0);
    assert_int_equal(pipes[1][0], pipes[0][0]);
    *next = (struct end){.watch = {.fn = on_ready, .fd = pipes[1][0]}, .poller = &p, .other = gone};
    poller_watch(&p, &next->watch, EPOLLIN);
    assert_int_equal(write(pipes[1][1], "x", 1), 1);
    poller_run(&p, 100);
    assert_int_equal(calls, 1);
    poller_free(&p);
    close(pipes[0][1]);
    close(pipes[1][0]);
    close(pipes[1][1]);
}

struct gatherer {
    struct timer timer;
    struct soon soon;
    struct poller *poller;
    int times;
};

static void gather(struct timer *t) {
    struct gatherer *g = CONTAINER_OF(t, struct gatherer, timer);
    poller_soon(g->poller, &g->soon);
    poller_soon(g->poller, &g->soon);
    assert_int_equal(g->times, 0);
}

static void count_soon(struct soon *s) {
    CONTAINER_OF(s, struct gatherer, soon)->times++;
}

static void what_gathers_is_done_once_when_its_cause_has_returned(void **state) {
    (void)state;
    struct poller p;
    poller_init(&p);
    struct gatherer g = {.timer.fn = gather, .poller = &p}, off = {.poller = &p};
    poller_soon_init(&g.soon, count_soon);
    poller_soon_init(&off.soon, count_soon);
    poller_soon(&p, &off.soon);
    poller_soon_clear(&off.soon);
    poller_timer_set(&p, &g.timer, 0);
    poller_run(&p, 0);
    assert_int_equal(g.times, 1);
    assert_int_equal(off.times, 0);
    poller_run(&p, 0);
    assert_int_equal(g.times, 1);
    poller_free(&p);
}

struct gathering_watch {
    struct watch watch;
    struct gatherer *gatherer;
};

static void gather_watch(struct watch *w, uint32_t events) {
    struct gatherer *g = CONTAINER_OF(w, struct gathering_watch, watch)->gatherer;
    (void)events;
    assert_int_equal(g->times, 0);
    poller_soon(g->poller, &g->soon);
}

/* What a round's watches have is done together. */
static void what_gathers_waits_for_all_watches_of_the_round(void **state) {
    (void)state;
    struct poller p;
    poller_init(&p);
    struct gatherer g = {.poller = &p};
    struct gathering_watch w[3];
    poller_soon_init(&g.soon, count_soon);
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        w[i] = (struct gathering_watch){{.fn = gather_watch, .fd = eventfd(1, 0)}, &g};
        poller_watch(&p, &w[i].watch, EPOLLIN);
    }
    poller_run(&p, 0);
    assert_int_equal(p.n_served, ARRAY_LEN(w));
    assert_int_equal(g.times, 1);
    for (size_t i = 0; i < ARRAY_LEN(w); i++) {
        poller_watch(&p, &w[i].watch, 0);
        close(w[i].watch.fd);
    }
    poller_free(&p);
}

/* A thread that sleeps in the poller while the test has turns. */
struct sleeper {
    struct poller *poller;
    pthread_t thread;
    bool stop; /* by turn */
};

static void *sleep_and_serve(void *arg) {
    struct sleeper *s = arg;
    poller_enter(s->poller);
    while (!s->stop)
        poller_run(s->poller, 60000);
    poller_leave(s->poller);
    return NULL;
}

static void enter_while_it_sleeps(struct poller *p) {
    for (;;) {
        poller_enter(p);
        if (p->sleeps_until_us)
            return;
        poller_leave(p);
        usleep(100);
    }
}

static void sleeper_start(struct sleeper *s, struct poller *p) {
    *s = (struct sleeper){.poller = p};
    poller_init(p);
    poller_leave(p);
    assert_int_equal(pthread_create(&s->thread, NULL, sleep_and_serve, s), 0);
}

static void end_it(struct timer *t) {
    (void)t;
}

static void sleeper_stop(struct sleeper *s) {
    struct timer now = {.fn = end_it};
    enter_while_it_sleeps(s->poller);
    s->stop = true;
    poller_timer_set(s->poller, &now, 0);
    poller_leave(s->poller);
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    poller_enter(s->poller);
    poller_free(s->poller);
}

static void a_guests_timer_wakes_the_sleeper_that_does_not_know_of_it(void **state) {
    (void)state;
    struct poller p;
    struct sleeper s;
    struct entry e = {.timer.fn = note, .id = 7};
    sleeper_start(&s, &p);
    enter_while_it_sleeps(&p);
    n_fired = 0;
    int64_t start = clock_mono_us();
    poller_timer_set(&p, &e.timer, start + 20000);
    poller_leave(&p);
    for (size_t n = 0; !n;) {
        usleep(1000);
        poller_enter(&p);
        n = n_fired;
        poller_leave(&p);
    }
    assert_int_equal(fired[0], 7);
    assert_in_range(clock_mono_us() - start, 20000, 10000000); /* it would sleep for 60 s */
    sleeper_stop(&s);
}

/* The sleeper has been told of an event; before it can serve it, the watch and its memory go. */
static void a_watch_that_a_guest_takes_away_is_not_called(void **state) {
    (void)state;
    struct poller p;
    struct sleeper s;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    sleeper_start(&s, &p);
    enter_while_it_sleeps(&p);
    struct end *e = base_zalloc(sizeof *e);
    *e = (struct end){.watch = {.fn = on_ready, .fd = ends[0]}, .poller = &p};
    poller_watch(&p, &e->watch, EPOLLIN);
    calls = 0;
    poller_leave(&p);
    enter_while_it_sleeps(&p);
    assert_int_equal(write(ends[1], "x", 1), 1);
    usleep(50000); /* it is awake by now, and waits for its turn */
    poller_watch(&p, &e->watch, 0);
    poller_bury(&p, e);
    poller_leave(&p);
    enter_while_it_sleeps(&p);
    assert_int_equal(calls, 0);
    poller_leave(&p);
    sleeper_stop(&s);
    close(ends[0]);
    close(ends[1]);
}

static void nobody_enters_while_another_is_at_work(void **state) {
    (void)state;
    struct poller p;
    struct sleeper s;
    sleeper_start(&s, &p);
    enter_while_it_sleeps(&p);
    poller_leave(&p);
    assert_true(poller_try_enter(&p));
    assert_false(poller_try_enter(&p));
    poller_leave(&p);
    sleeper_stop(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order_of_their_due_time),
        cmocka_unit_test(a_timer_in_the_future_waits),
        cmocka_unit_test(a_timer_that_is_always_due_again_gets_one_turn_a_round),
        cmocka_unit_test(a_watch_removed_in_the_same_round_is_not_called),
        cmocka_unit_test(what_gathers_is_done_once_when_its_cause_has_returned),
        cmocka_unit_test(what_gathers_waits_for_all_watches_of_the_round),
        cmocka_unit_test(a_forgotten_watch_is_not_called_and_its_number_can_be_used_again),
        cmocka_unit_test(a_guests_timer_wakes_the_sleeper_that_does_not_know_of_it),
        cmocka_unit_test(a_watch_that_a_guest_takes_away_is_not_called),
        cmocka_unit_test(nobody_enters_while_another_is_at_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
