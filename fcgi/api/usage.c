/* What a key has used, asked with the key itself: the base contract's own shapes, and the two that
 * OpenAI's former dashboard had. */
#include "api/handlers.h"

#include "domain/billing/credit.h"
#include "domain/billing/price.h"
#include "domain/catalog/catalog.h"
#include "domain/identity/caller.h"
#include "door/queries.h"

enum err usage_of_key(struct api_request *req, struct api_reply *reply, struct fault *f) {
    (void)f;
    const struct caller *c = req->caller;
    struct allow_view v;
    enum err e = credit_view(req->db, ALLOW_KEY, c->key_id, 0, &v);
    if (e != OK)
        return e;
    struct buf *out = &reply->body;
    buf_puts(out,
             "{\"code\":true,\"message\":\"ok\",\"data\":{\"object\":\"token_usage\",\"name\":");
    buf_json(out, c->key_name);
    buf_printf(out,
               ",\"total_granted\":%lld,\"total_used\":%lld,\"total_available\":%lld,"
               "\"unlimited_quota\":%s,\"model_limits\":{",
               (long long)v.granted, (long long)v.used, (long long)v.remaining,
               c->unlimited_quota ? "true" : "false");
    for (size_t i = 0; i < c->n_models; i++) {
        if (i)
            buf_putc(out, ',');
        buf_json(out, c->models[i]);
        buf_puts(out, ":true");
    }
    buf_printf(out, "},\"model_limits_enabled\":%s,\"expires_at\":%lld}}",
               c->model_limits_enabled ? "true" : "false",
               (long long)(c->expires_at < 0 ? 0 : c->expires_at));
    return OK;
}

struct log {
    struct api_request *req;
    struct buf *out;
    bool any;
};

static enum err put_call(void *ctx, const struct q_usage_of_key *row) {
    struct log *l = ctx;
    const struct group *g = catalog_group_by_id(l->req->catalog, row->group_id);
    const struct caller *c = l->req->caller;
    buf_printf(l->out, "%s{\"id\":%lld,\"created_at\":%lld,\"type\":%lld,\"token_id\":%lld",
               l->any ? "," : "", (long long)row->id, (long long)row->created_s,
               (long long)row->type, (long long)c->key_id);
    l->any = true;
    buf_puts(l->out, ",\"token_name\":");
    buf_json(l->out, c->key_name);
    buf_puts(l->out, ",\"model_name\":");
    buf_json(l->out, row->model);
    buf_puts(l->out, ",\"group\":");
    buf_json(l->out, g ? g->name : STR(""));
    buf_puts(l->out, ",\"request_id\":");
    buf_json(l->out, row->request_id);
    buf_printf(l->out,
               ",\"quota\":%lld,\"prompt_tokens\":%lld,\"completion_tokens\":%lld,"
               "\"use_time\":%lld,\"is_stream\":%s}",
               (long long)row->cost, (long long)row->prompt, (long long)row->completion,
               (long long)(row->duration_us / 1000000), row->stream ? "true" : "false");
    return OK;
}

enum err log_of_key(struct api_request *req, struct api_reply *reply, struct fault *f) {
    (void)f;
    struct log l = {req, api_data(reply), false};
    buf_putc(l.out, '[');
    enum err e =
        q_usage_of_key(req->db, &(struct q_usage_of_key_in){req->caller->key_id}, put_call, &l);
    buf_putc(l.out, ']');
    api_data_end(reply);
    return e;
}

/* Quota as a decimal of `unit` quota each, exactly. */
static void put_decimal(struct buf *out, int64_t quota, int64_t unit) {
    if (quota < 0)
        buf_putc(out, '-');
    uint64_t q = quota < 0 ? 0 - (uint64_t)quota : (uint64_t)quota, u = (uint64_t)unit;
    buf_printf(out, "%llu", (unsigned long long)(q / u));
    uint64_t rest = q % u;
    if (!rest)
        return;
    buf_putc(out, '.');
    while (rest) { /* ends: unit divides a power of ten */
        rest *= 10;
        buf_putc(out, (char)('0' + rest / u));
        rest %= u;
    }
}

#define UNLIMITED_USD 100000000

enum err billing_subscription(struct api_request *req, struct api_reply *reply, struct fault *f) {
    (void)f;
    const struct caller *c = req->caller;
    struct allow_view v;
    enum err e = credit_view(req->db, ALLOW_KEY, c->key_id, 0, &v);
    int64_t granted = c->unlimited_quota ? UNLIMITED_USD * QUOTA_PER_USD : v.granted;
    static const char *const names[] = {"soft_limit_usd", "hard_limit_usd",
                                        "system_hard_limit_usd"};
    buf_puts(&reply->body, "{\"object\":\"billing_subscription\",\"has_payment_method\":true");
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        buf_printf(&reply->body, ",\"%s\":", names[i]);
        put_decimal(&reply->body, granted, QUOTA_PER_USD);
    }
    buf_printf(&reply->body, ",\"access_until\":%lld}",
               (long long)(c->expires_at < 0 ? 0 : c->expires_at));
    return e;
}

enum err billing_usage(struct api_request *req, struct api_reply *reply, struct fault *f) {
    (void)f;
    struct allow_view v;
    enum err e = credit_view(req->db, ALLOW_KEY, req->caller->key_id, 0, &v);
    buf_puts(&reply->body, "{\"object\":\"list\",\"total_usage\":");
    put_decimal(&reply->body, v.used, QUOTA_PER_USD / 100);
    buf_putc(&reply->body, '}');
    return e;
}
