#include "domain/billing/state.h"

#include "domain/billing/partition.h"
#include "domain/billing/share.h"
#include "door/conf.h"
#include "door/queries.h"
#include "util/clock.h"
#include "util/log.h"

#include <stdlib.h>

#define BEAT_MS 2000
#define RECALL_MS 200
#define ADOPT_MS 500
#define FOLD_MS 600000 /* of what a busy lease has spent; a draw moves it, too */
#define FOLD_PART 20   /* of lease.idle: then what an unused lease has spent is moved */
#define LEASES_PER_TURN DRAW_RETURN_MAX
#define IDLE_MS 1000
#define MORE_MS 50 /* until the next of many: looking through all leases costs as well */
#define LEASES_AT_END 500
#define LEDGERS_KEPT_S (35 * 86400)
#define TIDY_MS 60000
#define MONTHS_MS 3600000
#define RETRY_MONTHS_MS 2000
#define GRACE_MS 10000 /* leases are not spent any more this long before others may take them */
#define DEAD_BATCH 500

/* --- months --------------------------------------------------------------------------------- */

/* One worker of the site does it, and each that joins looks; a change that has to wait, or that
 * somebody else has just made, is looked at again soon. */
static void keep_months(struct billing *b, struct db *db, struct upkeep *u) {
    struct q_ledger_first first = {0};
    u->kept_months = b->conf()->usage_keep_months;
    enum err e = q_ledger_first(db, &(struct q_ledger_first_in){30}, &first);
    if (!e && (!u->joined || first.worker_id == b->bank.worker))
        e = partition_keep(db, clock_unix_s(), u->kept_months, NULL);
    u->partition_ms = clock_mono_ms() + (e ? RETRY_MONTHS_MS : MONTHS_MS);
}

/* --- being alive ---------------------------------------------------------------------------- */

struct release {
    int64_t worker, state;
};

static enum err run_release(struct db *db, void *ctx) {
    const struct release *r = ctx;
    enum err e = q_lease_release_new(db, &(struct q_lease_release_new_in){r->worker}, NULL);
    if (!e)
        e = q_lease_release(db, &(struct q_lease_release_in){r->worker}, NULL);
    if (!e)
        e = q_lease_release_rows(db, &(struct q_lease_release_rows_in){r->worker}, NULL);
    if (!e)
        e = q_ledger_state(db, &(struct q_ledger_state_in){r->state, r->worker}, NULL);
    return e;
}

static enum err release(struct db *db, int64_t worker, int64_t state) {
    struct release r = {worker, state};
    return db_transaction(db, true, run_release, &r);
}

static enum err beat(struct billing *b, struct db *db, struct upkeep *u) {
    int64_t asked = clock_mono_ms();
    struct db_done done = {0};
    enum err e = OK;
    if (u->joined)
        e = q_ledger_beat(db, &(struct q_ledger_beat_in){b->bank.worker}, &done);
    if (!e && !done.affected) {
        e = q_ledger_add(
            db, &(struct q_ledger_add_in){b->bank.worker, str_c(b->host), limits_host(b->limits)},
            NULL);
        if (!e && u->joined) /* we were silent for so long that our leases were taken back */
            e = release(db, b->bank.worker, LEDGER_ALIVE);
        if (!e && u->joined) {
            LOG(LOG_EV_LEASES_LOST, log_i("worker", b->bank.worker));
            leases_fenced(&b->leases);
        }
    }
    if (!e && !u->joined) /* before the first row: what lies in a partition need not be moved */
        keep_months(b, db, u);
    if (e)
        return e;
    u->joined = true;
    b->good_until_ms = asked + b->conf()->lease_ttl - GRACE_MS;
    u->beat_ms = asked + BEAT_MS;
    limits_alive(b->limits, asked, b->conf()->lease_ttl - GRACE_MS);
    return OK;
}

/* --- leases --------------------------------------------------------------------------------- */

struct ids {
    struct allow_id *list;
    size_t n, cap;
};

static void push_id(struct ids *ids, struct allow_id id) {
    if (ids->n == ids->cap) {
        ids->cap = ids->cap ? ids->cap * 2 : 16;
        ids->list = base_realloc(ids->list, ids->cap * sizeof *ids->list);
    }
    ids->list[ids->n++] = id;
}

static enum err note_recalled(void *ctx, const struct q_lease_recalled *row) {
    push_id(ctx, (struct allow_id){row->kind, row->owner_id, row->period});
    return OK;
}

static void answer_recalls(struct billing *b, struct db *db, struct upkeep *u) {
    struct ids ids = {0};
    u->again = false;
    enum err e =
        q_lease_recalled(db, &(struct q_lease_recalled_in){b->bank.worker}, note_recalled, &ids);
    for (size_t i = 0; i < ids.n && !e; i++) {
        struct lease *l = lease_pin(&b->leases, &ids.list[i]);
        e = draw_return(&b->bank, db, &l, 1, &u->again);
        lease_unpin(l);
    }
    free(ids.list);
    if (!e)
        u->recall_ms = clock_mono_ms() + RECALL_MS;
}

