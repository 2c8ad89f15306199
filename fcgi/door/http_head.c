#include "door/http_parts.h"

#include <string.h>
#include <time.h>

static void copy_value(struct str v, char *to, size_t cap, struct str *view) {
    v = str_sub(v, 0, cap - 1);
    memcpy(to, v.p, v.n);
    *view = (struct str){to, v.n};
}

static int64_t parse_retry_after(struct str v) {
    int64_t s;
    char date[64];
    if (str_i64(v, &s))
        return s > 0 && s < 86400 ? s * 1000 : 0;
    time_t at = str_copy(v, date, sizeof date) ? curl_getdate(date, NULL) : -1;
    time_t now = time(NULL);
    return at > now && at - now < 86400 ? (int64_t)(at - now) * 1000 : 0;
}

/* Two that differ would let whoever sent them decide where the next answer begins. */
static void take_length(struct http_call *c, struct str value) {
    uint64_t n;
    if (!str_u64(value, &n) || n > INT64_MAX ||
        (c->head.content_length >= 0 && (uint64_t)c->head.content_length != n))
        c->unreadable = true;
    else
        c->head.content_length = (int64_t)n;
}

static void take_transfer_encoding(struct http_call *c, struct str value) {
    if (str_ieq(value, STR("chunked")))
        c->chunked = true;
    else if (!str_ieq(value, STR("identity")))
        c->unreadable = true;
}

static void take_encoding(struct http_call *c, struct str value) {
    if (str_ieq(value, STR("gzip")) || str_ieq(value, STR("x-gzip")) ||
        str_ieq(value, STR("deflate")))
        c->zipped = true;
    else if (value.n && !str_ieq(value, STR("identity")))
        c->unreadable = true;
}

static void take_connection(struct http_call *c, struct str value) {
    struct str token;
    while (str_cut(&value, ',', &token)) {
        token = str_trim(token);
        if (str_ieq(token, STR("close")))
            c->closes = true;
        else if (str_ieq(token, STR("keep-alive")))
            c->closes = false;
    }
}

static void take_header(struct http_call *c, struct str line) {
    struct str name, value = line;
    if (!str_cut(&value, ':', &name) || !value.p)
        return;
    value = str_trim(value);
    if (str_ieq(name, STR("content-type")))
        copy_value(value, c->content_type, sizeof c->content_type, &c->head.content_type);
    else if (str_ieq(name, STR("x-request-id")) || str_ieq(name, STR("request-id")))
        copy_value(value, c->request_id, sizeof c->request_id, &c->head.request_id);
    else if (str_ieq(name, STR("retry-after")))
        c->head.retry_after_ms = parse_retry_after(value);
    else if (str_ieq(name, STR("content-length")))
        take_length(c, value);
    else if (str_ieq(name, STR("transfer-encoding")))
        take_transfer_encoding(c, value);
    else if (str_ieq(name, STR("content-encoding")))
        take_encoding(c, value);
    else if (str_ieq(name, STR("connection")))
        take_connection(c, value);
}

static void start_head(struct http_call *c, struct str line) {
    struct str rest = line, version, status;
    int64_t code = 0;
    buf_clear(&c->fields);
    c->head = (struct http_head){.content_length = -1};
    c->chunked = c->zipped = c->unreadable = false;
    c->closes = str_starts(line, STR("HTTP/1.0"));
    c->head.content_type = c->head.request_id = STR("");
    if (str_cut(&rest, ' ', &version) && str_cut(&rest, ' ', &status))
        if (!str_i64(str_trim(status), &code))
            code = 0;
    c->head.status = (int)code;
}

/* After the status line. */
static void learn_version(struct http_call *c, struct str line) {
    if (c->origin && c->origin->hash == c->origin_hash)
        c->origin->multiplexes = str_starts(line, STR("HTTP/2"));
}

size_t http_on_header(char *p, size_t size, size_t n, void *ctx) {
    struct http_call *c = ctx;
    struct str line = str_of(p, size * n);
    if (c->head_done) /* trailers */
        return line.n;
    c->head_bytes += line.n;
    if (c->head_bytes > c->head_max) {
        c->invalid = true;
        return 0;
    }
    if (str_starts(line, STR("HTTP/"))) {
        start_head(c, line);
        learn_version(c, line);
    } else if (str_trim(line).n) {
        take_header(c, line);
        if (c->want_fields)
            buf_str(&c->fields, line);
    } else if (c->head.status >= 200) {
        c->head_done = true;
        c->head.fields = buf_view(&c->fields);
        if (!c->events->on_head(c->ctx, &c->head)) {
            c->refused = true;
            return 0;
        }
    }
    return line.n;
}
