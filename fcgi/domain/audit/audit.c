#include "domain/audit/audit.h"

#include "door/crypt.h"
#include "door/db.h"
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

struct account {
    struct walk walk;
    struct audit_report *out;
    struct fault *fault;
};

/* The chain and its end as they are at one moment: who writes meanwhile is no forger. */
static enum err check_account(struct db *db, void *ctx) {
    struct account *a = ctx;
    struct q_audit_head head;
    uint8_t last[CRYPT_HASH_LEN];
    struct walk *w = &a->walk;
    *w = (struct walk){.report = a->out, .user_id = w->user_id};
    enum err e = q_audit_head(db, &(struct q_audit_head_in){w->user_id}, &head);
    if (e == ERR_DB_NO_ROW) /* its rows, if any, are orphans */
        return OK;
    if (e == OK && head.hash.n != sizeof last)
        e = ERR_INTERNAL;
    if (e != OK)
        return e;
    int64_t written = head.n;
    memcpy(last, head.hash.p, sizeof last);
    e = check_chain(db, w);
    if (e != OK)
        return e;
    if (!w->broken && w->n == written && memcmp(w->hash, last, sizeof last) == 0)
        return OK;
    a->out->bad_user = w->user_id;
    if (w->broken)
        return fault_set(a->fault, ERR_INTERNAL,
                         "account %lld: row %lld was changed or one before it removed",
                         (long long)w->user_id, (long long)a->out->bad_row);
    return fault_set(a->fault, ERR_INTERNAL, "account %lld: %lld rows are there, %lld were written",
                     (long long)w->user_id, (long long)w->n, (long long)written);
}

#define STEP 1000 /* of audit_users */

struct accounts {
    size_t n;
    int64_t ids[STEP];
};

static enum err take_account(void *ctx, const struct q_audit_users *row) {
    struct accounts *all = ctx;
    must(all->n < STEP);
    all->ids[all->n++] = row->user_id;
    return OK;
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
    struct accounts *all AUTO(base_freep) = base_alloc(sizeof *all);
    int64_t after = 0;
    *out = (struct audit_report){0};
    do {
        all->n = 0;
        enum err e = q_audit_users(db, &(struct q_audit_users_in){after}, take_account, all);
        for (size_t i = 0; e == OK && i < all->n; i++) {
            struct account a = {.walk = {.user_id = all->ids[i]}, .out = out, .fault = f};
            e = db_snapshot(db, check_account, &a);
            out->accounts++;
            out->rows += a.walk.n;
        }
        if (e != OK)
            return e;
        if (all->n)
            after = all->ids[all->n - 1];
    } while (all->n == STEP);
    return check_orphans(db, f);
}
