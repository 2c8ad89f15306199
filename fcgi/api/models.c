#include "api/models.h"

#include "domain/routing/choose.h"
#include "relay/dialect.h"

/* What the base contract says of models whose age nobody noted. */
#define UNKNOWN_CREATED_S INT64_C(1626777600)

static struct model_entry entry_of(const struct model *m) {
    return (struct model_entry){.name = m->name,
                                .owned_by = m->owned_by,
                                .display_name = m->display_name,
                                .created_s = m->created_s > 0 ? m->created_s : UNKNOWN_CREATED_S};
}

enum err models_list(struct buf *out, enum dialect d, const struct caller *who,
                     const struct catalog *c, struct fault *f) {
    const struct model **models AUTO(base_freep) = NULL;
    size_t n;
    enum err e = choose_models(who, c, &models, &n, f);
    if (e)
        return e;
    struct model_entry *entries AUTO(base_freep) = base_alloc((n ? n : 1) * sizeof *entries);
    for (size_t i = 0; i < n; i++)
        entries[i] = entry_of(models[i]);
    dialect_ops(d)->model_list(out, entries, n);
    return OK;
}

enum err models_one(struct buf *out, enum dialect d, struct str name, const struct caller *who,
                    const struct catalog *c, struct fault *f) {
    const struct model *m;
    enum err e = choose_model(who, c, name, &m, f);
    if (e)
        return e;
    struct model_entry entry = entry_of(m);
    dialect_ops(d)->model_one(out, &entry);
    return OK;
}
