#include "domain/billing/limits.h"

#include "util/clock.h"
#include "util/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x31534c494d474c54)
#define WORKERS 64
#define STRIPES 1024
#define WAYS 16
#define BUCKET_MS 5000
#define BUCKETS 13 /* a minute and the step that is only partly over */

struct bucket {
    int32_t number; /* of the five seconds since boot; another number: empty */
    int32_t requests;
    int64_t tokens;
};

struct slot {
    uint64_t tag; /* enum limit_kind, 0 = empty */
    int64_t id, sub_id;
    int64_t used_ms;
    struct bucket buckets[BUCKETS];
    uint16_t seats[WORKERS];
};

struct stripe {
    pthread_mutex_t mutex;
    struct slot slots[WAYS];
};

struct file {
    uint64_t magic, size;
    uint64_t seed; /* the hash must be the same in all workers */
    pthread_mutex_t mutex;
    int64_t workers[WORKERS]; /* 0 = free */
    struct stripe stripes[STRIPES];
};

struct limits {
    struct file *file;
    int index;
    _Atomic int rank, hosts;
};

/* The owner died inside: counts of one call may be off by one, nothing else can be. */
static void take_mutex(pthread_mutex_t *m) {
    int e = pthread_mutex_lock(m);
    if (e == EOWNERDEAD)
        e = pthread_mutex_consistent(m);
    must(e == 0);
}

static void drop_mutex(pthread_mutex_t **m) {
    must(pthread_mutex_unlock(*m) == 0);
}

static pthread_mutex_t *mutex_taken(pthread_mutex_t *m) {
    take_mutex(m);
    return m;
}

#define HELD(m) pthread_mutex_t *held_ AUTO(drop_mutex) __attribute__((unused)) = mutex_taken(m)

static void init_file(struct file *f) {
    pthread_mutexattr_t attr;
    must(pthread_mutexattr_init(&attr) == 0);
    must(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) == 0);
    must(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0);
    must(pthread_mutex_init(&f->mutex, &attr) == 0);
    for (size_t i = 0; i < STRIPES; i++)
        must(pthread_mutex_init(&f->stripes[i].mutex, &attr) == 0);
    pthread_mutexattr_destroy(&attr);
    f->seed = hash_u64((uint64_t)clock_unix_us());
    f->size = sizeof *f;
    f->magic = MAGIC;
}

/* Made under flock, so that one worker initialises and the others see it whole. A file of another
 * layout is replaced: its users keep their mapping of the deleted one. */
static struct file *map_file(const char *path) {
    for (int attempt = 0; attempt < 2; attempt++) {
        int fd AUTO(base_closep) = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        struct stat st;
        if (fd < 0 || flock(fd, LOCK_EX) != 0 || fstat(fd, &st) != 0)
            return NULL;
        bool fresh = st.st_size == 0;
        /* allocated in full: touching a hole of a mapped file on a full disk would kill us */
        if (fresh && posix_fallocate(fd, 0, (off_t)sizeof(struct file)) != 0)
            return NULL;
        if (fresh || st.st_size == (off_t)sizeof(struct file)) {
            struct file *f = mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (f == MAP_FAILED)
                return NULL;
            if (fresh || f->magic == 0)
                init_file(f);
            flock(fd, LOCK_UN); /* the mapping keeps the open file, and with it the lock */
            if (f->magic == MAGIC && f->size == sizeof *f) {
                /* the mapping keeps the open file, and with it the lock, alive */
                must(flock(fd, LOCK_UN) == 0);
                return f;
            }
            munmap(f, sizeof *f);
        }
        unlink(path);
    }
    return NULL;
}

static int join(struct file *f, int64_t worker) {
    HELD(&f->mutex);
    for (int i = 0; i < WORKERS; i++)
        if (!f->workers[i]) {
            f->workers[i] = worker;
            return i;
        }
    return -1;
}

enum err limits_open(const char *run_dir, int64_t worker, struct limits **out, struct fault *f) {
    char path[600];
    int n = snprintf(path, sizeof path, "%s/limits", run_dir);
    must(n > 0 && (size_t)n < sizeof path);
    struct file *file = map_file(path);
    if (!file)
        return fault_set(f, ERR_INTERNAL, "%s can not be mapped", path);
    int index = join(file, worker);
    if (index < 0) {
        munmap(file, sizeof *file);
        return fault_set(f, ERR_INTERNAL, "%s: too many workers", path);
    }
    struct limits *l = base_zalloc(sizeof *l);
    l->file = file;
    l->index = index;
    l->hosts = 1;
    *out = l;
    return OK;
}

