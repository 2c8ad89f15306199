#include "domain/billing/billing.h"

#include "domain/billing/credit.h"
#include "domain/billing/share.h"
#include "domain/billing/state.h"
#include "domain/identity/caller.h"
#include "door/conf.h"
#include "door/queries.h"
#include "util/clock.h"
#include "util/wait.h"

#include <stdlib.h>
#include <unistd.h>

#define ASK_AGAIN_MS 1000

/* --- what pays ------------------------------------------------------------------------------ */

static void add_share(struct hold *h, struct allow_id id, int64_t amount, bool unlimited,
                      int64_t resets_at) {
    struct opened *o = &h->opened;
    size_t at = o->n_shares;
    while (at && allow_cmp(&o->shares[at - 1].id, &id) > 0) {
        o->shares[at] = o->shares[at - 1];
        h->resets_at[at] = h->resets_at[at - 1];
        at--;
    }
    o->shares[at] = (struct share){id, amount, unlimited};
    h->resets_at[at] = resets_at;
    o->n_shares++;
}

static void add_budgets(struct hold *h, const struct budget_rule *rules, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const struct budget_rule *r = &rules[i];
        int64_t start, end, kind = r->owner == BUDGET_OF_KEY ? ALLOW_BUDGET : ALLOW_OWNER_BUDGET;
        budget_window(r, clock_unix_s(), &start, &end);
        add_share(h, (struct allow_id){kind, r->id, start}, h->amount, false, end);
    }
}

/* Whose budgets a call spends; play money is no group's and no account's. */
struct spent_budgets {
    struct {
        const struct budget_rule *rules;
        size_t n;
    } of[3];
};

static struct spent_budgets budgets_of(const struct hold_ask *ask) {
    const struct caller *c = ask->caller;
    const struct group *g = ask->group;
    struct spent_budgets s = {.of = {{c->budgets, c->n_budgets}}};
    if (c->test_mode)
        return s;
    s.of[1].rules = c->user_budgets;
    s.of[1].n = c->n_user_budgets;
    s.of[2].rules = g ? g->budgets : NULL;
    s.of[2].n = g ? g->n_budgets : 0;
    return s;
}

static enum err add_shares(struct hold *h, const struct hold_ask *ask, struct fault *f) {
    const struct caller *c = ask->caller;
    const struct spent_budgets s = budgets_of(ask);
    if (2 + s.of[0].n + s.of[1].n + s.of[2].n > SHARE_MAX)
        return fault_set(f, ERR_INTERNAL, NULL);
    add_share(h, (struct allow_id){c->test_mode ? ALLOW_SANDBOX : ALLOW_USER, c->user_id, 0},
              h->amount, false, 0);
    add_share(h, (struct allow_id){ALLOW_KEY, c->key_id, 0}, h->amount, c->unlimited_quota, 0);
    for (size_t k = 0; k < ARRAY_LEN(s.of); k++)
        add_budgets(h, s.of[k].rules, s.of[k].n);
    return OK;
}

static bool is_budget(const struct allow_id *id) {
    return id->kind == ALLOW_BUDGET || id->kind == ALLOW_OWNER_BUDGET;
}

static const struct budget_rule *rule_of(const struct hold_ask *ask, const struct allow_id *id) {
    const struct spent_budgets s = budgets_of(ask);
    for (size_t k = 0; k < ARRAY_LEN(s.of); k++)
        for (size_t i = 0; i < s.of[k].n; i++)
            if (s.of[k].rules[i].id == id->id && (k == 0) == (id->kind == ALLOW_BUDGET))
                return &s.of[k].rules[i];
    must(false);
}

/* What an allowance begins with when it is met for the first time. */
static int64_t start_of(const struct hold_ask *ask, const struct allow_id *id) {
    if (id->kind == ALLOW_SANDBOX)
        return CREDIT_SANDBOX_START;
    return is_budget(id) ? rule_of(ask, id)->amount : -1;
}

