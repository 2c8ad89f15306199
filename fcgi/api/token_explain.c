/* Which rule decides about a call with this key - every check of the data path, in its order, on
 * the key as it stands in the database now. */
#include "api/authn.h"
#include "api/handlers.h"

#include "domain/billing/credit.h"
#include "domain/billing/zone.h"
#include "domain/catalog/catalog.h"
#include "domain/identity/key_store.h"
#include "domain/routing/choose.h"
#include "domain/service/service.h"
#include "util/clock.h"

struct explaining {
    struct api_request *req;
    struct buf *out;
    const struct caller *caller;
    struct choice choice;
    struct fault first; /* the deciding refusal, err OK = none */
    bool any;
    int64_t resets_at; /* next reset of a budget, 0 = none */
};

static void put_text(struct buf *out, const struct fault *f, enum lang lang) {
    struct buf text AUTO(buf_free) = BUF(2048);
    err_text(&text, f, lang);
    buf_json(out, buf_view(&text));
}

static void put_check(struct explaining *x, const char *name, enum err e, const struct fault *f) {
    buf_printf(x->out, "%s{\"check\":\"%s\",\"passed\":%s", x->any ? "," : "", name,
               e == OK ? "true" : "false");
    x->any = true;
    if (e != OK) {
        buf_printf(x->out, ",\"code\":\"%s\",\"message\":", err_code(f->err));
        put_text(x->out, f, x->req->lang);
        if (x->first.err == OK)
            x->first = *f;
    }
    buf_putc(x->out, '}');
}

/* A call that may be made: the query's parameters, "" = not told. */
struct call {
    struct str model, ip, path, method;
};

static enum scope scope_of_path(struct str path) {
    bool action = str_find(path, ':') >= 0; /* a Gemini call; a model is read without one */
    if (str_starts(path, STR("/v1/models")) || (str_starts(path, STR("/v1beta/models")) && !action))
        return SCOPE_MODELS_READ;
    return SCOPE_INFERENCE;
}

/* A route of the management endpoints, as authn judges a key there. */
static enum err check_api(const struct explaining *x, const struct call *call, struct fault *f) {
    struct api_request probe = {.method = call->method, .path = call->path};
    const struct api_route *route = api_find(&probe, f);
    if (!route)
        return f->err;
    if (route->auth == API_ADMIN || route->auth == API_ROOT)
        return fault_set(f, ERR_ROLE_TOO_LOW, NULL);
    if (route->auth == API_PUBLIC ||
        authn_key_scopes(x->caller, route->auth) & SCOPE_BIT(route->scope))
        return OK;
    return fault_set(f, ERR_SCOPE_MISSING, "%s", scope_name(route->scope));
}

/* The scope of a path below a service's prefix is the service's. */
static enum err check_scope(struct explaining *x, const struct call *call, struct fault *f) {
    struct services *all AUTO(services_unref) = NULL;
    struct str rest;
    if (api_owns(call->path))
        return check_api(x, call, f);
    enum err e = services_current(x->req->db, x->req->host, x->req->keys, &all);
    if (e != OK)
        return fault_set(f, e, NULL);
    const struct service *s = services_match(all, call->path, &rest);
    return s ? service_check(s, x->caller->scopes, call->method, rest, f)
             : auth_scope(x->caller, scope_of_path(call->path), f);
}

static void explain_rights(struct explaining *x, const struct call *call) {
    struct fault f = {0};
    const struct caller *c = x->caller;
    if (c->key_disabled)
        fault_set(&f, ERR_KEY_DISABLED, NULL);
    put_check(x, "status", f.err, &f);
    f = (struct fault){0};
    if (c->expires_at >= 0 && clock_unix_s() >= c->expires_at)
        fault_set(&f, ERR_KEY_EXPIRED, NULL);
    put_check(x, "expiry", f.err, &f);
    if (call->ip.n)
        put_check(x, "ip", auth_ip(c, call->ip, &f), &f);
    f = (struct fault){0};
    if (c->user_disabled)
        fault_set(&f, ERR_USER_DISABLED, NULL);
    put_check(x, "user", f.err, &f);
    put_check(x, "scope", check_scope(x, call, &f), &f);
    put_check(x, "group", choose_groups(c, x->req->catalog, &x->choice, &f), &f);
    if (!call->model.n)
        return;
    put_check(x, "model", auth_model(c, call->model, &f), &f);
    const struct model *m;
    put_check(x, "channel", choose_model(c, x->req->catalog, call->model, &m, &f), &f);
}

static enum err explain_budget(struct explaining *x, const struct budget_rule *b) {
    enum allow_kind kind = b->owner == BUDGET_OF_KEY ? ALLOW_BUDGET : ALLOW_OWNER_BUDGET;
    struct allow_view v;
    struct fault f = {0};
    int64_t start = 0, end = 0;
    budget_window(b, clock_unix_s(), &start, &end);
    enum err e = credit_view(x->req->db, kind, b->id, start, &v);
    if (e != OK)
        return e;
    if (v.used >= b->amount) {
        fault_set(&f, ERR_BUDGET, "%s", budget_name(b));
        put_check(x, "budget", f.err, &f);
    } else {
        put_check(x, "budget", OK, NULL);
    }
    if (end && (!x->resets_at || end < x->resets_at))
        x->resets_at = end;
    return OK;
}

