#include "domain/billing/draw.h"

#include "domain/billing/bell.h"
#include "door/queries.h"
#include "util/clock.h"

#include <time.h>

#define RECALL_POLL_MS 5
#define DRAWS_MAX SHARE_MAX

/* The lease's row as the transaction finds it. */
struct row {
    bool found;
    int64_t settled;
    int64_t op, moved; /* number of the last transaction on it, and what that moved to the lease */
};

static enum err read_row(struct db *db, int64_t worker, const struct allow_id *id,
                         struct row *row) {
    struct q_lease_get got;
    enum err e =
        q_lease_get(db, &(struct q_lease_get_in){worker, id->kind, id->id, id->period}, &got);
    if (e == ERR_DB_NO_ROW) {
        *row = (struct row){0};
        return OK;
    }
    if (!e)
        *row = (struct row){true, got.settled, got.op_no, got.op_moved};
    return e;
}

/* What earlier transactions of unknown outcome have left in this process's hands. Each transaction
 * writes all that is unclaimed, so the newest one that was committed tells the sum. A row that is
 * gone was empty: a return that had succeeded. */
static int64_t regained(const struct lease *l, const struct row *row) {
    if (!l->pending || (!row->found && l->pending_give))
        return 0;
    return row->found && row->op >= l->pending ? row->moved : l->pending_give;
}

struct attempt {
    struct bank *bank;
    struct draw *draws;
    size_t n, short_of;
    int64_t op;
    bool committed; /* by an earlier run, whose answer was lost */
    bool exact;     /* take no more than is needed */
    int64_t deadline_ms;
    int64_t gain[DRAWS_MAX], take[DRAWS_MAX], spent[DRAWS_MAX];
    struct q_allow_lock allowance[DRAWS_MAX];
};

static enum err lock_allowance(struct db *db, const struct draw *d, struct q_allow_lock *a) {
    const struct allow_id *id = &d->lease->id;
    const struct q_allow_lock_in in = {id->kind, id->id, id->period};
    enum err e = q_allow_lock(db, &in, a);
    if (e == ERR_DB_NO_ROW && d->start >= 0) {
        e = q_allow_add(
            db, &(struct q_allow_add_in){id->kind, id->id, id->period, d->start, d->start}, NULL);
        if (!e)
            e = q_allow_lock(db, &in, a);
    }
    if (e == ERR_DB_NO_ROW) {
        *a = (struct q_allow_lock){0};
        return OK;
    }
    if (!e && id->kind == ALLOW_BUDGET && a->granted != d->start) { /* the rule was changed */
        int64_t delta = d->start - a->granted;
        e = q_allow_grant(
            db, &(struct q_allow_grant_in){delta, delta, id->kind, id->id, id->period}, NULL);
        a->remain += delta;
        a->granted = d->start;
    }
    return e;
}

static enum err note_events(struct db *db, const struct allow_id *id, const struct q_allow_lock *a,
                            int64_t spent) {
    static const int marks[] = {50, 80, 100};
    for (size_t i = 0; i < ARRAY_LEN(marks) && a->granted > 0; i++) {
        int64_t mark = a->granted / 100 * marks[i] + a->granted % 100 * marks[i] / 100;
        if (a->spent >= mark || a->spent + spent < mark)
            continue;
        enum err e = q_event_add(db,
                                 &(struct q_event_add_in){id->kind, id->id, id->period, marks[i],
                                                          a->granted, clock_unix_s()},
                                 NULL);
        if (e)
            return e;
    }
    return OK;
}

/* Shrinks towards the end of an allowance, down to exactly what is needed. */
static int64_t size_of(const struct draw *d, int64_t want, int64_t remain) {
    int64_t cushion = lease_cushion(d->lease, d->need), part = (remain - want) / 8;
    return want + (cushion < part ? cushion : part);
}

