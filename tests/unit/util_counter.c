#include "unit.h"

#include "util/counter.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/tollgate-counter-XXXXXX";

struct seen {
    size_t pages, live;
    int64_t retries, in_flight, observed, seconds_us;
};

static void add_page(void *ctx, const struct counter_page *p) {
    struct seen *s = ctx;
    const struct counter_row *first_byte = counter_row(COUNTER_FIRST_BYTE);
    s->pages++;
    s->live += p->live;
    s->retries += p->slots[counter_row(COUNTER_RETRIES)->slot];
    if (p->live)
        s->in_flight += p->slots[counter_row(COUNTER_IN_FLIGHT)->slot];
    for (size_t i = 0; i <= COUNTER_BUCKETS; i++)
        s->observed += p->slots[first_byte->slot + i];
    s->seconds_us += p->slots[first_byte->slot + COUNTER_BUCKETS + 1];
}

static struct seen look(void) {
    struct seen s = {0};
    counter_each_page(add_page, &s);
    return s;
}

/* A worker that counts, tells, and is killed. */
static void killed_worker(int64_t retries) {
    int told[2];
    assert_int_equal(pipe(told), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        counter_close();
        if (counter_open(dir, NULL) != OK)
            _exit(1);
        counter_add(COUNTER_RETRIES, retries);
        counter_add(COUNTER_IN_FLIGHT, 7);
        if (write(told[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    char c;
    assert_int_equal(read(told[0], &c, 1), 1);
    struct seen while_alive = look();
    assert_int_equal(while_alive.live, 2);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(told[0]);
    close(told[1]);
}

static void counts_made_before_opening_are_kept(void **state) {
    (void)state;
    counter_add(COUNTER_RETRIES, 5);
    assert_int_equal(look().retries, 5);
    assert_int_equal(counter_open(dir, NULL), OK);
    assert_int_equal(look().retries, 5);
    counter_add(COUNTER_RETRIES, 1);
    assert_int_equal(look().retries, 6);
}

static void a_killed_workers_counts_stay_and_its_gauges_go(void **state) {
    (void)state;
    counter_set(COUNTER_IN_FLIGHT, 2);
    killed_worker(10);
    struct seen s = look();
    assert_int_equal(s.retries, 16);
    assert_int_equal(s.in_flight, 2);
    assert_int_equal(s.live, 1);
    killed_worker(100); /* takes the dead one's file over */
    s = look();
    assert_int_equal(s.retries, 116);
    assert_int_equal(s.in_flight, 2);
    assert_int_equal(s.pages, 2);
}

static void a_file_of_another_version_starts_anew(void **state) {
    (void)state;
    char path[64];
    snprintf(path, sizeof path, "%s/metrics.1", dir);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "0123456789", 10), 10);
    close(fd);
    assert_int_equal(look().retries, 6);
    killed_worker(1);
    assert_int_equal(look().retries, 7);
}

static void durations_fall_into_their_bucket(void **state) {
    (void)state;
    static const struct {
        int64_t us;
        size_t bucket;
    } cases[] = {{-5, 0},
                 {0, 0},
                 {50, 0},
                 {51, 1},
                 {60000000, COUNTER_BUCKETS - 1},
                 {60000001, COUNTER_BUCKETS}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        counter_observe(COUNTER_FIRST_BYTE, cases[i].us);
    struct seen s = look();
    assert_int_equal(s.observed, ARRAY_LEN(cases));
    assert_int_equal(s.seconds_us, 50 + 51 + 60000000 + 60000001);
    for (size_t i = 1; i < COUNTER_BUCKETS; i++)
        assert_true(counter_bounds_us[i] > counter_bounds_us[i - 1]);
}

static void statuses_have_classes(void **state) {
    (void)state;
    static const int cases[][2] = {{0, COUNTER_STATUS_GONE},   {100, COUNTER_STATUS_GONE},
                                   {200, COUNTER_STATUS_2XX},  {304, COUNTER_STATUS_3XX},
                                   {499, COUNTER_STATUS_4XX},  {529, COUNTER_STATUS_5XX},
                                   {600, COUNTER_STATUS_GONE}, {-1, COUNTER_STATUS_GONE}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(counter_status(cases[i][0]), cases[i][1]);
}

static void *count(void *arg) {
    (void)arg;
    for (int i = 0; i < 100000; i++)
        counter_add(COUNTER_RETRIES, 1);
    return NULL;
}

static void no_count_of_any_thread_is_lost(void **state) {
    (void)state;
    int64_t before = look().retries;
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(look().retries, before + 400000);
}

static void a_missing_directory_is_named_and_counting_goes_on(void **state) {
    (void)state;
    counter_close();
    struct fault f = {0};
    assert_int_equal(counter_open("/nonexistent/tollgate", &f), ERR_CONFIG);
    assert_true(str_find_str(str_c(f.detail), STR("/nonexistent/tollgate")) >= 0);
    int64_t before = look().retries;
    counter_add(COUNTER_RETRIES, 3);
    assert_int_equal(look().retries, before + 3);
}

static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    char path[64];
    for (int i = 0; i < 8; i++) {
        snprintf(path, sizeof path, "%s/metrics.%d", dir, i);
        unlink(path);
    }
    return rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_made_before_opening_are_kept),
        cmocka_unit_test(a_killed_workers_counts_stay_and_its_gauges_go),
        cmocka_unit_test(a_file_of_another_version_starts_anew),
        cmocka_unit_test(durations_fall_into_their_bucket),
        cmocka_unit_test(statuses_have_classes),
        cmocka_unit_test(no_count_of_any_thread_is_lost),
        cmocka_unit_test(a_missing_directory_is_named_and_counting_goes_on),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
