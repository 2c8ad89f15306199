#include "util/hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

static uint64_t seed;

static void draw_seed(void) {
    must(getrandom(&seed, sizeof seed, 0) == (ssize_t)sizeof seed);
}

static uint64_t get_seed(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, draw_seed);
    return seed;
}

/* Murmur3's 64-bit finaliser (Appleby, public domain description). */
static uint64_t mix(uint64_t h) {
    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 33;
    h *= UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

uint64_t hash_u64(uint64_t v) {
    return mix(v ^ get_seed());
}

uint64_t hash_bytes(const void *p, size_t n) {
    const unsigned char *q = p;
    uint64_t h = get_seed() ^ n * UINT64_C(0x9e3779b97f4a7c15), w;
    for (; n >= 8; q += 8, n -= 8) {
        memcpy(&w, q, 8);
        h = mix(h ^ w);
    }
    w = 0;
    for (size_t i = 0; i < n; i++)
        w |= (uint64_t)q[i] << (8 * i);
    return mix(h ^ w);
}

static char gone;
#define MAP_GONE ((void *)&gone)

void map_init(struct map *m, uint64_t (*hash)(const void *value),
              bool (*eq)(const void *value, const void *key)) {
    *m = (struct map){.hash = hash, .eq = eq};
}

void map_free(struct map *m) {
    free(m->slots);
    map_init(m, m->hash, m->eq);
}

static void **find(const struct map *m, uint64_t hash, const void *key) {
    if (!m->cap)
        return NULL;
    for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        if (!m->slots[i])
            return NULL;
        if (m->slots[i] != MAP_GONE && m->eq(m->slots[i], key))
            return &m->slots[i];
    }
}

void *map_get(const struct map *m, uint64_t hash, const void *key) {
    void **slot = find(m, hash, key);
    return slot ? *slot : NULL;
}

static void place(struct map *m, void *value) {
    size_t i = m->hash(value) & (m->cap - 1);
    while (m->slots[i])
        i = (i + 1) & (m->cap - 1);
    m->slots[i] = value;
    m->used++;
}

static void rehash(struct map *m) {
    void **old = m->slots;
    size_t old_cap = m->cap;
    m->cap = 16;
    while (m->cap < m->count * 4)
        m->cap *= 2;
    m->slots = base_zalloc(m->cap * sizeof *m->slots);
    m->used = 0;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i] && old[i] != MAP_GONE)
            place(m, old[i]);
    free(old);
}

void map_put(struct map *m, void *value) {
    if (m->used + 1 > m->cap / 4 * 3)
        rehash(m);
    place(m, value);
    m->count++;
}

void *map_remove(struct map *m, uint64_t hash, const void *key) {
    void **slot = find(m, hash, key);
    if (!slot)
        return NULL;
    void *value = *slot;
    *slot = MAP_GONE;
    m->count--;
    return value;
}

void *map_next(const struct map *m, size_t *at) {
    while (*at < m->cap) {
        void *v = m->slots[(*at)++];
        if (v && v != MAP_GONE)
            return v;
    }
    return NULL;
}
