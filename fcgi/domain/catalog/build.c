#include "domain/catalog/build.h"

#include "domain/billing/budget.h"

#include "domain/catalog/tables.h"

#include <stdlib.h>

#define NAME_MAX_BYTES 255

/* One channel for one model in one group; sorted and grouped at the end. */
struct triple {
    const struct group *group;
    const struct model *model;
    const struct channel *channel;
};

struct builder {
    struct catalog *c;
    struct triple *triples;
    size_t n, cap;
};

struct builder *builder_new(void) {
    struct builder *b = base_zalloc(sizeof *b);
    b->c = base_alloc(sizeof *b->c);
    tables_init(b->c);
    return b;
}

void builder_free(struct builder **b) {
    if (!*b)
        return;
    catalog_unref(&(*b)->c);
    free((*b)->triples);
    free(*b);
    *b = NULL;
}

static bool good_name(struct str s) {
    return s.n > 0 && s.n <= NAME_MAX_BYTES && str_utf8_ok(s);
}

const char *builder_option(struct builder *b, struct str name, struct str value) {
    struct catalog *c = b->c;
    if (map_get(&c->options, tables_hash_str(name), &name))
        return "duplicate option";
    struct option *o = ARENA_NEW(&c->arena, struct option);
    *o = (struct option){arena_str(&c->arena, name), arena_str(&c->arena, value)};
    map_put(&c->options, o);
    return NULL;
}

const char *builder_group(struct builder *b, const struct group *g) {
    struct catalog *c = b->c;
    if (!good_name(g->name) || str_eqc(g->name, "auto"))
        return "bad group name";
    if (g->ratio < 0)
        return "negative ratio";
    if (catalog_group(c, g->name) || catalog_group_by_id(c, g->id))
        return "duplicate group";
    struct group *copy = ARENA_NEW(&c->arena, struct group);
    *copy = *g;
    copy->name = arena_str(&c->arena, g->name);
    copy->description = arena_str(&c->arena, g->description);
    if (g->n_budgets) {
        struct budget_rule *budgets = arena_alloc(&c->arena, g->n_budgets * sizeof *copy->budgets);
        memcpy(budgets, g->budgets, g->n_budgets * sizeof *budgets);
        copy->budgets = budgets;
    }
    map_put(&c->groups, copy);
    map_put(&c->groups_by_id, copy);
    return NULL;
}

const char *builder_ratio(struct builder *b, int64_t user_group, int64_t using_group, ratio r) {
    struct catalog *c = b->c;
    struct ratio_row row = {user_group, using_group, r};
    if (!catalog_group_by_id(c, user_group) || !catalog_group_by_id(c, using_group))
        return "unknown group";
    if (r < 0)
        return "negative ratio";
    if (map_get(&c->ratios, tables_hash_pair(user_group, using_group), &row))
        return "duplicate ratio";
    struct ratio_row *copy = ARENA_NEW(&c->arena, struct ratio_row);
    *copy = row;
    map_put(&c->ratios, copy);
    return NULL;
}

static bool price_ok(const struct price *p) {
    return p->call_quota >= 0 && p->model >= 0 && p->completion >= 0 && p->cache_read >= 0 &&
           p->cache_write >= 0 && p->cache_write_1h >= 0 && p->image >= 0 && p->audio >= 0 &&
           p->audio_completion >= 0 && p->search_quota >= 0;
}

const char *builder_model(struct builder *b, const struct model *m) {
    struct catalog *c = b->c;
    if (!good_name(m->name))
        return "bad model name";
    if (m->default_max_tokens < 0 || (m->price && !price_ok(m->price)))
        return "negative number";
    if (catalog_model(c, m->name))
        return "duplicate model";
    struct model *copy = ARENA_NEW(&c->arena, struct model);
    *copy = *m;
    copy->name = arena_str(&c->arena, m->name);
    copy->owned_by = arena_str(&c->arena, m->owned_by);
    copy->display_name = arena_str(&c->arena, m->display_name);
    if (m->price) {
        struct price *price = ARENA_NEW(&c->arena, struct price);
        *price = *m->price;
        copy->price = price;
    }
    map_put(&c->models, copy);
    return NULL;
}

static const struct str *copy_keys(struct arena *a, const struct channel *ch) {
    struct str *keys = arena_alloc(a, ch->n_keys * sizeof *keys);
    for (size_t i = 0; i < ch->n_keys; i++)
        keys[i] = arena_str(a, ch->keys[i]);
    return keys;
}

static const struct model_map *copy_mapping(struct arena *a, const struct channel *ch) {
    struct model_map *map = arena_alloc(a, ch->n_mapping * sizeof *map);
    for (size_t i = 0; i < ch->n_mapping; i++)
        map[i] =
            (struct model_map){arena_str(a, ch->mapping[i].from), arena_str(a, ch->mapping[i].to)};
    return map;
}