static enum err refuse(const struct hold *h, const struct hold_ask *ask, size_t share,
                       struct fault *f) {
    const struct allow_id *id = &h->opened.shares[share].id;
    if (id->kind == ALLOW_KEY)
        return fault_set(f, ERR_KEY_QUOTA, NULL);
    if (!is_budget(id))
        return fault_set(f, ERR_USER_QUOTA, NULL);
    enum err e = fault_set(f, ERR_BUDGET, "%s", budget_name(rule_of(ask, id)));
    if (f && h->resets_at[share]) {
        f->resets_at = h->resets_at[share];
        int64_t wait = f->resets_at - clock_unix_s();
        f->retry_after_s = wait > 0 ? wait : 1;
    }
    return e;
}

static enum err away(struct fault *f) {
    enum err e = fault_set(f, ERR_DB_AWAY, NULL);
    if (f)
        f->retry_after_s = 2;
    return e;
}

/* --- hold ----------------------------------------------------------------------------------- */

static void drop_leases(struct hold *h, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!h->opened.shares[i].unlimited)
            lease_cancel(h->leases[i], h->opened.shares[i].amount);
    }
}

struct wanted { /* what must be drawn */
    struct draw draws[SHARE_MAX];
    size_t share[SHARE_MAX];
    size_t n;
};

/* Takes what the leases cover; leaves the rest in *w. When one can not be had everything is given
 * back: ERR_DB_AWAY, or ERR_USER_QUOTA for share *refused. */
static enum err take_leases(struct hold *h, const struct hold_ask *ask, int64_t deadline,
                            struct wanted *w, size_t *refused) {
    bool taken[SHARE_MAX] = {0};
    enum take got = TAKE_OK;
    w->n = 0;
    for (size_t i = 0; i < h->opened.n_shares && got <= TAKE_DRAW; i++) {
        const struct share *s = &h->opened.shares[i];
        int64_t mine = 0;
        if (s->unlimited)
            continue;
        got = lease_take(h->leases[i], s->amount, deadline, &mine);
        taken[i] = got == TAKE_OK;
        *refused = i;
        if (got != TAKE_DRAW)
            continue;
        w->share[w->n] = i;
        w->draws[w->n++] = (struct draw){h->leases[i], s->amount, mine, start_of(ask, &s->id)};
    }
    if (got <= TAKE_DRAW)
        return OK;
    for (size_t i = 0; i < w->n; i++)
        lease_undrawn(w->draws[i].lease, w->draws[i].mine);
    for (size_t i = 0; i < h->opened.n_shares; i++)
        if (taken[i])
            lease_cancel(h->leases[i], h->opened.shares[i].amount);
    return got == TAKE_REFUSED ? ERR_USER_QUOTA : ERR_DB_AWAY;
}

static bool drawn_by_us(const struct wanted *w, size_t share) {
    for (size_t i = 0; i < w->n; i++)
        if (w->share[i] == share)
            return true;
    return false;
}

/* While the database is away a thread that waits for it could serve calls that leases cover: only
 * one a second asks whether it is back. */
static bool may_ask(struct billing *b) {
    int64_t at = b->ask_again_ms, now = clock_mono_ms();
    return !at ||
           (now >= at && atomic_compare_exchange_strong(&b->ask_again_ms, &at, now + ASK_AGAIN_MS));
}

static enum err draw_wanted(struct billing *b, struct db *db, struct wanted *w, int64_t deadline,
                            size_t *short_of) {
    if (!may_ask(b)) {
        for (size_t i = 0; i < w->n; i++)
            lease_undrawn(w->draws[i].lease, w->draws[i].mine);
        return ERR_DB_AWAY;
    }
    enum err e = draw_all(&b->bank, db, w->draws, w->n, deadline, short_of);
    b->ask_again_ms = e == ERR_DB_AWAY ? clock_mono_ms() + ASK_AGAIN_MS : 0;
    return e;
}

