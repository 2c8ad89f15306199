/* GET /api/user/self/credits: what an account was given, newest first. */
#include "api/handlers.h"

#include "domain/billing/credit.h"
#include "door/queries.h"

#include <inttypes.h>

static const char *const sources[] = {"", "topup", "redemption", "adjustment", "refund", "gift"};

struct page {
    struct buf *out;
    int64_t n, last_id;
};

static enum err put_credit(void *ctx, const struct q_credits_of_user *r) {
    struct page *p = ctx;
    bool known = r->source > 0 && r->source < (int64_t)ARRAY_LEN(sources);
    buf_printf(p->out,
               "%s{\"id\":%" PRId64 ",\"created_at\":%" PRId64 ",\"amount\":%" PRId64
               ",\"test_mode\":%s,\"source\":\"%s\",\"actor_id\":%" PRId64 ",\"reason\":",
               p->n ? "," : "", r->id, r->created_s, r->amount,
               r->kind == ALLOW_SANDBOX ? "true" : "false", known ? sources[r->source] : "other",
               r->actor_id);
    buf_json(p->out, r->reason);
    buf_puts(p->out, ",\"reference\":");
    buf_json(p->out, r->reference);
    buf_putc(p->out, '}');
    p->n++;
    p->last_id = r->id;
    return OK;
}

enum err credits_self(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct str text;
    int64_t before = INT64_MAX;
    enum err e = api_query(req, "before", &text, f);
    if (e == OK && text.n && !str_i64(text, &before))
        return fault_field(f, ERR_FIELD_VALUE, "before", "before");
    if (e != OK)
        return e;
    int64_t size = api_page(req).size;
    struct page p = {.out = api_data(reply)};
    buf_puts(p.out, "{\"items\":[");
    e = q_credits_of_user(req->db, &(struct q_credits_of_user_in){req->user_id, before, size},
                          put_credit, &p);
    buf_puts(p.out, "],\"next_cursor\":\"");
    if (p.n == size)
        buf_i64(p.out, p.last_id);
    buf_puts(p.out, "\"}");
    api_data_end(reply);
    return e;
}
