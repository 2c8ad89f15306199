#include "domain/audit/audit.h"

#include "door/crypt.h"
#include "door/queries.h"
#include "util/clock.h"

#define MAX_ROW (256 * 1024)

static const uint8_t origin[CRYPT_HASH_LEN]; /* what the first row's previous hash is */

struct row {
    int64_t at, user_id, key_id, actor_id;
    struct str kind, actor, ip, request_id, detail;
};

/* The content as one JSON array: no two rows have the same text. */
static void hash_row(const uint8_t previous[CRYPT_HASH_LEN], const struct row *r,
                     uint8_t out[CRYPT_HASH_LEN]) {
    struct buf text AUTO(buf_free) = BUF((size_t)MAX_ROW * 8);
    buf_put(&text, previous, CRYPT_HASH_LEN);
    buf_printf(&text, "[%lld,%lld,%lld,%lld", (long long)r->at, (long long)r->user_id,
               (long long)r->key_id, (long long)r->actor_id);
    const struct str texts[] = {r->kind, r->actor, r->ip, r->request_id, r->detail};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        buf_putc(&text, ',');
        buf_json(&text, texts[i]);
    }
    buf_putc(&text, ']');
    must(!text.failed);
    crypt_digest(buf_view(&text), out);
}

static struct str cut(struct str s, size_t max) {
    s = str_sub(s, 0, max);
    while (s.n && !str_utf8_ok(s))
        s.n--;
    return s;
}

static enum err append(struct db *db, const struct row *r, int64_t n,
                       const uint8_t previous[CRYPT_HASH_LEN]) {
    uint8_t hash[CRYPT_HASH_LEN];
    hash_row(previous, r, hash);
    struct str h = str_of(hash, sizeof hash);
    enum err e = q_audit_add(db,
                             &(struct q_audit_add_in){
                                 .at = r->at,
                                 .kind = r->kind,
                                 .user_id = r->user_id,
                                 .key_id = r->key_id,
                                 .actor_id = r->actor_id,
                                 .actor = r->actor,
                                 .ip = r->ip,
                                 .request_id = r->request_id,
                                 .detail = r->detail,
                                 .previous_hash = str_of(previous, CRYPT_HASH_LEN),
                                 .hash = h,
                             },
                             NULL);
    if (e == OK)
        e = q_audit_head_set(db, &(struct q_audit_head_set_in){n + 1, h, r->user_id}, NULL);
    return e;
}

enum err audit_write(struct db *db, const struct audit_event *ev) {
    struct q_audit_head_lock head;
    uint8_t previous[CRYPT_HASH_LEN];
    struct row r = {
        .at = clock_unix_s(),
        .user_id = ev->user_id,
        .key_id = ev->key_id,
        .actor_id = ev->actor_id,
        .kind = str_c(ev->kind),
        .actor = cut(ev->actor, 64),
        .ip = cut(ev->ip, 45),
        .request_id = cut(ev->request_id, 64),
        .detail = ev->detail,
    };
    must(ev->detail.n <= MAX_ROW);
    enum err e = q_audit_head_make(
        db, &(struct q_audit_head_make_in){ev->user_id, str_of(origin, sizeof origin)}, NULL);
    if (e == OK)
        e = q_audit_head_lock(db, &(struct q_audit_head_lock_in){ev->user_id}, &head);
    if (e != OK)
        return e;
    if (head.hash.n != CRYPT_HASH_LEN)
        return ERR_INTERNAL;
    memcpy(previous, head.hash.p, sizeof previous);
    return append(db, &r, head.n, previous);
}

struct walk {
    struct audit_report *report;
    int64_t user_id, n, last_id, page;
    uint8_t hash[CRYPT_HASH_LEN];
    bool broken;
};

static enum err check_row(void *ctx, const struct q_audit_chain *q) {
    struct walk *w = ctx;
    uint8_t hash[CRYPT_HASH_LEN];
    struct row r = {q->at,    q->user_id, q->key_id,     q->actor_id, q->kind,
                    q->actor, q->ip,      q->request_id, q->detail};
    hash_row(w->hash, &r, hash);
    bool fits = q->hash.n == sizeof hash && q->previous_hash.n == sizeof hash &&
                memcmp(q->previous_hash.p, w->hash, sizeof hash) == 0 &&
                memcmp(q->hash.p, hash, sizeof hash) == 0;
    w->last_id = q->id;
    w->page++;
    w->n++;
    memcpy(w->hash, hash, sizeof hash);
    if (fits || w->broken)
        return OK;
    w->broken = true;
    w->report->bad_row = q->id;
    return OK;
}

static enum err check_chain(struct db *db, struct walk *w) {
    enum err e;
    do {
        w->page = 0;
        e = q_audit_chain(db, &(struct q_audit_chain_in){w->user_id, w->last_id}, check_row, w);
    } while (e == OK && w->page > 0 && !w->broken);
    return e;
}

#define HEADS 1000
struct heads {
    size_t n;
    struct {
        int64_t user_id, n;
        uint8_t hash[CRYPT_HASH_LEN];
    } items[HEADS];
};

static enum err take_head(void *ctx, const struct q_audit_users *row) {
    struct heads *h = ctx;
    if (row->hash.n != CRYPT_HASH_LEN || h->n == HEADS)
        return ERR_INTERNAL;
    h->items[h->n].user_id = row->user_id;
    h->items[h->n].n = row->n;
    memcpy(h->items[h->n].hash, row->hash.p, CRYPT_HASH_LEN);
    h->n++;
    return OK;
}

static enum err check_account(struct db *db, const struct heads *h, size_t i,
                              struct audit_report *out, struct fault *f) {
    struct walk w = {.report = out, .user_id = h->items[i].user_id};
    enum err e = check_chain(db, &w);
    if (e != OK)
        return e;
    out->accounts++;
    out->rows += w.n;
    if (!w.broken && w.n == h->items[i].n && memcmp(w.hash, h->items[i].hash, sizeof w.hash) == 0)
        return OK;
    out->bad_user = w.user_id;
    if (w.broken)
        return fault_set(f, ERR_INTERNAL,
                         "account %lld: row %lld was changed or one before it removed",
                         (long long)w.user_id, (long long)out->bad_row);
    return fault_set(f, ERR_INTERNAL, "account %lld: %lld rows are there, %lld were written",
                     (long long)w.user_id, (long long)w.n, (long long)h->items[i].n);
}

/* Rows whose account has no head at all: the head was removed with the intention to hide. */
static enum err check_orphans(struct db *db, struct fault *f) {
    struct q_audit_orphans orphans;
    enum err e = q_audit_orphans(db, &orphans);
    if (e == OK && orphans.n)
        return fault_set(f, ERR_INTERNAL, "%lld rows belong to no chain", (long long)orphans.n);
    return e;
}

enum err audit_verify(struct db *db, struct audit_report *out, struct fault *f) {
    struct heads *h AUTO(base_freep) = base_alloc(sizeof *h);
    int64_t after = 0;
    *out = (struct audit_report){0};
    do {
        h->n = 0;
        enum err e = q_audit_users(db, &(struct q_audit_users_in){after}, take_head, h);
        for (size_t i = 0; e == OK && i < h->n; i++)
            e = check_account(db, h, i, out, f);
        if (e != OK)
            return e;
        if (h->n)
            after = h->items[h->n - 1].user_id;
    } while (h->n == HEADS);
    return check_orphans(db, f);
}
