#include "relay/dialect_parts.h"

#include "door/json.h"
#include "relay/exchange.h"
#include "relay/scan_parts.h"

/* google.rpc.Code names, by the HTTP mapping of google/rpc/code.proto. */
static const char *status_name(int status) {
    switch (status) {
    case 401:
        return "UNAUTHENTICATED";
    case 403:
        return "PERMISSION_DENIED";
    case 404:
        return "NOT_FOUND";
    case 409:
        return "ABORTED";
    case 429:
        return "RESOURCE_EXHAUSTED";
    case 499:
        return "CANCELLED";
    case 501:
        return "UNIMPLEMENTED";
    case 502:
    case 503:
        return "UNAVAILABLE";
    case 408:
    case 504:
        return "DEADLINE_EXCEEDED";
    default:
        return status < 500 ? "INVALID_ARGUMENT" : "INTERNAL";
    }
}

static void begin(struct buf *out, int status) {
    buf_printf(out, "{\"error\":{\"code\":%d,\"message\":", status);
}

static void end(struct buf *out, int status) {
    buf_printf(out, ",\"status\":\"%s\"}}", status_name(status));
}

static void error(struct buf *out, const struct fault *f, struct str request_id, enum lang lang) {
    (void)request_id; /* Gemini's errors have none */
    begin(out, err_http(f->err));
    dialect_put_text(out, f, lang);
    end(out, err_http(f->err));
}

static void status_error(struct buf *out, int status, struct str message, struct str request_id) {
    (void)request_id;
    begin(out, status);
    buf_json(out, message);
    end(out, status);
}

static const struct json *own_error(const struct json *tree) {
    const struct json *e = json_get(tree, "error");
    return json_type_of(json_get(e, "status")) == JSON_STRING ? e : NULL;
}

static void stream_error(struct buf *out, const struct fault *f, struct str request_id,
                         struct str path) {
    (void)path;
    buf_puts(out, "data: ");
    error(out, f, request_id, LANG_EN);
    buf_puts(out, "\n\n");
}

static void model_one(struct buf *out, const struct model_entry *m) {
    struct buf name AUTO(buf_free) = BUF(1024);
    bool embeds = str_find_str(m->name, STR("embed")) >= 0;
    buf_puts(&name, "models/");
    buf_str(&name, m->name);
    buf_puts(out, "{\"name\":");
    buf_json(out, buf_view(&name));
    buf_puts(out, ",\"displayName\":");
    buf_json(out, m->display_name.n ? m->display_name : m->name);
    buf_printf(out, ",\"supportedGenerationMethods\":[%s,\"countTokens\"]}",
               embeds ? "\"embedContent\",\"batchEmbedContents\""
                      : "\"generateContent\",\"streamGenerateContent\"");
}

/* Without nextPageToken: Google's SDK takes any value of it, null too, for one more page. */
static void model_list(struct buf *out, const struct model_entry *models, size_t n) {
    buf_puts(out, "{\"models\":[");
    dialect_put_models(out, models, n, model_one);
    buf_puts(out, "]}");
}

static void credentials(void (*put)(void *ctx, const char *line), void *ctx, struct str key,
                        struct str version, struct str beta) {
    (void)version;
    (void)beta;
    dialect_put_header(put, ctx, "x-goog-api-key:", key);
}

static struct str key(const struct request *rq) {
    return rq->x_goog_api_key;
}

/* "/v1beta/models/NAME:action" with another name. */
static bool put_path(struct buf *out, struct str path, struct str model) {
    ptrdiff_t models = str_find_str(path, STR("/models/")), colon = -1;
    for (size_t i = path.n; i-- > 0 && colon < 0;)
        if (path.p[i] == ':')
            colon = (ptrdiff_t)i;
    if (models < 0 || colon < models || !model.n) {
        buf_str(out, path);
        return dialect_path_is_plain(path);
    }
    struct str head = str_sub(path, 0, (size_t)models + STR("/models/").n);
    struct str action = str_from(path, (size_t)colon + 1);
    buf_str(out, head);
    buf_url(out, model);
    buf_putc(out, ':');
    buf_str(out, action);
    return dialect_path_is_plain(str_sub(head, 0, head.n - 1)) && dialect_is_word(action);
}

static struct usage usage(const int64_t *raw) {
    return (struct usage){
        .prompt = raw[FIELD_PROMPT] + raw[FIELD_TOOL_PROMPT],
        .completion = raw[FIELD_COMPLETION] + raw[FIELD_REASONING],
        .cached = raw[FIELD_CACHED],
        .image_in = raw[FIELD_IMAGE_IN],
        .audio_in = raw[FIELD_AUDIO_IN],
        .audio_out = raw[FIELD_AUDIO_OUT],
        .reasoning = raw[FIELD_REASONING],
    };
}

const struct dialect_ops dialect_gemini = {
    .name = "gemini",
    .channels = CHANNEL_GEMINI,
    .prefix = STR_INIT("/v1beta/"),
    .models_path = STR_INIT("/v1beta/models"),
    .key = key,
    .key_in_query = true,
    .version_is_last = true,
    .streams_json = true,
    .put_path = put_path,
    .usage = usage,
    .error = error,
    .status_error = status_error,
    .own_error = own_error,
    .stream_error = stream_error,
    .model_list = model_list,
    .model_one = model_one,
    .credentials = credentials,
};
