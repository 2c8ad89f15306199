#include "domain/billing/journal.h"

#include "domain/billing/journal_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct dead_journal {
    char dir[JOURNAL_PATH_MAX];
    int64_t own, worker;
    int lock_fd;
    bool aside;
    struct dead_calls calls;
    size_t cap_ended, cap_open;
};

static bool try_lock(void *ctx, int64_t worker) {
    struct dead_journal *d = ctx;
    if (worker == d->own)
        return false;
    d->lock_fd = journal_file_lock_dead(d->dir, worker);
    d->worker = worker;
    return d->lock_fd >= 0;
}

struct dead_journal *journal_adopt(const char *dir, int64_t own) {
    struct dead_journal *d = base_zalloc(sizeof *d);
    must(str_copy(str_c(dir), d->dir, sizeof d->dir));
    d->own = own;
    d->lock_fd = -1;
    if (journal_file_workers(dir, try_lock, d))
        return d;
    free(d);
    return NULL;
}

int64_t journal_dead_worker(const struct dead_journal *d) {
    return d->worker;
}

static void *room(void *list, size_t n, size_t *cap, size_t size) {
    if (n < *cap)
        return list;
    *cap = *cap ? *cap * 2 : 64;
    return base_realloc(list, *cap * size);
}

static bool keep(struct dead_journal *d, enum journal_kind kind, struct str payload) {
    struct dead_calls *c = &d->calls;
    if (kind == JOURNAL_OPENED) {
        c->open = room(c->open, c->n_open, &d->cap_open, sizeof *c->open);
        return opened_read(payload, &c->open[c->n_open++]);
    }
    c->ended = room(c->ended, c->n_ended, &d->cap_ended, sizeof *c->ended);
    return bill_read(payload, &c->ended[c->n_ended++]);
}

static enum err read_records(struct dead_journal *d, struct str bytes) {
    uint64_t last_seq;
    if (!journal_file_check(&bytes, d->worker, &last_seq))
        return ERR_INTERNAL;
    if (last_seq > d->calls.last_seq)
        d->calls.last_seq = last_seq;
    enum journal_kind kind;
    struct str payload;
    int got;
    while ((got = journal_file_next(&bytes, &kind, &payload)) == 1)
        if (!keep(d, kind, payload))
            return ERR_INTERNAL;
    d->calls.torn |= got < 0;
    return OK;
}

static enum err read_segment(struct dead_journal *d, uint64_t number) {
    char path[JOURNAL_PATH_MAX];
    journal_file_segment(path, d->dir, d->worker, number);
    int fd AUTO(base_closep) = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0)
        return ERR_INTERNAL;
    if (st.st_size == 0)
        return OK;
    size_t n = (size_t)st.st_size;
    void *p = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return ERR_INTERNAL;
    enum err e = read_records(d, str_of(p, n));
    munmap(p, n);
    return e;
}

/* Of the records of one call that comes first which takes least: it was taken back. */
static int by_serial(const void *a, const void *b) {
    const struct opened *x = a, *y = b;
    if (x->serial != y->serial)
        return x->serial < y->serial ? -1 : 1;
    return x->interrupted_cost < y->interrupted_cost ? -1
                                                     : x->interrupted_cost > y->interrupted_cost;
}

static int by_seq(const void *a, const void *b) {
    const struct bill *x = a, *y = b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* A call is under way when it was opened (copies in later segments are the same call) and no ended
 * record names it. */
static void leave_under_way(struct dead_calls *c) {
    if (!c->n_open)
        return;
    qsort(c->open, c->n_open, sizeof *c->open, by_serial);
    bool *gone AUTO(base_freep) = base_zalloc(c->n_open);
    for (size_t i = 1; i < c->n_open; i++)
        gone[i] = c->open[i].serial == c->open[i - 1].serial;
    for (size_t i = 0; i < c->n_ended; i++) {
        size_t lo = 0, hi = c->n_open;
        while (lo < hi) {
            size_t mid = lo + (hi - lo) / 2;
            if (c->open[mid].serial < c->ended[i].serial) {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
        if (lo < c->n_open && c->open[lo].serial == c->ended[i].serial)
            gone[lo] = true;
    }
    size_t n = 0;
    for (size_t i = 0; i < c->n_open; i++)
        if (!gone[i])
            c->open[n++] = c->open[i];
    c->n_open = n;
}

static void leave_unapplied(struct dead_calls *c, uint64_t applied) {
    size_t n = 0;
    for (size_t i = 0; i < c->n_ended; i++)
        if (c->ended[i].seq > c->last_seq)
            c->last_seq = c->ended[i].seq;
    for (size_t i = 0; i < c->n_ended; i++)
        if (c->ended[i].seq > applied)
            c->ended[n++] = c->ended[i];
    c->n_ended = n;
    if (n)
        qsort(c->ended, n, sizeof *c->ended, by_seq);
}

enum err journal_dead_read(struct dead_journal *d, uint64_t applied, struct dead_calls *out) {
    uint64_t *numbers AUTO(base_freep) = NULL;
    size_t n = journal_file_segments(d->dir, d->worker, &numbers);
    d->calls.n_ended = d->calls.n_open = 0;
    d->calls.last_seq = 0;
    for (size_t i = 0; i < n; i++) {
        enum err e = read_segment(d, numbers[i]);
        if (e)
            return e;
    }
    leave_under_way(&d->calls);
    leave_unapplied(&d->calls, applied);
    *out = d->calls;
    return OK;
}

void journal_dead_set_aside(struct dead_journal *d) {
    journal_file_set_aside(d->dir, d->worker);
    d->aside = true;
}

void journal_dead_close(struct dead_journal **dp, bool done) {
    struct dead_journal *d = *dp;
    *dp = NULL;
    if (!d)
        return;
    if (done && !d->aside)
        journal_file_remove(d->dir, d->worker);
    base_closep(&d->lock_fd);
    free(d->calls.ended);
    free(d->calls.open);
    free(d);
}
