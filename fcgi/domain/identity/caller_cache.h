/* caller_cache.h - the pictures of recently used keys: a fixed number of slots, found by the key's
 * keyed hash. Internal to identity/.
 *
 * Sets of slots, the least recently used one goes. Unknown keys are remembered shortly and in slots
 * of their own, so that somebody who makes up keys cannot push real ones out. A hash is the
 * output of a keyed hash, so a client cannot aim for a set. Any thread.
 */
#pragma once

#include "domain/identity/caller.h"
#include "door/crypt.h"
#include "util/lock.h"

#include <stdatomic.h>

/* A picture in memory: one allocation with the lists and texts behind it. */
struct held {
    _Atomic uint32_t refs;
    uint32_t key_gen, user_gen; /* the host's counters before it was read */
    int64_t read_at_ms;         /* monotonic */
    int64_t secret_expires_at;  /* unix s, -1 = never: a secret that was rotated away */
    _Atomic int64_t touched_s;  /* last use that was noted */
    struct caller caller;
};

struct held *held_of(const struct caller *c);
void held_unref(struct held **h);

struct caller_cache;
struct caller_cache *caller_cache_new(int64_t entries);
void caller_cache_free(struct caller_cache **c);

enum cached { CACHED_NOT, CACHED_KEY, CACHED_UNKNOWN };
/* CACHED_KEY: a new reference in *out; whether it is current is the caller's to judge. */
enum cached caller_cache_get(struct caller_cache *c, const uint8_t hash[CRYPT_HASH_LEN],
                             int64_t now_ms, struct held **out);
/* Remembers h (with a reference of its own) instead of what was there. */
void caller_cache_put(struct caller_cache *c, const uint8_t hash[CRYPT_HASH_LEN], struct held *h);
/* Remembers that there is no such key, for 2 seconds. */
void caller_cache_put_unknown(struct caller_cache *c, const uint8_t hash[CRYPT_HASH_LEN],
                              int64_t now_ms);
