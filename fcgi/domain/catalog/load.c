#include "domain/billing/budget.h"
#include "domain/catalog/build.h"
#include "door/crypt.h"
#include "door/db.h"
#include "door/queries.h"
#include "util/arena.h"
#include "util/clock.h"
#include "util/log.h"

#include <stdlib.h>

#define BAD_ROWS_LOGGED 100

/* A channel while the rows of its other tables are collected. */
struct draft {
    struct channel channel;
    struct str *keys;
    struct model_map *mapping;
    int64_t *groups;
    size_t n_groups;
    bool has_key_rows, listed;
};

struct group_budget {
    int64_t group_id;
    struct budget_rule rule;
};

struct load { /* one run of the transaction */
    const struct keyring *keyring;
    struct builder *b;
    struct arena mem;
    struct draft *drafts; /* by channel id */
    size_t n_drafts;
    struct group_budget *budgets;
    size_t n_budgets;
    int64_t bad;
};

/* The array with room for one more after its n items: it doubles when n is a power of two. */
static void *grown(struct arena *mem, void *array, size_t n, size_t size) {
    if (n & (n - 1))
        return array;
    void *bigger = arena_alloc(mem, (n ? n * 2 : 1) * size);
    if (n)
        memcpy(bigger, array, n * size);
    return bigger;
}

static enum err judge(struct load *l, const char *table, int64_t id, const char *why) {
    if (why && l->bad++ < BAD_ROWS_LOGGED)
        LOG(LOG_EV_CATALOG_BAD_ROW, log_s("table", table), log_i("id", id), log_s("why", why));
    return OK;
}

static enum err on_option(void *ctx, const struct q_catalog_options *r) {
    struct load *l = ctx;
    return judge(l, "options", 0, builder_option(l->b, r->name, r->value));
}

static enum err on_budget(void *ctx, const struct q_catalog_budgets *r) {
    struct load *l = ctx;
    struct group_budget b = {.group_id = r->group_id,
                             .rule = {.id = r->id,
                                      .owner = BUDGET_OF_GROUP,
                                      .window = r->time_window.p[0],
                                      .amount = r->amount}};
    if (!str_copy(r->timezone, b.rule.timezone, sizeof b.rule.timezone))
        return judge(l, "owner_budgets", r->id, "bad time zone");
    l->budgets = grown(&l->mem, l->budgets, l->n_budgets, sizeof *l->budgets);
    l->budgets[l->n_budgets++] = b;
    return OK;
}

static size_t budgets_of(const struct load *l, int64_t group_id,
                         struct budget_rule out[BUDGET_WINDOWS]) {
    size_t n = 0;
    for (size_t i = 0; i < l->n_budgets && n < BUDGET_WINDOWS; i++)
        if (l->budgets[i].group_id == group_id)
            out[n++] = l->budgets[i].rule;
    return n;
}

static enum err on_group(void *ctx, const struct q_catalog_groups *r) {
    struct load *l = ctx;
    struct budget_rule budgets[BUDGET_WINDOWS];
    struct group g = {.id = r->id,
                      .name = r->name,
                      .description = r->description,
                      .ratio = r->ratio,
                      .selectable = r->selectable,
                      .leave = r->drain ? LEAVE_DRAIN : LEAVE_CANCEL,
                      .clamp_max_tokens = r->clamp_max_tokens,
                      .hard_stop = r->hard_stop,
                      .rpm_limit = r->rpm_limit,
                      .tpm_limit = r->tpm_limit,
                      .concurrency_limit = r->concurrency_limit,
                      .auto_rank = (int)r->auto_rank,
                      .budgets = budgets,
                      .n_budgets = budgets_of(l, r->id, budgets)};
    bool limits_ok = r->rpm_limit >= 0 && r->tpm_limit >= 0 && r->concurrency_limit >= 0;
    return judge(l, "groups", r->id, limits_ok ? builder_group(l->b, &g) : "negative limit");
}

static enum err on_ratio(void *ctx, const struct q_catalog_ratios *r) {
    struct load *l = ctx;
    return judge(l, "group_ratios", r->user_group_id,
                 builder_ratio(l->b, r->user_group_id, r->using_group_id, r->ratio));
}

struct price catalog_price_of(const struct q_catalog_models *r) {
    return (struct price){.id = r->price_id.v,
                          .per_call = r->per_call,
                          .call_quota = r->call_quota,
                          .model = r->model,
                          .completion = r->completion,
                          .cache_read = r->cache_read,
                          .cache_write = r->cache_write,
                          .cache_write_1h = r->cache_write_1h,
                          .image = r->image,
                          .audio = r->audio,
                          .audio_completion = r->audio_completion,
                          .search_quota = r->search_quota};
}

static enum err on_model(void *ctx, const struct q_catalog_models *r) {
    struct load *l = ctx;
    struct price p = catalog_price_of(r);
    struct model m = {.id = r->id,
                      .name = r->name,
                      .owned_by = r->owned_by,
                      .display_name = r->display_name.n ? r->display_name : r->name,
                      .created_s = r->created_s,
                      .price = r->price_id.has ? &p : NULL,
                      .default_max_tokens = r->default_max_tokens};
    return judge(l, "models", r->id, builder_model(l->b, &m));
}

