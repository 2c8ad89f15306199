#include "unit.h"

#include "domain/routing/host.h"
#include "util/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 6

static char dir[] = "/tmp/tollgate-host-XXXXXX";
static const struct cooldown_rule rule = {.failures = 3, .first_ms = 1000, .max_ms = 5000};

/* What the processes of a test count together, and the time that host.c sees. */
static struct {
    atomic_int count;
    _Atomic int64_t ahead_ms;
    atomic_bool go;
} * common;

int64_t __real_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void);
int64_t __wrap_clock_mono_ms(void) {
    return __real_clock_mono_ms() + atomic_load(&common->ahead_ms);
}

static void pass(int64_t ms) {
    atomic_fetch_add(&common->ahead_ms, ms);
}

static struct host *open_host(void) {
    struct host *h;
    struct fault f = {0};
    if (host_open(dir, &h, &f))
        fail_msg("%s", f.detail);
    return h;
}

static char *shared_path(void) {
    static char path[200];
    snprintf(path, sizeof path, "%s/shared", dir);
    return path;
}

static int fresh(void **state) {
    (void)state;
    unlink(shared_path());
    atomic_store(&common->count, 0);
    atomic_store(&common->go, false);
    return 0;
}

/* Runs fn in PROCESSES children that start together; returns how many ended with 0. */
static int in_processes(void (*fn)(int i)) {
    pid_t pids[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            while (!atomic_load(&common->go))
                usleep(100);
            fn(i);
            _exit(0);
        }
    }
    atomic_store(&common->go, true);
    int good = 0, status;
    for (int i = 0; i < PROCESSES; i++)
        good += waitpid(pids[i], &status, 0) == pids[i] && status == 0;
    return good;
}

static void bump_often(int i) {
    (void)i;
    struct host *h;
    if (host_open(dir, &h, NULL))
        _exit(1);
    for (int n = 0; n < 1000; n++)
        host_gen_bump(h, HOST_GEN_KEY, n % 3);
    host_close(&h);
}