static enum err explain_money(struct explaining *x, struct allow_view *key,
                              struct allow_view *user) {
    const struct caller *c = x->caller;
    struct fault f = {0};
    enum err e = credit_view(x->req->db, ALLOW_KEY, c->key_id, 0, key);
    if (e == OK)
        e = credit_view(x->req->db, c->test_mode ? ALLOW_SANDBOX : ALLOW_USER, c->user_id, 0, user);
    if (e != OK)
        return e;
    if (!c->unlimited_quota && key->remaining <= 0)
        fault_set(&f, ERR_KEY_QUOTA, NULL);
    put_check(x, "key_quota", f.err, &f);
    f = (struct fault){0};
    bool unopened = c->test_mode && !user->granted; /* a sandbox is filled by its first use */
    if (user->remaining <= 0 && !unopened)
        fault_set(&f, ERR_USER_QUOTA, NULL);
    put_check(x, "user_balance", f.err, &f);
    for (size_t i = 0; e == OK && i < c->n_budgets; i++)
        e = explain_budget(x, &c->budgets[i]);
    for (size_t i = 0; e == OK && !c->test_mode && i < c->n_user_budgets; i++)
        e = explain_budget(x, &c->user_budgets[i]);
    const struct group *g = x->choice.n && !c->test_mode ? x->choice.groups[0] : NULL;
    for (size_t i = 0; e == OK && g && i < g->n_budgets; i++)
        e = explain_budget(x, &g->budgets[i]);
    return e;
}

static void put_limits(struct explaining *x, const struct allow_view *key,
                       const struct allow_view *user) {
    const struct caller *c = x->caller;
    buf_printf(x->out,
               "],\"limits\":{\"remain_quota\":%lld,\"unlimited_quota\":%s,\"user_balance\":%lld,"
               "\"rpm_limit\":%lld,\"tpm_limit\":%lld,\"concurrency_limit\":%lld,\"groups\":[",
               (long long)key->remaining, c->unlimited_quota ? "true" : "false",
               (long long)user->remaining, (long long)c->rpm_limit, (long long)c->tpm_limit,
               (long long)c->concurrency_limit);
    for (size_t i = 0; i < x->choice.n; i++) {
        const struct group *g = x->choice.groups[i];
        buf_puts(x->out, i ? ",{\"group\":" : "{\"group\":");
        buf_json(x->out, g->name);
        buf_printf(x->out, ",\"rpm_limit\":%lld,\"tpm_limit\":%lld,\"concurrency_limit\":%lld}",
                   (long long)g->rpm_limit, (long long)g->tpm_limit,
                   (long long)g->concurrency_limit);
    }
    buf_puts(x->out, "]}");
    if (x->resets_at)
        buf_printf(x->out, ",\"next_reset\":%lld", (long long)x->resets_at);
    buf_printf(x->out, ",\"allowed\":%s", x->first.err == OK ? "true" : "false");
    if (x->first.err == OK)
        return;
    buf_printf(x->out, ",\"code\":\"%s\",\"message\":", err_code(x->first.err));
    put_text(x->out, &x->first, x->req->lang);
}

static enum err read_call(struct api_request *req, struct call *out, struct fault *f) {
    const struct {
        const char *name;
        struct str *to;
    } rows[] = {
        {"model", &out->model}, {"ip", &out->ip}, {"path", &out->path}, {"method", &out->method}};
    enum err e = OK;
    for (size_t i = 0; e == OK && i < ARRAY_LEN(rows); i++)
        e = api_query(req, rows[i].name, rows[i].to, f);
    if (e == OK && !out->method.n)
        out->method = STR("GET");
    return e;
}

enum err token_explain(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct key_view k;
    struct call call;
    struct allow_view key, user;
    const struct caller *caller AUTO(caller_unref) = NULL;
    enum err e = read_call(req, &call, f);
    if (e == OK)
        e = key_get(req->db, req->user_id, req->id[0], req->mem, &k);
    if (e == OK && !k.n_secrets)
        e = ERR_RECORD_NOT_FOUND;
    if (e == OK)
        e = caller_read(req->db, k.secrets[0].id, &caller);
    if (e != OK)
        return e;
    struct explaining x = {.req = req, .out = api_data(reply), .caller = caller};
    buf_puts(x.out, "{\"checks\":[");
    explain_rights(&x, &call);
    e = explain_money(&x, &key, &user);
    if (e != OK)
        return e;
    put_limits(&x, &key, &user);
    buf_putc(x.out, '}');
    api_data_end(reply);
    return OK;
}
