/* If this failed, streams would lose events, or get those of others, when many are served at once.
 */
#include "unit.h"

#include "door/ring.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct pairs {
    int near[RING_MAX], far[RING_MAX];
};

static void open_pairs(struct pairs *p) {
    for (size_t i = 0; i < RING_MAX; i++) {
        int fd[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
        p->near[i] = fd[0];
        p->far[i] = fd[1];
    }
}

static void close_pairs(struct pairs *p) {
    for (size_t i = 0; i < RING_MAX; i++) {
        close(p->near[i]);
        close(p->far[i]);
    }
}

static char own(size_t i) {
    return (char)('0' + i);
}

/* Each third has bytes, each third nothing, each third has closed. */
static void read_all(struct ring *r) {
    struct pairs p;
    struct ring_op ops[RING_MAX];
    char got[RING_MAX][16];
    open_pairs(&p);
    for (size_t i = 0; i < RING_MAX; i++) {
        char text[3] = {own(i), own(i), own(i)};
        if (i % 3 == 0)
            assert_int_equal(write(p.far[i], text, sizeof text), sizeof text);
        if (i % 3 == 2)
            shutdown(p.far[i], SHUT_WR);
        ops[i] = (struct ring_op){.fd = p.near[i], .p = got[i], .n = i ? 16 : 2};
    }
    ring_read(r, ops, RING_MAX);
    for (size_t i = 0; i < RING_MAX; i++) {
        static const ssize_t want[] = {3, -EAGAIN, 0};
        assert_int_equal(ops[i].done, i ? want[i % 3] : 2); /* no more than there is room for */
        if (i % 3 == 0)
            assert_true(got[i][0] == own(i) && got[i][1] == own(i));
    }
    ring_read(r, ops, 1); /* the rest; one alone */
    assert_int_equal(ops[0].done, 1);
    close_pairs(&p);
}

/* The first is full, the second is closed, the others take all. */
static void write_all(struct ring *r) {
    static char much[4 << 20];
    struct pairs p;
    struct ring_op ops[RING_MAX];
    char text[RING_MAX][2];
    open_pairs(&p);
    close(p.far[1]);
    for (size_t i = 0; i < RING_MAX; i++) {
        text[i][0] = text[i][1] = own(i);
        ops[i] = (struct ring_op){.fd = p.near[i], .p = text[i], .n = 2};
    }
    ops[0].p = much;
    ops[0].n = sizeof much;
    ring_write(r, ops, RING_MAX);
    assert_true(ops[0].done > 0 && ops[0].done < (ssize_t)sizeof much);
    assert_int_equal(ops[1].done, -EPIPE);
    for (size_t i = 2; i < RING_MAX; i++) {
        char got[4];
        assert_int_equal(ops[i].done, 2);
        assert_int_equal(read(p.far[i], got, sizeof got), 2);
        assert_true(got[0] == own(i) && got[1] == own(i));
    }
    ring_write(r, ops, 2);
    assert_int_equal(ops[0].done, -EAGAIN);
    p.far[1] = dup(p.near[1]);
    close_pairs(&p);
}

static void each_gets_its_own_in_one_call_or_one_by_one(void **state) {
    (void)state;
    for (int one_by_one = 0; one_by_one < 2; one_by_one++) {
        struct ring *r = ring_new(one_by_one);
        for (int times = 0; times < 3; times++) {
            read_all(r);
            write_all(r);
        }
        ring_free(&r);
        assert_null(r);
    }
}

static int find_uring(void) {
    int found = -1;
    DIR *d = opendir("/proc/self/fd");
    for (struct dirent *e; (e = readdir(d));) {
        char path[512], to[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
        ssize_t n = readlink(path, to, sizeof to - 1);
        if (n > 0 && strcmp(to, "anon_inode:[io_uring]") == 0)
            found = (int)strtol(e->d_name, NULL, 10);
    }
    closedir(d);
    return found;
}

static void nothing_is_lost_when_the_kernel_refuses_later(void **state) {
    (void)state;
    struct ring *r = ring_new(false);
    int fd = find_uring(), other = open("/dev/null", O_RDWR);
    if (fd >= 0) /* else this kernel refuses from the beginning */
        assert_int_equal(dup2(other, fd), fd);
    close(other);
    read_all(r);
    write_all(r);
    ring_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_gets_its_own_in_one_call_or_one_by_one),
        cmocka_unit_test(nothing_is_lost_when_the_kernel_refuses_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
