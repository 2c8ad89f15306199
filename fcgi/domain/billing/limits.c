#include "domain/billing/limits.h"

#include "domain/billing/limits_file.h"
#include "util/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define BUCKET_MS 5000
#define WAITERS 4

struct limits {
    struct limits_file *file;
    int index;
    _Atomic int waiters;
};

static int join(struct limits_file *f, int64_t worker) {
    HELD(&f->mutex);
    for (int i = 0; i < LIMITS_WORKERS; i++)
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
    struct limits_file *file = limits_file_map(path);
    if (!file)
        return fault_set(f, ERR_INTERNAL, "%s can not be mapped", path);
    int index = join(file, worker);
    if (index < 0) {
        limits_file_unmap(&file);
        return fault_set(f, ERR_INTERNAL, "%s: too many workers", path);
    }
    struct limits *l = base_zalloc(sizeof *l);
    l->file = file;
    l->index = index;
    *out = l;
    return OK;
}

/* A worker that died while it moved a share has left the database's row as it was or has changed
 * it; the next who moves it writes what the file says. */
static void leave(struct limits_file *f, int index) {
    for (size_t i = 0; i < LIMITS_STRIPES; i++) {
        HELD(&f->stripes[i].mutex);
        for (size_t k = 0; k < LIMITS_WAYS; k++) {
            struct slot *s = &f->stripes[i].slots[k];
            if (!s->tag)
                continue;
            s->seats[index] = 0;
            if (s->mover == index + 1)
                s->mover = s->asking = 0;
        }
    }
    HELD(&f->mutex);
    f->workers[index] = 0;
    bool last = true;
    for (int i = 0; i < LIMITS_WORKERS; i++)
        last = last && !f->workers[i];
    if (last) /* a minute later the shares are other hosts' */
        f->valid_ms = 0;
}

void limits_close(struct limits **lp) {
    struct limits *l = *lp;
    *lp = NULL;
    if (!l)
        return;
    leave(l->file, l->index);
    limits_file_unmap(&l->file);
    free(l);
}

void limits_worker_died(struct limits *l, int64_t worker) {
    int index = -1;
    {
        HELD(&l->file->mutex);
        for (int i = 0; i < LIMITS_WORKERS; i++)
            if (l->file->workers[i] == worker)
                index = i;
    }
    if (index >= 0)
        leave(l->file, index);
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
    return &l->file->stripes[h % LIMITS_STRIPES];
}

static struct slot *find(struct stripe *s, uint64_t tag, int64_t id, int64_t sub) {
    for (size_t i = 0; i < LIMITS_WAYS; i++) {
        struct slot *slot = &s->slots[i];
        if (slot->tag == tag && slot->id == id && slot->sub_id == sub)
            return slot;
    }
    return NULL;
}

static int64_t seats_taken(const struct slot *s) {
    int64_t n = 0;
    for (size_t i = 0; i < LIMITS_WORKERS; i++)
        n += s->seats[i];
    return n;
}

/* An unused way, else the one unused for longest that nobody sits in; NULL: all are in use. */
static struct slot *make(struct limits *l, struct stripe *s, const struct limit_rule *r,
                         int64_t now_ms) {
    struct slot *best = NULL;
    for (size_t i = 0; i < LIMITS_WAYS; i++) {
        struct slot *slot = &s->slots[i];
        if (!slot->tag) {
            best = slot;
            break;
        }
        if (seats_taken(slot) == 0 && !slot->mover && (!best || slot->used_ms < best->used_ms))
            best = slot;
    }
    if (best)
        *best = (struct slot){.tag = r->kind,
                              .id = r->id,
                              .sub_id = r->sub_id,
                              .used_ms = now_ms,
                              .epoch = l->file->epoch};
    return best;
}

static int64_t sum(const struct slot *s, int64_t now, bool tokens) {
    int64_t total = 0;
    for (size_t i = 0; i < LIMITS_BUCKETS; i++) {
        const struct bucket *b = &s->buckets[i];
        if (b->number <= now && b->number > now - LIMITS_BUCKETS)
            total += tokens ? b->tokens : b->requests;
    }
    return total;
}

/* When `excess` of what was counted will have left the minute. */
static int64_t wait_ms(const struct slot *s, int64_t now_ms, bool tokens, int64_t excess) {
    int64_t now = now_ms / BUCKET_MS;
    for (int64_t number = now - LIMITS_BUCKETS + 1; number <= now; number++) {
        const struct bucket *b = &s->buckets[number % LIMITS_BUCKETS];
        if (b->number == number)
            excess -= tokens ? b->tokens : b->requests;
        if (excess <= 0)
            return (number + LIMITS_BUCKETS) * BUCKET_MS - now_ms;
    }
    return LIMITS_BUCKETS * BUCKET_MS;
}

static struct limit_part used_of(const struct slot *s, int64_t now) {
    return (struct limit_part){{sum(s, now, false), sum(s, now, true), seats_taken(s)}};
}

