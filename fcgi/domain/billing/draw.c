#include "domain/billing/draw.h"

#include "domain/billing/bell.h"
#include "door/queries.h"
#include "util/clock.h"

#include <stdlib.h>
#include <time.h>

#define RECALL_POLL_MS 5
#define DRAWS_MAX SHARE_MAX

/* An allowance and this worker's lease on it as the transaction finds them, locked. */
struct row {
    int64_t granted, remain, spent; /* all 0: no such allowance */
    bool found;                     /* the lease */
    int64_t settled;
    int64_t op, moved; /* number of the last transaction on it, and what that moved to the lease */
};

static enum err read_row(struct db *db, int64_t worker, const struct allow_id *id,
                         struct row *row) {
    struct q_lease_look got;
    enum err e =
        q_lease_look(db, &(struct q_lease_look_in){worker, id->kind, id->id, id->period}, &got);
    if (!e)
        *row = (struct row){got.granted,   got.remain,  got.spent,     got.op_no.has,
                            got.settled.v, got.op_no.v, got.op_moved.v};
    return e;
}

/* Makes the allowance when it is missing. */
static enum err make_row(struct db *db, int64_t worker, const struct allow_id *id, int64_t start,
                         struct row *row) {
    enum err e =
        q_allow_add(db, &(struct q_allow_add_in){id->kind, id->id, id->period, start, start}, NULL);
    return e ? e : read_row(db, worker, id, row);
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
    int64_t gain[DRAWS_MAX], take[DRAWS_MAX];
    struct row rows[DRAWS_MAX];
};

static enum err lock_row(struct db *db, int64_t worker, const struct draw *d, struct row *row) {
    const struct allow_id *id = &d->lease->id;
    enum err e = read_row(db, worker, id, row);
    if (e == ERR_DB_NO_ROW && d->start >= 0)
        e = make_row(db, worker, id, d->start, row);
    if (e == ERR_DB_NO_ROW) {
        *row = (struct row){0};
        return OK;
    }
    bool budget = id->kind == ALLOW_BUDGET || id->kind == ALLOW_OWNER_BUDGET;
    if (!e && budget && row->granted != d->start) { /* the rule was changed */
        int64_t delta = d->start - row->granted;
        e = q_allow_grant(
            db, &(struct q_allow_grant_in){delta, delta, id->kind, id->id, id->period}, NULL);
        row->remain += delta;
        row->granted = d->start;
    }
    return e;
}

static enum err note_events(struct db *db, const struct allow_id *id, const struct row *a,
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
    struct row *row = &a->rows[i];
    enum err e = lock_row(db, a->bank->worker, d, row);
    if (e)
        return e;
    if (row->found && row->op == a->op) {
        a->committed = true;
        a->gain[i] = row->moved;
        return OK;
    }
    a->gain[i] = regained(d->lease, row);
    int64_t want = d->need - d->mine - a->gain[i];
    if (want > row->remain && want > 0)
        a->short_of = a->short_of < i ? a->short_of : i;
    else if (want > 0)
        a->take[i] = a->exact ? want : size_of(d, want, row->remain);
    return OK;
}

