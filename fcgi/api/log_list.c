/* GET /api/log/ and /api/log/self: pages of usage rows, newest first. */
#include "api/handlers.h"
#include "api/log_row.h"

#include <inttypes.h>

struct page {
    const struct api_request *req;
    struct buf *out;
    bool admin;
    int64_t n, last_s, last_id;
};

static enum err put_row(void *ctx, const struct q_log_rows *row) {
    struct page *p = ctx;
    if (p->n++)
        buf_putc(p->out, ',');
    log_row_json(p->req, row, p->admin, p->out);
    p->last_s = row->created_s;
    p->last_id = row->id;
    return OK;
}

/* A page by its number begins after the last row of the page before. */
static enum err seek(struct api_request *req, const struct api_page *p, struct q_log_rows_in *q) {
    if (p->offset == 0)
        return OK;
    struct log_place last;
    enum err e = log_seat(req->db, q, p->offset - 1, &last);
    if (e == OK) {
        q->edge_s = last.s;
        q->edge_id = last.id;
        if (q->to_s > last.s)
            q->to_s = last.s;
    }
    return e;
}

static enum err put_items(struct api_request *req, const struct api_page *p,
                          struct q_log_rows_in *q, struct page *page) {
    if (p->offset >= LOG_COUNT_MAX)
        return OK;
    enum err e = seek(req, p, q);
    if (e == ERR_DB_NO_ROW)
        return OK;
    q->count = p->size;
    return e != OK ? e : log_read(req->db, q, put_row, page);
}

static enum err list(struct api_request *req, struct api_reply *reply, bool admin,
                     struct fault *f) {
    struct api_page p = api_page(req);
    struct q_log_rows_in q;
    bool none;
    int64_t floor_s = 0, total = 0;
    enum err e = log_filter(req, admin, &q, &none, f);
    if (e == OK && !none)
        e = log_reach(req->db, &q, &none, &floor_s);
    if (e == OK && !none)
        e = log_count(req->db, &q, &total);
    if (e != OK)
        return e;
    struct page page = {.req = req, .out = api_data(reply), .admin = admin};
    api_page_begin(page.out, &p, total);
    buf_putc(page.out, '[');
    if (!none)
        e = put_items(req, &p, &q, &page);
    buf_puts(page.out, "],\"next_cursor\":\"");
    if (page.n == p.size)
        buf_printf(page.out, "%" PRId64 "-%" PRId64, page.last_s, page.last_id);
    else if (floor_s)
        buf_printf(page.out, "%" PRId64 "-0", floor_s);
    buf_puts(page.out, "\"}");
    api_data_end(reply);
    return e;
}

enum err log_self(struct api_request *req, struct api_reply *reply, struct fault *f) {
    return list(req, reply, false, f);
}

enum err log_all(struct api_request *req, struct api_reply *reply, struct fault *f) {
    return list(req, reply, true, f);
}
