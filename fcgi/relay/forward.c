#include "relay/forward.h"

#include "relay/dialect_parts.h"
#include "relay/head.h"

enum err forward_url(struct buf *out, struct str base, struct str path, struct str query) {
    while (str_ends(base, STR("/")))
        base.n--;
    if (!service_path_ok(path))
        return ERR_FIELD_VALUE;
    buf_str(out, base);
    buf_str(out, path);
    dialect_put_query(out, query, true);
    return out->failed ? ERR_FIELD_VALUE : OK;
}

void forward_ask(struct exchange *x, void (*put)(void *ctx, const char *line), void *ctx) {
    const struct request *rq = &x->rq;
    const struct service *s = x->service;
    char user[24];
    struct buf number AUTO(buf_free) = BUF(sizeof user);
    buf_i64(&number, x->caller->user_id);
    const struct {
        const char *name;
        struct str value;
    } lines[] = {
        {"Accept:", rq->accept.n ? rq->accept : STR("*/*")},
        {"Accept-Language:", rq->accept_language},
        {"If-Match:", rq->if_match},
        {"If-None-Match:", rq->if_none_match},
        {"If-Modified-Since:", rq->if_modified_since},
        {"Range:", rq->range},
        {"Idempotency-Key:", rq->idempotency_key},
        {"X-Request-Id:", rq->id},
        {"X-Tollgate-User:", buf_view(&number)},
        {"X-Tollgate-Mode:", x->caller->test_mode ? STR("test") : STR("live")},
    };
    /* an empty one keeps libcurl from naming a type of its own */
    put(ctx, arena_printf(&x->mem, rq->content_type.n ? "Content-Type: %.*s" : "Content-Type:%.*s",
                          STR_ARG(rq->content_type)));
    put(ctx, "User-Agent: tollgate");
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        dialect_put_header(put, ctx, lines[i].name, lines[i].value);
    if (s->secret.n)
        put(ctx, arena_printf(&x->mem, "%.*s: %.*s", STR_ARG(s->header), STR_ARG(s->secret)));
}

static void put_location(const struct exchange *x, struct str value, struct buf *out) {
    struct str base = x->step->channel->base_url;
    struct buf ours AUTO(buf_free) = BUF(8192);
    struct str rest = str_from(value, base.n);
    if (str_starts(value, base) && (!rest.n || strchr("/?#", rest.p[0]))) {
        buf_str(&ours, x->service->prefix);
        buf_str(&ours, rest);
        head_line(out, "Location", buf_view(&ours));
    } else if (str_find_str(value, STR("://")) >= 0) {
        head_line(out, "Location", value);
    }
}

void forward_answer(const struct exchange *x, struct str fields, struct buf *out) {
    static const char *const passed[] = {
        "ETag",  "Last-Modified",    "Cache-Control",       "Expires",       "Vary",
        "Link",  "Content-Language", "Content-Disposition", "Content-Range", "Accept-Ranges",
        "Allow", "X-Total-Count",    "Idempotency-Replayed"};
    struct str line, name;
    while (str_cut(&fields, '\n', &line)) {
        if (!str_cut(&line, ':', &name) || !line.p)
            continue;
        struct str value = str_trim(line);
        for (size_t i = 0; i < ARRAY_LEN(passed); i++)
            if (str_ieq(name, str_c(passed[i])))
                head_line(out, passed[i], value);
        if (str_ieq(name, STR("location")))
            put_location(x, value, out);
    }
}
