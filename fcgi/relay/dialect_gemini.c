#include "relay/dialect_parts.h"

#include "door/json.h"

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
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(out, ',');
        model_one(out, &models[i]);
    }
    buf_puts(out, "]}");
}

static void credentials(void (*put)(void *ctx, const char *line), void *ctx, struct str key,
                        struct str version, struct str beta) {
    (void)version;
    (void)beta;
    dialect_put_header(put, ctx, "x-goog-api-key:", key);
}

const struct dialect_ops dialect_gemini = {
    .name = "gemini",
    .error = error,
    .status_error = status_error,
    .own_error = own_error,
    .stream_error = stream_error,
    .model_list = model_list,
    .model_one = model_one,
    .credentials = credentials,
};
