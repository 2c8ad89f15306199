#include "domain/billing/state.h"

#include "domain/billing/bell.h"
#include "door/conf.h"
#include "door/queries.h"
#include "util/clock.h"
#include "util/counter.h"
#include "util/log.h"

#include <poll.h>
#include <stdlib.h>

#define BATCH_MAX 5000
#define IDS_AT_ONCE 10000
#define RETRY_FIRST_MS 50
#define RETRY_MAX_MS 2000
#define DUTY_MS 100

/* --- one transaction ------------------------------------------------------------------------ */

struct apply {
    int64_t worker;
    struct bill *const *bills;
    size_t n;
    struct q_usage_add_in *usage;
    struct q_hourly_add_in *hourly;
    struct q_lease_spend_in *spend;
    size_t n_hourly, n_spend;
};

static bool failed(const struct bill *b) {
    return b->end != END_OK && b->cost == 0;
}

static struct q_usage_add_in usage_of(const struct bill *b) {
    const struct usage *u = &b->usage;
    return (struct q_usage_add_in){
        .created_s = b->ended_us / 1000000,
        .type = failed(b) ? 5 : 2,
        .user_id = b->user_id,
        .key_id = b->key_id,
        .group_id = b->group_id,
        .channel_id = b->channel_id,
        .price_id = b->price_id,
        .group_ratio = b->group_ratio,
        .cost = b->cost,
        .prompt = u->prompt,
        .completion = u->completion,
        .cached = u->cached,
        .cache_write_5m = u->cache_write_5m,
        .cache_write_1h = u->cache_write_1h,
        .image_in = u->image_in,
        .audio_in = u->audio_in,
        .audio_out = u->audio_out,
        .reasoning = u->reasoning,
        .searches = u->tool_searches,
        .images = u->images,
        .status = b->status,
        .attempts = b->attempts,
        .end_reason = b->end,
        .policy = b->policy,
        .stream = b->stream,
        .test_mode = b->test_mode,
        .estimated = b->estimated,
        .interrupted = b->interrupted,
        .started_us = b->started_us,
        .first_byte_us = b->first_byte_us,
        .duration_us = b->duration_us,
        .request_id = str_c(b->request_id),
        .upstream_request_id = str_c(b->upstream_request_id),
        .model = str_c(b->model),
        .upstream_model = str_c(b->upstream_model),
        .ip = str_c(b->ip),
        .endpoint = str_c(b->endpoint),
        .error_code = str_c(b->error_code),
        .content = STR(""),
    };
}

static struct q_hourly_add_in hourly_of(const struct bill *b) {
    int64_t created = b->ended_us / 1000000;
    return (struct q_hourly_add_in){
        .user_id = b->user_id,
        .key_id = b->key_id,
        .hour_s = created - created % 3600,
        .model = str_c(b->model),
        .group_id = b->group_id,
        .test_mode = b->test_mode,
        .calls = 1,
        .failures = failed(b),
        .prompt = b->usage.prompt,
        .completion = b->usage.completion,
        .cost = b->cost,
    };
}

static int cmp_i64(int64_t a, int64_t b) {
    return a < b ? -1 : a > b;
}

static int by_hourly(const void *pa, const void *pb) {
    const struct q_hourly_add_in *a = pa, *b = pb;
    int c = cmp_i64(a->hour_s, b->hour_s);
    c = c ? c : cmp_i64(a->user_id, b->user_id);
    c = c ? c : cmp_i64(a->key_id, b->key_id);
    c = c ? c : str_cmp(a->model, b->model);
    c = c ? c : cmp_i64(a->group_id, b->group_id);
    return c ? c : cmp_i64(a->test_mode, b->test_mode);
}

static int by_spend(const void *pa, const void *pb) {
    const struct q_lease_spend_in *a = pa, *b = pb;
    int c = cmp_i64(a->kind, b->kind);
    c = c ? c : cmp_i64(a->owner_id, b->owner_id);
    return c ? c : cmp_i64(a->period, b->period);
}

/* Sorted, so that workers lock rows in one order, and with one row for each key. */
static void sum_hourly(struct apply *a) {
    qsort(a->hourly, a->n_hourly, sizeof *a->hourly, by_hourly);
    size_t n = 0;
    for (size_t i = 0; i < a->n_hourly; i++) {
        struct q_hourly_add_in *last = n ? &a->hourly[n - 1] : NULL, *h = &a->hourly[i];
        if (!last || by_hourly(last, h) != 0) {
            a->hourly[n++] = *h;
            continue;
        }
        last->calls += h->calls;
        last->failures += h->failures;
        last->prompt += h->prompt;
        last->completion += h->completion;
        last->cost += h->cost;
    }
    a->n_hourly = n;
}