static enum err hold_all(struct billing *b, struct db *db, struct hold *h,
                         const struct hold_ask *ask, struct fault *f) {
    int64_t deadline = clock_mono_ms() + BILLING_WAIT_MS;
    struct wanted w;
    size_t short_of = 0;
    enum err e = take_leases(h, ask, deadline, &w, &short_of);
    if (e)
        return e == ERR_USER_QUOTA ? refuse(h, ask, short_of, f) : away(f);
    if (!w.n)
        return OK;
    e = draw_wanted(b, db, &w, deadline, &short_of);
    if (!e)
        return OK;
    for (size_t i = 0; i < h->opened.n_shares; i++)
        if (!h->opened.shares[i].unlimited && !drawn_by_us(&w, i))
            lease_cancel(h->leases[i], h->opened.shares[i].amount);
    if (e == ERR_USER_QUOTA)
        return refuse(h, ask, w.share[short_of], f);
    bool later = e == ERR_DB_AWAY || e == ERR_DB_CONFLICT || e == ERR_OVERLOADED;
    return later ? away(f) : fault_set(f, e, NULL);
}

/* Other hosts may have what is lacking here. */
static enum err draw_share(struct billing *b, struct db *db, const struct limit_rule *r,
                           int64_t tokens, int64_t deadline) {
    if (!may_ask(b))
        return ERR_DB_AWAY;
    enum err e = share_draw(b->limits, db, r, tokens, b->conf()->lease_ttl, deadline);
    b->ask_again_ms = e == ERR_DB_AWAY ? clock_mono_ms() + ASK_AGAIN_MS : 0;
    return e;
}

static enum err take_limits(struct billing *b, struct db *db, const struct hold_ask *ask,
                            struct hold *h, struct fault *f) {
    const struct caller *c = ask->caller;
    const struct group *g = ask->group;
    const struct limit_rule rules[] = {
        {LIMIT_KEY, c->key_id, 0, c->rpm_limit, c->tpm_limit, c->concurrency_limit},
        {LIMIT_GROUP, g ? g->id : 0, c->user_id, g ? g->rpm_limit : 0, g ? g->tpm_limit : 0,
         g ? g->concurrency_limit : 0},
        {LIMIT_USER, c->user_id, 0, c->user_rpm_limit, c->user_tpm_limit,
         c->user_concurrency_limit},
    };
    static_assert(ARRAY_LEN(rules) <= LIMIT_RULES_MAX, "more rules than seats");
    int64_t tokens = ask->prompt_tokens + ask->max_completion, deadline = 0;
    for (;;) {
        const struct limit_rule *lacking;
        enum err e = limits_take(b->limits, rules, ARRAY_LEN(rules), tokens, &h->seats, ask->report,
                                 &lacking, f);
        if (!lacking)
            return e;
        int64_t now = clock_mono_ms();
        deadline = deadline ? deadline : now + SHARE_WAIT_MS;
        enum err drawn = now < deadline ? draw_share(b, db, lacking, tokens, deadline) : e;
        if (drawn == ERR_RATE_LIMIT)
            return e;
        if (drawn)
            return away(f);
        if (f)
            f->retry_after_s = 0;
    }
}

static void fill_opened(const struct billing *b, const struct hold_ask *ask, struct hold *h) {
    struct opened *o = &h->opened;
    const struct usage prompt = {.prompt = ask->prompt_tokens, .images = ask->images};
    struct usage all = prompt;
    all.completion = ask->max_completion;
    h->amount = billing_cost(ask->price, ask->group_ratio, &all);
    list_init(&o->node);
    o->started_us = clock_unix_us();
    o->user_id = ask->caller->user_id;
    o->key_id = ask->caller->key_id;
    o->price_id = ask->price ? ask->price->id : 0;
    o->group_ratio = ask->group_ratio;
    o->prompt_tokens = ask->prompt_tokens;
    o->test_mode = ask->caller->test_mode;
    o->interrupted_cost = b->conf()->billing_interrupted_full
                              ? h->amount
                              : billing_cost(ask->price, ask->group_ratio, &prompt);
    RECORD_TEXT(o->request_id, ask->request_id);
    RECORD_TEXT(o->model, ask->model ? ask->model->name : STR(""));
}

/* A worker that has just started is about to join. */
static void await_joined(const struct billing *b) {
    while (!b->good_until_ms && clock_mono_ms() < b->started_ms + BILLING_WAIT_MS) {
        wait_begins();
        usleep(5000);
    }
}

