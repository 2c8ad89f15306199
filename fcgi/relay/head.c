#include "relay/head.h"

const char *head_reason(int status) {
    static const struct {
        int status;
        const char *reason;
    } rows[] = {
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {402, "Payment Required"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {529, "Overloaded"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].status == status)
            return rows[i].reason;
    return "Status";
}

void head_line(struct buf *out, const char *name, struct str value) {
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] < ' ' || value.p[i] == 0x7f)
            return;
    buf_puts(out, name);
    buf_put(out, ": ", 2);
    buf_str(out, value);
    buf_put(out, "\r\n", 2);
}

void head_line_i64(struct buf *out, const char *name, int64_t value) {
    buf_puts(out, name);
    buf_put(out, ": ", 2);
    buf_i64(out, value);
    buf_put(out, "\r\n", 2);
}

void head_write(struct buf *out, const struct head *h) {
    buf_puts(out, "Status: ");
    buf_i64(out, h->status);
    buf_putc(out, ' ');
    buf_puts(out, head_reason(h->status));
    buf_puts(out, "\r\n");
    if (h->content_type.n)
        head_line(out, "Content-Type", h->content_type);
    head_line(out, "X-Request-Id", h->request_id);
    if (h->no_store)
        head_line(out, "Cache-Control", STR("no-store"));
    if (h->event_stream) {
        head_line(out, "Cache-Control", STR("no-cache"));
        head_line(out, "X-Accel-Buffering", STR("no"));
    }
    if (h->origin.n) {
        head_line(out, "Access-Control-Allow-Origin", h->origin);
        head_line(out, "Access-Control-Expose-Headers", STR("*"));
        head_line(out, "Vary", STR("Origin"));
    }
    if (h->retry_after_s > 0)
        head_line_i64(out, "Retry-After", h->retry_after_s);
}

static void rate_lines(struct buf *out, const char *what, const struct limit_view *v) {
    if (v->limit <= 0)
        return;
    buf_printf(out, "x-ratelimit-limit-%s: %lld\r\n", what, (long long)v->limit);
    buf_printf(out, "x-ratelimit-remaining-%s: %lld\r\n", what,
               (long long)(v->remaining > 0 ? v->remaining : 0));
    buf_printf(out, "x-ratelimit-reset-%s: %lldms\r\n", what, (long long)v->reset_ms);
}

void head_rate_limits(struct buf *out, const struct limit_report *r) {
    rate_lines(out, "requests", &r->requests);
    rate_lines(out, "tokens", &r->tokens);
}

void head_end(struct buf *out) {
    buf_put(out, "\r\n", 2);
}