static void sum_spend(struct apply *a) {
    qsort(a->spend, a->n_spend, sizeof *a->spend, by_spend);
    size_t n = 0;
    for (size_t i = 0; i < a->n_spend; i++) {
        struct q_lease_spend_in *last = n ? &a->spend[n - 1] : NULL, *s = &a->spend[i];
        if (!last || by_spend(last, s) != 0) {
            a->spend[n++] = *s;
            continue;
        }
        last->minus += s->minus;
        last->settled += s->settled;
    }
    a->n_spend = n;
}

static void prepare(struct apply *a) {
    a->usage = base_alloc((a->n + 1) * sizeof *a->usage);
    a->hourly = base_alloc((a->n + 1) * sizeof *a->hourly);
    a->spend = base_alloc((a->n * SHARE_MAX + 1) * sizeof *a->spend);
    for (size_t i = 0; i < a->n; i++) {
        const struct bill *b = a->bills[i];
        a->usage[i] = usage_of(b);
        a->hourly[a->n_hourly++] = hourly_of(b);
        for (size_t k = 0; k < b->n_shares && b->cost; k++) {
            const struct share *s = &b->shares[k];
            a->spend[a->n_spend++] = (struct q_lease_spend_in){
                .worker_id = a->worker,
                .kind = s->id.kind,
                .owner_id = s->id.id,
                .period = s->id.period,
                .minus = -b->cost,
                .settled = b->cost,
            };
        }
    }
    sum_hourly(a);
    sum_spend(a);
}

static enum err run_apply(struct db *db, void *ctx) {
    const struct apply *a = ctx;
    int64_t last = (int64_t)a->bills[a->n - 1]->seq;
    struct db_done done;
    enum err e = q_ledger_apply(db, &(struct q_ledger_apply_in){last, a->worker, last}, &done);
    if (e || !done.affected) /* an earlier run was committed, its answer was lost */
        return e;
    e = q_usage_add(db, a->usage, a->n, NULL);
    if (!e && a->n_spend)
        e = q_lease_spend(db, a->spend, a->n_spend, NULL);
    if (!e)
        e = q_hourly_add(db, a->hourly, a->n_hourly, NULL);
    return e;
}

static enum err run_ids(struct db *db, void *ctx) {
    struct usage_ids *ids = ctx;
    struct q_usage_ids_lock got;
    enum err e = q_usage_ids_lock(db, &got);
    if (!e)
        e = q_usage_ids_take(db, &(struct q_usage_ids_take_in){IDS_AT_ONCE}, NULL);
    if (!e)
        *ids = (struct usage_ids){got.next_id, IDS_AT_ONCE};
    return e;
}

enum err ledger_apply(struct db *db, struct usage_ids *ids, int64_t worker,
                      struct bill *const *bills, size_t n) {
    if (ids->left < (int64_t)n) { /* an outcome that is unknown costs a block of numbers at most */
        enum err e = db_transaction(db, true, run_ids, ids);
        if (e)
            return e;
    }
    struct apply a = {.worker = worker, .bills = bills, .n = n};
    prepare(&a);
    for (size_t i = 0; i < n; i++)
        a.usage[i].id = ids->next + (int64_t)i;
    enum err e = db_transaction(db, true, run_apply, &a);
    ids->next += (int64_t)n;
    ids->left -= (int64_t)n;
    if (!e)
        counter_add(COUNTER_LEDGER_ROWS, (int64_t)n);
    free(a.usage);
    free(a.hourly);
    free(a.spend);
    return e;
}

/* --- the thread ----------------------------------------------------------------------------- */

struct ledger {
    struct billing *b;
    struct db *db;
    struct list waiting; /* of struct hold: in the journal, not in the database */
    int64_t first_ms;    /* since when they wait */
    struct upkeep upkeep;
    size_t singly; /* so many calls are written one by one, to find one the database refuses */
    int64_t retry_ms, retry_at_ms;
};

static void forget(struct ledger *l, struct hold *h) {
    for (size_t i = 0; i < h->opened.n_shares; i++) {
        lease_flushed(h->leases[i], h->bill.cost);
        lease_unpin(h->leases[i]);
    }
    list_remove(&h->node);
    free(h);
    l->b->backlog--;
}

static size_t gather(struct ledger *l, struct bill **bills, size_t most) {
    size_t n = 0;
    LIST_EACH (node, &l->waiting) {
        if (n == most)
            break;
        bills[n++] = &CONTAINER_OF(node, struct hold, node)->bill;
    }
    return n;
}

