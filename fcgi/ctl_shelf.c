#include "ctl.h"

#include "domain/admin/shelf.h"
#include "door/queries.h"

#include <stdio.h>

/* --- groups ----------------------------------------------------------------------------------- */

static enum err save_group(struct ctl *c, struct ctl_args *a, bool existing) {
    struct group_edit g = {.existing = existing};
    struct str budgets = STR("");
    const struct ctl_option options[] = {
        {"description", CTL_STR, &g.description, false, &g.has.description},
        {"ratio", CTL_DECIMAL, &g.ratio, false, &g.has.ratio},
        {"for-group", CTL_STR, &g.for_group, false, NULL},
        {"selectable", CTL_YESNO, &g.selectable, false, &g.has.selectable},
        {"drain", CTL_YESNO, &g.drain, false, &g.has.drain},
        {"clamp-max-tokens", CTL_YESNO, &g.clamp_max_tokens, false, &g.has.clamp_max_tokens},
        {"hard-stop", CTL_YESNO, &g.hard_stop, false, &g.has.hard_stop},
        {"rpm", CTL_INT, &g.rpm_limit, false, &g.has.rpm_limit},
        {"tpm", CTL_INT, &g.tpm_limit, false, &g.has.tpm_limit},
        {"concurrency", CTL_INT, &g.concurrency_limit, false, &g.has.concurrency_limit},
        {"budget", CTL_STR, &budgets, false, NULL},
        {"auto-rank", CTL_INT, &g.auto_rank, false, &g.has.auto_rank}};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 1, 1);
    if (!e)
        e = budget_parse(budgets, &g.budgets, &c->fault);
    if (e)
        return e;
    if (g.for_group.n && !g.has.ratio)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "--for-group wants --ratio");
    g.name = str_c(a->v[0]);
    e = ctl_db(c);
    if (!e)
        e = group_save(c->db, ctl_host(c), &g, &c->fault);
    if (e)
        return e;
    ctl_done(c, existing ? "the group was changed" : "the group was made", cell_i("id", g.id),
             cell_s("name", g.name));
    return OK;
}

CTL_HANDLER(ctl_group_add) {
    return save_group(c, a, false);
}

CTL_HANDLER(ctl_group_set) {
    return save_group(c, a, true);
}

/* A decimal of nine places without trailing zeros. */
static struct str decimal(char text[32], int64_t v) {
    int n =
        snprintf(text, 32, "%lld.%09lld", (long long)(v / RATIO_ONE), (long long)(v % RATIO_ONE));
    while (n > 0 && text[n - 1] == '0')
        n--;
    if (n > 0 && text[n - 1] == '.')
        n--;
    return str_of(text, (size_t)n);
}

static enum err on_group(void *ctx, const struct q_group_rows *r) {
    char text[32];
    ctl_row(ctx, cell_i("id", r->id), cell_s("name", r->name),
            cell_s("ratio", decimal(text, r->ratio)), cell_b("selectable", r->selectable),
            cell_b("drain", r->drain), cell_b("clamp_max_tokens", r->clamp_max_tokens),
            cell_b("hard_stop", r->hard_stop), cell_i("rpm", r->rpm_limit),
            cell_i("tpm", r->tpm_limit), cell_i("concurrency", r->concurrency_limit),
            cell_s("budget", r->budgets), cell_i("auto_rank", r->auto_rank),
            cell_s("description", r->description));
    return OK;
}

CTL_HANDLER(ctl_group_list) {
    enum err e = ctl_plain(c, a);
    ctl_list(c);
    return e ? e : q_group_rows(c->db, on_group, c);
}

/* --- models ----------------------------------------------------------------------------------- */

static enum err save_model(struct ctl *c, struct ctl_args *a, bool existing) {
    struct model_edit m = {.existing = existing};
    struct price_usd usd = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    struct price price;
    const struct ctl_option options[] = {
        {"input-usd-per-m", CTL_DECIMAL, &usd.input, false, NULL},
        {"output-usd-per-m", CTL_DECIMAL, &usd.output, false, NULL},
        {"cached-usd-per-m", CTL_DECIMAL, &usd.cached, false, NULL},
        {"cache-write-usd-per-m", CTL_DECIMAL, &usd.cache_write, false, NULL},
        {"cache-write-1h-usd-per-m", CTL_DECIMAL, &usd.cache_write_1h, false, NULL},
        {"image-usd-per-m", CTL_DECIMAL, &usd.image, false, NULL},
        {"audio-usd-per-m", CTL_DECIMAL, &usd.audio, false, NULL},
        {"audio-output-usd-per-m", CTL_DECIMAL, &usd.audio_output, false, NULL},
        {"per-call-usd", CTL_DECIMAL, &usd.per_call, false, NULL},
        {"search-usd", CTL_DECIMAL, &usd.search, false, NULL},
        {"display-name", CTL_STR, &m.display_name, false, &m.has.display_name},
        {"owned-by", CTL_STR, &m.owned_by, false, &m.has.owned_by},
        {"max-tokens", CTL_INT, &m.default_max_tokens, false, &m.has.default_max_tokens}};
    static const struct price_usd none = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 1, 1);
    if (!e && memcmp(&usd, &none, sizeof none) != 0) {
        e = price_from_usd(&usd, &price, &c->fault);
        m.price = &price;
    }
    if (!e)
        e = ctl_db(c);
    if (e)
        return e;
    m.name = str_c(a->v[0]);
    e = model_save(c->db, ctl_host(c), &m, &c->fault);
    if (e)
        return e;
    ctl_done(c, existing ? "the model was changed" : "the model was added", cell_i("id", m.id),
             cell_s("name", m.name), cell_i("price_id", m.price_id));
    return OK;
}

CTL_HANDLER(ctl_model_add) {
    return save_model(c, a, false);
}

CTL_HANDLER(ctl_model_set) {
    return save_model(c, a, true);
}

static enum err on_model(void *ctx, const struct q_catalog_models *r) {
    char in[32], out[32], cached[32], write[32];
    ctl_row(ctx, cell_i("id", r->id), cell_s("name", r->name), cell_i("price_id", r->price_id.v),
            cell_i("call_quota", r->call_quota), cell_s("model_ratio", decimal(in, r->model)),
            cell_s("completion_ratio", decimal(out, r->completion)),
            cell_s("cache_ratio", decimal(cached, r->cache_read)),
            cell_s("cache_write_ratio", decimal(write, r->cache_write)),
            cell_i("max_tokens", r->default_max_tokens), cell_s("owned_by", r->owned_by));
    return OK;
}

CTL_HANDLER(ctl_model_list) {
    enum err e = ctl_plain(c, a);
    ctl_list(c);
    return e ? e : q_catalog_models(c->db, on_model, c);
}
