#include "relay/exchange.h"

#include "util/spare.h"

#include <stdlib.h>

#define ARENA_CHUNK 2048
#define HELD_MAX (1u << 20)
#define SENT_SLACK 4096 /* what edits may add to a body */

struct str request_bearer(const struct request *rq) {
    struct str s = str_trim(rq->authorization);
    return str_istarts(s, STR("bearer ")) ? str_trim(str_from(s, 7)) : s;
}

struct exchange *exchange_new(void) {
    struct exchange *x = base_zalloc(sizeof *x);
    list_init(&x->node);
    arena_init(&x->mem, ARENA_CHUNK);
    x->conn.fd = -1;
    buf_init(&x->held, HELD_MAX);
    return x;
}

void exchange_drop_body(struct exchange *x) {
    spare_give(x->body);
    x->body = NULL;
    x->body_n = 0;
    buf_free(&x->sent);
}

void exchange_free(struct exchange **xp) {
    struct exchange *x = *xp;
    *xp = NULL;
    if (!x)
        return;
    must(!x->hold && !x->call);
    exchange_drop_body(x);
    spare_give_buf(&x->held);
    sse_free(&x->sse);
    caller_unref(&x->caller);
    catalog_unref(&x->catalog);
    services_unref(&x->services);
    fcgi_close(&x->conn);
    arena_free(&x->mem);
}

enum err exchange_edit_body(struct exchange *x, struct str *body) {
    *body = str_of(x->body, x->body_n);
    buf_free(&x->sent); /* the last attempt's */
    if (x->service)
        return OK;
    struct edits e = {.max_tokens = x->clamp_max_tokens};
    if (!str_eq(x->step->model, x->peek.model))
        e.model = x->step->model;
    e.force_include_usage = x->stream_usage && x->peek.stream && !x->peek.include_usage;
    if (!x->body || splice_is_noop(&x->peek, &e))
        return OK;
    buf_init(&x->sent, x->body_n + SENT_SLACK);
    enum err err = splice(*body, &x->peek, &e, x->multipart, &x->sent);
    *body = buf_view(&x->sent);
    return err;
}