static enum err may_hold(struct billing *b, struct fault *f) {
    if (!b->good_until_ms && !b->stop_at_ms)
        await_joined(b);
    if (b->stop_at_ms)
        return fault_set(f, ERR_STOPPING, NULL);
    if (clock_mono_ms() >= b->good_until_ms || b->backlog > b->conf()->ledger_max_backlog)
        return away(f);
    return OK;
}

static void unpin(struct hold *h) {
    for (size_t i = 0; i < h->opened.n_shares; i++)
        lease_unpin(h->leases[i]);
}

static enum err hold_money(struct billing *b, struct db *db, const struct hold_ask *ask,
                           struct hold *h, struct fault *f) {
    enum err e = add_shares(h, ask, f);
    if (e)
        return e;
    for (size_t i = 0; i < h->opened.n_shares; i++)
        h->leases[i] = lease_pin(&b->leases, &h->opened.shares[i].id);
    e = hold_all(b, db, h, ask, f);
    if (!e && clock_mono_ms() >= b->good_until_ms) { /* we slept, and the leases may be others' */
        drop_leases(h, h->opened.n_shares);
        e = away(f);
    }
    if (!e) {
        e = journal_open_call(b->journal, &h->opened);
        if (e) {
            drop_leases(h, h->opened.n_shares);
            e = fault_set(f, e, NULL);
            if (f)
                f->retry_after_s = 5;
        }
    }
    if (e)
        unpin(h);
    return e;
}

/* --- clamp ---------------------------------------------------------------------------------- */

/* What the tightest allowance could pay now: idle leases of others have come back already, since a
 * hold was refused. */
static enum err affordable(struct db *db, const struct hold *h, int64_t *most) {
    *most = h->amount;
    for (size_t i = 0; i < h->opened.n_shares; i++) {
        const struct allow_id *id = &h->opened.shares[i].id;
        struct q_allow_peek got;
        if (h->opened.shares[i].unlimited)
            continue;
        enum err e =
            q_allow_peek(db, &(struct q_allow_peek_in){id->kind, id->id, id->period}, &got);
        if (e)
            return e;
        if (got.remain < *most)
            *most = got.remain;
    }
    return OK;
}

/* The longest answer that `money` pays. */
static int64_t tokens_for(const struct hold_ask *ask, int64_t money) {
    int64_t lo = 0, hi = ask->max_completion;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo + 1) / 2;
        const struct usage u = {
            .prompt = ask->prompt_tokens, .completion = mid, .images = ask->images};
        if (billing_cost(ask->price, ask->group_ratio, &u) <= money) {
            lo = mid;
        } else {
            hi = mid - 1;
        }
    }
    return lo;
}

static enum err hold_clamped(struct billing *b, struct db *db, const struct hold_ask *ask,
                             struct hold *h, struct fault *f) {
    enum err refused = hold_money(b, db, ask, h, f);
    bool quota = refused == ERR_KEY_QUOTA || refused == ERR_USER_QUOTA || refused == ERR_BUDGET;
    int64_t money;
    if (!ask->clamp_to || !quota || affordable(db, h, &money) != OK)
        return refused;
    struct hold_ask less = *ask;
    less.max_completion = tokens_for(ask, money);
    if (less.max_completion <= 0)
        return refused;
    struct limit_seats seats = h->seats;
    *h = (struct hold){.seats = seats};
    fill_opened(b, &less, h);
    enum err e = hold_money(b, db, &less, h, f);
    if (!e)
        *ask->clamp_to = less.max_completion;
    return e;
}

enum err billing_hold(struct billing *b, struct db *db, const struct hold_ask *ask,
                      struct hold **out, struct fault *f) {
    enum err e = may_hold(b, f);
    if (e)
        return e;
    struct hold *h = base_zalloc(sizeof *h);
    e = take_limits(b, db, ask, h, f);
    if (!e) {
        fill_opened(b, ask, h);
        e = hold_clamped(b, db, ask, h, f);
        if (e)
            limits_give(b->limits, &h->seats, -1);
    }
    if (e) {
        free(h);
        return e;
    }
    *out = h;
    return OK;
}
