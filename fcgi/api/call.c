#include "api/api.h"

#include "api/authn.h"
#include "api/idempotency.h"
#include "door/db.h"
#include "door/queries.h"
#include "util/log.h"

static void put_message(struct buf *out, const struct fault *f, enum lang lang) {
    struct buf text AUTO(buf_free) = BUF(2048);
    err_text(&text, f, lang);
    buf_json(out, buf_view(&text));
}

static void put_envelope(struct buf *out, const struct fault *f, enum lang lang) {
    buf_puts(out, "{\"success\":false,\"message\":");
    put_message(out, f, lang);
    buf_printf(out, ",\"code\":\"%s\"", err_code(f->err));
    if (f->param[0]) {
        buf_puts(out, ",\"param\":");
        buf_json(out, str_c(f->param));
    }
    buf_putc(out, '}');
}

/* OpenAI's shape, for the routes that imitate it. */
static void put_openai(struct buf *out, const struct fault *f, enum lang lang) {
    buf_puts(out, "{\"error\":{\"message\":");
    put_message(out, f, lang);
    buf_printf(out, ",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"}}", err_type(f->err),
               err_code(f->err));
}

/* A refusal in place of whatever the handler has written. */
static void refuse(const struct api_request *req, struct api_reply *reply, const struct fault *f) {
    buf_clear(&reply->body);
    reply->content_type = "application/json";
    reply->status = err_http(f->err);
    if (str_starts(req->path, STR("/api")))
        put_envelope(&reply->body, f, req->lang);
    else
        put_openai(&reply->body, f, req->lang);
    if (f->err == ERR_METHOD)
        api_header(reply, "Allow", "%s", f->detail);
    if (fault_retry_after_s(f))
        api_header(reply, "Retry-After", "%lld", (long long)fault_retry_after_s(f));
}

/* What went wrong inside and is not a client's business becomes what is. */
static enum err outward(enum err e) {
    if (e == ERR_DB_NO_ROW || e == ERR_DB_DUPLICATE)
        return ERR_INTERNAL;
    return e == ERR_DB_CONFLICT ? ERR_DB_AWAY : e;
}

static void answer_error(const struct api_request *req, struct api_reply *reply, enum err e,
                         struct fault *f) {
    if (f->err != e || outward(e) != e)
        fault_set(f, outward(e), NULL);
    if (err_flags(f->err) & ERR_F_LOG)
        LOG(LOG_EV_REQUEST_FAILED, log_str("request_id", req->request_id),
            log_str("path", req->path), log_s("error", err_code(f->err)));
    refuse(req, reply, f);
}

void api_call(const struct api_route *route, struct api_request *req, struct api_reply *reply,
              const struct fault *found) {
    struct fault f = {0};
    req->lang = err_lang(req->accept_language);
    if (!route) {
        refuse(req, reply, found);
        return;
    }
    enum err e = authn(route, req, &f);
    if (e == OK)
        e = route->handler(req, reply, &f);
    if (e == OK && reply->body.failed)
        e = ERR_INTERNAL;
    if (e != OK)
        answer_error(req, reply, e, &f);
    caller_unref(&req->caller);
}

bool api_may(const struct api_request *req, enum scope s) {
    return req->scopes & SCOPE_BIT(s);
}

struct work {
    struct api_request *req;
    struct api_reply *reply;
    api_work *fn;
    void *ctx;
    struct fault *fault;
    bool keep; /* the answer, by Idempotency-Key */
};

static enum err work_once(struct db *db, void *ctx) {
    struct work *w = ctx;
    buf_clear(&w->reply->body);
    struct q_user_lock locked;
    /* The changes of one account come one after the other: its audit is a chain, and whoever waits
     * here holds nothing that another waits for. */
    enum err e = q_user_lock(db, &(struct q_user_lock_in){w->req->user_id}, &locked);
    if (e == ERR_DB_NO_ROW)
        e = ERR_TOKEN_INVALID;
    if (e == OK && w->keep)
        e = idempotency_claim(w->req);
    if (e == OK)
        e = w->fn(w->req, w->reply, w->ctx, w->fault);
    return e == OK && w->keep ? idempotency_keep(w->req, w->reply) : e;
}

enum err api_transaction(struct api_request *req, struct api_reply *reply, api_work *fn, void *ctx,
                         struct fault *f) {
    bool keep = req->idempotency_key.n > 0 && str_eqc(req->method, "POST");
    struct work w = {req, reply, fn, ctx, f, keep};
    if (keep && req->idempotency_key.n > IDEMPOTENCY_KEY_MAX)
        return fault_field(f, ERR_FIELD_VALUE, "Idempotency-Key", "Idempotency-Key is too long");
    /* A kept answer makes it safe to run again after a COMMIT whose outcome is unknown. */
    enum err e = db_transaction(req->db, keep, work_once, &w);
    return e == ERR_CONFLICT ? idempotency_replay(req, reply, f) : e;
}
