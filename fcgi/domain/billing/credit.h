/* credit.h - what accounts and keys are given, and what is left of it.
 *
 *   remaining = granted - used;  used counts what workers have spent of their leases, too
 *
 * Money is quota units. Functions with "_in" run inside the caller's db_transaction (their error
 * rolls it back); the others make their own. Any thread with its own session. In SQL the same
 * picture of, say, a key is
 *
 *   SELECT a.granted - a.spent - COALESCE((SELECT SUM(l.settled) FROM leases l WHERE l.kind =
 * a.kind AND l.owner_id = a.owner_id AND l.period = a.period), 0) AS remain_quota FROM allowances a
 * WHERE a.kind = 3 AND a.owner_id = <key> AND a.period = 0
 */
#pragma once

#include "domain/billing/lease.h"
#include "util/err.h"

struct db;

enum credit_source {
    CREDIT_TOPUP = 1,
    CREDIT_REDEMPTION,
    CREDIT_ADJUSTMENT,
    CREDIT_REFUND,
    CREDIT_GIFT
};

struct credit {
    enum allow_kind kind; /* ALLOW_USER or ALLOW_SANDBOX */
    int64_t user_id;
    int64_t amount; /* negative takes away; the balance may become negative */
    enum credit_source source;
    struct str reason;
    int64_t actor_id;     /* 0 = the operator's command line */
    struct str reference; /* given: the same reference is credited once */
};

struct allow_view {
    int64_t granted, used, remaining;
};

/* What a new account's sandbox (test keys) may spend. */
#define CREDIT_SANDBOX_START INT64_C(50000000)

/* ERR_DB_DUPLICATE: the reference was credited before. */
must_use enum err credit_give_in(struct db *db, const struct credit *c);
must_use enum err credit_give(struct db *db, const struct credit *c);

/* A new key's quota (also when unlimited: then it is not asked). */
must_use enum err credit_key_new_in(struct db *db, int64_t key_id, int64_t remaining);
/* Makes what remains of the key's quota exactly `remaining`, leases included: workers that hold
 * leases are asked to give them back. */
must_use enum err credit_key_set_in(struct db *db, int64_t key_id, int64_t remaining);

/* All zeros when there is no such allowance (a sandbox balance is born with its first use). period:
 * 0, or the second a budget's window began (zone_window). */
must_use enum err credit_view(struct db *db, enum allow_kind kind, int64_t id, int64_t period,
                              struct allow_view *out);
