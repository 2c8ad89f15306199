#include "domain/routing/sync.h"

#include "domain/catalog/catalog.h"
#include "door/db.h"
#include "door/queries.h"
#include "util/clock.h"
#include "util/counter.h"
#include "util/log.h"

#include <stdlib.h>
#include <unistd.h>

/* Ids become visible when their transaction commits, not in their order. A row is looked at again
 * until it is this old; as the note is a transaction's last statement, the commit follows within
 * far less. */
#define LOOK_BACK_MS 10000
#define BEAT_MS 5000
#define PRUNE_MS (10 * 60 * 1000)
#define PRUNE_STEP 10000 /* rows in one statement, as sync.sql has it */
#define CHANGES_KEPT_S 3600
#define WORKERS_KEPT_S 86400
/* After a longer absence rows may have been pruned unseen. */
#define AWAY_MS (CHANGES_KEPT_S / 2 * 1000)

struct sync {
    struct host *host;
    const struct keyring *keys;
    int64_t worker_id;
    int slot;
    char hostname[256];
    int64_t after_id;                   /* every row up to it is old enough to be final */
    int64_t seen_id;                    /* the newest row read */
    int64_t read_ms, beat_ms, prune_ms; /* when last done */
    uint32_t catalog_gen;
    bool reload;
};

enum err change_note(struct db *db, struct change *c) {
    struct db_done done;
    enum err e = q_change_add(
        db, &(struct q_change_add_in){.kind = c->kind, .entity_id = c->entity_id}, &done);
    c->id = e ? 0 : done.insert_id;
    return e;
}

void change_apply(struct host *h, const struct change *c) {
    host_gen_bump(h, c->kind, c->entity_id);
    host_change_mark(h, c->id);
}

static enum err on_change(void *ctx, const struct q_change_since *r) {
    struct sync *s = ctx;
    bool known = r->kind >= 0 && r->kind < HOST_GEN__MAX; /* a newer version may have more */
    if (known && !host_change_applied(s->host, r->id))
        change_apply(s->host, &(struct change){(enum host_gen)r->kind, r->entity_id, r->id});
    if (r->id > s->seen_id)
        s->seen_id = r->id;
    if (r->age_ms > LOOK_BACK_MS && r->id > s->after_id)
        s->after_id = r->id;
    return OK;
}

static enum err follow_log(struct sync *s, struct db *db) {
    enum err e = q_change_since(db, &(struct q_change_since_in){s->after_id}, on_change, s);
    if (e)
        return e;
    int64_t now = clock_mono_ms();
    if (now - s->read_ms > AWAY_MS)
        host_gen_bump_all(s->host);
    s->read_ms = now;
    return OK;
}

static enum err follow_catalog(struct sync *s, struct db *db, struct fault *f) {
    uint32_t gen = host_gen(s->host, HOST_GEN_CATALOG, 0);
    if (gen == s->catalog_gen && !s->reload)
        return OK;
    struct catalog *c;
    enum err e = catalog_load(db, s->keys, &c, f);
    if (e)
        return e;
    catalog_publish(c);
    s->catalog_gen = gen;
    s->reload = false;
    return OK;
}

static enum err beat(const struct sync *s, struct db *db) {
    return q_worker_beat(db,
                         &(struct q_worker_beat_in){
                             .id = s->worker_id, .hostname = str_c(s->hostname), .pid = getpid()},
                         &(struct db_done){0});
}

/* False when there is more to remove, or the database did not do it: soon again. */
static bool prune(struct db *db) {
    struct db_done changes, dead;
    return q_change_prune(db, &(struct q_change_prune_in){CHANGES_KEPT_S}, &changes) == OK &&
           q_worker_prune(db, &(struct q_worker_prune_in){WORKERS_KEPT_S}, &dead) == OK &&
           changes.affected < PRUNE_STEP;
}

void sync_tick(struct sync *s, struct db *db) {
    int64_t now = clock_mono_ms();
    if (s->slot >= 0)
        host_worker_beat(s->host, s->slot);
    if (now - s->beat_ms >= BEAT_MS && beat(s, db) == OK)
        s->beat_ms = now;
    if (follow_log(s, db) != OK || follow_catalog(s, db, NULL) != OK)
        return;
    counter_set(COUNTER_CHANGES_SEEN, s->seen_id);
    if (now - s->prune_ms >= PRUNE_MS && prune(db))
        s->prune_ms = now;
}

void sync_reload(struct sync *s) {
    s->reload = true;
}

int64_t sync_worker_id(const struct sync *s) {
    return s->worker_id;
}

static enum err start(struct sync *s, struct db *db, struct fault *f) {
    struct db_done done;
    enum err e = q_worker_add(
        db, &(struct q_worker_add_in){.hostname = str_c(s->hostname), .pid = getpid()}, &done);
    if (e)
        return fault_set(f, e, NULL);
    s->worker_id = done.insert_id;
    s->slot = host_worker_join(s->host, s->worker_id);
    e = follow_log(s, db);
    return e ? fault_set(f, e, NULL) : follow_catalog(s, db, f);
}

enum err sync_new(struct host *h, const struct keyring *keys, struct db *db, struct sync **out,
                  struct fault *f) {
    struct sync *s = base_zalloc(sizeof *s);
    int64_t now = clock_mono_ms();
    *s = (struct sync){.host = h,
                       .keys = keys,
                       .slot = -1,
                       .read_ms = now,
                       .beat_ms = now,
                       .prune_ms = now,
                       .reload = true};
    if (gethostname(s->hostname, sizeof s->hostname - 1) != 0)
        s->hostname[0] = '\0';
    enum err e = start(s, db, f);
    if (e)
        sync_free(&s, db);
    *out = s;
    return e;
}

void sync_free(struct sync **s, struct db *db) {
    if (!*s)
        return;
    struct db_done done;
    if ((*s)->worker_id &&
        q_worker_remove(db, &(struct q_worker_remove_in){(*s)->worker_id}, &done) != OK)
        (*s)->worker_id = 0; /* pruned with the dead ones */
    free(*s);
    *s = NULL;
}