static enum err move(struct attempt *a, struct db *db, size_t i) {
    const struct allow_id *id = &a->draws[i].lease->id;
    int64_t take = a->take[i], spent = a->rows[i].settled;
    struct db_done done;
    enum err e = note_events(db, id, &a->rows[i], spent);
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

struct gift { /* what goes back of one lease */
    struct lease *lease;
    int64_t amount;
};

struct giving {
    struct bank *bank;
    struct gift *gifts;
    size_t n;
    int64_t op;
    bool spent; /* move what was spent, too, and answer a recall */
    struct q_allow_return_in allowances[DRAW_RETURN_MAX];
    struct q_lease_return_in leases[DRAW_RETURN_MAX];
    size_t n_rows;
};

static enum err look_to_give(struct db *db, struct giving *g, const struct gift *gift) {
    const struct lease *l = gift->lease;
    const struct allow_id *id = &l->id;
    struct row row = {0};
    enum err e = read_row(db, g->bank->worker, id, &row);
    if (e == ERR_DB_NO_ROW)
        e = make_row(db, g->bank->worker, id, 0, &row);
    if (e || !row.found || row.op == g->op)
        return e;
    int64_t back = gift->amount + regained(l, &row), spent = g->spent ? row.settled : 0;
    size_t i = g->n_rows++;
    g->allowances[i] = (struct q_allow_return_in){back, spent, id->kind, id->id, id->period};
    g->leases[i] = (struct q_lease_return_in){
        back, spent, g->op, !g->spent, g->bank->worker, id->kind, id->id, id->period};
    return g->spent ? note_events(db, id, &row, spent) : OK;
}

static enum err run_giving(struct db *db, void *ctx) {
    struct giving *g = ctx;
    enum err e = OK;
    g->n_rows = 0;
    for (size_t i = 0; i < g->n && !e; i++)
        e = look_to_give(db, g, &g->gifts[i]);
    if (!e)
        e = q_allow_return(db, g->allowances, g->n_rows, NULL);
    return e ? e : q_lease_return(db, g->leases, g->n_rows, NULL);
}

/* The caller is the drawer of each lease; gifts are in the order of their ids. What is left at hand
 * afterwards: 0, or the amount on failure - except that an unknown outcome keeps it out of reach
 * until it is known. */
static enum err give_back(struct bank *bank, struct db *db, struct gift *gifts, size_t n,
                          bool spent) {
    struct giving g = {.bank = bank, .gifts = gifts, .n = n, .spent = spent};
    g.op = atomic_fetch_add(&bank->next_op, 1);
    enum err e = db_transaction(db, true, run_giving, &g);
    for (size_t i = 0; i < n; i++) {
        struct lease *l = gifts[i].lease;
        if (!e) {
            l->pending = l->pending_give = 0;
            gifts[i].amount = 0;
        } else if (!l->pending) {
            l->pending = g.op;
            l->pending_give = gifts[i].amount;
            gifts[i].amount = 0;
        }
    }
    return e;
}

struct folding {
    struct bank *bank;
    const struct allow_id *ids;
    size_t n, n_rows;
    struct q_allow_return_in allowances[DRAW_RETURN_MAX];
    struct q_lease_folded_in leases[DRAW_RETURN_MAX];
};

static enum err look_to_fold(struct db *db, struct folding *f, const struct allow_id *id) {
    struct row row = {0};
    enum err e = read_row(db, f->bank->worker, id, &row);
    if (e == ERR_DB_NO_ROW || (!e && !row.settled))
        return OK;
    if (e)
        return e;
    size_t i = f->n_rows++;
    f->allowances[i] = (struct q_allow_return_in){0, row.settled, id->kind, id->id, id->period};
    f->leases[i] =
        (struct q_lease_folded_in){row.settled, f->bank->worker, id->kind, id->id, id->period};
    return note_events(db, id, &row, row.settled);
}

static enum err run_fold(struct db *db, void *ctx) {
    struct folding *f = ctx;
    enum err e = OK;
    f->n_rows = 0;
    for (size_t i = 0; i < f->n && !e; i++)
        e = look_to_fold(db, f, &f->ids[i]);
    if (!e)
        e = q_allow_return(db, f->allowances, f->n_rows, NULL);
    return e ? e : q_lease_folded(db, f->leases, f->n_rows, NULL);
}

static int by_allowance(const void *a, const void *b) {
    return allow_cmp(a, b);
}

enum err draw_fold(struct bank *bank, struct db *db, struct allow_id *ids, size_t n) {
    struct folding f = {.bank = bank, .ids = ids, .n = n};
    must(n <= DRAW_RETURN_MAX);
    qsort(ids, n, sizeof *ids, by_allowance);
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

/* What can be taken out of the leases becomes gifts. */
static enum err strip_all(struct bank *bank, struct db *db, struct lease *const *leases, size_t n,
                          struct gift *gifts, size_t *n_gifts, bool *again) {
    enum err e = OK;
    *n_gifts = 0;
    for (size_t i = 0; i < n && !e; i++) {
        struct gift gift = {leases[i], 0};
        switch (lease_strip(leases[i], &gift.amount)) {
        case STRIP_OK:
            gifts[(*n_gifts)++] = gift;
            break;
        case STRIP_BUSY:
            *again = true;
            break;
        case STRIP_WAITING:
            e = db_transaction(db, true, run_unrecall,
                               &(struct recalling){bank, &leases[i]->id, false});
            break;
        }
    }
    return e;
}

static int by_id(const void *pa, const void *pb) {
    const struct gift *a = pa, *b = pb;
    return allow_cmp(&a->lease->id, &b->lease->id);
}

enum err draw_return(struct bank *bank, struct db *db, struct lease *const *leases, size_t n,
                     bool *again) {
    struct gift gifts[DRAW_RETURN_MAX];
    size_t n_gifts;
    must(n <= DRAW_RETURN_MAX);
    enum err e = strip_all(bank, db, leases, n, gifts, &n_gifts, again);
    if (!e && n_gifts) {
        qsort(gifts, n_gifts, sizeof *gifts, by_id);
        e = give_back(bank, db, gifts, n_gifts, true);
    }
    for (size_t i = 0; i < n_gifts; i++)
        lease_undrawn(gifts[i].lease, gifts[i].amount);
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
        struct gift mine = {draws[i].lease, draws[i].mine};
        if (mine.amount)
            e = give_back(bank, db, &mine, 1, false);
        draws[i].mine = mine.amount;
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
