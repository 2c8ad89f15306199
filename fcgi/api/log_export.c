/* GET /api/log/self/export and /api/log/export: the rows of a filter as CSV (RFC 4180). */
#include "api/handlers.h"
#include "api/log_row.h"

#include "domain/catalog/catalog.h"

#include <inttypes.h>

#define PAGE 1000
#define MOST 20000 /* of one answer; X-Next-Cursor goes on as `before` */

struct csv {
    const struct api_request *req;
    struct buf *out;
    int64_t n, last_s, last_id;
};

/* A spreadsheet takes a field that begins like a formula for one: an apostrophe makes it text. */
static void put_field(struct buf *out, struct str s) {
    buf_puts(out, ",\"");
    if (s.n && strchr("=+-@\t\r", s.p[0]))
        buf_putc(out, '\'');
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            buf_putc(out, '"');
        buf_putc(out, s.p[i]);
    }
    buf_putc(out, '"');
}

static enum err put_row(void *ctx, const struct q_log_rows *r) {
    struct csv *c = ctx;
    const struct group *g = catalog_group_by_id(c->req->catalog, r->group_id);
    buf_printf(c->out, "%" PRId64 ",%" PRId64 ",%" PRId64, r->id, r->created_s, r->type);
    put_field(c->out, r->username);
    buf_printf(c->out, ",%" PRId64, r->key_id);
    put_field(c->out, r->key_name);
    put_field(c->out, r->model);
    put_field(c->out, g ? g->name : STR(""));
    buf_printf(c->out,
               ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%d,%d",
               r->cost, r->prompt, r->completion, r->cached, r->reasoning, r->duration_us / 1000,
               r->stream, r->test_mode);
    put_field(c->out, r->ip);
    put_field(c->out, r->request_id);
    put_field(c->out, r->error_code);
    buf_puts(c->out, "\r\n");
    c->n++;
    c->last_s = r->created_s;
    c->last_id = r->id;
    return c->out->failed ? ERR_INTERNAL : OK;
}

static enum err put_rows(struct api_request *req, struct q_log_rows_in *q, struct csv *c) {
    enum err e = OK;
    q->count = PAGE;
    for (int64_t before = -1; e == OK && c->n != before && c->n < MOST;) {
        before = c->n;
        e = log_read(req->db, q, put_row, c);
        if (c->n % PAGE)
            break;
        q->edge_s = q->to_s = c->last_s;
        q->edge_id = c->last_id;
    }
    return e;
}

static enum err export(struct api_request *req, struct api_reply *reply, bool admin,
                       struct fault *f) {
    struct q_log_rows_in q; bool none; enum err e = log_filter(req, admin, &q, &none, f);
    if (e != OK) return e;
    struct csv c = {.req = req, .out = &reply->body};
    buf_puts(c.out, "id,created_at,type,username,token_id,token_name,model_name,group,quota,"
                    "prompt_tokens,completion_tokens,cache_tokens,reasoning_tokens,duration_ms,"
                    "is_stream,test_mode,ip,request_id,error_code\r\n");
    int64_t floor_s = 0;
    if (!none) e = log_reach(req->db, &q, &none, &floor_s);
    if (e == OK && !none) e = put_rows(req, &q, &c);
    if (e != OK) return e;
    reply->content_type = "text/csv; charset=utf-8; header=present";
    api_header(reply, "Content-Disposition", "attachment; filename=\"usage.csv\"");
    if (c.n >= MOST)
        api_header(reply, "X-Next-Cursor", "%" PRId64 "-%" PRId64, c.last_s, c.last_id);
    else if (floor_s) api_header(reply, "X-Next-Cursor", "%" PRId64 "-0", floor_s);
    return OK;
}

enum err log_self_export(struct api_request *req, struct api_reply *reply, struct fault *f) {
    return export(req, reply, false, f);
}

enum err log_all_export(struct api_request *req, struct api_reply *reply, struct fault *f) {
    return export(req, reply, true, f);
}
