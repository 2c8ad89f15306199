#include "api/token_json.h"

#include "api/scopes.h"
#include "domain/billing/credit.h"
#include "domain/billing/zone.h"
#include "util/clock.h"

static void put_str(struct buf *out, const char *name, struct str value) {
    buf_printf(out, ",\"%s\":", name);
    buf_json(out, value);
}

static void put_int(struct buf *out, const char *name, int64_t value) {
    buf_printf(out, ",\"%s\":%lld", name, (long long)value);
}

static void put_bool(struct buf *out, const char *name, bool value) {
    buf_printf(out, ",\"%s\":%s", name, value ? "true" : "false");
}

static void put_list(struct buf *out, const char *name, struct str list) {
    struct str part;
    bool first = true;
    buf_printf(out, ",\"%s\":[", name);
    while (list.n && str_cut(&list, ',', &part)) {
        if (!first)
            buf_putc(out, ',');
        first = false;
        buf_json(out, part);
    }
    buf_putc(out, ']');
}

enum err scopes_json(struct api_request *req, uint64_t scopes, struct buf *out) {
    bool first = true;
    buf_putc(out, '[');
    for (int i = 0; i < SCOPE__MAX; i++) {
        if (!(scopes & SCOPE_BIT(i)))
            continue;
        struct str name;
        enum err e = scopes_name(req, i, &name);
        if (e != OK)
            return e;
        if (!name.n) /* a service that was removed */
            continue;
        if (!first)
            buf_putc(out, ',');
        first = false;
        buf_json(out, name);
    }
    buf_putc(out, ']');
    return OK;
}

static void put_secrets(struct buf *out, const struct key_view *k) {
    buf_puts(out, ",\"secrets\":[");
    for (size_t i = 0; i < k->n_secrets; i++) {
        const struct key_secret_view *s = &k->secrets[i];
        buf_printf(out, "%s{\"id\":%lld", i ? "," : "", (long long)s->id);
        put_str(out, "hint", s->hint);
        put_int(out, "created_time", s->created_at);
        put_int(out, "expired_time", s->expires_at);
        put_int(out, "last_used_time", s->last_used_at);
        put_str(out, "last_used_ip", s->last_used_ip);
        put_str(out, "last_used_model", s->last_used_model);
        put_str(out, "last_used_agent", s->last_used_agent);
        buf_putc(out, '}');
    }
    buf_putc(out, ']');
}

static enum err put_budget(struct api_request *req, struct buf *out, const struct budget_rule *b) {
    const struct zone *z = zone_get(str_c(b->timezone));
    struct allow_view view = {0};
    int64_t start = 0, end = 0;
    if (z)
        zone_window(z, b->window, clock_unix_s(), &start, &end);
    enum err e = credit_view(req->db, ALLOW_BUDGET, b->id, start, &view);
    buf_printf(out, "{\"window\":\"%s\",\"amount\":%lld",
               b->window == 'd'   ? "day"
               : b->window == 'w' ? "week"
                                  : "month",
               (long long)b->amount);
    put_str(out, "timezone", str_c(b->timezone));
    put_int(out, "spent", view.used);
    put_int(out, "resets_at", end);
    buf_putc(out, '}');
    return e;
}

static enum err put_budgets(struct api_request *req, struct buf *out, const struct key_view *k) {
    enum err e = OK;
    buf_puts(out, ",\"budgets\":[");
    for (size_t i = 0; e == OK && i < k->s.n_budgets; i++) {
        if (i)
            buf_putc(out, ',');
        e = put_budget(req, out, &k->s.budgets[i]);
    }
    buf_putc(out, ']');
    return e;
}

/* A secret is for who may reveal it; a credential that only reads sees the hint. */
static enum err put_key(struct api_request *req, struct buf *out, const struct key_view *k) {
    struct str hint = k->n_secrets ? k->secrets[0].hint : STR("");
    struct buf plain AUTO(buf_free) = BUF(KEY_TEXT_CAP);
    enum err e = ERR_KEY_NOT_RECOVERABLE;
    if (key_site_reveal(req->catalog) == REVEAL_ALWAYS && api_may(req, SCOPE_KEYS_WRITE))
        e = key_reveal(req->keys, k, &plain);
    if (e != OK && e != ERR_KEY_NOT_RECOVERABLE)
        return e;
    put_str(out, "key", e == OK ? buf_view(&plain) : hint);
    put_str(out, "key_hint", hint);
    return OK;
}

enum err token_json(struct api_request *req, const struct key_view *k, struct buf *out) {
    const struct key_settings *s = &k->s;
    buf_printf(out, "{\"id\":%lld,\"user_id\":%lld", (long long)k->id, (long long)k->user_id);
    enum err e = put_key(req, out, k);
    if (e != OK)
        return e;
    put_int(out, "status",
            key_status_of(k->disabled, s->expires_at, s->unlimited_quota, s->remain_quota,
                          clock_unix_s()));
    put_str(out, "name", s->name);
    put_int(out, "created_time", k->created_at);
    put_int(out, "accessed_time", k->accessed_at);
    put_int(out, "expired_time", s->expires_at);
    put_int(out, "remain_quota", s->remain_quota);
    put_int(out, "used_quota", k->used_quota);
    put_bool(out, "unlimited_quota", s->unlimited_quota);
    put_bool(out, "model_limits_enabled", s->model_limits_enabled);
    put_str(out, "model_limits", s->model_limits);
    put_str(out, "allow_ips", s->allow_ips);
    put_str(out, "group", s->group);
    put_bool(out, "cross_group_retry", s->cross_group_retry);
    put_list(out, "auto_groups", s->auto_groups);
    put_str(out, "mode", s->test_mode ? STR("test") : STR("live"));
    put_int(out, "rpm_limit", s->rpm_limit);
    put_int(out, "tpm_limit", s->tpm_limit);
    put_int(out, "concurrency_limit", s->concurrency_limit);
    put_str(out, "last_used_ip", k->last_used_ip);
    put_str(out, "last_used_model", k->last_used_model);
    put_secrets(out, k);
    e = put_budgets(req, out, k);
    if (e != OK)
        return e;
    buf_puts(out, ",\"scopes\":");
    e = scopes_json(req, s->scopes ? s->scopes : scope_mask(SCOPE_F_DEFAULT), out);
    buf_putc(out, '}');
    return e;
}
