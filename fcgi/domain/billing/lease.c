#include "domain/billing/lease.h"

#include "util/clock.h"
#include "util/wait.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define BURN_WINDOW_MS 1000
#define CUSHION_SECONDS 30
#define CUSHION_CALLS 16
#define CUSHION_MAX INT64_C(1000000000000)

int allow_cmp(const struct allow_id *a, const struct allow_id *b) {
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return a->period < b->period ? -1 : a->period > b->period;
}

static uint64_t hash_id(const struct allow_id *id) {
    return hash_bytes(id, sizeof *id);
}

static uint64_t hash_lease(const void *value) {
    const struct lease *l = value;
    return hash_id(&l->id);
}

static bool is_lease(const void *value, const void *key) {
    const struct lease *l = value;
    return allow_cmp(&l->id, key) == 0;
}

void leases_init(struct leases *ls) {
    pthread_condattr_t attr;
    must(pthread_condattr_init(&attr) == 0);
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    for (size_t i = 0; i < LEASE_SHARDS; i++) {
        struct lease_shard *s = &ls->shards[i];
        lock_init(&s->lock);
        must(pthread_cond_init(&s->drawn, &attr) == 0);
        map_init(&s->map, hash_lease, is_lease);
    }
    pthread_condattr_destroy(&attr);
}

void leases_free(struct leases *ls) {
    for (size_t i = 0; i < LEASE_SHARDS; i++) {
        struct lease_shard *s = &ls->shards[i];
        size_t at = 0;
        for (void *l; (l = map_next(&s->map, &at));)
            free(l);
        map_free(&s->map);
        pthread_cond_destroy(&s->drawn);
        lock_free(&s->lock);
    }
}

struct lease *lease_pin(struct leases *ls, const struct allow_id *id) {
    uint64_t h = hash_id(id);
    struct lease_shard *s = &ls->shards[h >> 58];
    static_assert(LEASE_SHARDS == 64, "the shard is the hash's top six bits");
    LOCKED(&s->lock);
    struct lease *l = map_get(&s->map, h, id);
    if (!l) {
        l = base_zalloc(sizeof *l);
        l->id = *id;
        l->shard = s;
        l->burn_since_ms = l->folded_ms = clock_mono_ms();
        map_put(&s->map, l);
    }
    l->pins++;
    l->used_ms = clock_mono_ms();
    return l;
}

void lease_unpin(struct lease *l) {
    LOCKED(&l->shard->lock);
    l->pins--;
}

static int64_t rate_of(int64_t amount, int64_t ms) {
    return amount < CUSHION_MAX ? amount * 1000 / ms : CUSHION_MAX;
}

static void note_burn(struct lease *l, int64_t amount) {
    int64_t now = clock_mono_ms(), passed = now - l->burn_since_ms;
    l->burnt += amount;
    if (passed < BURN_WINDOW_MS)
        return;
    l->burn_per_s = l->burn_per_s / 2 + rate_of(l->burnt, passed) / 2;
    l->burnt = 0;
    l->burn_since_ms = now;
}

static void hold(struct lease *l, int64_t need) {
    l->avail -= need;
    l->held += need;
    note_burn(l, need);
}

static bool wait_drawn(struct lease *l, int64_t deadline_ms) {
    struct timespec until = {deadline_ms / 1000, deadline_ms % 1000 * 1000000};
    wait_begins();
    return pthread_cond_timedwait(&l->shard->drawn, &l->shard->lock.m, &until) != ETIMEDOUT;
}

enum take lease_take(struct lease *l, int64_t need, int64_t deadline_ms, int64_t *mine) {
    LOCKED(&l->shard->lock);
    uint64_t came = l->draw;
    while (l->drawing && l->avail < need)
        if (!wait_drawn(l, deadline_ms))
            return TAKE_TIMEOUT;
    if (l->avail >= need) {
        hold(l, need);
        return TAKE_OK;
    }
    if (l->refused > came && l->refused_need <= need)
        return TAKE_REFUSED;
    l->draw++;
    *mine = l->avail;
    l->avail = 0;
    l->drawing = true;
    return TAKE_DRAW;
}

static void end_draw(struct lease *l) {
    l->drawing = l->waiting = false;
    pthread_cond_broadcast(&l->shard->drawn);
}