static void free_seats(struct file *f, int index) {
    for (size_t i = 0; i < STRIPES; i++) {
        HELD(&f->stripes[i].mutex);
        for (size_t k = 0; k < WAYS; k++)
            f->stripes[i].slots[k].seats[index] = 0;
    }
    HELD(&f->mutex);
    f->workers[index] = 0;
}

void limits_close(struct limits **lp) {
    struct limits *l = *lp;
    *lp = NULL;
    if (!l)
        return;
    free_seats(l->file, l->index);
    munmap(l->file, sizeof *l->file);
    free(l);
}

void limits_worker_died(struct limits *l, int64_t worker) {
    int index = -1;
    {
        HELD(&l->file->mutex);
        for (int i = 0; i < WORKERS; i++)
            if (l->file->workers[i] == worker)
                index = i;
    }
    if (index >= 0)
        free_seats(l->file, index);
}

void limits_share(struct limits *l, int rank, int hosts) {
    must(rank >= 0 && rank < hosts);
    l->rank = rank;
    l->hosts = hosts;
}

/* This host's part; the parts of all hosts add up to the limit. */
static int64_t part(struct limits *l, int64_t limit) {
    int rank = l->rank, hosts = l->hosts;
    return limit / hosts + (rank < limit % hosts);
}

static uint64_t mix(uint64_t h) {
    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    return h ^ h >> 33;
}

static struct stripe *stripe_of(struct limits *l, uint64_t tag, int64_t id, int64_t sub) {
    uint64_t h = mix(l->file->seed ^ tag);
    h = mix(h ^ (uint64_t)id);
    h = mix(h ^ (uint64_t)sub);
    return &l->file->stripes[h % STRIPES];
}

static struct slot *find(struct stripe *s, uint64_t tag, int64_t id, int64_t sub) {
    for (size_t i = 0; i < WAYS; i++) {
        struct slot *slot = &s->slots[i];
        if (slot->tag == tag && slot->id == id && slot->sub_id == sub)
            return slot;
    }
    return NULL;
}

static int64_t seats_taken(const struct slot *s) {
    int64_t n = 0;
    for (size_t i = 0; i < WORKERS; i++)
        n += s->seats[i];
    return n;
}

/* An unused way, else the one unused for longest that nobody sits in; NULL: all are in use. */
static struct slot *make(struct stripe *s, const struct limit_rule *r) {
    struct slot *best = NULL;
    for (size_t i = 0; i < WAYS; i++) {
        struct slot *slot = &s->slots[i];
        if (!slot->tag) {
            best = slot;
            break;
        }
        if (seats_taken(slot) == 0 && (!best || slot->used_ms < best->used_ms))
            best = slot;
    }
    if (best)
        *best = (struct slot){.tag = r->kind, .id = r->id, .sub_id = r->sub_id};
    return best;
}

static int64_t sum(const struct slot *s, int64_t now, bool tokens) {
    int64_t total = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        const struct bucket *b = &s->buckets[i];
        if (b->number <= now && b->number > now - BUCKETS)
            total += tokens ? b->tokens : b->requests;
    }
    return total;
}

/* When `excess` of what was counted will have left the minute. */
static int64_t wait_ms(const struct slot *s, int64_t now_ms, bool tokens, int64_t excess) {
    int64_t now = now_ms / BUCKET_MS;
    for (int64_t number = now - BUCKETS + 1; number <= now; number++) {
        const struct bucket *b = &s->buckets[number % BUCKETS];
        if (b->number == number)
            excess -= tokens ? b->tokens : b->requests;
        if (excess <= 0)
            return (number + BUCKETS) * BUCKET_MS - now_ms;
    }
    return BUCKETS * BUCKET_MS;
}

struct check {
    int64_t limit, used, want;
};

static bool over(struct check c) {
    return c.limit && c.used + c.want > c.limit;
}

static const char *const kind_names[] = {[LIMIT_KEY] = "key", [LIMIT_GROUP] = "group"};

static enum err refuse(struct fault *f, const struct limit_rule *r, const char *what, int64_t limit,
                       int64_t wait) {
    enum err e = fault_set(f, ERR_RATE_LIMIT, "%s per %s, limit %ld", what, kind_names[r->kind],
                           (long)limit);
    if (f)
        f->retry_after_s = wait > 1000 ? (wait + 999) / 1000 : 1;
    return e;
}

