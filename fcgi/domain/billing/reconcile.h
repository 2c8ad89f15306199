/* reconcile.h - proves that no money is lost or invented, while traffic runs.
 *
 * For each allowance: granted = remaining + leased + spent. For each account and key: spent = the
 * sum of its usage. For the hours whose rows are kept: the hourly sums = the sums of the rows. For
 * each account: granted = the sum of its credits.
 */
#pragma once

#include "domain/billing/lease.h"
#include "util/err.h"

struct db;

enum reconcile_check {
    RECONCILE_BALANCE,
    RECONCILE_SPENT,
    RECONCILE_ROWS,
    RECONCILE_CREDITS,
    RECONCILE__MAX
};

struct discrepancy {
    enum reconcile_check check;
    struct allow_id id;
    int64_t expected, found;
};

/* "granted = remaining + leased + spent" */
const char *reconcile_rule(enum reconcile_check c);

/* Tells each discrepancy. Any session; needs no pause of the workers. */
must_use enum err reconcile_run(struct db *db, void (*tell)(void *ctx, const struct discrepancy *d),
                                void *ctx);
/* Corrects what follows from usage and grants: spent from the usage, remaining from granted. Rows,
 * hourly sums and credits are records and are never changed. */
must_use enum err reconcile_repair(struct db *db, const struct discrepancy *d);