/* The database takes the numbers of any call; a text it refuses must not keep all others waiting.
 */
static void mistrust(struct ledger *l, struct bill *const *bills, size_t n) {
    if (n > 1) {
        l->singly = n;
        return;
    }
    struct bill *b = bills[0];
    LOG(LOG_EV_LEDGER_FAILED, log_i("seq", (int64_t)b->seq), log_s("texts", "left out"));
    char *const texts[] = {
        b->request_id, b->upstream_request_id, b->model, b->upstream_model, b->ip,
        b->endpoint,   b->error_code};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        texts[i][0] = '\0';
}

/* True when there may be more to write at once. */
static bool write_batch(struct ledger *l) {
    struct bill *bills[BATCH_MAX];
    size_t most = l->singly ? 1 : (size_t)l->b->conf()->ledger_batch, n = gather(l, bills, most);
    must(most <= BATCH_MAX);
    if (!n)
        return false;
    enum err e = ledger_apply(l->db, &l->b->ids, l->b->bank.worker, bills, n);
    if (e == ERR_INTERNAL)
        mistrust(l, bills, n);
    if (e) {
        l->retry_ms = l->retry_ms ? l->retry_ms * 2 : RETRY_FIRST_MS;
        l->retry_ms = l->retry_ms < RETRY_MAX_MS ? l->retry_ms : RETRY_MAX_MS;
        l->retry_at_ms = clock_mono_ms() + l->retry_ms;
        LOG(LOG_EV_LEDGER_BEHIND, log_s("error", err_code(e)), log_i("backlog", l->b->backlog));
        return false;
    }
    l->retry_ms = l->retry_at_ms = 0;
    l->singly -= l->singly > 0;
    journal_applied(l->b->journal, bills[n - 1]->seq);
    for (size_t i = 0; i < n; i++)
        forget(l, CONTAINER_OF(l->waiting.next, struct hold, node));
    return n == most;
}

/* Asked each time: a reload may have made it sooner. */
static int64_t flush_at_ms(const struct ledger *l) {
    return l->first_ms + l->b->conf()->ledger_flush_interval;
}

static int next_duty_ms(const struct ledger *l) {
    if (l->upkeep.again)
        return 5;
    if (list_empty(&l->waiting))
        return DUTY_MS;
    int64_t flush = flush_at_ms(l), at = flush > l->retry_at_ms ? flush : l->retry_at_ms;
    int64_t left = at - clock_mono_ms();
    return left < 0 ? 0 : left < DUTY_MS ? (int)left : DUTY_MS;
}

/* Until the first call ended, the bell rang or a duty is due. True when rung. More calls that end
 * wake nobody: their answers' last bytes come after. */
static bool sleep_until_needed(struct ledger *l) {
    struct pollfd fds[] = {{.fd = l->b->bell, .events = POLLIN},
                           {.fd = queue_fd(&l->b->written), .events = POLLIN}};
    bool gathers = !list_empty(&l->waiting), ended = queue_attend(&l->b->written, gathers);
    poll(fds, gathers ? 1 : 2, ended && !gathers ? 0 : next_duty_ms(l));
    if (!(fds[0].revents & POLLIN))
        return false;
    bell_hear(l->b->bell);
    return true;
}

static void take_written(struct ledger *l) {
    bool first = list_empty(&l->waiting);
    if (queue_take(&l->b->written, &l->waiting) && first)
        l->first_ms = clock_mono_ms();
}

/* The database takes many rows for little more than one, so calls wait for company, unless somebody
 * needs what they have left over. */
static bool turn(struct ledger *l) {
    bool rung = sleep_until_needed(l);
    take_written(l);
    if (rung || l->b->stop_at_ms || clock_mono_ms() >= flush_at_ms(l))
        while (clock_mono_ms() >= l->retry_at_ms && write_batch(l))
            ;
    if (clock_mono_ms() >= l->retry_at_ms)
        upkeep_tick(l->b, l->db, &l->upkeep, rung);
    int64_t stop = l->b->stop_at_ms;
    return !stop || (clock_mono_ms() < stop && l->b->backlog > 0);
}

void ledger_run(struct billing *b, struct db *db) {
    struct ledger l = {.b = b, .db = db};
    list_init(&l.waiting);
    while (turn(&l))
        ;
    if (b->backlog == 0 && upkeep_end(b, db) == OK)
        b->good_until_ms = 0;
    LIST_EACH_SAFE (node, next, &l.waiting) { /* stays in the journal */
        struct hold *h = CONTAINER_OF(node, struct hold, node);
        list_remove(node);
        free(h);
    }
}