static enum err look(struct attempt *a, struct db *db, size_t i) {
    struct draw *d = &a->draws[i];
    struct q_allow_lock *allowance = &a->allowance[i];
    struct row row;
    enum err e = lock_allowance(db, d, allowance);
    if (!e)
        e = read_row(db, a->bank->worker, &d->lease->id, &row);
    if (e)
        return e;
    if (row.found && row.op == a->op) {
        a->committed = true;
        a->gain[i] = row.moved;
        return OK;
    }
    a->gain[i] = regained(d->lease, &row);
    a->spent[i] = row.settled;
    int64_t want = d->need - d->mine - a->gain[i];
    if (want > allowance->remain && want > 0)
        a->short_of = a->short_of < i ? a->short_of : i;
    else if (want > 0)
        a->take[i] = a->exact ? want : size_of(d, want, allowance->remain);
    return OK;
}

static enum err move(struct attempt *a, struct db *db, size_t i) {
    const struct allow_id *id = &a->draws[i].lease->id;
    int64_t take = a->take[i], spent = a->spent[i];
    struct db_done done;
    enum err e = note_events(db, id, &a->allowance[i], spent);
    if (e)
        return e;
    e = q_allow_draw(db, &(struct q_allow_draw_in){take, spent, id->kind, id->id, id->period, take},
                     &done);
    if (!e && done.affected != 1)
        return ERR_INTERNAL; /* the row is locked and was seen to hold it */
    if (!e)
        e = q_lease_draw(db,
                         &(struct q_lease_draw_in){a->bank->worker, id->kind, id->id, id->period,
                                                   take, -spent, a->op, take + a->gain[i]},
                         NULL);
    return e;
}

static enum err look_and_move(struct db *db, struct attempt *a) {
    a->short_of = DRAWS_MAX;
    a->committed = false;
    for (size_t i = 0; i < a->n; i++) {
        a->gain[i] = a->take[i] = 0;
        enum err e = look(a, db, i);
        if (e)
            return e;
    }
    if (a->committed) {
        a->short_of = DRAWS_MAX;
        return OK;
    }
    if (a->short_of < DRAWS_MAX)
        return OK;
    for (size_t i = 0; i < a->n; i++)
        if (a->take[i] > 0) {
            enum err e = move(a, db, i);
            if (e)
                return e;
        }
    return OK;
}

/* A row that somebody else keeps locked is waited for only as long as the call may wait. */
static enum err run_attempt(struct db *db, void *ctx) {
    struct attempt *a = ctx;
    enum err e = look_and_move(db, a);
    return e == ERR_DB_CONFLICT && clock_mono_ms() >= a->deadline_ms ? ERR_OVERLOADED : e;
}

/* Books the attempt's outcome. True when all are held now. */
static bool book(struct attempt *a, enum err e) {
    for (size_t i = 0; i < a->n; i++) {
        struct draw *d = &a->draws[i];
        if (e) {
            if (!d->lease->pending)
                d->lease->pending = a->op;
            continue;
        }
        d->lease->pending = d->lease->pending_give = 0;
        d->mine += a->gain[i];
    }
    if (e || a->short_of < DRAWS_MAX)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        struct draw *d = &a->draws[i];
        lease_drawn(d->lease, d->need, d->mine, a->take[i]);
    }
    return true;
}

static enum err try_draw(struct bank *bank, struct db *db, struct draw *draws, size_t n, bool exact,
                         int64_t deadline_ms, bool *held, size_t *short_of) {
    struct attempt a = {
        .bank = bank, .draws = draws, .n = n, .exact = exact, .deadline_ms = deadline_ms};
    a.op = atomic_fetch_add(&bank->next_op, 1);
    enum err e = db_transaction(db, true, run_attempt, &a);
    *held = book(&a, e);
    *short_of = a.short_of;
    return e;
}

