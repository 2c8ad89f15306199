/* write.h - how an operator's change is made: one transaction with its line in the change log, and
 * after the commit this host's counters, so that running workers follow at once. */
#pragma once

#include "domain/routing/sync.h"

/* Runs fn(db, ctx) in a transaction that may run more than once. *entity is read after fn: the id
 * of what changed (0 for the catalogue). host may be NULL: then workers learn of it from the log.
 */
must_use enum err admin_write(struct db *db, struct host *host, enum host_gen kind,
                              const int64_t *entity, enum err (*fn)(struct db *db, void *ctx),
                              void *ctx);
