#include "domain/billing/credit.h"

#include "door/queries.h"
#include "util/clock.h"

static enum err grant(struct db *db, enum allow_kind kind, int64_t id, int64_t delta) {
    int64_t start = kind == ALLOW_SANDBOX ? CREDIT_SANDBOX_START : 0;
    enum err e = q_allow_add(db, &(struct q_allow_add_in){kind, id, 0, start, start}, NULL);
    if (!e)
        e = q_allow_grant(db, &(struct q_allow_grant_in){delta, delta, kind, id, 0}, NULL);
    return e;
}

enum err credit_give_in(struct db *db, const struct credit *c) {
    must(c->kind == ALLOW_USER || c->kind == ALLOW_SANDBOX);
    enum err e = grant(db, c->kind, c->user_id, c->amount);
    if (!e)
        e = q_credit_add(db,
                         &(struct q_credit_add_in){c->kind, c->user_id, c->amount, c->source,
                                                   c->reason, c->actor_id, c->reference,
                                                   clock_unix_s()},
                         NULL);
    return e;
}

static enum err run_give(struct db *db, void *ctx) {
    return credit_give_in(db, ctx);
}

enum err credit_give(struct db *db, const struct credit *c) {
    struct credit copy = *c;
    return db_transaction(db, c->reference.n > 0, run_give, &copy);
}

enum err credit_key_new_in(struct db *db, int64_t key_id, int64_t remaining) {
    return q_allow_add(db, &(struct q_allow_add_in){ALLOW_KEY, key_id, 0, remaining, remaining},
                       NULL);
}

enum err credit_key_set_in(struct db *db, int64_t key_id, int64_t remaining) {
    struct q_allow_lock locked;
    enum err e = credit_key_new_in(db, key_id, 0);
    if (!e)
        e = q_allow_lock(db, &(struct q_allow_lock_in){ALLOW_KEY, key_id, 0}, &locked);
    struct allow_view v = {0};
    if (!e)
        e = credit_view(db, ALLOW_KEY, key_id, 0, &v);
    int64_t delta = remaining - v.remaining;
    if (!e && delta)
        e = q_allow_grant(db, &(struct q_allow_grant_in){delta, delta, ALLOW_KEY, key_id, 0}, NULL);
    if (!e && delta < 0)
        e = q_allow_recall_all(db, &(struct q_allow_recall_all_in){ALLOW_KEY, key_id, 0}, NULL);
    return e;
}

enum err credit_view(struct db *db, enum allow_kind kind, int64_t id, int64_t period,
                     struct allow_view *out) {
    struct q_allow_view got;
    *out = (struct allow_view){0};
    enum err e = q_allow_view(db, &(struct q_allow_view_in){kind, id, period}, &got);
    if (e == ERR_DB_NO_ROW) {
        if (kind == ALLOW_SANDBOX)
            *out = (struct allow_view){CREDIT_SANDBOX_START, 0, CREDIT_SANDBOX_START};
        return OK;
    }
    if (!e)
        *out = (struct allow_view){got.granted, got.used, got.granted - got.used};
    return e;
}
