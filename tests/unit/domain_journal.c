#include "domain/billing/journal.h"
#include "unit.h"
#include "util/lock.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];

/* The disk: how often it was written to, how long that takes and whether it works. */
static _Atomic int64_t n_synced;
static _Atomic unsigned sync_us;
static _Atomic bool broken;

int fdatasync(int fd) {
    usleep(sync_us);
    n_synced++;
    return broken ? -1 : fsync(fd);
}

static int setup(void **state) {
    (void)state;
    n_synced = 0;
    sync_us = 0;
    broken = false;
    strcpy(dir, "/tmp/tollgate-journal.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        unlink(path);
    }
    closedir(d);
    return rmdir(dir);
}

static size_t files(const char *ending) {
    size_t n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));)
        n += str_ends(str_c(e->d_name), str_c(ending));
    closedir(d);
    return n;
}

static struct journal *open_with(struct journal_conf conf) {
    struct journal *j = NULL;
    struct fault f = {0};
    conf.dir = dir;
    conf.worker_id = 7;
    assert_int_equal(journal_open(&conf, &j, &f), OK);
    return j;
}

static struct journal *open_journal(int64_t segment, int64_t max) {
    return open_with((struct journal_conf){.segment_bytes = segment, .max_bytes = max});
}

static struct journal *open_synced(int64_t segment) {
    return open_with(
        (struct journal_conf){.segment_bytes = segment, .max_bytes = 1 << 30, .sync = true});
}

static struct opened *new_call(const char *id) {
    struct opened *o = base_zalloc(sizeof *o);
    list_init(&o->node);
    o->interrupted_cost = 3;
    o->n_shares = 1;
    o->shares[0] = (struct share){{ALLOW_USER, 1, 0}, 10, false};
    strcpy(o->request_id, id);
    strcpy(o->model, "m");
    return o;
}

static struct bill bill_of(const struct opened *o, uint64_t seq) {
    struct bill b = {.seq = seq, .serial = o->serial, .cost = 5};
    strcpy(b.request_id, o->request_id);
    return b;
}

static void end_call(struct journal *j, struct opened *o, uint64_t seq) {
    const struct bill b = bill_of(o, seq);
    assert_true(journal_end(j, &b, o));
    free(o);
}