struct idle {
    struct billing *b;
    struct db *db;
    int64_t now_ms;
    int64_t idle_ms, fold_ms; /* without use, until a lease goes back, is folded */
    int left;                 /* a turn must not keep ended calls waiting */
    bool all;                 /* the end: everything goes back */
    size_t n_leases;          /* that were looked at */
    struct lease *going[DRAW_RETURN_MAX], *folding[DRAW_RETURN_MAX]; /* pinned */
    size_t n_going, n_folding;
    enum err e;
};

/* What was not tried, or found the database away, is tried again soon. A batch that was refused has
 * to wait for its leases' next use, or FOLD_MS: it must not stand before the others for ever. */
static void let_go(struct idle *i, struct lease **batch, size_t *n, bool tried) {
    for (size_t k = 0; k < *n; k++) {
        struct lease *l = batch[k];
        LOCKED(&l->shard->lock);
        if (tried && i->e != ERR_DB_AWAY)
            l->folded_ms = i->now_ms;
        l->pins--;
    }
    *n = 0;
}

static void return_going(struct idle *i) {
    bool again, tried = i->n_going && !i->e;
    if (tried)
        i->e = draw_return(&i->b->bank, i->db, i->going, i->n_going, &again);
    let_go(i, i->going, &i->n_going, tried);
}

static void fold_all(struct idle *i) {
    struct allow_id ids[DRAW_RETURN_MAX];
    for (size_t k = 0; k < i->n_folding; k++)
        ids[k] = i->folding[k]->id;
    bool tried = i->n_folding && !i->e;
    if (tried)
        i->e = draw_fold(&i->b->bank, i->db, ids, i->n_folding);
    let_go(i, i->folding, &i->n_folding, tried);
}

static bool is_idle(const struct lease *l, const struct idle *i) {
    bool unused = l->used_ms + i->idle_ms < i->now_ms;
    return !l->pins && !l->drawing && (i->all || (unused && l->avail));
}

/* Who waits for the event of what was spent must hear of it. A key without a quota never draws, and
 * can wait. */
static bool is_spent(const struct lease *l, const struct idle *i) {
    bool known = !l->unflushed && l->used_ms + i->fold_ms < i->now_ms; /* to the database */
    return l->draw && l->folded_ms < l->used_ms && known;
}

static bool wants_upkeep(const struct lease *l, void *ctx) {
    struct idle *i = ctx;
    i->n_leases++;
    bool old = l->folded_ms + FOLD_MS < i->now_ms;
    if (!i->left || !(i->all || old || is_idle(l, i) || is_spent(l, i)))
        return false;
    i->left--;
    return true;
}

static void keep_lease(struct lease *l, void *ctx) {
    struct idle *i = ctx;
    if (i->e)
        return;
    bool idle;
    {
        LOCKED(&l->shard->lock);
        l->pins--; /* our own pin is no use */
        idle = is_idle(l, i);
        l->pins += 2; /* the second until its batch is through */
    }
    if (!idle) {
        i->folding[i->n_folding++] = l;
        if (i->n_folding == DRAW_RETURN_MAX)
            fold_all(i);
        return;
    }
    i->going[i->n_going++] = l;
    if (i->n_going == DRAW_RETURN_MAX)
        return_going(i);
}

static void keep_leases(struct billing *b, struct db *db, struct upkeep *u) {
    int64_t idle = b->conf()->lease_idle, soon = idle / FOLD_PART;
    struct idle i = {.b = b,
                     .db = db,
                     .now_ms = clock_mono_ms(),
                     .idle_ms = u->n_leases > (size_t)b->conf()->lease_kept ? soon : idle,
                     .fold_ms = soon,
                     .left = LEASES_PER_TURN};
    leases_each(&b->leases, wants_upkeep, keep_lease, &i);
    return_going(&i);
    fold_all(&i);
    u->n_leases = i.n_leases;
    u->idle_ms = clock_mono_ms() + (i.left ? IDLE_MS : MORE_MS);
}

static void tidy(struct billing *b, struct db *db, struct upkeep *u) {
    share_tidy(b->limits, db, b->conf()->lease_ttl);
    leases_sweep(&b->leases, clock_mono_ms() - b->conf()->lease_idle / FOLD_PART);
    enum err e = q_ledger_prune(db, &(struct q_ledger_prune_in){LEDGERS_KEPT_S}, NULL);
    if (!e && q_lease_tidy(db, &(struct q_lease_tidy_in){b->bank.worker}, NULL) == OK)
        u->tidy_ms = clock_mono_ms() + TIDY_MS;
}

/* --- the dead ------------------------------------------------------------------------------- */

static enum err apply_all(struct billing *b, struct db *db, int64_t worker, struct bill *bills,
                          size_t n) {
    struct bill *batch[DEAD_BATCH];
    enum err e = OK;
    for (size_t at = 0; at < n && !e;) {
        size_t k = 0;
        while (k < DEAD_BATCH && at < n)
            batch[k++] = &bills[at++];
        e = ledger_apply(db, &b->ids, worker, batch, k);
    }
    return e;
}

/* The calls under way get the numbers after the last ended one, in the order of their serials: an
 * adopter that dies half-way is followed by one that numbers them alike. */
