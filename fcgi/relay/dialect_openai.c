#include "relay/dialect_parts.h"

#include "door/json.h"
#include "relay/exchange.h"
#include "relay/scan_parts.h"

static const char *status_type(int status) {
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 429:
        return "rate_limit_error";
    case 503:
        return "service_unavailable";
    default:
        return status < 500 ? "invalid_request_error" : "server_error";
    }
}

/* "message":…,"type":…,"param":…,"code":… */
static void put_members(struct buf *out, const struct fault *f, enum lang lang) {
    buf_puts(out, "\"message\":");
    dialect_put_text(out, f, lang);
    buf_printf(out, ",\"type\":\"%s\",\"param\":", err_type(f->err));
    if (f->param[0])
        buf_json(out, str_c(f->param));
    else
        buf_puts(out, "null");
    buf_printf(out, ",\"code\":\"%s\"", err_code(f->err));
    if (f->resets_at > 0) {
        buf_puts(out, ",\"resets_at\":");
        buf_i64(out, f->resets_at);
    }
}

static void error(struct buf *out, const struct fault *f, struct str request_id, enum lang lang) {
    (void)request_id; /* OpenAI's is a header */
    buf_puts(out, "{\"error\":{");
    put_members(out, f, lang);
    buf_puts(out, "}}");
}

static void status_error(struct buf *out, int status, struct str message, struct str request_id) {
    (void)request_id;
    buf_puts(out, "{\"error\":{\"message\":");
    buf_json(out, message);
    buf_printf(out, ",\"type\":\"%s\",\"param\":null,\"code\":null}}", status_type(status));
}

static const struct json *own_error(const struct json *tree) {
    const struct json *e = json_get(tree, "error");
    return json_type_of(e) == JSON_OBJECT ? e : NULL;
}

/* A stream of the Responses API has named events with flat members; `error` beside them is what
 * makes OpenAI's SDKs raise. */
static void stream_error(struct buf *out, const struct fault *f, struct str request_id,
                         struct str path) {
    if (!str_ends(path, STR("/responses"))) {
        buf_puts(out, "data: ");
        error(out, f, request_id, LANG_EN);
        buf_puts(out, "\n\n");
        return;
    }
    buf_puts(out, "event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"code\":");
    buf_printf(out, "\"%s\",\"message\":", err_code(f->err));
    dialect_put_text(out, f, LANG_EN);
    buf_puts(out, ",\"param\":null,\"error\":{");
    put_members(out, f, LANG_EN);
    buf_puts(out, "}}\n\n");
}

static void model_one(struct buf *out, const struct model_entry *m) {
    buf_puts(out, "{\"id\":");
    buf_json(out, m->name);
    buf_puts(out, ",\"object\":\"model\",\"created\":");
    buf_i64(out, m->created_s);
    buf_puts(out, ",\"owned_by\":");
    buf_json(out, m->owned_by);
    buf_putc(out, '}');
}

static void model_list(struct buf *out, const struct model_entry *models, size_t n) {
    buf_puts(out, "{\"success\":true,\"object\":\"list\",\"data\":[");
    dialect_put_models(out, models, n, model_one);
    buf_puts(out, "]}");
}

static void credentials(void (*put)(void *ctx, const char *line), void *ctx, struct str key,
                        struct str version, struct str beta) {
    (void)version;
    (void)beta;
    if (key.n)
        dialect_put_header(put, ctx, "Authorization: Bearer", key);
}

static struct str key(const struct request *rq) {
    return request_bearer(rq);
}

static struct usage usage(const int64_t *raw) {
    struct usage u = {
        .prompt = raw[FIELD_PROMPT],
        .completion = raw[FIELD_COMPLETION],
        .cached = raw[FIELD_CACHED],
        .cache_write_5m = raw[FIELD_WRITTEN],
        .image_in = raw[FIELD_IMAGE_IN],
        .audio_in = raw[FIELD_AUDIO_IN],
        .audio_out = raw[FIELD_AUDIO_OUT],
        .reasoning = raw[FIELD_REASONING],
    };
    int64_t rest = raw[FIELD_TOTAL] - u.prompt - u.completion;
    if (u.prompt == 0 && rest > 0)
        u.prompt = rest; /* rerankers give the total alone */
    else if (rest > 0 &&
             (rest == u.reasoning || (!u.reasoning && rest != u.cached + u.cache_write_5m)))
        u.completion += rest; /* xAI counts reasoning beside the completion, Gemini in the total */
    return u;
}

static const struct str last_types[] = {STR_INIT("response.completed"),
                                        STR_INIT("response.incomplete"),
                                        STR_INIT("response.failed"), STR_INIT("")};

const struct dialect_ops dialect_openai = {
    .name = "openai",
    .channels = CHANNEL_OPENAI,
    .prefix = STR_INIT(""),
    .models_path = STR_INIT("/v1/models"),
    .key = key,
    .put_path = dialect_put_plain_path,
    .usage = usage,
    .last_types = last_types,
    .error = error,
    .status_error = status_error,
    .own_error = own_error,
    .stream_error = stream_error,
    .model_list = model_list,
    .model_one = model_one,
    .credentials = credentials,
};
