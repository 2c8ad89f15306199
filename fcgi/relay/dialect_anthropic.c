#include "relay/dialect_parts.h"

#include "door/json.h"
#include "relay/exchange.h"
#include "relay/scan_parts.h"

#include <time.h>

#define DEFAULT_VERSION STR("2023-06-01")

static const char *status_type(int status) {
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_error";
    case 503:
    case 529:
        return "overloaded_error";
    case 504:
        return "timeout_error";
    default:
        return status < 500 ? "invalid_request_error" : "api_error";
    }
}

/* Anthropic's middle part; the message follows as a JSON value. */
static void begin(struct buf *out, int status) {
    buf_printf(out,
               "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", status_type(status));
}

static void end(struct buf *out, struct str request_id) {
    buf_puts(out, "},\"request_id\":");
    buf_json(out, request_id);
    buf_putc(out, '}');
}

static void error(struct buf *out, const struct fault *f, struct str request_id, enum lang lang) {
    begin(out, err_http(f->err));
    dialect_put_text(out, f, lang);
    end(out, request_id);
}

static void status_error(struct buf *out, int status, struct str message, struct str request_id) {
    begin(out, status);
    buf_json(out, message);
    end(out, request_id);
}

static const struct json *own_error(const struct json *tree) {
    const struct json *e = json_get(tree, "error"), *type = json_get(tree, "type");
    bool typed = json_type_of(type) == JSON_STRING && str_eq(json_str(type), STR("error"));
    return typed && json_type_of(e) == JSON_OBJECT ? e : NULL;
}

static void stream_error(struct buf *out, const struct fault *f, struct str request_id,
                         struct str path) {
    (void)path;
    buf_puts(out, "event: error\ndata: ");
    error(out, f, request_id, LANG_EN);
    buf_puts(out, "\n\n");
}

static void model_one(struct buf *out, const struct model_entry *m) {
    struct tm tm = {0};
    char when[32] = "1970-01-01T00:00:00Z";
    time_t t = m->created_s;
    if (gmtime_r(&t, &tm))
        strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_puts(out, "{\"type\":\"model\",\"id\":");
    buf_json(out, m->name);
    buf_puts(out, ",\"display_name\":");
    buf_json(out, m->display_name.n ? m->display_name : m->name);
    buf_printf(out, ",\"created_at\":\"%s\"}", when);
}

static void put_id(struct buf *out, const char *name, const struct model_entry *m) {
    buf_printf(out, ",\"%s\":", name);
    if (m)
        buf_json(out, m->name);
    else
        buf_puts(out, "null");
}

static void model_list(struct buf *out, const struct model_entry *models, size_t n) {
    buf_puts(out, "{\"data\":[");
    dialect_put_models(out, models, n, model_one);
    buf_puts(out, "],\"has_more\":false");
    put_id(out, "first_id", n ? &models[0] : NULL);
    put_id(out, "last_id", n ? &models[n - 1] : NULL);
    buf_putc(out, '}');
}

static void credentials(void (*put)(void *ctx, const char *line), void *ctx, struct str key,
                        struct str version, struct str beta) {
    dialect_put_header(put, ctx, "x-api-key:", key);
    dialect_put_header(put, ctx, "anthropic-version:", version.n ? version : DEFAULT_VERSION);
    dialect_put_header(put, ctx, "anthropic-beta:", beta);
}

static struct str key(const struct request *rq) {
    return rq->x_api_key;
}

static bool claims(const struct request *rq) {
    return rq->anthropic_version.n > 0;
}

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static struct usage usage(const int64_t *raw) {
    int64_t long_lived = raw[FIELD_WRITTEN_1H];
    int64_t written = larger(raw[FIELD_WRITTEN], raw[FIELD_WRITTEN_5M] + long_lived);
    return (struct usage){
        .prompt = raw[FIELD_PROMPT] + raw[FIELD_CACHED] + written,
        .completion = raw[FIELD_COMPLETION],
        .cached = raw[FIELD_CACHED],
        .cache_write_5m = written - long_lived,
        .cache_write_1h = long_lived,
        .tool_searches = raw[FIELD_SEARCHES],
    };
}

static const struct str last_types[] = {STR_INIT("message_stop"), STR_INIT("")};

const struct dialect_ops dialect_anthropic = {
    .name = "anthropic",
    .channels = CHANNEL_ANTHROPIC,
    .prefix = STR_INIT("/v1/messages"),
    .models_path = STR_INIT("/v1/models"),
    .claims = claims,
    .key = key,
    .version_is_last = true,
    .put_path = dialect_put_plain_path,
    .usage = usage,
    .usage_merges = true,
    .last_types = last_types,
    .error = error,
    .status_error = status_error,
    .own_error = own_error,
    .stream_error = stream_error,
    .model_list = model_list,
    .model_one = model_one,
    .credentials = credentials,
};