void lease_drawn(struct lease *l, int64_t need, int64_t mine, int64_t drawn) {
    LOCKED(&l->shard->lock);
    l->avail += mine + drawn;
    hold(l, need);
    end_draw(l);
}

void lease_undrawn(struct lease *l, int64_t mine) {
    LOCKED(&l->shard->lock);
    l->avail += mine;
    end_draw(l);
}

void lease_refused(struct lease *l, int64_t need, int64_t mine) {
    LOCKED(&l->shard->lock);
    l->avail += mine;
    l->refused = l->draw;
    l->refused_need = need;
    end_draw(l);
}

int64_t lease_cushion(struct lease *l, int64_t need) {
    LOCKED(&l->shard->lock);
    int64_t calls = need < CUSHION_MAX / CUSHION_CALLS ? need * CUSHION_CALLS : CUSHION_MAX;
    int64_t passed = clock_mono_ms() - l->burn_since_ms;
    int64_t now = rate_of(l->burnt, passed < 200 ? 200 : passed);
    int64_t rate = l->burn_per_s > now ? l->burn_per_s : now;
    int64_t burn = rate < CUSHION_MAX / CUSHION_SECONDS ? rate * CUSHION_SECONDS : CUSHION_MAX;
    return calls > burn ? calls : burn;
}

void lease_settle(struct lease *l, int64_t held, int64_t cost) {
    LOCKED(&l->shard->lock);
    l->held -= held;
    l->avail += held - cost;
    l->unflushed += cost;
    l->used_ms = clock_mono_ms();
}

void lease_cancel(struct lease *l, int64_t held) {
    lease_settle(l, held, 0);
}

void lease_flushed(struct lease *l, int64_t cost) {
    LOCKED(&l->shard->lock);
    l->unflushed -= cost;
}

void lease_waits(struct lease *l) {
    LOCKED(&l->shard->lock);
    l->waiting = true;
}

enum strip lease_strip(struct lease *l, int64_t *amount) {
    LOCKED(&l->shard->lock);
    if (l->drawing)
        return l->waiting ? STRIP_WAITING : STRIP_BUSY;
    *amount = l->avail;
    l->avail = 0;
    l->drawing = true;
    return STRIP_OK;
}

void leases_fenced(struct leases *ls) {
    for (size_t i = 0; i < LEASE_SHARDS; i++) {
        LOCKED(&ls->shards[i].lock);
        size_t at = 0;
        for (struct lease *l; (l = map_next(&ls->shards[i].map, &at));) {
            l->avail = -l->held - l->unflushed;
            l->pending = l->pending_give = 0;
        }
    }
}

static size_t pin_wanted(struct lease_shard *s, struct lease ***out,
                         bool (*wants)(const struct lease *l, void *ctx), void *ctx) {
    LOCKED(&s->lock);
    struct lease **list = base_alloc((s->map.count + 1) * sizeof(struct lease *));
    size_t n = 0, at = 0;
    for (struct lease *l; (l = map_next(&s->map, &at));)
        if (wants(l, ctx)) {
            l->pins++;
            list[n++] = l;
        }
    *out = list;
    return n;
}

void leases_each(struct leases *ls, bool (*wants)(const struct lease *l, void *ctx),
                 void (*fn)(struct lease *l, void *ctx), void *ctx) {
    for (size_t i = 0; i < LEASE_SHARDS; i++) {
        struct lease **list AUTO(base_freep) = NULL;
        size_t n = pin_wanted(&ls->shards[i], &list, wants, ctx);
        for (size_t k = 0; k < n; k++) {
            fn(list[k], ctx);
            lease_unpin(list[k]);
        }
    }
}

void leases_sweep(struct leases *ls, int64_t before_ms) {
    for (size_t i = 0; i < LEASE_SHARDS; i++) {
        struct lease_shard *s = &ls->shards[i];
        LOCKED(&s->lock);
        size_t at = 0;
        for (struct lease *l; (l = map_next(&s->map, &at));) {
            bool empty =
                !l->pins && !l->drawing && !l->pending && !l->avail && !l->held && !l->unflushed;
            bool told = !l->draw || l->folded_ms >= l->used_ms;
            if (empty && told && l->used_ms < before_ms) {
                must(map_remove(&s->map, hash_id(&l->id), &l->id) == l);
                free(l);
            }
        }
    }
}
