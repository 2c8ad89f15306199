#include "api/log_row.h"

#include "domain/catalog/catalog.h"
#include "util/clock.h"

#include <inttypes.h>

void log_decimal(struct buf *out, int64_t v, int64_t unit) {
    if (v < 0)
        buf_putc(out, '-');
    uint64_t q = v < 0 ? 0 - (uint64_t)v : (uint64_t)v, u = (uint64_t)unit;
    buf_printf(out, "%" PRIu64, q / u);
    uint64_t rest = q % u;
    if (!rest)
        return;
    buf_putc(out, '.');
    while (rest) { /* ends: unit divides a power of ten */
        rest *= 10;
        buf_putc(out, (char)('0' + rest / u));
        rest %= u;
    }
}

/* --- filters -------------------------------------------------------------------------------- */

static enum err query_i64(struct api_request *req, const char *name, int64_t *out,
                          struct fault *f) {
    struct str text;
    enum err e = api_query(req, name, &text, f);
    if (e == OK && text.n && (!str_i64(text, out) || *out < 0))
        return fault_field(f, ERR_FIELD_VALUE, name, "%s", name);
    return e;
}

static enum err text_filter(struct api_request *req, const char *name, struct str *out, bool *any,
                            struct fault *f) {
    enum err e = api_query(req, name, out, f);
    *any = !out->n;
    return e;
}

/* "seconds-id": the place after which a page begins. */
static enum err read_edge(struct api_request *req, struct q_log_rows_in *q, struct fault *f) {
    struct str text, s;
    enum err e = api_query(req, "before", &text, f);
    if (e != OK || !text.n)
        return e;
    if (!str_cut(&text, '-', &s) || !str_i64(s, &q->edge_s) || !str_i64(text, &q->edge_id))
        return fault_field(f, ERR_FIELD_VALUE, "before", "before");
    if (q->to_s > q->edge_s)
        q->to_s = q->edge_s;
    return OK;
}

static enum err read_times(struct api_request *req, struct q_log_rows_in *q, struct fault *f) {
    int64_t end = 0;
    enum err e = query_i64(req, "start_timestamp", &q->from_s, f);
    if (e == OK)
        e = query_i64(req, "end_timestamp", &end, f);
    q->to_s = end ? end : INT64_MAX;
    q->edge_s = q->edge_id = INT64_MAX;
    return e != OK ? e : read_edge(req, q, f);
}

static enum err read_numbers(struct api_request *req, struct q_log_rows_in *q, struct fault *f) {
    enum err e = query_i64(req, "type", &q->type, f);
    if (e == OK)
        e = query_i64(req, "token_id", &q->key, f);
    q->any_type = !q->type;
    q->any_key = !q->key;
    q->any_id = true;
    return e;
}

/* Of a pattern only '%' is meant: model names have underscores. */
static struct str pattern_of(struct api_request *req, struct str name) {
    char *text = arena_alloc(req->mem, 2 * name.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '_' || name.p[i] == '\\')
            text[n++] = '\\';
        text[n++] = name.p[i];
    }
    return str_of(text, n);
}

static enum err read_texts(struct api_request *req, struct q_log_rows_in *q, struct fault *f) {
    enum err e = text_filter(req, "model_name", &q->model, &q->any_model, f);
    q->model = pattern_of(req, q->model);
    if (e == OK)
        e = text_filter(req, "request_id", &q->request, &q->any_request, f);
    if (e == OK)
        e = text_filter(req, "upstream_request_id", &q->upstream, &q->any_upstream, f);
    if (e == OK)
        e = text_filter(req, "token_name", &q->key_name, &q->any_key_name, f);
    return e;
}

static enum err read_group(struct api_request *req, struct q_log_rows_in *q, bool *none,
                           struct fault *f) {
    struct str name;
    enum err e = text_filter(req, "group", &name, &q->any_group, f);
    const struct group *g = q->any_group ? NULL : catalog_group(req->catalog, name);
    q->group = g ? g->id : 0;
    *none |= !q->any_group && !g;
    return e;
}

/* One key of the account has the name, nearly always: then its own index finds its rows. */
static enum err resolve_key(struct api_request *req, struct q_log_rows_in *q, bool *none) {
    if (q->any_key_name || q->any_user || !q->any_key)
        return OK;
    struct q_log_key_named row;
    enum err e = q_log_key_named(req->db, &(struct q_log_key_named_in){q->user, q->key_name}, &row);
    if (e != OK)
        return e;
    *none |= row.n == 0;
    if (row.n == 1) {
        q->key = row.id;
        q->any_key = false;
        q->any_key_name = true;
    }
    return OK;
}

static enum err read_admin(struct api_request *req, struct q_log_rows_in *q, bool *none,
                           struct fault *f) {
    struct str name;
    enum err e = query_i64(req, "channel", &q->channel, f);
    q->any_channel = !q->channel;
    if (e == OK)
        e = query_i64(req, "user_id", &q->user, f);
    if (e == OK)
        e = api_query(req, "username", &name, f);
    if (e == OK && name.n) {
        struct q_log_user_named row = {0};
        e = q_log_user_named(req->db, &(struct q_log_user_named_in){name}, &row);
        *none |= e == ERR_DB_NO_ROW;
        e = e == ERR_DB_NO_ROW ? OK : e;
        q->user = row.id;
    }
    q->any_user = !q->user;
    return e;
}

