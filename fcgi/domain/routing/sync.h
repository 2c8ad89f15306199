/* sync.h - keeping a worker in step with what changes in the database: its heartbeat, the change
 * log of all hosts, the catalogue.
 *
 * Who writes something that others cache does, in the transaction and as its last statement,
 * change_note, and after the commit change_apply: this host follows at once, the others when they
 * next look (sync.interval). A writer killed between the two is made good by the log.
 */
#pragma once

#include "domain/routing/host.h"

struct db;
struct keyring;
struct sync; /* one per process; for one thread, with its database session */

struct change {
    enum host_gen kind;
    int64_t entity_id; /* 0 for the catalogue */
    int64_t id;        /* of the log row */
};
/* Sets c->id. */
must_use enum err change_note(struct db *db, struct change *c);
void change_apply(struct host *h, const struct change *c);

/* Registers the worker, reads the log and publishes the first catalogue. */
must_use enum err sync_new(struct host *h, const struct keyring *keys, struct db *db,
                           struct sync **out, struct fault *f);
/* Takes the worker's row away (when the database answers). */
void sync_free(struct sync **s, struct db *db);
/* Unique among all workers of all hosts, ever. */
int64_t sync_worker_id(const struct sync *s);

/* Once per sync.interval. What fails now is tried again by the next call. */
void sync_tick(struct sync *s, struct db *db);
/* The next tick reads the catalogue even if nothing changed (SIGHUP). */
void sync_reload(struct sync *s);