static void processes_starting_together_share_one_file(void **state) {
    (void)state;
    for (int round = 0; round < 10; round++) {
        fresh(NULL);
        assert_int_equal(in_processes(bump_often), PROCESSES);
        struct host *h = open_host();
        uint32_t sum = host_gen(h, HOST_GEN_KEY, 0) + host_gen(h, HOST_GEN_KEY, 1) +
                       host_gen(h, HOST_GEN_KEY, 2);
        assert_int_equal(sum, PROCESSES * 1000);
        host_close(&h);
    }
    struct stat st;
    assert_int_equal(stat(shared_path(), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void overwrite(off_t at, const char *bytes, size_t n, bool cut) {
    int fd AUTO(base_closep) = open(shared_path(), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, at), (ssize_t)n);
    if (cut)
        assert_int_equal(ftruncate(fd, 1000), 0);
}

static void a_file_of_another_version_or_boot_is_replaced(void **state) {
    (void)state;
    static const struct {
        off_t at;
        bool cut;
    } damage[] = {{0, false}, {8, false}, {12, false}, {20, false}, {100, true}};
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        struct host *h = open_host();
        host_gen_bump(h, HOST_GEN_USER, 7);
        overwrite(damage[i].at, "?", 1, damage[i].cut);
        atomic_store(&common->go, false);
        /* several at once: they must agree on one new file */
        assert_int_equal(in_processes(bump_often), PROCESSES);
        struct host *h2 = open_host();
        assert_int_equal(host_gen(h2, HOST_GEN_USER, 7), 0);
        assert_int_equal(host_gen(h2, HOST_GEN_KEY, 0), PROCESSES * 334);
        host_close(&h2);
        if (!damage[i].cut) /* who had the old one goes on with it */
            assert_int_equal(host_gen(h, HOST_GEN_USER, 7), 1);
        host_close(&h);
    }
}

static void a_directory_that_cannot_be_used_is_named(void **state) {
    (void)state;
    struct host *h;
    struct fault f = {0};
    assert_int_equal(host_open("/nonexistent", &h, &f), ERR_CONFIG);
    assert_string_equal(f.detail, "run.dir: /nonexistent/shared: No such file or directory");
    assert_null(h);
}

static void open_join_and_fail_forever(int i) {
    for (;;) {
        struct host *h;
        if (host_open(dir, &h, NULL))
            _exit(1);
        int slot = host_worker_join(h, i);
        if (slot < 0)
            _exit(1);
        host_worker_beat(h, slot);
        for (int64_t id = 1; id < 20; id++)
            host_channel_failed(h, id, &rule, 0);
        atomic_fetch_add(&common->count, 1);
        if (atomic_load(&common->count) % 2)
            host_close(&h);
    }
}

static void killed_processes_leave_nothing_held(void **state) {
    (void)state;
    for (int round = 0; round < 40; round++) {
        if (round % 4 == 0)
            unlink(shared_path()); /* killed while it is made, too */
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            open_join_and_fail_forever(round);
        usleep((useconds_t)(round * 53 % 1500));
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        struct host *h = open_host();
        assert_int_equal(host_worker_join(h, 1), 0); /* the dead one's slot */
        host_close(&h);
    }
}

static void join_and_stay(int i) {
    struct host *h;
    if (host_open(dir, &h, NULL))
        _exit(1);
    int slot = host_worker_join(h, i);
    if (slot < 0)
        _exit(1);
    atomic_fetch_add(&common->count, 1 << (4 * slot)); /* a slot taken twice shows as a 2 */
    while (atomic_load(&common->go))
        usleep(500);
}

static void living_workers_keep_their_slots(void **state) {
    (void)state;
    pid_t pids[PROCESSES];
    atomic_store(&common->go, true);
    for (int i = 0; i < PROCESSES; i++)
        if ((pids[i] = fork()) == 0) {
            join_and_stay(i);
            _exit(0);
        }
    for (int tries = 0; tries < 4000 && atomic_load(&common->count) != 0x111111; tries++)
        usleep(500);
    int taken = atomic_load(&common->count);
    struct host *h = open_host();
    int mine = host_worker_join(h, 99);
    host_close(&h);
    atomic_store(&common->go, false);
    for (int i = 0; i < PROCESSES; i++)
        waitpid(pids[i], NULL, 0);
    assert_int_equal(taken, 0x111111);
    assert_int_equal(mine, PROCESSES);
}

static void a_full_house_is_told(void **state) {
    (void)state;
    struct host *h = open_host();
    for (int i = 0; i < HOST_MAX_WORKERS; i++)
        assert_int_equal(host_worker_join(h, i), i); /* the same process: all alive */
    assert_int_equal(host_worker_join(h, 1), -1);
    host_close(&h);
}

static void a_failing_channel_cools_and_comes_back_through_a_probe(void **state) {
    (void)state;
    struct host *h = open_host();
    assert_int_equal(host_channel_ask(h, 5), HEALTH_OK);
    assert_false(host_channel_failed(h, 5, &rule, 0));
    assert_false(host_channel_failed(h, 5, &rule, 0));
    assert_int_equal(host_channel_ask(h, 5), HEALTH_OK);
    assert_true(host_channel_failed(h, 5, &rule, 0));
    assert_int_equal(host_channel_ask(h, 5), HEALTH_COOLING);
    assert_in_range(host_channel_wait_ms(h, 5), 900, 1000);
    assert_int_equal(host_channel_ask(h, 6), HEALTH_OK); /* nobody else suffers */
    assert_false(host_channel_failed(h, 5, &rule, 0));   /* a straggler does not prolong it */
    pass(1001);
    assert_int_equal(host_channel_peek(h, 5), HEALTH_PROBE);
    assert_int_equal(host_channel_ask(h, 5), HEALTH_PROBE);
    assert_int_equal(host_channel_ask(h, 5), HEALTH_COOLING); /* one prober */
    assert_true(host_channel_ok(h, 5));
    assert_int_equal(host_channel_ask(h, 5), HEALTH_OK);
    assert_false(host_channel_ok(h, 5));
    host_close(&h);
}

static void a_success_in_between_forgives_failures(void **state) {
    (void)state;
    struct host *h = open_host();
    for (int i = 0; i < 10; i++) {
        assert_false(host_channel_failed(h, 5, &rule, 0));
        assert_false(host_channel_failed(h, 5, &rule, 0));
        assert_false(host_channel_ok(h, 5));
    }
    assert_int_equal(host_channel_ask(h, 5), HEALTH_OK);
    host_close(&h);
}

static void cool_downs_double_up_to_their_maximum(void **state) {
    (void)state;
    struct host *h = open_host();
    for (int i = 0; i < 3; i++)
        host_channel_failed(h, 5, &rule, 0);
    static const int64_t want[] = {1000, 2000, 4000, 5000, 5000};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_in_range(host_channel_wait_ms(h, 5), want[i] - 100, want[i]);
        pass(want[i] + 1);
        assert_int_equal(host_channel_ask(h, 5), HEALTH_PROBE);
        assert_true(host_channel_failed(h, 5, &rule, 0));
    }
    pass(5001);
    assert_int_equal(host_channel_ask(h, 5), HEALTH_PROBE);
    assert_true(host_channel_ok(h, 5));
    for (int i = 0; i < 3; i++)
        host_channel_failed(h, 5, &rule, 0);
    assert_in_range(host_channel_wait_ms(h, 5), 900, 1000); /* starts small again */
    host_close(&h);
}

