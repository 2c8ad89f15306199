/* share.h - limits across hosts: each host has a share of every limit, kept in limit_shares, and
 * spends it without asking (limits.h).
 *
 * A share is drawn when a call needs it. A host that is alone with a limit takes all of it; else it
 * takes what it needs and half of what is free then. When too little is free, the others are asked
 * for what they do not use: they answer within ANSWER_MS. A host that is silent for lease.ttl has
 * no share any more a minute later, one whose workers ended properly after a minute.
 *
 * The database's row is never below what the host believes: shares grow in the database first and
 * shrink there last, and each writing of a row says what the host has, so an unknown outcome is
 * settled by the next.
 */
#pragma once

#include "domain/billing/limits.h"

struct db;

#define SHARE_WAIT_MS 1000

/* Draws for one call of `tokens`; waits until deadline_ms at most. OK: it is worth to take again.
 * ERR_RATE_LIMIT: there is no more. Else the database's error. Front thread. */
must_use enum err share_draw(struct limits *l, struct db *db, const struct limit_rule *r,
                             int64_t tokens, int64_t ttl_ms, int64_t deadline_ms);
/* Gives other hosts what they asked for and this host does not use. Ledger thread. */
void share_answer(struct limits *l, struct db *db);
/* Forgets what is old and the shares of hosts that are gone. Ledger thread. */
void share_tidy(struct limits *l, struct db *db, int64_t ttl_ms);