static struct limit_part limit_of(const struct limit_rule *r) {
    return (struct limit_part){{r->rpm, r->tpm, r->concurrency}};
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* What is counted stays this host's; the rest of a share may be others' by now. */
static void keep_counted(struct slot *s, int64_t now) {
    struct limit_part used = used_of(s, now);
    for (int k = 0; k < LIMIT_WHATS; k++)
        s->share.of[k] = least(s->share.of[k], used.of[k]);
}

static struct slot *find_valid(struct limits *l, struct stripe *st, uint64_t tag, int64_t id,
                               int64_t sub, int64_t now) {
    struct slot *s = find(st, tag, id, sub);
    uint32_t epoch = l->file->epoch;
    if (s && s->epoch != epoch) {
        keep_counted(s, now);
        s->epoch = epoch;
    }
    return s;
}

/* A limit that was lowered may be exceeded by the shares of it: they are drawn anew. */
static int64_t may_use(const struct slot *s, const struct limit_part *limit, int k) {
    return limit->of[k] < s->limit.of[k] ? 0 : least(s->share.of[k], limit->of[k]);
}

static const char *const kind_names[] = {
    [LIMIT_KEY] = "key", [LIMIT_GROUP] = "group", [LIMIT_USER] = "account"};
static const char *const what_names[] = {[LIMIT_REQUESTS] = "requests per minute",
                                         [LIMIT_TOKENS] = "tokens per minute",
                                         [LIMIT_SEATS] = "requests at once"};

static enum err refuse(struct fault *f, const struct limit_rule *r, int k, int64_t limit,
                       int64_t wait) {
    enum err e = fault_set(f, ERR_RATE_LIMIT, "%s per %s, limit %ld", what_names[k],
                           kind_names[r->kind], (long)limit);
    if (f)
        f->retry_after_s = wait > 1000 ? (wait + 999) / 1000 : 1;
    return e;
}

static void view(struct limit_view *v, int64_t limit, int64_t used, int64_t reset) {
    int64_t left = limit > used ? limit - used : 0;
    if (limit && (!v->limit || left < v->remaining))
        *v = (struct limit_view){limit, left, reset};
}

static void report_on(struct limit_report *report, const struct limit_part *limit,
                      const struct slot *s, int64_t now_ms) {
    int64_t now = now_ms / BUCKET_MS;
    int64_t requests = sum(s, now, false), tokens = sum(s, now, true);
    view(&report->requests, limit->of[LIMIT_REQUESTS], requests + s->others.of[LIMIT_REQUESTS],
         requests ? wait_ms(s, now_ms, false, requests) : 0);
    view(&report->tokens, limit->of[LIMIT_TOKENS], tokens + s->others.of[LIMIT_TOKENS],
         tokens ? wait_ms(s, now_ms, true, tokens) : 0);
}

static int64_t wait_for(const struct slot *s, int64_t now_ms, int k, int64_t excess) {
    return k == LIMIT_SEATS ? 1000 : wait_ms(s, now_ms, k == LIMIT_TOKENS, excess);
}

static enum err check(const struct slot *s, const struct limit_rule *r, int64_t tokens,
                      int64_t now_ms, const struct limit_rule **lacking, struct fault *f) {
    const struct limit_part limit = limit_of(r), used = used_of(s, now_ms / BUCKET_MS),
                            want = {{1, tokens, 1}};
    for (int k = 0; k < LIMIT_WHATS; k++) {
        int64_t after = used.of[k] + want.of[k], mine = may_use(s, &limit, k);
        if (!limit.of[k] || after <= mine)
            continue;
        if (after <= limit.of[k] && now_ms >= s->dry_ms)
            *lacking = r;
        return refuse(f, r, k, limit.of[k], wait_for(s, now_ms, k, after - mine));
    }
    return OK;
}

static enum err take_one(struct limits *l, const struct limit_rule *r, int64_t tokens,
                         struct limit_seat *seat, struct limit_report *report,
                         const struct limit_rule **lacking, struct fault *f) {
    struct stripe *st = stripe_of(l, r->kind, r->id, r->sub_id);
    HELD(&st->mutex);
    int64_t now_ms = clock_mono_ms(), now = now_ms / BUCKET_MS;
    struct slot *s = find_valid(l, st, r->kind, r->id, r->sub_id, now);
    if (!s)
        s = make(l, st, r, now_ms);
    if (!s)
        return fault_set(f, ERR_OVERLOADED, NULL);
    enum err e = check(s, r, tokens, now_ms, lacking, f);
    if (!e) {
        struct bucket *b = &s->buckets[now % LIMITS_BUCKETS];
        if (b->number != now)
            *b = (struct bucket){.number = (int32_t)now};
        b->requests++;
        b->tokens += tokens;
        s->seats[l->index]++;
        s->used_ms = now_ms;
        *seat = (struct limit_seat){r->kind, r->id, r->sub_id, now};
    }
    if (report) {
        const struct limit_part limit = limit_of(r);
        report_on(report, &limit, s, now_ms);
    }
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
    struct bucket *b = &s->buckets[seat->bucket % LIMITS_BUCKETS];
    if (b->number != seat->bucket)
        return;
    b->tokens += (tokens < 0 ? 0 : tokens) - reserved;
    b->requests -= tokens < 0;
}

enum err limits_take(struct limits *l, const struct limit_rule *rules, size_t n, int64_t tokens,
                     struct limit_seats *seats, struct limit_report *report,
                     const struct limit_rule **lacking, struct fault *f) {
    *lacking = NULL;
    *seats = (struct limit_seats){.tokens = tokens};
    if (report)
        *report = (struct limit_report){0};
    for (size_t i = 0; i < n; i++) {
        if (!rules[i].rpm && !rules[i].tpm && !rules[i].concurrency)
            continue;
        must(seats->n < LIMIT_RULES_MAX);
        enum err e = take_one(l, &rules[i], tokens, &seats->seat[seats->n], report, lacking, f);
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

/* --- shares --------------------------------------------------------------------------------- */

int64_t limits_host(const struct limits *l) {
    return l->file->host_id;
}

void limits_alive(struct limits *l, int64_t asked_ms, int64_t valid_ms) {
    struct limits_file *f = l->file;
    HELD(&f->mutex);
    if (clock_mono_ms() >= f->valid_ms)
        f->epoch++;
    if (f->valid_ms < asked_ms + valid_ms)
        f->valid_ms = asked_ms + valid_ms;
}

bool limits_answer_due(struct limits *l, int64_t period_ms) {
    HELD(&l->file->mutex);
    int64_t now = clock_mono_ms(), at = l->file->answer_ms;
    if (now < at)
        return false;
    l->file->answer_ms = now + period_ms;
    return true;
}

enum move limits_move(struct limits *l, const struct limit_rule *r) {
    struct stripe *st = stripe_of(l, r->kind, r->id, r->sub_id);
    HELD(&st->mutex);
    int64_t now_ms = clock_mono_ms();
    struct slot *s = find_valid(l, st, r->kind, r->id, r->sub_id, now_ms / BUCKET_MS);
    if (!s)
        s = make(l, st, r, now_ms);
    if (!s)
        return MOVE_BUSY;
    if (s->mover)
        return s->asking ? MOVE_ASKING : MOVE_BUSY;
    s->mover = (uint16_t)(l->index + 1);
    return MOVE_MINE;
}

/* The slot of a share that is being moved stays where it is. */
static struct slot *moving(struct limits *l, struct stripe *st, const struct limit_rule *r,
                           int64_t now) {
    struct slot *s = find_valid(l, st, r->kind, r->id, r->sub_id, now);
    must(s && s->mover == l->index + 1);
    return s;
}

void limits_asking(struct limits *l, const struct limit_rule *r) {
    struct stripe *st = stripe_of(l, r->kind, r->id, r->sub_id);
    HELD(&st->mutex);
    moving(l, st, r, clock_mono_ms() / BUCKET_MS)->asking = true;
}

void limits_moved(struct limits *l, const struct limit_rule *r, const struct limit_part *share,
                  const struct limit_part *others, int64_t dry_ms) {
    struct stripe *st = stripe_of(l, r->kind, r->id, r->sub_id);
    HELD(&st->mutex);
    int64_t now_ms = clock_mono_ms();
    const struct slot *before = find(st, r->kind, r->id, r->sub_id);
    bool lost = !before || before->epoch != l->file->epoch; /* while it was moved */
    struct slot *s = moving(l, st, r, now_ms / BUCKET_MS);
    s->mover = s->asking = 0;
    if (share && !lost) {
        s->share = *share;
        s->limit = limit_of(r);
        s->others = *others;
    }
    s->dry_ms = dry_ms ? now_ms + dry_ms : 0;
}

void limits_need(struct limits *l, const struct limit_rule *r, int64_t tokens,
                 struct limit_part *share, struct limit_part *need) {
    struct stripe *st = stripe_of(l, r->kind, r->id, r->sub_id);
    HELD(&st->mutex);
    int64_t now = clock_mono_ms() / BUCKET_MS;
    const struct slot *s = moving(l, st, r, now);
    const struct limit_part used = used_of(s, now), want = {{1, tokens, 1}};
    *share = s->share;
    for (int k = 0; k < LIMIT_WHATS; k++)
        need->of[k] = used.of[k] + want.of[k];
}

struct limit_part limits_strip(struct limits *l, const struct limit_rule *r) {
    struct stripe *st = stripe_of(l, r->kind, r->id, r->sub_id);
    HELD(&st->mutex);
    int64_t now = clock_mono_ms() / BUCKET_MS;
    struct slot *s = moving(l, st, r, now);
    keep_counted(s, now);
    return s->share;
}

bool limits_may_wait(struct limits *l) {
    if (atomic_fetch_add(&l->waiters, 1) < WAITERS)
        return true;
    limits_waited(l);
    return false;
}

void limits_waited(struct limits *l) {
    atomic_fetch_sub(&l->waiters, 1);
}
