#include "domain/billing/reconcile.h"

#include "domain/billing/credit.h"
#include "door/queries.h"

struct telling {
    void (*tell)(void *ctx, const struct discrepancy *d);
    void *ctx;
};

const char *reconcile_rule(enum reconcile_check c) {
    static const char *const rules[] = {
        [RECONCILE_BALANCE] = "granted = remaining + leased + spent",
        [RECONCILE_SPENT] = "spent = sum of usage",
        [RECONCILE_ROWS] = "hourly sums = sums of usage rows",
        [RECONCILE_CREDITS] = "granted = sum of credits",
    };
    static_assert(ARRAY_LEN(rules) == RECONCILE__MAX, "a check without a rule");
    return rules[c];
}

static enum err tell(const struct telling *t, enum reconcile_check check, struct allow_id id,
                     int64_t expected, int64_t found) {
    t->tell(t->ctx, &(struct discrepancy){check, id, expected, found});
    return OK;
}

static enum err on_balance(void *ctx, const struct q_reconcile_balances *r) {
    return tell(ctx, RECONCILE_BALANCE, (struct allow_id){r->kind, r->owner_id, r->period},
                r->expected, r->found);
}

static enum err on_user(void *ctx, const struct q_reconcile_users *r) {
    return tell(ctx, RECONCILE_SPENT, (struct allow_id){r->kind, r->owner_id, r->period},
                r->expected, r->found);
}

static enum err on_key(void *ctx, const struct q_reconcile_keys *r) {
    return tell(ctx, RECONCILE_SPENT, (struct allow_id){r->kind, r->owner_id, r->period},
                r->expected, r->found);
}

static enum err on_rows(void *ctx, const struct q_reconcile_rows *r) {
    return tell(ctx, RECONCILE_ROWS, (struct allow_id){ALLOW_KEY, r->key_id, 0}, r->expected,
                r->found);
}

static enum err on_credits(void *ctx, const struct q_reconcile_credits *r) {
    return tell(ctx, RECONCILE_CREDITS, (struct allow_id){r->kind, r->owner_id, r->period},
                r->expected, r->found);
}

static enum err check_rows(struct db *db, struct telling *t) {
    struct q_reconcile_first_row first;
    enum err e = q_reconcile_first_row(db, &first);
    if (e)
        return e;
    /* retention drops whole months, so the first row's hour is whole */
    int64_t hour = first.created_s / 3600 * 3600;
    return q_reconcile_rows(db, &(struct q_reconcile_rows_in){hour, hour}, on_rows, t);
}

enum err reconcile_run(struct db *db, void (*fn)(void *ctx, const struct discrepancy *d),
                       void *ctx) {
    struct telling t = {fn, ctx};
    const int64_t start = CREDIT_SANDBOX_START;
    enum err e = q_reconcile_balances(db, on_balance, &t);
    if (!e)
        e = q_reconcile_users(db, on_user, &t);
    if (!e)
        e = q_reconcile_keys(db, on_key, &t);
    if (!e)
        e = check_rows(db, &t);
    if (!e)
        e = q_reconcile_credits(db, &(struct q_reconcile_credits_in){start, start}, on_credits, &t);
    return e;
}

static enum err run_repair(struct db *db, void *ctx) {
    const struct discrepancy *d = ctx;
    struct q_allow_lock locked;
    enum err e =
        q_allow_lock(db, &(struct q_allow_lock_in){d->id.kind, d->id.id, d->id.period}, &locked);
    if (!e && d->check == RECONCILE_SPENT)
        e = q_reconcile_set_spent(db,
                                  &(struct q_reconcile_set_spent_in){
                                      d->expected, d->found, d->id.kind, d->id.id, d->id.period},
                                  NULL);
    if (!e)
        e = q_reconcile_set_remain(
            db, &(struct q_reconcile_set_remain_in){d->id.kind, d->id.id, d->id.period}, NULL);
    return e;
}

enum err reconcile_repair(struct db *db, const struct discrepancy *d) {
    if (d->check != RECONCILE_BALANCE && d->check != RECONCILE_SPENT)
        return OK;
    struct discrepancy copy = *d;
    return db_transaction(db, false, run_repair, &copy);
}
