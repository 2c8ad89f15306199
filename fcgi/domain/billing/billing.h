/* billing.h - money around one metered call: hold before it, settle after it, lose nothing between.
 *
 *   billing_hold   front thread: may use its db session; spends leases in memory when they cover it
 *   billing_settle loop thread: never blocks; hands the outcome to the ledger
 *   ledger_run     the ledger thread's body: journal -> batches -> usage rows, rollups
 *
 * Every hold is settled exactly once, whatever happened to the call.
 */
#pragma once

#include "domain/billing/price.h"
#include "domain/catalog/catalog.h"
#include "util/err.h"
#include "util/list.h"

struct billing; /* one per process */
struct caller;
struct conf;
struct db;
struct host;
struct hold; /* opaque; freed by billing_settle */

struct hold_ask {
    const struct caller *caller;
    const struct model *model;
    const struct price *price;
    ratio group_ratio;      /* the dearest of the groups the plan may use */
    int64_t prompt_tokens;  /* estimate */
    int64_t max_completion; /* client's limit, else the model's default, times n */
    struct str request_id;
};

enum end_reason {
    END_OK,          /* complete answer */
    END_REFUSED,     /* refused before an attempt */
    END_UPSTREAM,    /* provider failed before the first byte, all attempts used */
    END_BROKEN,      /* provider broke off after the first byte */
    END_CLIENT_LEFT, /* the client left; see policy */
    END_TIMEOUT,
    END_CUT,       /* our own drain timeout */
    END_HARD_STOP, /* hold used up */
};

struct outcome { /* what the loop knows at the end; strings are copied by billing_settle */
    enum end_reason end;
    int status; /* HTTP status the client got, 0 = none */
    struct usage usage;
    bool usage_estimated;
    bool billable;            /* false: error bodies and failed calls: hold returned in full */
    enum leave_policy policy; /* what was done when the client left */
    ratio group_ratio;
    const struct price *price;
    struct str request_id, upstream_request_id, model, upstream_model, ip, endpoint, error_code;
    int64_t user_id, key_id, group_id, channel_id;
    bool stream, test_mode;
    int attempts;
    int64_t started_us;                 /* unix */
    int64_t first_byte_us, duration_us; /* from started */
    int64_t cost;                       /* out: what was charged */
};

/* conf stays valid for the life of billing. */
struct billing *billing_new(const struct conf *conf, struct host *host, int64_t worker_id);
void billing_free(struct billing **b);

must_use enum err billing_hold(struct billing *b, struct db *db, const struct hold_ask *ask,
                               struct hold **out, struct fault *f);
/* Charges, sets o->cost, frees the hold (may be NULL: nothing was held). */
void billing_settle(struct billing *b, struct hold **hold, struct outcome *o);
/* Cost of an answer so far, for x-tollgate-cost and hard stop. */
int64_t billing_cost(const struct price *p, ratio group_ratio, const struct usage *u);

/* Runs until billing_stop and everything is written (or deadline_ms passed after the stop). */
void ledger_run(struct billing *b, struct db *db);
void billing_stop(struct billing *b, int64_t deadline_ms);
/* Outcomes not yet in the database: for /metrics and overload decisions. */
size_t billing_backlog(struct billing *b);
