/* hash.h - a seeded 64-bit hash and an open-addressing map from u64 or bytes to a pointer.
 *
 * Not thread safe: the owner locks. The hash is for tables only, never for secrets; its seed is
 * drawn once per process, so a client cannot aim for one bucket.
 */
#pragma once

#include "util/str.h"

uint64_t hash_bytes(const void *p, size_t n);
uint64_t hash_u64(uint64_t v);

/* The map stores values that embed their key; `eq` compares a stored value with a looked-up key. */
struct map {
    void **slots; /* NULL empty, MAP_GONE deleted */
    size_t cap, count, used;
    uint64_t (*hash)(const void *value);
    bool (*eq)(const void *value, const void *key);
};

void map_init(struct map *m, uint64_t (*hash)(const void *value),
              bool (*eq)(const void *value, const void *key));
void map_free(struct map *m); /* the values are the caller's */
void *map_get(const struct map *m, uint64_t hash, const void *key);
/* Adds; the caller has made sure the key is not in yet. */
void map_put(struct map *m, void *value);
/* Unlinks and returns the value, or NULL. */
void *map_remove(struct map *m, uint64_t hash, const void *key);
/* Next value from *at (start at 0), NULL at the end. Removing the returned value is allowed. */
void *map_next(const struct map *m, size_t *at);
