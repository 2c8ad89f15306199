/* caller_load.h - callers from the database. Internal to identity/. */
#pragma once

#include "domain/identity/caller_cache.h"

struct secret_ids {
    int64_t secret_id, key_id, user_id;
    int64_t expires_at; /* of the secret, unix s; -1 = with its key. It may be in the past. */
};

/* Finds the secret by its keyed hash of any generation; brings the row to the newest one.
 * ERR_DB_NO_ROW when there is none. */
must_use enum err secret_find(struct db *db, const struct keyring *keys, struct str key,
                              struct secret_ids *out);
/* True for the old secret of a rotation whose grace is over: nobody is let in with it. */
bool secret_ended(const struct secret_ids *s, int64_t now_s);
/* The picture of the key with this hash of the newest generation, with one reference; generations
 * and times are the caller's to set. ERR_DB_NO_ROW. */
must_use enum err caller_load(struct db *db, struct str hash, struct held **out);