static enum err apply_interrupted(struct billing *b, struct db *db, int64_t worker,
                                  const struct dead_calls *c, uint64_t applied) {
    struct bill *bills AUTO(base_freep) = base_zalloc((c->n_open + 1) * sizeof *bills);
    uint64_t seq = c->last_seq;
    size_t n = 0;
    int64_t now = clock_unix_us();
    for (size_t i = 0; i < c->n_open; i++) {
        if (++seq <= applied)
            continue;
        bill_interrupted(&bills[n], &c->open[i], now);
        bills[n].end = END_INTERRUPTED;
        bills[n++].seq = seq;
    }
    return apply_all(b, db, worker, bills, n);
}

static enum err adopt(struct billing *b, struct db *db, struct dead_journal *d) {
    int64_t worker = journal_dead_worker(d);
    struct q_ledger_get known = {0};
    enum err e = q_ledger_get(db, &(struct q_ledger_get_in){worker}, &known);
    bool unknown = e == ERR_DB_NO_ROW;
    if (e && !unknown)
        return e;
    if (known.state == LEDGER_ENDED) { /* it, or who adopted it first, died at the very end */
        limits_worker_died(b->limits, worker);
        return OK;
    }
    struct dead_calls calls;
    e = journal_dead_read(d, (uint64_t)known.applied_seq, &calls);
    if (!e && unknown) { /* died before its first call - or the database is an older copy */
        limits_worker_died(b->limits, worker);
        return calls.n_ended || calls.n_open ? ERR_INTERNAL : OK;
    }
    if (!e)
        e = apply_all(b, db, worker, calls.ended, calls.n_ended);
    if (!e)
        e = apply_interrupted(b, db, worker, &calls, (uint64_t)known.applied_seq);
    if (!e)
        e = release(db, worker, LEDGER_ENDED);
    if (!e) {
        limits_worker_died(b->limits, worker);
        LOG(LOG_EV_JOURNAL_ADOPTED, log_i("worker", worker), log_i("ended", (int64_t)calls.n_ended),
            log_i("interrupted", (int64_t)calls.n_open), log_i("torn", calls.torn));
    }
    return e;
}

static void adopt_all(struct billing *b, struct db *db, struct upkeep *u) {
    struct dead_journal *d;
    enum err e = OK;
    while (!e && (d = journal_adopt(b->run_dir, b->bank.worker))) {
        e = adopt(b, db, d);
        if (e ==
            ERR_INTERNAL) { /* another program version's, or damaged: the operator's business */
            LOG(LOG_EV_JOURNAL_BAD, log_i("worker", journal_dead_worker(d)));
            limits_worker_died(b->limits, journal_dead_worker(d));
            journal_dead_set_aside(d);
            e = OK;
        }
        journal_dead_close(&d, !e);
    }
    u->adopt_ms = clock_mono_ms() + ADOPT_MS;
}

static enum err note_silent(void *ctx, const struct q_ledger_silent *row) {
    push_id(ctx, (struct allow_id){.id = row->worker_id});
    return OK;
}

/* Workers of other hosts that are not heard of: what they lease is free again. Their journals keep
 * what they spent, and charge it when their host is back. */
static void expire_silent(struct billing *b, struct db *db) {
    int64_t ttl = b->conf()->lease_ttl / 1000;
    struct ids ids = {0};
    enum err e = q_ledger_silent(db, &(struct q_ledger_silent_in){ttl}, note_silent, &ids);
    for (size_t i = 0; i < ids.n && !e; i++) {
        struct db_done done;
        e = q_ledger_lose(db, &(struct q_ledger_lose_in){ids.list[i].id, ttl}, &done);
        if (!e && done.affected == 1)
            e = release(db, ids.list[i].id, LEDGER_LOST);
    }
    free(ids.list);
}

/* --- all of it ------------------------------------------------------------------------------ */

void upkeep_tick(struct billing *b, struct db *db, struct upkeep *u, bool rung) {
    int64_t now = clock_mono_ms();
    if (now >= u->beat_ms) {
        if (beat(b, db, u) != OK)
            return; /* nothing else would work either */
        expire_silent(b, db);
    }
    if (!u->joined)
        return;
    if (rung || u->again || now >= u->recall_ms)
        answer_recalls(b, db, u);
    share_answer(b->limits, db);
    if (rung || now >= u->adopt_ms)
        adopt_all(b, db, u);
    if (now >= u->idle_ms)
        keep_leases(b, db, u);
    if (now >= u->tidy_ms)
        tidy(b, db, u);
    if (now >= u->partition_ms || u->kept_months != b->conf()->usage_keep_months)
        keep_months(b, db, u);
}

/* In ways that note events as long as they are few; the rest in one go. */
enum err upkeep_end(struct billing *b, struct db *db) {
    struct idle i = {
        .b = b, .db = db, .now_ms = clock_mono_ms(), .left = LEASES_AT_END, .all = true};
    leases_each(&b->leases, wants_upkeep, keep_lease, &i);
    return_going(&i);
    fold_all(&i);
    return release(db, b->bank.worker, LEDGER_ENDED);
}
