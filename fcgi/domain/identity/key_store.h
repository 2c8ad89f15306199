/* key_store.h - API keys in the database: what the management endpoints and tollgatectl do with
 * them. Writers run inside the caller's transaction (db_transaction) and leave it to the caller to
 * bump the host's counters after COMMIT; readers run anywhere. Texts of views are in `mem`. */
#pragma once

#include "domain/identity/key.h"
#include "domain/identity/key_text.h"

#define KEY_SECRETS_MAX 2 /* live ones, during a rotation */
#define KEY_GRACE_MAX_S (30 * 86400)
#define KEY_GRACE_DEFAULT_S 86400

struct key_secret_view {
    int64_t id, created_at, expires_at, last_used_at; /* expires_at -1 = never, last_used_at 0 */
    struct str hint, sealed, last_used_ip, last_used_model, last_used_agent;
};

struct key_view {
    int64_t id, user_id, created_at, accessed_at, used_quota;
    bool disabled;
    struct key_settings s; /* remain_quota: what is left, leased parts included */
    struct str last_used_ip, last_used_model;
    struct key_secret_view secrets[KEY_SECRETS_MAX]; /* newest first */
    size_t n_secrets;
};

struct key_list {
    struct key_view *items; /* newest first */
    size_t n;
    int64_t total;
};

/* ERR_RECORD_NOT_FOUND also for another account's key. */
must_use enum err key_get(struct db *db, int64_t user_id, int64_t id, struct arena *mem,
                          struct key_view *out);
/* The same, with the key's row locked for the transaction. */
must_use enum err key_lock(struct db *db, int64_t user_id, int64_t id, struct arena *mem,
                           struct key_view *out);
must_use enum err key_page(struct db *db, int64_t user_id, int64_t offset, int64_t limit,
                           struct arena *mem, struct key_list *out);
/* keyword: part of the name, any case. token: a whole key, or the beginning or end of a hint.
 * Empty ones match everything; '%' around them is dropped. */
must_use enum err key_search(struct db *db, const struct keyring *keys, int64_t user_id,
                             struct str keyword, struct str token, int64_t offset, int64_t limit,
                             struct arena *mem, struct key_list *out);

struct key_new {
    int64_t user_id, max_keys;
    struct str prefix;
    bool recoverable; /* keep a sealed copy */
    struct key_settings *s;
    /* out */
    int64_t id;
    char text[KEY_TEXT_CAP];
};
/* ERR_KEYS_TOO_MANY when the account has max_keys live ones: counted under the lock of its row. */
must_use enum err key_create(struct db *db, const struct keyring *keys, struct key_new *k,
                             struct fault *f);
/* How an update changes the quota. A delta keeps what is spent meanwhile; an absolute value means
 * what remains after it, so that is lost. */
struct key_quota {
    bool absolute;
    int64_t value;
};
must_use enum err key_update(struct db *db, const struct key_view *before,
                             const struct key_settings *s, bool disabled, struct key_quota quota);
/* Only the switch. */
must_use enum err key_set_disabled(struct db *db, int64_t id, bool disabled);
must_use enum err key_delete(struct db *db, int64_t user_id, int64_t id);

/* A second secret; the first one works for grace_s more. ERR_ROTATION_OPEN. */
must_use enum err key_rotate(struct db *db, const struct keyring *keys, const struct key_view *k,
                             struct str prefix, bool recoverable, int64_t grace_s,
                             char text[KEY_TEXT_CAP], struct fault *f);
/* Ends the older secret now. ERR_ROTATION_NONE. */
must_use enum err key_revoke_old(struct db *db, const struct key_view *k, struct fault *f);

/* The newest secret's text. ERR_KEY_NOT_RECOVERABLE when no sealed copy was kept. */
must_use enum err key_reveal(const struct keyring *keys, const struct key_view *k, struct buf *out);
