#include "domain/billing/limits.h"
#include "unit.h"
#include "util/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

static int setup(void **state) {
    (void)state;
    strcpy(dir, "/tmp/tollgate-limits.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char path[100];
    snprintf(path, sizeof path, "%s/limits", dir);
    unlink(path);
    return rmdir(dir);
}

static struct limits *open_limits(int64_t worker) {
    struct limits *l = NULL;
    struct fault f = {0};
    assert_int_equal(limits_open(dir, worker, &l, &f), OK);
    return l;
}

static enum err take(struct limits *l, struct limit_rule r, int64_t tokens,
                     struct limit_seats *seats, struct limit_report *report, struct fault *f) {
    const struct limit_rule *lacking;
    return limits_take(l, &r, 1, tokens, seats, report, &lacking, f);
}

/* What the database would do: the host's share is `part` of the rule, others have the rest. */
static void share_out(struct limits *l, struct limit_rule r, struct limit_rule part) {
    const struct limit_part share = {{part.rpm, part.tpm, part.concurrency}},
                            others = {{r.rpm - part.rpm, r.tpm - part.tpm,
                                       r.concurrency - part.concurrency}};
    assert_int_equal(limits_move(l, &r), MOVE_MINE);
    limits_moved(l, &r, &share, &others, 0);
}

static void give_all(struct limits *l, struct limit_rule r) {
    share_out(l, r, r);
}

static const struct limit_rule rpm10 = {LIMIT_KEY, 1, 0, 10, 0, 0};

static void requests_are_counted_to_the_limit_and_reported(void **state) {
    (void)state;
    struct limits *l = open_limits(1);
    struct limit_seats seats;
    struct limit_report report;
    struct fault f = {0};
    give_all(l, rpm10);
    for (int i = 0; i < 10; i++)
        assert_int_equal(take(l, rpm10, 5, &seats, &report, &f), OK);
    assert_int_equal(report.requests.limit, 10);
    assert_int_equal(report.requests.remaining, 0);
    assert_in_range(report.requests.reset_ms, 55000, 65000);
    assert_int_equal(report.tokens.limit, 0);
    assert_int_equal(take(l, rpm10, 5, &seats, &report, &f), ERR_RATE_LIMIT);
    assert_in_range(f.retry_after_s, 55, 65);
    assert_string_equal(f.detail, "requests per minute per key, limit 10");
    struct limit_rule other = rpm10;
    other.id = 2;
    give_all(l, other);
    assert_int_equal(take(l, other, 5, &seats, &report, &f), OK);
    limits_close(&l);
}

static void tokens_that_were_not_used_come_back(void **state) {
    (void)state;
    struct limits *l = open_limits(1);
    struct limit_rule r = {LIMIT_KEY, 1, 0, 0, 1000, 0};
    struct limit_seats seats;
    struct limit_report report;
    give_all(l, r);
    assert_int_equal(take(l, r, 900, &seats, NULL, NULL), OK);
    struct limit_seats second;
    assert_int_equal(take(l, r, 200, &second, NULL, NULL), ERR_RATE_LIMIT);
    limits_give(l, &seats, 100);
    assert_int_equal(take(l, r, 200, &second, &report, NULL), OK);
    assert_int_equal(report.tokens.remaining, 700);
    limits_close(&l);
}

static void a_refused_rule_counts_against_no_other(void **state) {
    (void)state;
    struct limits *l = open_limits(1);
    const struct limit_rule both[] = {{LIMIT_KEY, 1, 0, 100, 0, 0}, {LIMIT_GROUP, 1, 5, 1, 0, 0}};
    struct limit_seats seats;
    struct limit_report report;
    const struct limit_rule *lacking;
    give_all(l, both[0]);
    give_all(l, both[1]);
    assert_int_equal(limits_take(l, both, 2, 0, &seats, NULL, &lacking, NULL), OK);
    for (int i = 0; i < 20; i++)
        assert_int_equal(limits_take(l, both, 2, 0, &seats, NULL, &lacking, NULL), ERR_RATE_LIMIT);
    assert_int_equal(limits_take(l, both, 1, 0, &seats, &report, &lacking, NULL), OK);
    assert_int_equal(report.requests.remaining, 98);
    limits_close(&l);
}

static void the_rule_that_is_used_up_is_named(void **state) {
    (void)state;
    struct limits *l = open_limits(1);
    struct limit_rule rules[] = {
        {LIMIT_KEY, 1, 0, 5, 0, 0}, {LIMIT_GROUP, 1, 5, 4, 0, 0}, {LIMIT_USER, 5, 0, 3, 0, 0}};
    struct limit_seats seats;
    const struct limit_rule *lacking;
    struct fault f = {0};
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        give_all(l, rules[i]);
    for (int i = 0; i < 3; i++)
        assert_int_equal(limits_take(l, rules, 3, 0, &seats, NULL, &lacking, NULL), OK);
    assert_int_equal(limits_take(l, rules, 3, 0, &seats, NULL, &lacking, &f), ERR_RATE_LIMIT);
    assert_string_equal(f.detail, "requests per minute per account, limit 3");
    rules[2].rpm = 0;
    assert_int_equal(limits_take(l, rules, 3, 0, &seats, NULL, &lacking, NULL), OK);
    assert_int_equal(limits_take(l, rules, 3, 0, &seats, NULL, &lacking, &f), ERR_RATE_LIMIT);
    assert_string_equal(f.detail, "requests per minute per group, limit 4");
    limits_close(&l);
}

static void a_dead_workers_seats_are_given_up(void **state) {
    (void)state;
    struct limits *l = open_limits(1);
    struct limit_rule r = {LIMIT_KEY, 1, 0, 0, 0, 2};
    struct limit_seats seats;
    give_all(l, r);
    pid_t pid = fork();
    if (pid == 0) {
        struct limits *mine = open_limits(2);
        if (take(mine, r, 0, &seats, NULL, NULL) == OK &&
            take(mine, r, 0, &seats, NULL, NULL) == OK)
            raise(SIGKILL);
        _exit(1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(take(l, r, 0, &seats, NULL, NULL), ERR_RATE_LIMIT);
    limits_worker_died(l, 2);
    assert_int_equal(take(l, r, 0, &seats, NULL, NULL), OK);
    limits_give(l, &seats, 0);
    limits_close(&l);
}

static void a_share_is_not_exceeded_and_the_rest_is_asked_for(void **state) {
    (void)state;
    struct limits *l = open_limits(1);
    struct limit_rule part = rpm10;
    struct limit_seats seats;
    struct limit_report report;
    const struct limit_rule *lacking;
    part.rpm = 3;
    assert_int_equal(limits_take(l, &rpm10, 1, 0, &seats, &report, &lacking, NULL), ERR_RATE_LIMIT);
    assert_ptr_equal(lacking, &rpm10);
    share_out(l, rpm10, part);
    for (int i = 0; i < 3; i++)
        assert_int_equal(limits_take(l, &rpm10, 1, 0, &seats, &report, &lacking, NULL), OK);
    assert_int_equal(report.requests.limit, 10);
    assert_int_equal(report.requests.remaining, 0);
    assert_int_equal(limits_take(l, &rpm10, 1, 0, &seats, &report, &lacking, NULL), ERR_RATE_LIMIT);
    assert_ptr_equal(lacking, &rpm10);
    give_all(l, rpm10);
    for (int i = 0; i < 7; i++)
        assert_int_equal(limits_take(l, &rpm10, 1, 0, &seats, &report, &lacking, NULL), OK);
    assert_int_equal(limits_take(l, &rpm10, 1, 0, &seats, &report, &lacking, NULL), ERR_RATE_LIMIT);
    assert_null(lacking); /* nobody has any */
    limits_close(&l);
}

static void what_is_counted_is_not_given_to_other_hosts(void **state) {
    (void)state;
    struct limits *l = open_limits(1);
    struct limit_rule r = {LIMIT_KEY, 1, 0, 10, 1000, 5};
    struct limit_seats seats, gone;
    give_all(l, r);
    for (int i = 0; i < 4; i++)
        assert_int_equal(take(l, r, 100, i ? &seats : &gone, NULL, NULL), OK);
    limits_give(l, &gone, 50);
    assert_int_equal(limits_move(l, &r), MOVE_MINE);
    assert_int_equal(limits_move(l, &r), MOVE_BUSY);
    const struct limit_part left = limits_strip(l, &r);
    assert_int_equal(left.of[LIMIT_REQUESTS], 4);
    assert_int_equal(left.of[LIMIT_TOKENS], 350);
    assert_int_equal(left.of[LIMIT_SEATS], 3);
    limits_moved(l, &r, NULL, NULL, 0);
    assert_int_equal(take(l, r, 0, &seats, NULL, NULL), ERR_RATE_LIMIT);
    limits_close(&l);
}

static void a_lowered_limit_is_shared_out_anew(void **state) {
    (void)state;
    struct limits *l = open_limits(1);
    struct limit_rule low = rpm10;
    struct limit_seats seats;
    const struct limit_rule *lacking;
    low.rpm = 4;
    give_all(l, rpm10);
    assert_int_equal(limits_take(l, &low, 1, 0, &seats, NULL, &lacking, NULL), ERR_RATE_LIMIT);
    assert_ptr_equal(lacking, &low);
    give_all(l, low);
    assert_int_equal(limits_take(l, &low, 1, 0, &seats, NULL, &lacking, NULL), OK);
    limits_close(&l);
}

static void a_host_that_was_silent_too_long_keeps_only_what_it_counted(void **state) {
    (void)state;
    struct limits *l = open_limits(1);
    struct limit_seats seats;
    limits_alive(l, clock_mono_ms(), 1000000);
    give_all(l, rpm10);
    assert_int_equal(take(l, rpm10, 0, &seats, NULL, NULL), OK);
    limits_alive(l, clock_mono_ms(), 1000000);
    assert_int_equal(take(l, rpm10, 0, &seats, NULL, NULL), OK);
    limits_close(&l); /* the last worker: from now on other hosts may take over */
    l = open_limits(2);
    limits_alive(l, clock_mono_ms(), 1000000);
    assert_int_equal(take(l, rpm10, 0, &seats, NULL, NULL), ERR_RATE_LIMIT);
    assert_int_equal(limits_move(l, &rpm10), MOVE_MINE);
    assert_int_equal(limits_strip(l, &rpm10).of[LIMIT_REQUESTS], 2);
    limits_moved(l, &rpm10, NULL, NULL, 0);
    limits_close(&l);
}

static void a_share_that_a_killed_worker_was_moving_is_free_again(void **state) {
    (void)state;
    struct limits *l = open_limits(1);
    pid_t pid = fork();
    if (pid == 0) {
        struct limits *mine = open_limits(2);
        _exit(limits_move(mine, &rpm10) != MOVE_MINE);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(limits_move(l, &rpm10), MOVE_BUSY);
    limits_worker_died(l, 2);
    assert_int_equal(limits_move(l, &rpm10), MOVE_MINE);
    limits_moved(l, &rpm10, NULL, NULL, 0);
    limits_close(&l);
}

#define PROCESSES 4
#define THREADS 4

static struct limits *shared;
static _Atomic int *served;

static void *hammer(void *arg) {
    (void)arg;
    struct limit_rule r = {LIMIT_KEY, 9, 0, 1000, 0, 5};
    for (int i = 0; i < 2000; i++) {
        struct limit_seats seats;
        const struct limit_rule *lacking;
        if (limits_take(shared, &r, 1, 1, &seats, NULL, &lacking, NULL) != OK)
            continue;
        ++*served;
        limits_give(shared, &seats, 1);
    }
    return NULL;
}

static void many_processes_and_threads_get_exactly_the_limit(void **state) {
    (void)state;
    served = mmap(NULL, sizeof *served, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(served, MAP_FAILED);
    shared = open_limits(1);
    give_all(shared, (struct limit_rule){LIMIT_KEY, 9, 0, 1000, 0, 5});
    for (int p = 0; p < PROCESSES; p++)
        if (fork() == 0) {
            pthread_t t[THREADS];
            shared = open_limits(10 + p);
            for (int i = 0; i < THREADS; i++)
                pthread_create(&t[i], NULL, hammer, NULL);
            for (int i = 0; i < THREADS; i++)
                pthread_join(t[i], NULL);
            limits_close(&shared);
            _exit(0);
        }
    for (int p = 0; p < PROCESSES; p++)
        wait(NULL);
    assert_int_equal(*served, 1000);
    limits_close(&shared);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(requests_are_counted_to_the_limit_and_reported, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(tokens_that_were_not_used_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_rule_counts_against_no_other, setup, teardown),
        cmocka_unit_test_setup_teardown(the_rule_that_is_used_up_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_workers_seats_are_given_up, setup, teardown),
        cmocka_unit_test_setup_teardown(a_share_is_not_exceeded_and_the_rest_is_asked_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_counted_is_not_given_to_other_hosts, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_lowered_limit_is_shared_out_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(a_host_that_was_silent_too_long_keeps_only_what_it_counted,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_share_that_a_killed_worker_was_moving_is_free_again,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(many_processes_and_threads_get_exactly_the_limit, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
