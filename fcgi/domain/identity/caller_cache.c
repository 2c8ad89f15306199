#include "domain/identity/caller_cache.h"

#include <stdlib.h>

#define SHARDS 64
#define WAYS 8
#define UNKNOWN_WAYS 2
#define UNKNOWN_MS 2000

struct slot {
    uint8_t hash[CRYPT_HASH_LEN];
    struct held *held;  /* NULL: unknown key, or free */
    int64_t unknown_ms; /* until when it is known to be unknown */
    uint64_t used;      /* the shard's tick of the last use, 0 = free */
};

struct set {
    struct slot slots[WAYS];
};

struct shard {
    struct lock lock;
    uint64_t tick;
    struct set *sets;
} __attribute__((aligned(64)));

struct caller_cache {
    size_t sets; /* a shard */
    struct shard shards[SHARDS];
};

struct held *held_of(const struct caller *c) {
    return CONTAINER_OF((uintptr_t)c, struct held, caller);
}

void held_unref(struct held **h) {
    if (*h && atomic_fetch_sub_explicit(&(*h)->refs, 1, memory_order_acq_rel) == 1)
        free(*h);
    *h = NULL;
}

struct caller_cache *caller_cache_new(int64_t entries) {
    must(entries >= 0);
    struct caller_cache *c = aligned_alloc(64, sizeof *c);
    must(c != NULL);
    const size_t per_round = SHARDS * (WAYS - UNKNOWN_WAYS);
    c->sets = ((size_t)entries + per_round - 1) / per_round;
    if (!c->sets)
        c->sets = 1;
    for (size_t i = 0; i < SHARDS; i++) {
        lock_init(&c->shards[i].lock);
        c->shards[i].tick = 0;
        c->shards[i].sets = base_zalloc(c->sets * sizeof(struct set));
    }
    return c;
}

static void empty(struct caller_cache *c, struct shard *s) {
    for (size_t i = 0; i < c->sets; i++)
        for (size_t w = 0; w < WAYS; w++)
            held_unref(&s->sets[i].slots[w].held);
    free(s->sets);
    lock_free(&s->lock);
}

void caller_cache_free(struct caller_cache **c) {
    for (size_t i = 0; *c && i < SHARDS; i++)
        empty(*c, &(*c)->shards[i]);
    free(*c);
    *c = NULL;
}

static struct shard *shard_of(struct caller_cache *c, const uint8_t hash[CRYPT_HASH_LEN]) {
    return &c->shards[hash[0] % SHARDS];
}

static struct set *set_of(struct caller_cache *c, struct shard *s,
                          const uint8_t hash[CRYPT_HASH_LEN]) {
    uint64_t h;
    memcpy(&h, hash + 1, sizeof h);
    return &s->sets[h % c->sets];
}

static struct slot *find(struct set *set, const uint8_t hash[CRYPT_HASH_LEN]) {
    for (size_t w = 0; w < WAYS; w++)
        if (set->slots[w].used && memcmp(set->slots[w].hash, hash, CRYPT_HASH_LEN) == 0)
            return &set->slots[w];
    return NULL;
}

enum cached caller_cache_get(struct caller_cache *c, const uint8_t hash[CRYPT_HASH_LEN],
                             int64_t now_ms, struct held **out) {
    struct shard *s = shard_of(c, hash);
    LOCKED(&s->lock);
    struct slot *slot = find(set_of(c, s, hash), hash);
    if (!slot)
        return CACHED_NOT;
    if (!slot->held)
        return now_ms < slot->unknown_ms ? CACHED_UNKNOWN : CACHED_NOT;
    slot->used = ++s->tick;
    atomic_fetch_add_explicit(&slot->held->refs, 1, memory_order_relaxed);
    *out = slot->held;
    return CACHED_KEY;
}

static struct slot *oldest(struct set *set, size_t from, size_t to) {
    struct slot *best = &set->slots[from];
    for (size_t w = from + 1; w < to; w++)
        if (set->slots[w].used < best->used)
            best = &set->slots[w];
    return best;
}

/* The first slots of a set are for unknown keys (h NULL), the others for real ones. */
static void put(struct caller_cache *c, const uint8_t hash[CRYPT_HASH_LEN], struct held *h,
                int64_t until) {
    struct held *old AUTO(held_unref) = NULL; /* freed after the lock is dropped */
    struct shard *s = shard_of(c, hash);
    LOCKED(&s->lock);
    struct set *set = set_of(c, s, hash);
    struct slot *slot = find(set, hash);
    if (slot && !slot->held != !h) {
        old = slot->held;
        *slot = (struct slot){0};
        slot = NULL;
    }
    if (!slot)
        slot = h ? oldest(set, UNKNOWN_WAYS, WAYS) : oldest(set, 0, UNKNOWN_WAYS);
    if (slot->held)
        old = slot->held;
    memcpy(slot->hash, hash, CRYPT_HASH_LEN);
    slot->held = h;
    slot->unknown_ms = until;
    slot->used = ++s->tick;
}

void caller_cache_put(struct caller_cache *c, const uint8_t hash[CRYPT_HASH_LEN], struct held *h) {
    atomic_fetch_add_explicit(&h->refs, 1, memory_order_relaxed);
    put(c, hash, h, 0);
}

void caller_cache_put_unknown(struct caller_cache *c, const uint8_t hash[CRYPT_HASH_LEN],
                              int64_t now_ms) {
    put(c, hash, NULL, now_ms + UNKNOWN_MS);
}
