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

/* The statements have one set of filters, with one more number behind it. */
static struct q_log_seat_in seat_of(const struct q_log_rows_in *q, int64_t offset) {
    struct q_log_seat_in in;
    static_assert(sizeof in == sizeof *q, "log_rows and log_seat filter alike");
    memcpy(&in, q, sizeof in);
    in.offset = offset;
    return in;
}

static struct q_log_count_in count_of(const struct q_log_rows_in *q, int64_t most) {
    struct q_log_count_in in;
    static_assert(sizeof in == sizeof *q, "log_rows and log_count filter alike");
    memcpy(&in, q, sizeof in);
    in.most = most;
    return in;
}

/* A page by its number begins after the last row of the page before. */
static enum err seek(struct api_request *req, const struct api_page *p, struct q_log_rows_in *q) {
    if (p->offset == 0)
        return OK;
    struct q_log_seat row;
    struct q_log_seat_in in = seat_of(q, p->offset - 1);
    enum err e = q_log_seat(req->db, &in, &row);
    if (e == OK) {
        q->edge_s = row.created_s;
        q->edge_id = row.id;
        if (q->to_s > row.created_s)
            q->to_s = row.created_s;
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
    return e != OK ? e : q_log_rows(req->db, q, put_row, page);
}

static enum err list(struct api_request *req, struct api_reply *reply, bool admin,
                     struct fault *f) {
    struct api_page p = api_page(req);
    struct q_log_rows_in q;
    struct q_log_count total = {0};
    bool none;
    enum err e = log_filter(req, admin, &q, &none, f);
    if (e == OK && !none) {
        struct q_log_count_in in = count_of(&q, LOG_COUNT_MAX);
        e = q_log_count(req->db, &in, &total);
    }
    if (e != OK)
        return e;
    struct page page = {.req = req, .out = api_data(reply), .admin = admin};
    api_page_begin(page.out, &p, total.n);
    buf_putc(page.out, '[');
    if (!none)
        e = put_items(req, &p, &q, &page);
    buf_puts(page.out, "],\"next_cursor\":\"");
    if (page.n == p.size)
        buf_printf(page.out, "%" PRId64 "-%" PRId64, page.last_s, page.last_id);
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