const char *builder_channel(struct builder *b, const struct channel *ch) {
    struct catalog *c = b->c;
    if (ch->id <= 0 || catalog_channel(c, ch->id))
        return "duplicate channel";
    if (ch->type >= CHANNEL__MAX)
        return "unknown channel type";
    if (ch->n_keys == 0)
        return "no usable key";
    struct str url = ch->base_url;
    while (str_ends(url, STR("/")))
        url.n--;
    if (ch->type != CHANNEL_SANDBOX && !str_starts(url, STR("https://")) &&
        !str_starts(url, STR("http://")))
        return "base_url is not an http(s) address";
    struct channel *copy = ARENA_NEW(&c->arena, struct channel);
    *copy = *ch;
    copy->name = arena_str(&c->arena, ch->name);
    copy->base_url = arena_str(&c->arena, url);
    copy->keys = copy_keys(&c->arena, ch);
    copy->mapping = copy_mapping(&c->arena, ch);
    map_put(&c->channels, copy);
    return NULL;
}

/* A name that only a channel knows is a model without a price. */
static const struct model *model_named(struct builder *b, struct str name) {
    const struct model *m = catalog_model(b->c, name);
    if (m)
        return m;
    struct model bare = {.name = name, .owned_by = STR("custom"), .display_name = name};
    return builder_model(b, &bare) ? NULL : catalog_model(b->c, name);
}

const char *builder_ability(struct builder *b, int64_t group, struct str model, int64_t channel) {
    struct triple t = {.group = catalog_group_by_id(b->c, group),
                       .channel = catalog_channel(b->c, channel)};
    if (!t.group)
        return "unknown group";
    if (!t.channel)
        return "unknown channel";
    t.model = model_named(b, model);
    if (!t.model)
        return "bad model name";
    if (!t.channel->enabled)
        return NULL;
    if (b->n == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 1024;
        b->triples = base_realloc(b->triples, b->cap * sizeof *b->triples);
    }
    b->triples[b->n++] = t;
    return NULL;
}

static int by_place(const void *pa, const void *pb) {
    const struct triple *a = pa, *b = pb;
    if (a->group != b->group)
        return (a->group > b->group) - (a->group < b->group);
    if (a->model != b->model)
        return (a->model > b->model) - (a->model < b->model);
    if (a->channel->priority != b->channel->priority)
        return a->channel->priority < b->channel->priority ? 1 : -1;
    return (a->channel->id > b->channel->id) - (a->channel->id < b->channel->id);
}

/* One ability of the n triples from t on, which share group and model. */
static void add_ability(struct catalog *c, const struct triple *t, size_t n) {
    struct ability *a = ARENA_NEW(&c->arena, struct ability);
    *a = (struct ability){.group = t->group, .model = t->model->name};
    a->channels = arena_alloc(&c->arena, n * sizeof *a->channels);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || t[i].channel != t[i - 1].channel)
            a->channels[a->n++] = t[i].channel;
    map_put(&c->abilities, a);
}

static void build_abilities(struct builder *b) {
    if (b->n)
        qsort(b->triples, b->n, sizeof *b->triples, by_place);
    for (size_t from = 0, to; from < b->n; from = to) {
        const struct triple *t = &b->triples[from];
        for (to = from + 1; to < b->n; to++)
            if (b->triples[to].group != t->group || b->triples[to].model != t->model)
                break;
        add_ability(b->c, t, to - from);
    }
}

static int by_auto_rank(const void *pa, const void *pb) {
    const struct group *const *a = pa, *const *b = pb;
    if ((*a)->auto_rank != (*b)->auto_rank)
        return (*a)->auto_rank < (*b)->auto_rank ? -1 : 1;
    return ((*a)->id > (*b)->id) - ((*a)->id < (*b)->id);
}

static void list_auto_groups(struct catalog *c) {
    c->auto_groups = arena_alloc(&c->arena, c->groups.count * sizeof *c->auto_groups);
    const struct group *g;
    for (size_t at = 0; (g = map_next(&c->groups, &at));)
        if (g->auto_rank >= 0)
            c->auto_groups[c->n_auto++] = g;
    if (c->n_auto)
        qsort(c->auto_groups, c->n_auto, sizeof(void *), by_auto_rank);
}

static int by_name(const void *pa, const void *pb) {
    const struct model *const *a = pa, *const *b = pb;
    return str_cmp((*a)->name, (*b)->name);
}

static void list_models(struct catalog *c) {
    c->by_name = arena_alloc(&c->arena, c->models.count * sizeof *c->by_name);
    const struct model *m;
    for (size_t at = 0; (m = map_next(&c->models, &at));)
        c->by_name[c->n_models++] = m;
    if (c->n_models)
        qsort(c->by_name, c->n_models, sizeof(void *), by_name);
}

struct catalog *builder_finish(struct builder **b) {
    struct catalog *c = (*b)->c;
    build_abilities(*b);
    list_auto_groups(c);
    list_models(c);
    (*b)->c = NULL;
    builder_free(b);
    return c;
}
