#include "domain/identity/reseal.h"

#include "door/crypt.h"
#include "door/db.h"
#include "door/queries.h"
#include "util/secret.h"

#define STEP 500
#define SEALED_MAX 8192

struct item {
    int64_t id;
    uint8_t hash[CRYPT_HASH_LEN]; /* secrets of keys only */
    struct buf sealed;            /* of both kinds; empty = none kept */
};

struct batch {
    const struct keyring *keys;
    struct reseal_report *report;
    struct db *db;
    size_t n;
    int64_t last_id;
    struct item items[STEP];
};

static void batch_empty(struct batch *b) {
    for (size_t i = 0; i < b->n; i++)
        buf_free(&b->items[i].sealed);
    b->n = 0;
}

static void batch_free(struct batch **b) {
    batch_empty(*b);
    base_freep(b);
}

static enum err take(struct batch *b, int64_t id, struct str hash, struct str sealed) {
    must(b->n < STEP);
    struct item *it = &b->items[b->n++];
    *it = (struct item){.id = id, .sealed = BUF(SEALED_MAX)};
    if (hash.n == CRYPT_HASH_LEN)
        memcpy(it->hash, hash.p, CRYPT_HASH_LEN);
    buf_str(&it->sealed, sealed);
    b->last_id = id;
    return it->sealed.failed ? ERR_INTERNAL : OK;
}

static enum err take_secret(void *ctx, const struct q_secrets_after *row) {
    return take(ctx, row->id, row->hash, row->sealed);
}

static enum err take_channel_key(void *ctx, const struct q_channel_keys_after *row) {
    return take(ctx, row->id, STR_NONE, row->sealed);
}

static enum err take_service(void *ctx, const struct q_service_secrets_after *row) {
    return take(ctx, row->id, STR_NONE, row->sealed);
}

static void plain_free(struct buf *b) {
    if (b->p)
        secret_wipe(b->p, b->cap);
    buf_free(b);
}

/* Opens an item into *plain; false (and counted) when there is nothing to do for it. */
static bool open_item(struct batch *b, const struct item *it, const char *what, struct buf *plain) {
    struct str sealed = buf_view(&it->sealed);
    b->report->seen++;
    if (!sealed.n) {
        b->report->waiting++;
        return false;
    }
    if (!crypt_seal_is_old(b->keys, sealed))
        return false;
    if (crypt_unseal(b->keys, what, sealed, plain) != OK) {
        b->report->lost++;
        return false;
    }
    b->report->moved++;
    return true;
}

static enum err move_secret(struct batch *b, const struct item *it) {
    struct buf plain AUTO(plain_free) = BUF(SEALED_MAX), sealed AUTO(buf_free) = BUF(SEALED_MAX);
    uint8_t hash[CRYPT_HASH_LEN];
    if (!open_item(b, it, "api_key", &plain))
        return OK;
    crypt_hash(b->keys, "api_key", buf_view(&plain), hash);
    crypt_seal(b->keys, "api_key", buf_view(&plain), &sealed);
    return q_secret_reseal(b->db,
                           &(struct q_secret_reseal_in){str_of(hash, sizeof hash),
                                                        buf_view(&sealed), it->id,
                                                        str_of(it->hash, sizeof it->hash)},
                           NULL);
}

/* What is sealed and nothing more: read and written by statements of its own. */
static enum err move_sealed(struct batch *b, const struct item *it, const char *what,
                            enum err (*write)(struct db *db, struct str sealed, int64_t id)) {
    struct buf plain AUTO(plain_free) = BUF(SEALED_MAX), sealed AUTO(buf_free) = BUF(SEALED_MAX);
    if (!open_item(b, it, what, &plain))
        return OK;
    crypt_seal(b->keys, what, buf_view(&plain), &sealed);
    return write(b->db, buf_view(&sealed), it->id);
}

static enum err write_channel_key(struct db *db, struct str sealed, int64_t id) {
    return q_channel_key_reseal(db, &(struct q_channel_key_reseal_in){sealed, id}, NULL);
}

static enum err write_service(struct db *db, struct str sealed, int64_t id) {
    return q_service_reseal(db, &(struct q_service_reseal_in){sealed, id}, NULL);
}

enum kind { KEYS, CHANNEL_KEYS, SERVICES };

static enum err read_step(struct batch *b, enum kind kind) {
    switch (kind) {
    case CHANNEL_KEYS:
        return q_channel_keys_after(b->db, &(struct q_channel_keys_after_in){b->last_id},
                                    take_channel_key, b);
    case SERVICES:
        return q_service_secrets_after(b->db, &(struct q_service_secrets_after_in){b->last_id},
                                       take_service, b);
    case KEYS:
        break;
    }
    return q_secrets_after(b->db, &(struct q_secrets_after_in){b->last_id}, take_secret, b);
}

static enum err move_item(struct batch *b, enum kind kind, const struct item *it) {
    if (kind == KEYS)
        return move_secret(b, it);
    return kind == SERVICES ? move_sealed(b, it, "service_key", write_service)
                            : move_sealed(b, it, "channel_key", write_channel_key);
}

/* One kind of rows from its first to its last. */
static enum err move_all(struct batch *b, enum kind kind) {
    b->last_id = 0;
    do {
        batch_empty(b);
        enum err e = read_step(b, kind);
        for (size_t i = 0; e == OK && i < b->n; i++)
            e = move_item(b, kind, &b->items[i]);
        if (e != OK)
            return e;
    } while (b->n == STEP);
    return OK;
}

enum err reseal_all(struct db *db, const struct keyring *keys, struct reseal_report *out) {
    struct batch *b AUTO(batch_free) = base_zalloc(sizeof *b);
    *out = (struct reseal_report){0};
    b->keys = keys;
    b->report = out;
    b->db = db;
    enum err e = move_all(b, KEYS);
    if (e == OK)
        e = move_all(b, CHANNEL_KEYS);
    if (e == OK)
        e = move_all(b, SERVICES);
    struct q_access_token_total tokens;
    if (e == OK)
        e = q_access_token_total(db, &tokens);
    if (e == OK)
        out->waiting += tokens.n;
    return e;
}
