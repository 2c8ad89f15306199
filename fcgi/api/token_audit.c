#include "api/handlers.h"

#include "domain/identity/key_store.h"
#include "door/queries.h"

struct rows {
    struct buf *out;
    bool any;
};

static enum err put_row(void *ctx, const struct q_audit_of_key *row) {
    struct rows *r = ctx;
    buf_printf(r->out, "%s{\"id\":%lld,\"time\":%lld,\"action\":", r->any ? "," : "",
               (long long)row->id, (long long)row->at);
    r->any = true;
    buf_json(r->out, row->kind);
    buf_printf(r->out, ",\"actor_id\":%lld,\"actor\":", (long long)row->actor_id);
    buf_json(r->out, row->actor);
    buf_puts(r->out, ",\"ip\":");
    buf_json(r->out, row->ip);
    buf_puts(r->out, ",\"request_id\":");
    buf_json(r->out, row->request_id);
    buf_puts(r->out, ",\"detail\":");
    buf_str(r->out, row->detail); /* JSON that audit_write was given */
    buf_putc(r->out, '}');
    return OK;
}

/* Also for a deleted key: its history is its owner's. */
enum err token_audit(struct api_request *req, struct api_reply *reply, struct fault *f) {
    (void)f;
    struct api_page p = api_page(req);
    struct q_audit_of_key_total total;
    enum err e = q_audit_of_key_total(
        req->db, &(struct q_audit_of_key_total_in){req->user_id, req->id[0]}, &total);
    if (e == OK && !total.n)
        e = ERR_RECORD_NOT_FOUND;
    if (e != OK)
        return e;
    struct rows r = {api_data(reply), false};
    api_page_begin(r.out, &p, total.n);
    buf_putc(r.out, '[');
    e = q_audit_of_key(req->db,
                       &(struct q_audit_of_key_in){req->user_id, req->id[0], p.size, p.offset},
                       put_row, &r);
    buf_puts(r.out, "]}");
    api_data_end(reply);
    return e;
}
