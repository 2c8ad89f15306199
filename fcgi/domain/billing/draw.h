/* draw.h - leases and the database: drawing on allowances, giving back, recalling.
 *
 * Each transaction that moves money between an allowance and a lease has a number, kept in the
 * lease's row. So an attempt whose COMMIT was lost is recognised by the next one, in this process
 * or in db_transaction's own repetition: nothing is drawn or given back twice.
 */
#pragma once

#include "domain/billing/record.h"
#include "util/err.h"

#include <stdatomic.h>

struct db;

struct bank { /* who draws */
    int64_t worker;
    const char *run_dir; /* for bells */
    _Atomic int64_t next_op;
};

/* What a hold needs of the leases it is the drawer of. */
struct draw {
    struct lease *lease;
    int64_t need, mine;
    int64_t start; /* >= 0: what the allowance begins with when it is not there yet; a budget's
                      period is always worth this */
};

/* Draws all or nothing and ends all drawing. When the allowance itself can not pay, other workers'
 * leases on it are recalled and waited for until deadline_ms. *short_of: the index of the draw that
 * could not be paid, with ERR_USER_QUOTA. ERR_OVERLOADED when a lease elsewhere could pay and
 * did not come back in time, or when a row was locked for too long. */
must_use enum err draw_all(struct bank *bank, struct db *db, struct draw *draws, size_t n,
                           int64_t deadline_ms, size_t *short_of);

/* Gives back all that is available in the leases, moves what was spent to the allowances and
 * answers recalls, in one transaction (ledger thread). A lease that somebody draws on is left alone
 * and *again is set, except that a drawer who waits for others has given back all there was. */
#define DRAW_RETURN_MAX 100
must_use enum err draw_return(struct bank *bank, struct db *db, struct lease *const *leases,
                              size_t n, bool *again);
/* Only moves what was spent, in one transaction; orders the ids. At most DRAW_RETURN_MAX. */
must_use enum err draw_fold(struct bank *bank, struct db *db, struct allow_id *ids, size_t n);