static void view(struct limit_view *v, int64_t limit, int64_t used, int64_t reset) {
    int64_t left = limit > used ? limit - used : 0;
    if (limit && (!v->limit || left < v->remaining))
        *v = (struct limit_view){limit, left, reset};
}

static void report_on(struct limit_report *report, struct limits *l, const struct limit_rule *r,
                      const struct slot *s, int64_t now_ms) {
    int64_t now = now_ms / BUCKET_MS;
    int64_t requests = sum(s, now, false), tokens = sum(s, now, true);
    view(&report->requests, part(l, r->rpm), requests,
         requests ? wait_ms(s, now_ms, false, requests) : 0);
    view(&report->tokens, part(l, r->tpm), tokens, tokens ? wait_ms(s, now_ms, true, tokens) : 0);
}

static enum err take_one(struct limits *l, const struct limit_rule *r, int64_t tokens,
                         struct limit_seat *seat, struct limit_report *report, struct fault *f) {
    struct stripe *st = stripe_of(l, r->kind, r->id, r->sub_id);
    HELD(&st->mutex);
    struct slot *s = find(st, r->kind, r->id, r->sub_id);
    if (!s)
        s = make(st, r);
    if (!s)
        return fault_set(f, ERR_OVERLOADED, NULL);
    int64_t now_ms = clock_mono_ms(), now = now_ms / BUCKET_MS;
    struct check requests = {part(l, r->rpm), sum(s, now, false), 1};
    struct check minute = {part(l, r->tpm), sum(s, now, true), tokens};
    struct check seats = {part(l, r->concurrency), seats_taken(s), 1};
    bool none = (r->rpm && !requests.limit) || (r->tpm && !minute.limit) ||
                (r->concurrency && !seats.limit); /* fewer than one for each host */
    enum err e = OK;
    if (over(requests) || none)
        e = refuse(f, r, "requests per minute", r->rpm,
                   wait_ms(s, now_ms, false, requests.used + 1 - requests.limit));
    else if (over(minute))
        e = refuse(f, r, "tokens per minute", r->tpm,
                   wait_ms(s, now_ms, true, minute.used + tokens - minute.limit));
    else if (over(seats))
        e = refuse(f, r, "requests at once", r->concurrency, 1000);
    if (!e) {
        struct bucket *b = &s->buckets[now % BUCKETS];
        if (b->number != now)
            *b = (struct bucket){.number = (int32_t)now};
        b->requests++;
        b->tokens += tokens;
        s->seats[l->index]++;
        s->used_ms = now_ms;
        *seat = (struct limit_seat){r->kind, r->id, r->sub_id, now};
    }
    if (report)
        report_on(report, l, r, s, now_ms);
    return e;
}

static void give_one(struct limits *l, const struct limit_seat *seat, int64_t reserved,
                     int64_t tokens) {
    struct stripe *st = stripe_of(l, seat->tag, seat->id, seat->sub_id);
    HELD(&st->mutex);
    struct slot *s = find(st, seat->tag, seat->id, seat->sub_id);
    if (!s)
        return;
    if (s->seats[l->index])
        s->seats[l->index]--;
    struct bucket *b = &s->buckets[seat->bucket % BUCKETS];
    if (b->number != seat->bucket)
        return;
    b->tokens += (tokens < 0 ? 0 : tokens) - reserved;
    b->requests -= tokens < 0;
}

enum err limits_take(struct limits *l, const struct limit_rule *rules, size_t n, int64_t tokens,
                     struct limit_seats *seats, struct limit_report *report, struct fault *f) {
    *seats = (struct limit_seats){.tokens = tokens};
    if (report)
        *report = (struct limit_report){0};
    for (size_t i = 0; i < n; i++) {
        if (!rules[i].rpm && !rules[i].tpm && !rules[i].concurrency)
            continue;
        must(seats->n < LIMIT_RULES_MAX);
        enum err e = take_one(l, &rules[i], tokens, &seats->seat[seats->n], report, f);
        if (e) {
            limits_give(l, seats, -1);
            seats->n = 0;
            return e;
        }
        seats->n++;
    }
    return OK;
}

void limits_give(struct limits *l, const struct limit_seats *seats, int64_t tokens) {
    for (uint32_t i = 0; i < seats->n; i++)
        give_one(l, &seats->seat[i], seats->tokens, tokens);
}
