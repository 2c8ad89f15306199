#include "util/counter.h"

#include "util/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILES 256
#define MAX_PATH 512
#define HISTOGRAM_SLOTS (COUNTER_BUCKETS + 2)

const int64_t counter_bounds_us[COUNTER_BUCKETS] = {
    50,     100,    250,    500,     1000,    2500,    5000,     10000,    25000,   50000,
    100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000, 60000000};

enum {
#define SPAN(name, size) SLOT_##name, SLOT_LAST_##name = SLOT_##name + (size)-1,
#define COUNTER(name, text, a, b, help) SPAN(name, COUNTER_##a##__MAX *COUNTER_##b##__MAX)
#define GAUGE(name, text, a, b, help) SPAN(name, COUNTER_##a##__MAX *COUNTER_##b##__MAX)
#define HISTOGRAM(name, text, help) SPAN(name, HISTOGRAM_SLOTS)
#include "util/counter.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
#undef SPAN
    SLOTS
};

#define VALUE_TEXT(set, name, text) text,
#define SET_TABLE(set, label_text)                                               \
    static const char *const values_##set[] = {COUNTER_SET_##set(VALUE_TEXT)};   \
    static const struct counter_labels labels_##set = {label_text, values_##set, \
                                                       ARRAY_LEN(values_##set)};
COUNTER_SETS(SET_TABLE)

static const struct counter_row rows[] = {
#define COUNTER(name, text, a, b, help) \
    {text, help, COUNTER_KIND_COUNTER, &labels_##a, &labels_##b, SLOT_##name},
#define GAUGE(name, text, a, b, help) \
    {text, help, COUNTER_KIND_GAUGE, &labels_##a, &labels_##b, SLOT_##name},
#define HISTOGRAM(name, text, help) \
    {text, help, COUNTER_KIND_HISTOGRAM, &labels_NONE, &labels_NONE, SLOT_##name},
#include "util/counter.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
};
static_assert(ARRAY_LEN(rows) == COUNTER__MAX, "counter.def and the table differ");

struct page {
    uint64_t layout;
    _Atomic int64_t pid, started_s;
    _Atomic int64_t slots[SLOTS];
};

/* The plain copy a scrape reads a file into: no mapping, so a file that shrinks does no harm. */
struct page_copy {
    uint64_t layout;
    int64_t pid, started_s;
    int64_t slots[SLOTS];
};
static_assert(sizeof(struct page) == sizeof(struct page_copy), "pages are read as they are mapped");

static struct page memory;
static struct page *_Atomic page = &memory;
static char dir[MAX_PATH];
static int own_fd = -1, own_worker = -1;

static _Atomic int64_t *slot(enum counter c, size_t offset) {
    struct page *p = atomic_load_explicit(&page, memory_order_acquire);
    return &p->slots[rows[c].slot + offset];
}

static void add(enum counter c, size_t offset, int64_t n) {
    atomic_fetch_add_explicit(slot(c, offset), n, memory_order_relaxed);
}

void counter_add(enum counter c, int64_t n) {
    add(c, 0, n);
}

void counter_add_at(enum counter c, unsigned a, unsigned b, int64_t n) {
    must(a < rows[c].a->n && b < rows[c].b->n);
    add(c, a * rows[c].b->n + b, n);
}

void counter_set(enum counter c, int64_t v) {
    atomic_store_explicit(slot(c, 0), v, memory_order_relaxed);
}

void counter_observe(enum counter c, int64_t us) {
    must(rows[c].kind == COUNTER_KIND_HISTOGRAM);
    if (us < 0)
        us = 0;
    size_t i = 0;
    while (i < COUNTER_BUCKETS && us > counter_bounds_us[i])
        i++;
    add(c, i, 1);
    add(c, COUNTER_BUCKETS + 1, us);
}

unsigned counter_status(int http) {
    if (http < 200 || http > 599)
        return COUNTER_STATUS_GONE;
    return COUNTER_STATUS_2XX + (unsigned)(http / 100 - 2);
}

const struct counter_row *counter_row(enum counter c) {
    must(c < COUNTER__MAX);
    return &rows[c];
}

/* Tells layouts apart: every name and size, in order. */
static uint64_t layout(void) {
    uint64_t h = UINT64_C(0xCBF29CE484222325);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (const char *p = rows[i].name; *p; p++)
            h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001B3);
        h = (h ^ rows[i].slot) * UINT64_C(0x100000001B3);
    }
    return h;
}

static int open_file(const char *in, int worker, int flags) {
    char path[MAX_PATH + 16];
    snprintf(path, sizeof path, "%s/metrics.%d", in, worker);
    return open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* Opens and locks the first file no living worker has; *worker tells which. -1 with errno. */
static int claim(const char *in, int *worker) {
    for (int i = 0; i < MAX_FILES; i++) {
        int fd AUTO(base_closep) = open_file(in, i, O_RDWR | O_CREAT);
        if (fd < 0)
            return -1;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            int mine = fd;
            fd = -1;
            *worker = i;
            return mine;
        }
        if (errno != EWOULDBLOCK)
            return -1;
    }
    errno = ENOSPC;
    return -1;
}

/* Makes the file a page of this layout and maps it; NULL with errno. */
static struct page *map(int fd) {
    struct stat st;
    uint64_t has = 0;
    if (fstat(fd, &st) < 0)
        return NULL;
    bool fits = st.st_size == sizeof(struct page) && pread(fd, &has, sizeof has, 0) == sizeof has &&
                has == layout();
    if (!fits && (ftruncate(fd, 0) < 0 || ftruncate(fd, sizeof(struct page)) < 0))
        return NULL;
    void *p = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void take_over(struct page *p) {
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].kind == COUNTER_KIND_GAUGE)
            for (size_t k = 0; k < rows[i].a->n * rows[i].b->n; k++)
                atomic_store(&p->slots[rows[i].slot + k], 0);
    for (size_t i = 0; i < SLOTS; i++)
        atomic_fetch_add(&p->slots[i], atomic_exchange(&memory.slots[i], 0));
    atomic_store(&p->pid, getpid());
    atomic_store(&p->started_s, clock_unix_s());
    p->layout = layout();
}

enum err counter_open(const char *run_dir, struct fault *f) {
    must(own_fd < 0);
    if (!str_copy(str_c(run_dir), dir, sizeof dir))
        return fault_set(f, ERR_CONFIG, "run.dir is too long for metrics files");
    int fd AUTO(base_closep) = claim(dir, &own_worker);
    struct page *p = fd < 0 ? NULL : map(fd);
    if (!p) {
        int why = errno;
        own_worker = -1;
        return fault_set(f, ERR_CONFIG, "%s/metrics.N: %s", dir, strerrorname_np(why));
    }
    take_over(p);
    atomic_store_explicit(&page, p, memory_order_release);
    own_fd = fd;
    fd = -1;
    return OK;
}

void counter_close(void) {
    if (own_fd < 0)
        return;
    /* the mapping stays: a thread may be adding right now */
    atomic_store(&page, &memory);
    base_closep(&own_fd);
    own_worker = -1;
}

/* A lock that cannot be had is a living worker's. */
static bool is_live(int fd) {
    if (flock(fd, LOCK_SH | LOCK_NB) < 0)
        return true;
    flock(fd, LOCK_UN);
    return false;
}

void counter_each_page(void (*fn)(void *ctx, const struct counter_page *page), void *ctx) {
    struct page_copy c;
    for (int i = 0; own_fd >= 0 && i < MAX_FILES; i++) {
        int fd AUTO(base_closep) = open_file(dir, i, O_RDONLY);
        if (fd < 0)
            break; /* files are made in order */
        bool live = i == own_worker || is_live(fd);
        if (pread(fd, &c, sizeof c, 0) != sizeof c || c.layout != layout())
            continue;
        fn(ctx, &(struct counter_page){i, live, c.pid, c.started_s, c.slots, SLOTS});
    }
    if (own_fd >= 0)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        c.slots[i] = atomic_load(&memory.slots[i]);
    fn(ctx, &(struct counter_page){-1, true, getpid(), 0, c.slots, SLOTS});
}
