/* GET /api/log/:id/explain: why a call cost what it did. */
#include "api/handlers.h"
#include "api/log_row.h"

#include "domain/billing/billing.h"
#include "domain/identity/caller.h"

#include <inttypes.h>

static const char *const ends[] = {
    [END_OK] = "complete",
    [END_REFUSED] = "refused",
    [END_UPSTREAM] = "upstream_failed",
    [END_BROKEN] = "broken_off",
    [END_CLIENT_LEFT] = "client_left",
    [END_TIMEOUT] = "timeout",
    [END_CUT] = "cut",
    [END_HARD_STOP] = "hard_stop",
    [END_INTERRUPTED] = "interrupted",
};

struct found {
    const struct api_request *req;
    struct buf *row; /* its JSON */
    struct usage usage;
    int64_t cost, price_id, ratio, end, policy;
    bool any, estimated, interrupted;
};

static enum err take_row(void *ctx, const struct q_log_rows *r) {
    struct found *x = ctx;
    log_row_json(x->req, r, x->req->role >= (int)ROLE_ADMIN, x->row);
    x->usage = (struct usage){
        .prompt = r->prompt,
        .completion = r->completion,
        .cached = r->cached,
        .cache_write_5m = r->cache_write_5m,
        .cache_write_1h = r->cache_write_1h,
        .image_in = r->image_in,
        .audio_in = r->audio_in,
        .audio_out = r->audio_out,
        .reasoning = r->reasoning,
        .tool_searches = r->searches,
        .images = r->images,
    };
    x->cost = r->cost;
    x->price_id = r->price_id;
    x->ratio = r->group_ratio;
    x->end = r->end_reason;
    x->policy = r->policy;
    x->estimated = r->estimated;
    x->interrupted = r->interrupted;
    x->any = true;
    return OK;
}

static enum err read_price(struct db *db, int64_t id, struct price *out) {
    struct q_log_price p;
    enum err e = id ? q_log_price(db, &(struct q_log_price_in){id}, &p) : ERR_DB_NO_ROW;
    *out = (struct price){0};
    if (e == OK)
        *out = (struct price){.id = p.id,
                              .per_call = p.per_call,
                              .call_quota = p.call_quota,
                              .model = p.model,
                              .completion = p.completion,
                              .cache_read = p.cache_read,
                              .cache_write = p.cache_write,
                              .cache_write_1h = p.cache_write_1h,
                              .image = p.image,
                              .audio = p.audio,
                              .audio_completion = p.audio_completion,
                              .search_quota = p.search_quota};
    return e == ERR_DB_NO_ROW ? OK : e;
}

static bool has_quota_each(const struct price_line *l) {
    return l->part == PRICE_PART_CALL || l->part == PRICE_PART_SEARCH;
}

static void put_part(struct buf *out, const struct price_line *l) {
    buf_printf(out, "{\"part\":\"%s\",\"count\":%" PRId64, price_part_name(l->part), l->count);
    if (has_quota_each(l)) {
        buf_printf(out, ",\"quota_each\":%" PRId64, l->quota_each);
    } else {
        buf_puts(out, ",\"ratios\":[");
        log_decimal(out, l->ratio_a, RATIO_ONE);
        buf_putc(out, ',');
        log_decimal(out, l->ratio_b, RATIO_ONE);
        buf_putc(out, ']');
    }
    buf_printf(out, ",\"quota\":%" PRId64 "}", l->quota);
}

/* A term of the formula: tokens are worth their ratios and the model's, the others their quota. */
static void put_term(struct buf *t, const struct price *p, const struct price_line *l) {
    buf_printf(t, "%" PRId64 " * ", l->count);
    if (has_quota_each(l)) {
        buf_i64(t, l->quota_each);
        return;
    }
    log_decimal(t, l->ratio_a, RATIO_ONE);
    buf_puts(t, " * ");
    log_decimal(t, l->ratio_b, RATIO_ONE);
    buf_puts(t, " * ");
    log_decimal(t, p->model, RATIO_ONE);
}

static void put_formula(struct buf *out, const struct found *x, const struct price *p,
                        const struct price_line *lines, size_t n, int64_t computed) {
    struct buf t AUTO(buf_free) = BUF(8192);
    buf_puts(&t, "round_half_up((");
    for (size_t i = 0; i < n; i++) {
        buf_puts(&t, i ? " + " : "");
        put_term(&t, p, &lines[i]);
    }
    buf_puts(&t, n ? ") * " : "0) * ");
    log_decimal(&t, x->ratio, RATIO_ONE);
    buf_printf(&t, ") = %" PRId64, computed);
    buf_json(out, buf_view(&t));
}

static void put_bill(struct buf *out, const struct found *x, const struct price *p) {
    struct price_line lines[PRICE_PART__MAX];
    size_t n = price_explain(p, x->ratio, &x->usage, lines);
    int64_t computed = price_cost(p, x->ratio, &x->usage), sum = 0;
    buf_puts(out, ",\"parts\":[");
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(out, ',');
        put_part(out, &lines[i]);
        sum += lines[i].quota;
    }
    buf_puts(out, "],\"formula\":");
    put_formula(out, x, p, lines, n, computed);
    buf_printf(out,
               ",\"rounding\":%" PRId64 ",\"adjustment\":%" PRId64 ",\"charged\":%" PRId64
               ",\"model_ratio\":",
               computed - sum, x->cost - computed, x->cost);
    log_decimal(out, p->model, RATIO_ONE);
    buf_puts(out, ",\"group_ratio\":");
    log_decimal(out, x->ratio, RATIO_ONE);
    buf_printf(out, ",\"price_id\":%" PRId64 ",\"per_call\":%s", x->price_id,
               p->per_call ? "true" : "false");
}

/* parts + rounding + adjustment = charged. The adjustment is what the policy made of the end: a
 * failed call is free, an interrupted one pays its input. */
enum err log_explain(struct api_request *req, struct api_reply *reply, struct fault *f) {
    (void)f;
    bool admin = req->role >= (int)ROLE_ADMIN && api_may(req, SCOPE_ADMIN_READ);
    struct q_log_rows_in q = {
        .to_s = INT64_MAX,
        .edge_s = INT64_MAX,
        .any_user = admin,
        .user = req->user_id,
        .any_key = true,
        .id = req->id[0],
        .any_type = true,
        .any_group = true,
        .any_channel = true,
        .any_model = true,
        .any_request = true,
        .any_upstream = true,
        .any_key_name = true,
        .count = 1,
    };
    struct price p;
    struct buf row AUTO(buf_free) = BUF(16384);
    struct found x = {.req = req, .row = &row};
    enum err e = log_read(req->db, &q, take_row, &x);
    if (e == OK && !x.any)
        return ERR_RECORD_NOT_FOUND;
    if (e == OK)
        e = read_price(req->db, x.price_id, &p);
    if (e != OK)
        return e;
    struct buf *out = api_data(reply);
    buf_puts(out, "{\"log\":");
    buf_str(out, buf_view(&row));
    put_bill(out, &x, &p);
    bool known = x.end >= 0 && x.end < (int64_t)ARRAY_LEN(ends);
    buf_printf(out, ",\"end\":\"%s\",\"leave_policy\":\"%s\",\"estimated\":%s,\"interrupted\":%s}",
               known ? ends[x.end] : "unknown", x.policy == LEAVE_DRAIN ? "drain" : "cancel",
               x.estimated ? "true" : "false", x.interrupted ? "true" : "false");
    api_data_end(reply);
    return OK;
}
