/* billing.h - money around one metered call: hold before it, settle after it, lose nothing between.
 *
 *   billing_hold   front thread: spends leases in memory when they cover the call, else draws with
 *                  its db session; writes the call to the journal
 *   billing_settle the loop: a few mutexes, no I/O; hands the outcome to the ledger
 *   ledger_run     the ledger thread's body: journal -> batches -> usage rows, rollups, leases;
 *                  adopts dead workers' journals, answers recalls, returns idle leases
 *
 * Every hold is settled exactly once, whatever happened to the call.
 */
#pragma once

#include "domain/billing/limits.h"
#include "domain/billing/price.h"
#include "domain/catalog/catalog.h"
#include "util/err.h"
#include "util/list.h"

struct billing; /* one per process */
struct caller;
struct conf;
struct db;
struct hold; /* opaque; freed by billing_settle */

struct hold_ask {
    const struct caller *caller;
    const struct model *model;
    const struct price *price;
    const struct group
        *group;             /* the first of the plan: its limits and budgets apply; may be NULL */
    ratio group_ratio;      /* the dearest of the groups the plan may use */
    int64_t prompt_tokens;  /* estimate */
    int64_t max_completion; /* client's limit, else the model's default, times n */
    int64_t images;         /* of an image call; else 0 */
    struct str request_id;
    struct limit_report *report; /* out, also when refused by a rate limit; may be NULL */
    /* Given: an answer that can not be paid in full is held for as far as the money goes, and this
     * is set to the tokens it may have (untouched otherwise). */
    int64_t *clamp_to;
};

enum end_reason {
    END_OK,          /* complete answer */
    END_REFUSED,     /* refused before an attempt */
    END_UPSTREAM,    /* provider failed before the first byte, all attempts used */
    END_BROKEN,      /* provider broke off after the first byte */
    END_CLIENT_LEFT, /* the client left; see policy */
    END_TIMEOUT,
    END_CUT,         /* our own drain timeout */
    END_HARD_STOP,   /* hold used up */
    END_INTERRUPTED, /* our process died; only the ledger says so */
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

/* conf gives the configuration in force. Aborts when run.dir can not be used; that is logged.
 * The journal's id is drawn at random, since a database restored from a backup may count ids again.
 */
struct billing *billing_new(const struct conf *(*conf)(void));
void billing_free(struct billing **b);

/* Errors: ERR_RATE_LIMIT; ERR_USER_QUOTA, ERR_KEY_QUOTA, ERR_BUDGET (resets_at) when the true
 * allowance - with what other workers could give back - can not pay; ERR_DB_AWAY (retry_after_s)
 * when no lease covers the call and the database can not be asked; ERR_JOURNAL_FULL; ERR_STOPPING.
 * Waits at most BILLING_WAIT_MS for leases of others. */
#define BILLING_WAIT_MS 3000
must_use enum err billing_hold(struct billing *b, struct db *db, const struct hold_ask *ask,
                               struct hold **out, struct fault *f);
/* Charges, sets o->cost, frees the hold (may be NULL: nothing was held). */
void billing_settle(struct billing *b, struct hold **hold, struct outcome *o);
/* Cost of an answer so far, for x-tollgate-cost and hard stop. */
int64_t billing_cost(const struct price *p, ratio group_ratio, const struct usage *u);
/* What is held for the call, for hard stop. */
int64_t billing_held(const struct hold *h);

/* Runs until billing_stop and everything is written (or deadline_ms passed after the stop). */
void ledger_run(struct billing *b, struct db *db);
void billing_stop(struct billing *b, int64_t deadline_ms);
/* Outcomes not yet in the database: for /metrics and overload decisions. */
size_t billing_backlog(struct billing *b);
