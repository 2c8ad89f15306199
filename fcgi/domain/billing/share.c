#include "domain/billing/share.h"

#include "door/queries.h"
#include "util/clock.h"
#include "util/wait.h"

#include <time.h>

#define ANSWER_MS 200
#define DRY_MS 1000
#define POLL_MS 10
#define BUSY_MS 1
#define ASK_WAIT_MS 500
#define MINUTE_S 65 /* as limits counts it: what a silent host counted last must be over */
#define ANSWERS 100
#define BURIALS 64

static void nap(int64_t ms) {
    wait_begins();
    nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

/* --- drawing -------------------------------------------------------------------------------- */

struct drawing {
    struct limits *l;
    const struct limit_rule *rule;
    int64_t tokens, stale_s;
    bool enough;
    int64_t n_others;
    struct limit_part share, others;
};

static enum err add_other(void *ctx, const struct q_share_others *row) {
    struct drawing *d = ctx;
    const int64_t of[LIMIT_WHATS] = {row->requests, row->tokens, row->seats};
    for (int k = 0; k < LIMIT_WHATS; k++)
        d->others.of[k] += of[k];
    d->n_others++;
    return OK;
}

/* One thing's new share, and whether it is enough for the call. */
static int64_t deal(const struct drawing *d, int64_t limit, int64_t others, int64_t share,
                    int64_t need, bool *enough) {
    int64_t room = limit > others ? limit - others : 0;
    int64_t mine = share < room ? share : room;
    if (!limit)
        return 0;
    *enough = *enough && need <= room;
    if (!d->n_others)
        return room;
    return need <= mine || need > room ? mine : need + (room - need) / 2;
}

static enum err put(struct limits *l, struct db *db, const struct limit_rule *r,
                    const struct limit_part *share) {
    return q_share_put(db,
                       &(struct q_share_put_in){r->kind, r->id, r->sub_id, limits_host(l),
                                                share->of[LIMIT_REQUESTS], share->of[LIMIT_TOKENS],
                                                share->of[LIMIT_SEATS]},
                       NULL);
}

static enum err run_draw(struct db *db, void *ctx) {
    struct drawing *d = ctx;
    const struct limit_rule *r = d->rule;
    const struct limit_part limit = {{r->rpm, r->tpm, r->concurrency}};
    struct limit_part need;
    int64_t host = limits_host(d->l);
    d->n_others = 0;
    d->others = (struct limit_part){0};
    d->enough = true;
    enum err e = q_share_lead(db, &(struct q_share_lead_in){r->kind, r->id, r->sub_id}, NULL);
    if (!e)
        e = q_share_others(db,
                           &(struct q_share_others_in){d->stale_s, r->kind, r->id, r->sub_id, host},
                           add_other, d);
    if (e)
        return e;
    limits_need(d->l, r, d->tokens, &d->share, &need);
    for (int k = 0; k < LIMIT_WHATS; k++)
        d->share.of[k] =
            deal(d, limit.of[k], d->others.of[k], d->share.of[k], need.of[k], &d->enough);
    if (!d->enough)
        e = q_share_want(db, &(struct q_share_want_in){r->kind, r->id, r->sub_id, host}, NULL);
    return e ? e : put(d->l, db, r, &d->share);
}

/* Until every host that can answer has answered. */
static void await_answers(struct drawing *d, struct db *db, int64_t deadline_ms) {
    const struct limit_rule *r = d->rule;
    struct q_share_awaited got = {.n = 1};
    limits_asking(d->l, r);
    while (clock_mono_ms() < deadline_ms) {
        enum err e = q_share_awaited(
            db, &(struct q_share_awaited_in){r->kind, r->id, r->sub_id, limits_host(d->l)}, &got);
        if (e || !got.n)
            return;
        nap(POLL_MS);
    }
}

static enum err draw(struct drawing *d, struct db *db, int64_t deadline_ms) {
    enum err e = db_transaction(db, true, run_draw, d);
    if (!e && !d->enough && d->n_others) {
        int64_t until = clock_mono_ms() + ASK_WAIT_MS;
        await_answers(d, db, until < deadline_ms ? until : deadline_ms);
        e = db_transaction(db, true, run_draw, d);
    }
    return e;
}

static enum err wait_for_mover(struct limits *l, const struct limit_rule *r, int64_t deadline_ms) {
    enum move m = MOVE_BUSY;
    bool waits = false;
    while (m != MOVE_MINE && clock_mono_ms() < deadline_ms) {
        nap(BUSY_MS);
        m = limits_move(l, r);
        if (m == MOVE_ASKING && !waits && !(waits = limits_may_wait(l)))
            break;
    }
    if (waits)
        limits_waited(l);
    if (m != MOVE_MINE)
        return ERR_RATE_LIMIT;
    limits_moved(l, r, NULL, NULL, 0);
    return OK;
}

enum err share_draw(struct limits *l, struct db *db, const struct limit_rule *r, int64_t tokens,
                    int64_t ttl_ms, int64_t deadline_ms) {
    if (limits_move(l, r) != MOVE_MINE)
        return wait_for_mover(l, r, deadline_ms);
    struct drawing d = {.l = l, .rule = r, .tokens = tokens, .stale_s = ttl_ms / 1000 + MINUTE_S};
    enum err e = draw(&d, db, deadline_ms);
    limits_moved(l, r, e ? NULL : &d.share, &d.others, e || d.enough ? 0 : DRY_MS);
    return e ? e : d.enough ? OK : ERR_RATE_LIMIT;
}

/* --- answering ------------------------------------------------------------------------------ */

struct asked {
    struct limit_rule rules[ANSWERS];
    size_t n;
};

static enum err note_asked(void *ctx, const struct q_share_wanted *row) {
    struct asked *a = ctx;
    if (a->n < ANSWERS)
        a->rules[a->n++] = (struct limit_rule){
            .kind = (enum limit_kind)row->kind, .id = row->id, .sub_id = row->sub_id};
    return OK;
}

struct answer {
    struct limits *l;
    const struct limit_rule *rule;
};

static enum err run_answer(struct db *db, void *ctx) {
    struct answer *a = ctx;
    const struct limit_rule *r = a->rule;
    enum err e = q_share_lead(db, &(struct q_share_lead_in){r->kind, r->id, r->sub_id}, NULL);
    if (e)
        return e;
    const struct limit_part left = limits_strip(a->l, r);
    if (left.of[LIMIT_REQUESTS] || left.of[LIMIT_TOKENS] || left.of[LIMIT_SEATS])
        return put(a->l, db, r, &left);
    return q_share_drop(db, &(struct q_share_drop_in){r->kind, r->id, r->sub_id, limits_host(a->l)},
                        NULL);
}

void share_answer(struct limits *l, struct db *db) {
    if (!limits_answer_due(l, ANSWER_MS))
        return;
    struct asked asked = {.n = 0};
    enum err e =
        q_share_wanted(db, &(struct q_share_wanted_in){limits_host(l)}, note_asked, &asked);
    for (size_t i = 0; i < asked.n && !e; i++) {
        if (limits_move(l, &asked.rules[i]) != MOVE_MINE)
            continue;
        e = db_transaction(db, true, run_answer, &(struct answer){l, &asked.rules[i]});
        limits_moved(l, &asked.rules[i], NULL, NULL, 0);
    }
}

/* --- tidying -------------------------------------------------------------------------------- */

struct dead {
    int64_t hosts[BURIALS];
    size_t n;
};

static enum err note_dead(void *ctx, const struct q_share_dead_hosts *row) {
    struct dead *d = ctx;
    if (d->n < BURIALS)
        d->hosts[d->n++] = row->host_id;
    return OK;
}

void share_tidy(struct limits *l, struct db *db, int64_t ttl_ms) {
    struct dead dead = {.n = 0};
    enum err e = q_share_age(db, &(struct q_share_age_in){limits_host(l)}, NULL);
    if (!e)
        e = q_share_prune(db, NULL);
    if (!e)
        e = q_share_dead_hosts(db, &(struct q_share_dead_hosts_in){ttl_ms / 1000 + MINUTE_S},
                               note_dead, &dead);
    for (size_t i = 0; i < dead.n && !e; i++)
        e = q_share_bury(db, &(struct q_share_bury_in){dead.hosts[i]}, NULL);
}