static enum err on_channel(void *ctx, const struct q_catalog_channels *r) {
    struct load *l = ctx;
    if (r->type < 0 || r->type >= CHANNEL__MAX)
        return judge(l, "channels", r->id, "unknown channel type");
    if (r->weight < 0 || r->weight > UINT32_MAX)
        return judge(l, "channels", r->id, "weight out of range");
    l->drafts = grown(&l->mem, l->drafts, l->n_drafts, sizeof *l->drafts);
    l->drafts[l->n_drafts++] =
        (struct draft){.channel = {.id = r->id,
                                   .type = (enum channel_type)r->type,
                                   .name = arena_str(&l->mem, r->name),
                                   .base_url = arena_str(&l->mem, r->base_url),
                                   .priority = r->priority,
                                   .weight = (uint32_t)r->weight,
                                   .enabled = r->enabled,
                                   .private_ok = r->private_ok}};
    return OK;
}

/* NULL: the channel was left out, and its other rows go with it. */
static struct draft *draft_of(const struct load *l, int64_t id) {
    size_t low = 0, high = l->n_drafts;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (l->drafts[mid].channel.id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < l->n_drafts && l->drafts[low].channel.id == id ? &l->drafts[low] : NULL;
}

static enum err on_key(void *ctx, const struct q_catalog_channel_keys *r) {
    struct load *l = ctx;
    struct draft *d = draft_of(l, r->channel_id);
    if (!d)
        return OK;
    d->has_key_rows = true;
    struct buf plain AUTO(buf_free) = BUF(8192);
    if (crypt_unseal(l->keyring, "channel_key", r->sealed, &plain) != OK)
        return judge(l, "channel_keys", r->id, "cannot be unsealed");
    d->keys = grown(&l->mem, d->keys, d->channel.n_keys, sizeof *d->keys);
    d->keys[d->channel.n_keys++] = arena_str(&l->mem, buf_view(&plain));
    return OK;
}

static enum err on_mapping(void *ctx, const struct q_catalog_channel_mappings *r) {
    struct load *l = ctx;
    struct draft *d = draft_of(l, r->channel_id);
    if (!d)
        return OK;
    d->mapping = grown(&l->mem, d->mapping, d->channel.n_mapping, sizeof *d->mapping);
    d->mapping[d->channel.n_mapping++] =
        (struct model_map){arena_str(&l->mem, r->from_model), arena_str(&l->mem, r->to_model)};
    return OK;
}

static enum err on_channel_group(void *ctx, const struct q_catalog_channel_groups *r) {
    struct load *l = ctx;
    struct draft *d = draft_of(l, r->channel_id);
    if (!d)
        return OK;
    d->groups = grown(&l->mem, d->groups, d->n_groups, sizeof *d->groups);
    d->groups[d->n_groups++] = r->group_id;
    return OK;
}

static enum err on_channel_model(void *ctx, const struct q_catalog_channel_models *r) {
    struct load *l = ctx;
    const struct draft *d = draft_of(l, r->channel_id);
    for (size_t i = 0; d && d->listed && i < d->n_groups; i++)
        judge(l, "channel_models", r->channel_id,
              builder_ability(l->b, d->groups[i], r->model, r->channel_id));
    return OK;
}

static void list_channels(struct load *l) {
    static const struct str none = {"", 0};
    for (size_t i = 0; i < l->n_drafts; i++) {
        struct draft *d = &l->drafts[i];
        d->channel.keys = d->keys;
        d->channel.mapping = d->mapping;
        if (!d->has_key_rows) {
            d->channel.keys = &none;
            d->channel.n_keys = 1;
        }
        const char *why = builder_channel(l->b, &d->channel);
        d->listed = !why;
        judge(l, "channels", d->channel.id, why);
    }
}

static enum err read_all(struct db *db, struct load *l) {
    enum err e = q_catalog_options(db, on_option, l);
    if (!e)
        e = q_catalog_budgets(db, on_budget, l);
    if (!e)
        e = q_catalog_groups(db, on_group, l);
    if (!e)
        e = q_catalog_ratios(db, on_ratio, l);
    if (!e)
        e = q_catalog_models(db, on_model, l);
    if (!e)
        e = q_catalog_channels(db, on_channel, l);
    if (!e)
        e = q_catalog_channel_keys(db, on_key, l);
    if (!e)
        e = q_catalog_channel_mappings(db, on_mapping, l);
    if (!e)
        list_channels(l);
    if (!e)
        e = q_catalog_channel_groups(db, on_channel_group, l);
    if (!e)
        e = q_catalog_channel_models(db, on_channel_model, l);
    return e;
}

/* Anew on each run: a repeated transaction must not add to what the last one read. */
static enum err load(struct db *db, void *ctx) {
    struct load *l = ctx;
    builder_free(&l->b);
    arena_free(&l->mem);
    arena_init(&l->mem, (size_t)64 * 1024);
    *l = (struct load){.keyring = l->keyring, .b = builder_new(), .mem = l->mem};
    return read_all(db, l);
}

enum err catalog_load(struct db *db, const struct keyring *keys, struct catalog **out,
                      struct fault *f) {
    *out = NULL;
    int64_t start = clock_mono_us();
    struct load l = {.keyring = keys};
    enum err e = db_snapshot(db, load, &l);
    arena_free(&l.mem);
    if (e) {
        builder_free(&l.b);
        return fault_set(f, e, NULL);
    }
    *out = builder_finish(&l.b);
    const struct model *const *models;
    LOG(LOG_EV_CATALOG_LOADED, log_i("models", (int64_t)catalog_models(*out, &models)),
        log_i("channels", (int64_t)l.n_drafts), log_i("bad_rows", l.bad),
        log_i("us", clock_mono_us() - start));
    return OK;
}
