#include "app/reply.h"

#include "app/routes.h"
#include "relay/head.h"
#include "util/log.h"

void reply_send(struct fcgi_conn *c, const struct request *rq, int status, struct str type,
                struct str extra, struct str body) {
    struct buf out AUTO(buf_free) = BUF(body.n + extra.n + (64u << 10));
    c->status = status;
    head_write(&out, &(struct head){.status = status,
                                    .content_type = type,
                                    .request_id = rq->id,
                                    .origin = rq->origin,
                                    .no_store = true});
    buf_str(&out, extra);
    if (status != 204)
        head_line_i64(&out, "Content-Length", (int64_t)body.n);
    head_end(&out);
    if (!str_eq(rq->method, STR("HEAD")))
        buf_str(&out, body);
    bool sent = fcgi_send_end(c, buf_view(&out)) && fcgi_wait(c, REPLY_TIMEOUT_MS);
    (void)sent; /* a client that left needs no answer */
}

void reply_fault(struct fcgi_conn *c, const struct request *rq, const struct fault *f,
                 struct str more) {
    struct buf body AUTO(buf_free) = BUF(64u << 10), extra AUTO(buf_free) = BUF(8192);
    buf_str(&extra, more);
    dialect_ops(dialect_of_path(rq->path))->error(&body, f, rq->id, err_lang(rq->accept_language));
    if (fault_retry_after_s(f))
        head_line_i64(&extra, "Retry-After", fault_retry_after_s(f));
    if (f->err == ERR_METHOD)
        head_line(&extra, "Allow", str_c(f->detail));
    if (err_flags(f->err) & ERR_F_LOG)
        LOG(LOG_EV_REQUEST_FAILED, log_str("request_id", rq->id), log_s("code", err_code(f->err)),
            log_str("path", rq->path));
    reply_send(c, rq, err_http(f->err), STR("application/json"), buf_view(&extra), buf_view(&body));
}

void reply_preflight(struct fcgi_conn *c, const struct request *rq) {
    struct buf extra AUTO(buf_free) = BUF(4096);
    head_line(&extra, "Access-Control-Allow-Methods", STR("GET, POST, PUT, DELETE, OPTIONS"));
    head_line(&extra, "Access-Control-Allow-Headers",
              rq->request_headers.n ? rq->request_headers : STR("authorization, content-type"));
    head_line(&extra, "Access-Control-Max-Age", STR("86400"));
    reply_send(c, rq, 204, STR(""), buf_view(&extra), STR(""));
}