struct giving {
    struct bank *bank;
    struct lease *lease;
    int64_t op, amount;
    int64_t gain; /* of transactions whose outcome was unknown: goes back as well */
    bool spent;   /* move what was spent, too, and answer a recall */
};

static enum err run_giving(struct db *db, void *ctx) {
    struct giving *g = ctx;
    const struct allow_id *id = &g->lease->id;
    struct q_allow_lock a = {0};
    enum err e =
        q_allow_add(db, &(struct q_allow_add_in){id->kind, id->id, id->period, 0, 0}, NULL);
    if (!e)
        e = q_allow_lock(db, &(struct q_allow_lock_in){id->kind, id->id, id->period}, &a);
    if (e)
        return e;
    struct q_lease_get row = {0};
    e = q_lease_get(db, &(struct q_lease_get_in){g->bank->worker, id->kind, id->id, id->period},
                    &row);
    if (e == ERR_DB_NO_ROW)
        return OK;
    if (e || row.op_no == g->op)
        return e;
    g->gain = regained(g->lease, &(struct row){true, row.settled, row.op_no, row.op_moved});
    int64_t back = g->amount + g->gain, spent = g->spent ? row.settled : 0;
    if (g->spent)
        e = note_events(db, id, &a, spent);
    if (!e)
        e = q_allow_return(
            db, &(struct q_allow_return_in){back, spent, id->kind, id->id, id->period}, NULL);
    if (!e)
        e = q_lease_return(db,
                           &(struct q_lease_return_in){back, spent, g->op, !g->spent,
                                                       g->bank->worker, id->kind, id->id,
                                                       id->period},
                           NULL);
    return e;
}

/* The caller is the lease's drawer. What is left at hand afterwards: 0, or the amount on failure -
 * except that an unknown outcome keeps it out of reach until it is known. */
static enum err give_back(struct bank *bank, struct db *db, struct lease *l, int64_t *amount,
                          bool spent) {
    struct giving g = {.bank = bank, .lease = l, .amount = *amount, .spent = spent};
    g.op = atomic_fetch_add(&bank->next_op, 1);
    enum err e = db_transaction(db, true, run_giving, &g);
    if (!e) {
        l->pending = l->pending_give = 0;
        *amount = 0;
    } else if (!l->pending) {
        l->pending = g.op;
        l->pending_give = *amount;
        *amount = 0;
    }
    return e;
}

struct folding {
    struct bank *bank;
    const struct allow_id *id;
};

static enum err run_fold(struct db *db, void *ctx) {
    const struct folding *f = ctx;
    const struct allow_id *id = f->id;
    struct q_allow_lock a = {0};
    enum err e = q_allow_lock(db, &(struct q_allow_lock_in){id->kind, id->id, id->period}, &a);
    struct q_lease_get row = {0};
    if (!e)
        e = q_lease_get(db, &(struct q_lease_get_in){f->bank->worker, id->kind, id->id, id->period},
                        &row);
    if (e == ERR_DB_NO_ROW || (!e && !row.settled))
        return OK;
    if (!e)
        e = note_events(db, id, &a, row.settled);
    if (!e)
        e = q_allow_return(
            db, &(struct q_allow_return_in){0, row.settled, id->kind, id->id, id->period}, NULL);
    if (!e)
        e = q_lease_folded(
            db,
            &(struct q_lease_folded_in){row.settled, f->bank->worker, id->kind, id->id, id->period},
            NULL);
    return e;
}

enum err draw_fold(struct bank *bank, struct db *db, const struct allow_id *id) {
    struct folding f = {bank, id};
    return db_transaction(db, true, run_fold, &f);
}

struct recalling {
    const struct bank *bank;
    const struct allow_id *id;
    bool asked;
};

static enum err run_recall(struct db *db, void *ctx) {
    struct recalling *r = ctx;
    struct db_done done;
    enum err e = q_lease_recall(
        db, &(struct q_lease_recall_in){r->id->kind, r->id->id, r->id->period, r->bank->worker},
        &done);
    r->asked = !e && done.affected > 0;
    return e;
}

