#include "domain/admin/write.h"

#include "door/db.h"

struct write {
    struct change change;
    const int64_t *entity;
    enum err (*fn)(struct db *db, void *ctx);
    void *ctx;
};

static enum err run(struct db *db, void *ctx) {
    struct write *w = ctx;
    enum err e = w->fn(db, w->ctx);
    w->change.entity_id = *w->entity;
    return e ? e : change_note(db, &w->change);
}

enum err admin_write(struct db *db, struct host *host, enum host_gen kind, const int64_t *entity,
                     enum err (*fn)(struct db *db, void *ctx), void *ctx) {
    struct write w = {{.kind = kind}, entity, fn, ctx};
    enum err e = db_transaction(db, false, run, &w);
    if (!e && host)
        change_apply(host, &w.change);
    return e;
}
