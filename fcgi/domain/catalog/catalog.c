#include "domain/catalog/catalog.h"

#include "domain/catalog/tables.h"
#include "util/lock.h"

#include <stdlib.h>

static const struct str no_key = {"", 0};
const struct channel catalog_sandbox = {.type = CHANNEL_SANDBOX,
                                        .name = STR_INIT("sandbox"),
                                        .base_url = STR_INIT(""),
                                        .keys = &no_key,
                                        .n_keys = 1,
                                        .enabled = true};

uint64_t tables_hash_str(struct str s) {
    return hash_bytes(s.p, s.n);
}

uint64_t tables_hash_pair(int64_t a, int64_t b) {
    return hash_u64(hash_u64((uint64_t)a) + (uint64_t)b);
}

uint64_t tables_hash_ability(const struct ability_key *k) {
    return hash_u64((uint64_t)k->group) ^ hash_bytes(k->model.p, k->model.n);
}

/* One hash and one comparison for each kind of value. */
#define TABLE_BY_NAME(type)                                     \
    static uint64_t type##_hash(const void *v) {                \
        return tables_hash_str(((const struct type *)v)->name); \
    }                                                           \
    static bool type##_eq(const void *v, const void *key) {     \
        const struct str *name = key;                           \
        return str_eq(((const struct type *)v)->name, *name);   \
    }
#define TABLE_BY_ID(type)                                             \
    static uint64_t type##_id_hash(const void *v) {                   \
        return hash_u64((uint64_t)((const struct type *)v)->id);      \
    }                                                                 \
    static bool type##_id_eq(const void *v, const void *key) {        \
        return ((const struct type *)v)->id == *(const int64_t *)key; \
    }

TABLE_BY_NAME(option)
TABLE_BY_NAME(group)
TABLE_BY_NAME(model)
TABLE_BY_ID(group)
TABLE_BY_ID(channel)

static uint64_t ratio_hash(const void *v) {
    const struct ratio_row *r = v;
    return tables_hash_pair(r->user_group, r->using_group);
}

static bool ratio_eq(const void *v, const void *key) {
    const struct ratio_row *r = v, *k = key;
    return r->user_group == k->user_group && r->using_group == k->using_group;
}

static uint64_t ability_hash(const void *v) {
    const struct ability *a = v;
    return tables_hash_ability(&(struct ability_key){a->group->id, a->model});
}

static bool ability_eq(const void *v, const void *key) {
    const struct ability *a = v;
    const struct ability_key *k = key;
    return a->group->id == k->group && str_eq(a->model, k->model);
}

void tables_init(struct catalog *c) {
    *c = (struct catalog){0};
    atomic_init(&c->refs, 1);
    arena_init(&c->arena, (size_t)64 * 1024);
    map_init(&c->options, option_hash, option_eq);
    map_init(&c->groups, group_hash, group_eq);
    map_init(&c->groups_by_id, group_id_hash, group_id_eq);
    map_init(&c->ratios, ratio_hash, ratio_eq);
    map_init(&c->models, model_hash, model_eq);
    map_init(&c->channels, channel_id_hash, channel_id_eq);
    map_init(&c->abilities, ability_hash, ability_eq);
}

void tables_free(struct catalog *c) {
    struct map *maps[] = {&c->options, &c->groups,   &c->groups_by_id, &c->ratios,
                          &c->models,  &c->channels, &c->abilities};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        map_free(maps[i]);
    arena_free(&c->arena);
}

struct catalog *catalog_ref(struct catalog *c) {
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void catalog_unref(struct catalog **c) {
    struct catalog *old = *c;
    *c = NULL;
    if (!old || atomic_fetch_sub_explicit(&old->refs, 1, memory_order_acq_rel) != 1)
        return;
    tables_free(old);
    free(old);
}

const struct group *catalog_group(const struct catalog *c, struct str name) {
    return map_get(&c->groups, tables_hash_str(name), &name);
}

const struct group *catalog_group_by_id(const struct catalog *c, int64_t id) {
    return map_get(&c->groups_by_id, hash_u64((uint64_t)id), &id);
}

ratio catalog_ratio(const struct catalog *c, const struct group *user_group,
                    const struct group *using_group) {
    struct ratio_row key = {.user_group = user_group->id, .using_group = using_group->id};
    const struct ratio_row *row =
        map_get(&c->ratios, tables_hash_pair(key.user_group, key.using_group), &key);
    return row ? row->ratio : using_group->ratio;
}

size_t catalog_auto_groups(const struct catalog *c, const struct group *const **out) {
    *out = c->auto_groups;
    return c->n_auto;
}

const struct model *catalog_model(const struct catalog *c, struct str name) {
    return map_get(&c->models, tables_hash_str(name), &name);
}

size_t catalog_models(const struct catalog *c, const struct model *const **out) {
    *out = c->by_name;
    return c->n_models;
}

const struct channel *catalog_channel(const struct catalog *c, int64_t id) {
    return map_get(&c->channels, hash_u64((uint64_t)id), &id);
}

const struct ability *catalog_ability(const struct catalog *c, const struct group *g,
                                      struct str model) {
    struct ability_key key = {g->id, model};
    return map_get(&c->abilities, tables_hash_ability(&key), &key);
}

struct str catalog_option(const struct catalog *c, const char *name, struct str absent) {
    struct str key = str_c(name);
    const struct option *o = map_get(&c->options, tables_hash_str(key), &key);
    return o ? o->value : absent;
}

int64_t catalog_option_int(const struct catalog *c, const char *name, int64_t absent) {
    int64_t v;
    return str_i64(catalog_option(c, name, STR_NONE), &v) ? v : absent;
}

bool catalog_option_bool(const struct catalog *c, const char *name, bool absent) {
    struct str v = catalog_option(c, name, STR_NONE);
    if (str_eqc(v, "true") || str_eqc(v, "1"))
        return true;
    if (str_eqc(v, "false") || str_eqc(v, "0"))
        return false;
    return absent;
}

/* A reader must take its reference before a publisher can drop the last one, so pointer and count
 * change under one lock; it is held for a few instructions. */
static struct lock current_lock = LOCK_INIT;
static struct catalog *current;

void catalog_publish(struct catalog *c) {
    struct catalog *old AUTO(catalog_unref) = NULL;
    LOCKED(&current_lock);
    old = current;
    current = c;
}

struct catalog *catalog_current(void) {
    LOCKED(&current_lock);
    return current ? catalog_ref(current) : NULL;
}