enum err log_filter(struct api_request *req, bool all, struct q_log_rows_in *out, bool *none,
                    struct fault *f) {
    *out = (struct q_log_rows_in){.user = all ? 0 : req->user_id, .any_channel = true};
    *none = false;
    enum err e = read_times(req, out, f);
    if (e == OK)
        e = read_numbers(req, out, f);
    if (e == OK)
        e = read_texts(req, out, f);
    if (e == OK)
        e = read_group(req, out, none, f);
    if (e == OK && all)
        e = read_admin(req, out, none, f);
    return e == OK ? resolve_key(req, out, none) : e;
}

/* --- a record ------------------------------------------------------------------------------- */

static void put_ratios(struct buf *o, const struct q_log_rows *r) {
    const struct {
        const char *name;
        ratio v;
    } all[] = {
        {"model_ratio", r->price_model},
        {"completion_ratio", r->price_completion},
        {"cache_ratio", r->price_cache_read},
        {"cache_creation_ratio", r->price_cache_write},
        {"cache_creation_ratio_1h", r->price_cache_write_1h},
        {"image_ratio", r->price_image},
        {"audio_ratio", r->price_audio},
        {"audio_completion_ratio", r->price_audio_completion},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        buf_printf(o, ",\"%s\":", all[i].name);
        log_decimal(o, all[i].v, RATIO_ONE);
    }
    buf_puts(o, ",\"model_price\":");
    log_decimal(o, r->price_per_call ? r->price_call_quota : -QUOTA_PER_USD, QUOTA_PER_USD);
}

static void put_counts(struct buf *o, const struct q_log_rows *r) {
    const struct {
        const char *name;
        int64_t v;
    } all[] = {
        {"cache_tokens", r->cached},
        {"cache_creation_tokens_5m", r->cache_write_5m},
        {"cache_creation_tokens_1h", r->cache_write_1h},
        {"image_tokens", r->image_in},
        {"audio_input_tokens", r->audio_in},
        {"audio_output_tokens", r->audio_out},
        {"reasoning_tokens", r->reasoning},
        {"web_search_call_count", r->searches},
        {"images", r->images},
        {"frt", r->first_byte_us / 1000},
        {"duration_ms", r->duration_us / 1000},
        {"status", r->status},
        {"attempts", r->attempts},
        {"price_id", r->price_id},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_printf(o, ",\"%s\":%" PRId64, all[i].name, all[i].v);
}

static void put_text(struct buf *out, const char *name, struct str v) {
    buf_printf(out, ",\"%s\":", name);
    buf_json(out, v);
}

static void put_flag(struct buf *out, const char *name, bool v) {
    buf_printf(out, ",\"%s\":%s", name, v ? "true" : "false");
}

static void put_other(const struct q_log_rows *r, struct buf *out) {
    struct buf o AUTO(buf_free) = BUF(8192);
    buf_puts(&o, "{\"group_ratio\":");
    log_decimal(&o, r->group_ratio, RATIO_ONE);
    if (r->priced)
        put_ratios(&o, r);
    put_counts(&o, r);
    put_flag(&o, "test_mode", r->test_mode);
    put_flag(&o, "estimated", r->estimated);
    put_flag(&o, "interrupted", r->interrupted);
    put_text(&o, "request_path", r->endpoint);
    put_text(&o, "upstream_model_name", r->upstream_model);
    put_text(&o, "error_code", r->error_code);
    buf_putc(&o, '}');
    must(!o.failed);
    buf_puts(out, ",\"other\":");
    buf_json(out, buf_view(&o));
}

void log_row_json(const struct api_request *req, const struct q_log_rows *r, bool admin,
                  struct buf *out) {
    const struct group *g = catalog_group_by_id(req->catalog, r->group_id);
    const struct channel *c = admin ? catalog_channel(req->catalog, r->channel_id) : NULL;
    buf_printf(out,
               "{\"id\":%" PRId64 ",\"user_id\":%" PRId64 ",\"created_at\":%" PRId64
               ",\"type\":%" PRId64 ",\"token_id\":%" PRId64 ",\"quota\":%" PRId64
               ",\"prompt_tokens\":%" PRId64 ",\"completion_tokens\":%" PRId64
               ",\"use_time\":%" PRId64 ",\"channel\":%" PRId64,
               r->id, r->user_id, r->created_s, r->type, r->key_id, r->cost, r->prompt,
               r->completion, r->duration_us / 1000000, r->channel_id);
    put_flag(out, "is_stream", r->stream);
    put_text(out, "content", r->content);
    put_text(out, "username", r->username);
    put_text(out, "token_name", r->key_name);
    put_text(out, "model_name", r->model);
    put_text(out, "channel_name", c ? c->name : STR(""));
    put_text(out, "group", g ? g->name : STR(""));
    put_text(out, "ip", r->ip);
    put_text(out, "request_id", r->request_id);
    put_text(out, "upstream_request_id", r->upstream_request_id);
    put_other(r, out);
    buf_putc(out, '}');
}
