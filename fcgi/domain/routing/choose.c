#include "domain/routing/choose.h"

#include "domain/identity/caller.h"

static bool usable(const struct group *g, struct str user_group) {
    return g->selectable || str_eq(g->name, user_group);
}

bool choose_may_use(const struct catalog *c, struct str user_group, struct str group) {
    const struct group *g = catalog_group(c, group);
    return g && usable(g, user_group);
}

static void add(struct choice *out, const struct group *g, struct str user_group) {
    if (!g || !usable(g, user_group) || out->n == CHOOSE_MAX_GROUPS)
        return;
    for (size_t i = 0; i < out->n; i++)
        if (out->groups[i] == g)
            return;
    out->groups[out->n++] = g;
}

enum err choose_groups(const struct caller *who, const struct catalog *c, struct choice *out,
                       struct fault *f) {
    *out = (struct choice){.own = catalog_group(c, who->user_group)};
    struct str name = who->key_group.n ? who->key_group : who->user_group;
    if (!str_eqc(name, "auto")) {
        add(out, catalog_group(c, name), who->user_group);
    } else if (who->n_auto_groups) {
        for (size_t i = 0; i < who->n_auto_groups; i++)
            add(out, catalog_group(c, who->auto_groups[i]), who->user_group);
    } else {
        const struct group *const *site;
        size_t n = catalog_auto_groups(c, &site);
        for (size_t i = 0; i < n; i++)
            add(out, site[i], who->user_group);
    }
    return out->n ? OK : fault_set(f, ERR_GROUP_NOT_ALLOWED, "%.*s", STR_ARG(name));
}

struct view {
    const struct caller *who;
    const struct catalog *c;
    struct choice groups;
    bool unpriced;
};

static enum err open_view(struct view *v, const struct caller *who, const struct catalog *c,
                          struct fault *f) {
    *v = (struct view){
        .who = who, .c = c, .unpriced = catalog_option_bool(c, "allow_unpriced_models", false)};
    return choose_groups(who, c, &v->groups, f);
}

static bool visible(const struct view *v, const struct model *m) {
    if ((!m->price && !v->unpriced) || auth_model(v->who, m->name, NULL))
        return false;
    if (v->who->test_mode)
        return true;
    for (size_t i = 0; i < v->groups.n; i++)
        if (catalog_ability(v->c, v->groups.groups[i], m->name))
            return true;
    return false;
}

enum err choose_models(const struct caller *who, const struct catalog *c, const struct model ***out,
                       size_t *n, struct fault *f) {
    *out = NULL;
    *n = 0;
    struct view v;
    enum err e = open_view(&v, who, c, f);
    if (e)
        return e;
    const struct model *const *all;
    size_t count = catalog_models(c, &all);
    *out = base_alloc((count ? count : 1) * sizeof **out);
    for (size_t i = 0; i < count; i++)
        if (visible(&v, all[i]))
            (*out)[(*n)++] = all[i];
    return OK;
}

enum err choose_model(const struct caller *who, const struct catalog *c, struct str name,
                      const struct model **out, struct fault *f) {
    struct view v;
    enum err e = open_view(&v, who, c, f);
    if (e)
        return e;
    *out = catalog_model(c, name);
    if (*out && visible(&v, *out))
        return OK;
    return fault_set(f, ERR_MODEL_NOT_FOUND, "%.*s", STR_ARG(name));
}
