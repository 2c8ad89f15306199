#include "domain/billing/billing.h"

#include "domain/billing/bell.h"
#include "domain/billing/state.h"
#include "door/conf.h"
#include "door/crypt.h"
#include "util/clock.h"
#include "util/log.h"

#include <stdlib.h>
#include <unistd.h>

static void give_up(const struct fault *f) {
    LOG(LOG_EV_CONFIG_BAD, log_s("detail", f->detail));
    base_must_failed("run.dir can be used", __FILE__, __LINE__);
}

struct billing *billing_new(const struct conf *(*in_force)(void)) {
    const struct conf *conf = in_force();
    struct billing *b = base_zalloc(sizeof *b);
    struct fault f = {0};
    b->conf = in_force;
    b->started_ms = clock_mono_ms();
    must(str_copy(str_c(conf->run_dir), b->run_dir, sizeof b->run_dir));
    if (gethostname(b->host, sizeof b->host - 1) != 0)
        b->host[0] = '\0';
    leases_init(&b->leases);
    queue_init(&b->written);
    b->bank = (struct bank){.run_dir = b->run_dir, .next_op = 1};
    while (b->bank.worker <= 0)
        crypt_random(&b->bank.worker, sizeof b->bank.worker);
    const struct journal_conf journal = {.dir = b->run_dir,
                                         .worker_id = b->bank.worker,
                                         .segment_bytes = conf->journal_segment,
                                         .max_bytes = conf->journal_max,
                                         .sync = conf->journal_sync};
    if (journal_open(&journal, &b->journal, &f) != OK ||
        limits_open(b->run_dir, b->bank.worker, &b->limits, &f) != OK)
        give_up(&f);
    b->bell = bell_open(b->run_dir, b->bank.worker);
    lock_init(&b->ending);
    return b;
}

/* Whatever is not in the database stays in the journal, for another worker to adopt. */
void billing_free(struct billing **bp) {
    struct billing *b = *bp;
    *bp = NULL;
    if (!b)
        return;
    journal_close(&b->journal, b->backlog == 0 && !b->good_until_ms);
    limits_close(&b->limits);
    base_closep(&b->bell);
    struct list rest;
    list_init(&rest);
    queue_take(&b->written, &rest);
    LIST_EACH_SAFE (n, next, &rest)
        free(CONTAINER_OF(n, struct hold, node));
    queue_free(&b->written);
    lock_free(&b->ending);
    leases_free(&b->leases);
    free(b);
}

int64_t billing_cost(const struct price *p, ratio group_ratio, const struct usage *u) {
    return p ? price_cost(p, group_ratio, u) : 0;
}

int64_t billing_held(const struct hold *h) {
    return h->amount;
}

size_t billing_backlog(struct billing *b) {
    return (size_t)b->backlog;
}

void billing_stop(struct billing *b, int64_t deadline_ms) {
    b->stop_at_ms = clock_mono_ms() + deadline_ms;
    queue_wake(&b->written);
}

/* --- settle --------------------------------------------------------------------------------- */

static void fill_bill(struct hold *h, const struct outcome *o) {
    const struct opened *opened = &h->opened;
    struct bill *b = &h->bill;
    *b = (struct bill){
        .serial = opened->serial,
        .ended_us = clock_unix_us(),
        .started_us = o->started_us,
        .first_byte_us = o->first_byte_us,
        .duration_us = o->duration_us,
        .user_id = opened->user_id,
        .key_id = opened->key_id,
        .group_id = o->group_id,
        .channel_id = o->channel_id,
        .price_id = o->price ? o->price->id : opened->price_id,
        .group_ratio = o->group_ratio,
        .usage = o->usage,
        .cost = o->cost,
        .status = o->status,
        .attempts = o->attempts,
        .end = (uint8_t)o->end,
        .policy = (uint8_t)o->policy,
        .stream = o->stream,
        .test_mode = opened->test_mode,
        .estimated = o->usage_estimated,
        .n_shares = opened->n_shares,
    };
    memcpy(b->shares, opened->shares, sizeof b->shares);
    RECORD_TEXT(b->request_id, o->request_id);
    RECORD_TEXT(b->upstream_request_id, o->upstream_request_id);
    RECORD_TEXT(b->model, o->model);
    RECORD_TEXT(b->upstream_model, o->upstream_model);
    RECORD_TEXT(b->ip, o->ip);
    RECORD_TEXT(b->endpoint, o->endpoint);
    RECORD_TEXT(b->error_code, o->error_code);
}

/* Into the journal first, before the client has the answer's last byte, and so that a database that
 * hangs does not keep it in memory only. The ledger gets the calls in their order. */
static void end_call(struct billing *b, struct hold *h) {
    LOCKED(&b->ending);
    h->bill.seq = ++b->last_seq;
    if (!journal_end(b->journal, &h->bill, &h->opened))
        LOG(LOG_EV_LEDGER_FAILED, log_s("journal", "write"));
    queue_put(&b->written, &h->node);
}

void billing_settle(struct billing *b, struct hold **hp, struct outcome *o) {
    struct hold *h = *hp;
    *hp = NULL;
    o->cost = 0;
    if (!h)
        return;
    if (o->billable)
        o->cost = billing_cost(o->price, o->group_ratio, &o->usage);
    for (size_t i = 0; i < h->opened.n_shares; i++) {
        const struct share *s = &h->opened.shares[i];
        lease_settle(h->leases[i], s->unlimited ? 0 : s->amount, o->cost);
    }
    bool called = o->end != END_REFUSED;
    limits_give(b->limits, &h->seats, called ? o->usage.prompt + o->usage.completion : -1);
    fill_bill(h, o);
    b->backlog++;
    end_call(b, h);
}