static void the_providers_own_wish_is_honoured(void **state) {
    (void)state;
    struct host *h = open_host();
    assert_true(host_channel_failed(h, 5, &rule, 30000));
    assert_in_range(host_channel_wait_ms(h, 5), 29900, 30000);
    assert_false(host_channel_ok(h, 5)); /* an older request's answer does not end it */
    assert_int_equal(host_channel_ask(h, 5), HEALTH_COOLING);
    assert_false(host_channel_failed(h, 5, &rule, 40000)); /* longer: prolongs */
    assert_in_range(host_channel_wait_ms(h, 5), 39900, 40000);
    assert_true(host_channel_failed(h, 6, &rule, INT64_MAX));
    assert_in_range(host_channel_wait_ms(h, 6), HOST_RETRY_AFTER_MAX_MS - 100,
                    HOST_RETRY_AFTER_MAX_MS);
    host_close(&h);
}

static void a_probe_that_nobody_reports_is_given_anew(void **state) {
    (void)state;
    struct host *h = open_host();
    host_channel_failed(h, 5, &rule, 1);
    pass(1001);
    assert_int_equal(host_channel_ask(h, 5), HEALTH_PROBE);
    pass(HOST_PROBE_MS - 100);
    assert_int_equal(host_channel_ask(h, 5), HEALTH_COOLING);
    pass(101);
    assert_int_equal(host_channel_ask(h, 5), HEALTH_PROBE);
    host_close(&h);
}

static void ask_once(int i) {
    (void)i;
    struct host *h;
    if (host_open(dir, &h, NULL))
        _exit(1);
    for (int64_t id = 1; id <= 200; id++)
        if (host_channel_ask(h, id) == HEALTH_PROBE)
            atomic_fetch_add(&common->count, 1);
    host_close(&h);
}

static void one_process_gets_the_probe(void **state) {
    (void)state;
    struct host *h = open_host();
    for (int64_t id = 1; id <= 200; id++)
        assert_true(host_channel_failed(h, id, &rule, 1));
    pass(1001);
    assert_int_equal(in_processes(ask_once), PROCESSES);
    assert_int_equal(atomic_load(&common->count), 200);
    host_close(&h);
}

static void fail_together(int i) {
    struct host *h;
    if (host_open(dir, &h, NULL))
        _exit(1);
    for (int64_t n = 1; n <= 500; n++) { /* every process in another order: claims collide */
        int64_t id = 1 + (n * 7 + i * 83) % 500;
        if (host_channel_failed(h, id, &rule, 0))
            atomic_fetch_add(&common->count, 1);
    }
    host_close(&h);
}

static void failures_of_all_processes_are_counted_once(void **state) {
    (void)state;
    assert_int_equal(in_processes(fail_together), PROCESSES);
    /* 6 failures a channel: the third starts a cool-down, the rest are stragglers */
    assert_int_equal(atomic_load(&common->count), 500);
}

static void more_channels_than_slots_stay_usable(void **state) {
    (void)state;
    struct host *h = open_host();
    int cooling = 0;
    for (int64_t id = 1; id <= 6000; id++) {
        host_channel_failed(h, id, &rule, 60000);
        cooling += host_channel_ask(h, id) == HEALTH_COOLING;
    }
    assert_in_range(cooling, 3500, 4096);
    assert_false(host_channel_failed(h, 0, &rule, 60000)); /* built in: never cools */
    assert_int_equal(host_channel_ask(h, 0), HEALTH_OK);
    host_close(&h);
}

