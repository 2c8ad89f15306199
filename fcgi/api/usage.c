/* What a key has used, asked with the key itself: the base contract's own shapes, and the two that
 * OpenAI's former dashboard had. */
#include "api/handlers.h"
#include "api/log_row.h"

#include "domain/billing/credit.h"
#include "domain/billing/price.h"
#include "domain/identity/caller.h"

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

static enum err put_call(void *ctx, const struct q_log_rows *row) {
    struct log *l = ctx;
    if (l->any)
        buf_putc(l->out, ',');
    l->any = true;
    log_row_json(l->req, row, false, l->out);
    return OK;
}

enum err log_of_key(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct q_log_rows_in q;
    bool none;
    enum err e = log_filter(req, false, &q, &none, f);
    if (e != OK)
        return e;
    struct log l = {req, api_data(reply), false};
    q.user = req->caller->user_id;
    q.any_key = false;
    q.key = req->caller->key_id;
    q.count = 1000;
    buf_putc(l.out, '[');
    int64_t floor_s;
    if (!none)
        e = log_reach(req->db, &q, &none, &floor_s);
    if (e == OK && !none)
        e = log_read(req->db, &q, put_call, &l);
    buf_putc(l.out, ']');
    api_data_end(reply);
    return e;
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
        log_decimal(&reply->body, granted, QUOTA_PER_USD);
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
    log_decimal(&reply->body, v.used, QUOTA_PER_USD / 100);
    buf_putc(&reply->body, '}');
    return e;
}
