/* rerate.h - recomputing past calls: by the price they were charged by, which proves the bill, and
 * by the price their model has today, which tells what a change would have meant. */
#pragma once

#include "util/err.h"

struct db;

struct rerate_sum { /* of one account */
    int64_t user_id, calls;
    int64_t charged;    /* as it stands in the rows */
    int64_t recomputed; /* by each row's own price version; equals charged */
    int64_t today;      /* by the prices of today; rows of models without one count as charged */
};

/* Sums by account over the calls that ended in [since_s, until_s); told in the order of their ids.
 */
must_use enum err rerate_run(struct db *db, int64_t since_s, int64_t until_s,
                             void (*tell)(void *ctx, const struct rerate_sum *sum), void *ctx);
