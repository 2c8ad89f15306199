/* caller_load.h - callers from the database. Internal to identity/. */
#pragma once

#include "domain/identity/caller_cache.h"

struct secret_ids {
    int64_t secret_id, key_id, user_id;
};

/* Finds the secret by its keyed hash of any generation; brings the row to the newest one.
 * ERR_DB_NO_ROW when there is none. */
must_use enum err secret_find(struct db *db, const struct keyring *keys, struct str key,
                              struct secret_ids *out);
/* The picture of the key with this hash of the newest generation, with one reference; generations
 * and times are the caller's to set. ERR_DB_NO_ROW. */
must_use enum err caller_load(struct db *db, struct str hash, struct held **out);