static enum err recall(struct bank *bank, struct db *db, const struct allow_id *id, bool *asked) {
    struct recalling r = {bank, id, false};
    enum err e = db_transaction(db, true, run_recall, &r);
    *asked = !e && r.asked;
    if (*asked)
        bell_ring(bank->run_dir, bank->worker);
    return e;
}

static enum err run_unrecall(struct db *db, void *ctx) {
    const struct recalling *r = ctx;
    return q_lease_unrecall(
        db, &(struct q_lease_unrecall_in){r->bank->worker, r->id->kind, r->id->id, r->id->period},
        NULL);
}

enum err draw_return(struct bank *bank, struct db *db, struct lease *l, bool *again) {
    int64_t amount;
    switch (lease_strip(l, &amount)) {
    case STRIP_OK:
        break;
    case STRIP_BUSY:
        *again = true;
        return OK;
    case STRIP_WAITING:
        return db_transaction(db, true, run_unrecall, &(struct recalling){bank, &l->id, false});
    }
    enum err e = give_back(bank, db, l, &amount, true);
    lease_undrawn(l, amount);
    return e;
}

/* Until every worker that was asked has answered. */
static enum err await_recalled(struct bank *bank, struct db *db, const struct allow_id *id,
                               int64_t deadline_ms) {
    for (;;) {
        struct q_lease_recalling got;
        enum err e = q_lease_recalling(
            db, &(struct q_lease_recalling_in){id->kind, id->id, id->period, bank->worker}, &got);
        if (e || !got.n)
            return e;
        if (clock_mono_ms() >= deadline_ms)
            return ERR_OVERLOADED;
        nanosleep(&(struct timespec){0, RECALL_POLL_MS * 1000000}, NULL);
    }
}

/* What this worker has at hand goes back first: two workers that keep a half each would both refuse
 * what one of them could serve, and workers that wait for each other's leases would wait for ever.
 */
static enum err gather(struct bank *bank, struct db *db, struct draw *draws, size_t n,
                       size_t short_of, int64_t deadline_ms, bool *asked) {
    enum err e = OK;
    for (size_t i = 0; i < n && !e; i++) {
        if (draws[i].mine)
            e = give_back(bank, db, draws[i].lease, &draws[i].mine, false);
        lease_waits(draws[i].lease);
    }
    const struct allow_id *id = &draws[short_of].lease->id;
    if (!e)
        e = recall(bank, db, id, asked);
    if (!e && *asked)
        e = await_recalled(bank, db, id, deadline_ms);
    return e;
}

static void end_all(struct draw *draws, size_t n, size_t refused) {
    for (size_t i = 0; i < n; i++)
        if (i == refused)
            lease_refused(draws[i].lease, draws[i].need, draws[i].mine);
        else
            lease_undrawn(draws[i].lease, draws[i].mine);
}

enum err draw_all(struct bank *bank, struct db *db, struct draw *draws, size_t n,
                  int64_t deadline_ms, size_t *short_of) {
    must(n <= DRAWS_MAX);
    bool held = false, recalled[DRAWS_MAX] = {0}, exact = false;
    for (;;) {
        enum err e = try_draw(bank, db, draws, n, exact, deadline_ms, &held, short_of);
        if (held)
            return OK;
        bool asked = false;
        if (!e && recalled[*short_of]) /* everybody has given what there was */
            e = ERR_USER_QUOTA;
        if (!e) {
            recalled[*short_of] = exact = true;
            e = gather(bank, db, draws, n, *short_of, deadline_ms, &asked);
        }
        if (!e && !asked && draws[*short_of].mine == 0)
            e = ERR_USER_QUOTA;
        if (e) {
            end_all(draws, n, e == ERR_USER_QUOTA ? *short_of : n);
            return e;
        }
    }
}
