/* If this failed, a worker would read streams more often than its web server can pass them on, or
 * stop for clients that take nothing. */
#include "unit.h"

#include "relay/pace.h"

#include <sys/socket.h>
#include <unistd.h>

#define PAIRS 8

struct web {
    int ours[PAIRS], theirs[PAIRS];
    unsigned naps, reads_after; /* it takes everything with that nap; 0 = never */
};

static void take_all(struct web *w) {
    char text[4096];
    for (size_t i = 0; i < PAIRS; i++)
        while (recv(w->theirs[i], text, sizeof text, MSG_DONTWAIT) > 0)
            continue;
}

static void nap(void *ctx) {
    struct web *w = ctx;
    if (++w->naps == w->reads_after)
        take_all(w);
}

static void open_web(struct web *w) {
    for (size_t i = 0; i < PAIRS; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        w->ours[i] = pair[0];
        w->theirs[i] = pair[1];
    }
}

static void close_web(struct web *w) {
    for (size_t i = 0; i < PAIRS; i++) {
        close(w->ours[i]);
        close(w->theirs[i]);
    }
}

/* n writes, the samples evenly on the pairs. */
static void write_some(struct pace *p, const struct web *w, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        int fd = w->ours[i / (PACE_WINDOW / PAIRS) % PAIRS];
        assert_int_equal(send(fd, "x", 1, 0), 1);
        pace_wrote(p, fd);
    }
}

static void a_web_server_that_keeps_up_is_not_waited_for(void **state) {
    (void)state;
    struct web w = {0};
    struct pace p = {0};
    open_web(&w);
    write_some(&p, &w, PACE_WINDOW - 1);
    pace_keep(&p, nap, &w); /* the window is not full yet */
    assert_int_equal(w.naps, 0);
    write_some(&p, &w, 1);
    take_all(&w);
    pace_keep(&p, nap, &w);
    assert_int_equal(w.naps, 0);
    close_web(&w);
}

static void one_that_is_behind_is_waited_for(void **state) {
    (void)state;
    struct web w = {.reads_after = 5};
    struct pace p = {0};
    open_web(&w);
    write_some(&p, &w, PACE_WINDOW);
    pace_keep(&p, nap, &w);
    assert_int_equal(w.naps, 5);
    pace_keep(&p, nap, &w); /* nothing was written since */
    assert_int_equal(w.naps, 5);
    close_web(&w);
}

static void a_few_that_take_nothing_hold_nobody_up(void **state) {
    (void)state;
    struct web w = {0};
    struct pace p = {0};
    char text[PACE_WINDOW];
    open_web(&w);
    write_some(&p, &w, PACE_WINDOW);
    for (size_t i = PACE_UNTAKEN; i < PAIRS; i++)
        assert_true(recv(w.theirs[i], text, sizeof text, 0) > 0);
    pace_keep(&p, nap, &w);
    assert_int_equal(w.naps, 0);
    write_some(&p, &w, PACE_WINDOW); /* one more than may be */
    for (size_t i = PACE_UNTAKEN + 1; i < PAIRS; i++)
        assert_true(recv(w.theirs[i], text, sizeof text, 0) > 0);
    w.reads_after = 1;
    pace_keep(&p, nap, &w);
    assert_int_equal(w.naps, 1);
    close_web(&w);
}

static void who_waits_in_vain_does_not_try_again_at_once(void **state) {
    (void)state;
    struct web w = {0};
    struct pace p = {0};
    open_web(&w);
    for (unsigned round = 0; round < 2; round++) {
        write_some(&p, &w, PACE_WINDOW);
        pace_keep(&p, nap, &w);
        assert_int_equal(w.naps, (round + 1) * PACE_NAPS_MAX);
        for (unsigned i = 0; i < PACE_PASS; i++) {
            take_all(&w); /* a socket has room for some hundred */
            write_some(&p, &w, PACE_WINDOW);
            pace_keep(&p, nap, &w);
        }
        assert_int_equal(w.naps, (round + 1) * PACE_NAPS_MAX);
        take_all(&w);
    }
    close_web(&w);
}

static void a_connection_that_is_closed_counts_as_taken(void **state) {
    (void)state;
    struct web w = {0};
    struct pace p = {0};
    open_web(&w);
    write_some(&p, &w, PACE_WINDOW);
    close_web(&w);
    pace_keep(&p, nap, &w);
    assert_int_equal(w.naps, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_web_server_that_keeps_up_is_not_waited_for),
        cmocka_unit_test(one_that_is_behind_is_waited_for),
        cmocka_unit_test(a_few_that_take_nothing_hold_nobody_up),
        cmocka_unit_test(who_waits_in_vain_does_not_try_again_at_once),
        cmocka_unit_test(a_connection_that_is_closed_counts_as_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