static void changes_are_remembered_and_all_can_go_stale(void **state) {
    (void)state;
    struct host *h = open_host();
    assert_false(host_change_applied(h, 12));
    host_change_mark(h, 12);
    assert_true(host_change_applied(h, 12));
    assert_false(host_change_applied(h, 12 + 16384));
    host_gen_bump_all(h);
    assert_int_equal(host_gen(h, HOST_GEN_KEY, 1234567), 1);
    assert_int_equal(host_gen(h, HOST_GEN_CATALOG, 0), 1);
    host_gen_bump(h, HOST_GEN_CATALOG, 5);
    assert_int_equal(host_gen(h, HOST_GEN_CATALOG, 0), 2);
    host_close(&h);
}

static void *bump_slowly(void *arg) {
    for (int i = 0; i < 20000; i++)
        host_gen_bump(arg, i % 2 ? HOST_GEN_KEY : HOST_GEN_USER, 9);
    return NULL;
}

/* A key that is read for the first time would else be taken for unchanged by whoever read it just
 * before it was revoked. */
static void who_sees_a_change_sees_that_something_changed(void **state) {
    (void)state;
    struct host *h = open_host();
    pthread_t t;
    assert_int_equal(host_gen_bumps(h), 0);
    assert_int_equal(pthread_create(&t, NULL, bump_slowly, h), 0);
    uint32_t seen = 0;
    while (seen < 20000) {
        uint32_t before = host_gen_bumps(h);
        seen = host_gen(h, HOST_GEN_KEY, 9) + host_gen(h, HOST_GEN_USER, 9);
        uint32_t after = host_gen_bumps(h);
        assert_true(seen <= after && (before != after || seen <= before));
    }
    pthread_join(t, NULL);
    host_gen_bump_all(h);
    assert_int_equal(host_gen_bumps(h), 20001);
    host_close(&h);
}

static void *hammer(void *arg) {
    struct host *h = arg;
    for (int i = 0; i < 20000; i++) {
        int64_t id = i % 5 + 1;
        if (host_channel_ask(h, id) != HEALTH_COOLING && i % 3)
            host_channel_failed(h, id, &rule, i % 7 ? 0 : 1);
        else
            host_channel_ok(h, id);
        host_gen_bump(h, HOST_GEN_KEY, i);
        if (i % 1000 == 0)
            pass(600);
    }
    return NULL;
}

static void threads_may_share_a_handle(void **state) {
    (void)state;
    struct host *h = open_host();
    pthread_t t[4];
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer, h), 0);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_join(t[i], NULL);
    uint32_t sum = 0;
    for (int64_t id = 0; id < 16384; id++)
        sum += host_gen(h, HOST_GEN_KEY, id);
    assert_int_equal(sum, 4 * 20000);
    host_close(&h);
}

int main(void) {
#define T(name) cmocka_unit_test_setup(name, fresh)
    const struct CMUnitTest tests[] = {
        T(processes_starting_together_share_one_file),
        T(a_file_of_another_version_or_boot_is_replaced),
        T(a_directory_that_cannot_be_used_is_named),
        T(killed_processes_leave_nothing_held),
        T(living_workers_keep_their_slots),
        T(a_full_house_is_told),
        T(a_failing_channel_cools_and_comes_back_through_a_probe),
        T(a_success_in_between_forgives_failures),
        T(cool_downs_double_up_to_their_maximum),
        T(the_providers_own_wish_is_honoured),
        T(a_probe_that_nobody_reports_is_given_anew),
        T(one_process_gets_the_probe),
        T(failures_of_all_processes_are_counted_once),
        T(more_channels_than_slots_stay_usable),
        T(changes_are_remembered_and_all_can_go_stale),
        T(who_sees_a_change_sees_that_something_changed),
        T(threads_may_share_a_handle),
    };
    common = mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (common == MAP_FAILED || !mkdtemp(dir))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char path[200];
    static const char *const left[] = {"/shared", "/shared.lock", "/shared.new"};
    for (size_t i = 0; i < ARRAY_LEN(left); i++) {
        snprintf(path, sizeof path, "%s%s", dir, left[i]);
        unlink(path);
    }
    rmdir(dir);
    return failed;
}