/* The process of a worker that is killed: fn writes, then it dies without closing anything. */
static void killed(void (*fn)(void)) {
    pid_t pid = fork();
    if (pid == 0) {
        fn();
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
}

static void five_calls_two_under_way(void) {
    struct journal *j = open_journal(1 << 20, 1 << 30);
    struct opened *o[5];
    for (int i = 0; i < 5; i++) {
        char id[8];
        snprintf(id, sizeof id, "r%d", i);
        o[i] = new_call(id);
        assert_int_equal(journal_open_call(j, o[i]), OK);
    }
    end_call(j, o[0], 1);
    end_call(j, o[3], 2);
    end_call(j, o[4], 3);
}

static void a_dead_workers_calls_are_found_again(void **state) {
    (void)state;
    killed(five_calls_two_under_way);
    struct dead_journal *d = journal_adopt(dir, 1);
    assert_non_null(d);
    assert_int_equal(journal_dead_worker(d), 7);
    assert_null(journal_adopt(dir, 1)); /* one adopter at a time */
    struct dead_calls c;
    assert_int_equal(journal_dead_read(d, 1, &c), OK);
    assert_int_equal(c.n_ended, 2); /* the first is in the database already */
    assert_int_equal(c.ended[0].seq, 2);
    assert_string_equal(c.ended[0].request_id, "r3");
    assert_int_equal(c.n_open, 2);
    assert_string_equal(c.open[0].request_id, "r1");
    assert_string_equal(c.open[1].request_id, "r2");
    assert_int_equal(c.open[1].shares[0].amount, 10);
    assert_int_equal(c.last_seq, 3);
    assert_false(c.torn);
    journal_dead_close(&d, true);
    assert_int_equal(files("journal") + files("lock"), 0);
}

static void a_living_workers_journal_is_left_alone(void **state) {
    (void)state;
    struct journal *j = open_journal(1 << 20, 1 << 30);
    assert_null(journal_adopt(dir, 1));
    journal_close(&j, true);
    assert_int_equal(files(""), 2); /* . and .. */
}

static void rotate_with_one_call_under_way(void) {
    struct journal *j = open_journal(4096, 1 << 30);
    struct opened *old = new_call("old");
    assert_int_equal(journal_open_call(j, old), OK);
    for (uint64_t seq = 1; seq <= 200; seq++) {
        struct opened *o = new_call("short");
        assert_int_equal(journal_open_call(j, o), OK);
        end_call(j, o, seq);
        if (seq == 190)
            journal_applied(j, 190);
    }
}

static void segments_go_when_their_calls_are_written_and_open_calls_move_on(void **state) {
    (void)state;
    killed(rotate_with_one_call_under_way);
    assert_true(files("journal") < 8);
    struct dead_journal *d = journal_adopt(dir, 1);
    struct dead_calls c;
    assert_int_equal(journal_dead_read(d, 195, &c), OK);
    assert_int_equal(c.n_ended, 5);
    assert_int_equal(c.last_seq, 200);
    assert_int_equal(c.n_open, 1);
    assert_string_equal(c.open[0].request_id, "old");
    journal_dead_close(&d, true);
}

/* The last record may be cut at any byte, or be garbage: what stood before it is kept. */
static void a_torn_tail_costs_only_the_torn_record(void **state) {
    (void)state;
    killed(five_calls_two_under_way);
    char path[200];
    snprintf(path, sizeof path, "%s/%016x.1.journal", dir, 7);
    int fd = open(path, O_RDWR);
    static char whole[1 << 16];
    ssize_t n = read(fd, whole, sizeof whole);
    assert_true(n > 0);
    size_t used = 0; /* behind the records there are zeros, allocated ahead */
    for (size_t i = 0; i < (size_t)n; i++)
        if (whole[i])
            used = i + 1;
    for (size_t cut = used - 1; cut > used - 200; cut -= 7) {
        assert_int_equal(ftruncate(fd, (off_t)cut), 0);
        struct dead_journal *d = journal_adopt(dir, 1);
        struct dead_calls c;
        assert_int_equal(journal_dead_read(d, 0, &c), OK);
        assert_true(c.torn);
        assert_in_range(c.n_ended, 2, 2);
        assert_int_equal(c.n_open, 3);
        journal_dead_close(&d, false);
    }
    whole[used - 5] ^= 1;
    assert_int_equal(pwrite(fd, whole, used, 0), used);
    close(fd);
    struct dead_journal *d = journal_adopt(dir, 1);
    struct dead_calls c;
    assert_int_equal(journal_dead_read(d, 0, &c), OK);
    assert_int_equal(c.n_ended, 2);
    journal_dead_close(&d, true);
}

static void a_full_journal_refuses_calls_and_still_takes_ends(void **state) {
    (void)state;
    struct journal *j = open_journal(1 << 20, 20000);
    struct opened *o[200];
    size_t n = 0;
    enum err e = OK;
    while (!e && n < ARRAY_LEN(o)) {
        o[n] = new_call("x");
        e = journal_open_call(j, o[n]);
        n++;
    }
    assert_int_equal(e, ERR_JOURNAL_FULL);
    free(o[n - 1]);
    for (size_t i = 0; i + 1 < n; i++)
        end_call(j, o[i], i + 1);
    journal_close(&j, true);
}

/* --- journal.sync ---------------------------------------------------------------------------- */

#define THREADS 16
#define CALLS 20 /* of each thread */

static struct journal *shared;
static _Atomic uint64_t next_seq;
static struct lock ending = LOCK_INIT;

static void *many_calls(void *arg) {
    (void)arg;
    for (int i = 0; i < CALLS; i++) {
        struct opened *o = new_call("x");
        int64_t before = n_synced;
        must(journal_open_call(shared, o) == OK);
        must(n_synced > before);
        LOCKED(&ending);
        const struct bill b = bill_of(o, ++next_seq);
        must(journal_end(shared, &b, o));
        free(o);
    }
    return NULL;
}

static void no_call_goes_on_before_the_disk_has_it_and_many_share_its_writes(void **state) {
    (void)state;
    pthread_t t[THREADS];
    next_seq = 0;
    sync_us = 2000;
    shared = open_synced(8192); /* many segments */
    for (size_t i = 0; i < THREADS; i++)
        must(pthread_create(&t[i], NULL, many_calls, NULL) == 0);
    for (size_t i = 0; i < THREADS; i++)
        must(pthread_join(t[i], NULL) == 0);
    journal_close(&shared, true);
    assert_in_range(n_synced, CALLS, THREADS * CALLS / 2);
}

static void an_end_is_on_the_disk_soon_without_being_waited_for(void **state) {
    (void)state;
    struct journal *j = open_synced(1 << 20);
    struct opened *o = new_call("x");
    assert_int_equal(journal_open_call(j, o), OK);
    int64_t before = n_synced;
    sync_us = 100000;
    end_call(j, o, 1);
    assert_int_equal(n_synced, before);
    journal_close(&j, true);
    assert_int_equal(n_synced, before + 1);
}

static void two_calls_of_which_the_disk_refuses_one(void) {
    struct journal *j = open_synced(1 << 20);
    struct opened *kept = new_call("kept"), *refused = new_call("refused");
    must(journal_open_call(j, kept) == OK);
    broken = true;
    must(journal_open_call(j, refused) == ERR_JOURNAL_FULL);
    free(refused);
    broken = false;
    struct opened *later = new_call("later");
    must(journal_open_call(j, later) == OK);
}

static void a_call_that_the_disk_refused_costs_nothing(void **state) {
    (void)state;
    killed(two_calls_of_which_the_disk_refuses_one);
    struct dead_journal *d = journal_adopt(dir, 1);
    struct dead_calls c;
    assert_int_equal(journal_dead_read(d, 0, &c), OK);
    assert_int_equal(c.n_open, 3);
    assert_string_equal(c.open[0].request_id, "kept");
    assert_int_equal(c.open[0].interrupted_cost, 3);
    assert_string_equal(c.open[1].request_id, "refused");
    assert_int_equal(c.open[1].interrupted_cost, 0);
    assert_string_equal(c.open[2].request_id, "later");
    assert_int_equal(c.open[2].interrupted_cost, 3);
    journal_dead_close(&d, true);
}

static void a_new_segment_that_the_disk_does_not_take_is_not_used(void **state) {
    (void)state;
    struct journal *j = open_synced(1);
    broken = true;
    struct opened *o = new_call("x");
    assert_int_equal(journal_open_call(j, o), ERR_JOURNAL_FULL);
    assert_int_equal(files("journal"), 1);
    broken = false;
    assert_int_equal(journal_open_call(j, o), OK);
    assert_int_equal(files("journal"), 2);
    end_call(j, o, 1);
    journal_close(&j, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_dead_workers_calls_are_found_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_living_workers_journal_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(
            segments_go_when_their_calls_are_written_and_open_calls_move_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_tail_costs_only_the_torn_record, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_journal_refuses_calls_and_still_takes_ends, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            no_call_goes_on_before_the_disk_has_it_and_many_share_its_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(an_end_is_on_the_disk_soon_without_being_waited_for, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_call_that_the_disk_refused_costs_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_new_segment_that_the_disk_does_not_take_is_not_used,
                                        setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
