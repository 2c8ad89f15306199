#include "relay/dialect.h"

#include "door/json.h"
#include "relay/dialect_parts.h"
#include "relay/exchange.h"
#include "util/secret.h"

#define MAX_PARSED (1024 * 1024)
#define MAX_PLAIN 500 /* longer texts are pages, not messages */
#define MAX_HEADER 8192

static const struct dialect_ops *const table[] = {
    [DIALECT_OPENAI] = &dialect_openai,
    [DIALECT_ANTHROPIC] = &dialect_anthropic,
    [DIALECT_GEMINI] = &dialect_gemini,
};
static_assert(ARRAY_LEN(table) == DIALECT__MAX, "a dialect has no row");

const struct dialect_ops *dialect_ops(enum dialect d) {
    must(d < DIALECT__MAX);
    return table[d];
}

enum dialect dialect_of_path(struct str path) {
    size_t other = 0;
    for (size_t d = 0; d < ARRAY_LEN(table); d++) {
        if (!table[d]->prefix.n)
            other = d;
        else if (str_starts(path, table[d]->prefix))
            return (enum dialect)d;
    }
    return (enum dialect)other;
}

enum dialect dialect_of_request(const struct request *rq) {
    enum dialect own = dialect_of_path(rq->path);
    for (size_t d = 0; d < ARRAY_LEN(table) && !table[own]->prefix.n; d++)
        if (table[d]->claims && table[d]->claims(rq))
            return (enum dialect)d;
    return own;
}

void dialect_put_models(struct buf *out, const struct model_entry *models, size_t n,
                        void (*put)(struct buf *out, const struct model_entry *model)) {
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(out, ',');
        put(out, &models[i]);
    }
}

void dialect_put_text(struct buf *out, const struct fault *f, enum lang lang) {
    struct buf text AUTO(buf_free) = BUF(2048);
    err_text(&text, f, lang);
    buf_json(out, buf_view(&text));
}

void dialect_put_header(void (*put)(void *ctx, const char *line), void *ctx, const char *name,
                        struct str value) {
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < ' ' || value.p[i] > '~')
            return;
    struct buf line AUTO(buf_free) = BUF(MAX_HEADER);
    buf_puts(&line, name);
    buf_putc(&line, ' ');
    buf_str(&line, value);
    if (value.n && !line.failed)
        put(ctx, line.p);
    if (line.p)
        secret_wipe(line.p, line.n);
}

static void put_scrubbed_json(struct buf *out, const struct json *node);

struct member_ctx {
    struct buf *out;
    bool more;
};

static enum err put_scrubbed_member(void *ctx, struct str name, struct json *value) {
    struct member_ctx *m = ctx;
    if (m->more)
        buf_putc(m->out, ',');
    m->more = true;
    buf_json(m->out, name);
    buf_putc(m->out, ':');
    put_scrubbed_json(m->out, value);
    return OK;
}

static void put_scrubbed_string(struct buf *out, struct str s) {
    struct buf clean AUTO(buf_free) = BUF(DIALECT_ERROR_MAX);
    secret_scrub_foreign(&clean, s);
    if (clean.failed)
        out->failed = true;
    buf_json(out, buf_view(&clean));
}

/* Strings are scrubbed decoded: an escape before a key would hide its prefix. The depth is
 * json_parse's limit. */
static void put_scrubbed_json(struct buf *out, const struct json *node) {
    struct member_ctx m = {out, false};
    switch (json_type_of(node)) {
    case JSON_STRING:
        put_scrubbed_string(out, json_str(node));
        break;
    case JSON_ARRAY:
        buf_putc(out, '[');
        for (size_t i = 0; i < json_length(node); i++) {
            if (i)
                buf_putc(out, ',');
            put_scrubbed_json(out, json_at(node, i));
        }
        buf_putc(out, ']');
        break;
    case JSON_OBJECT:
        buf_putc(out, '{');
        must(json_each(node, put_scrubbed_member, &m) == OK);
        buf_putc(out, '}');
        break;
    case JSON_NULL:
    case JSON_BOOL:
    case JSON_INT:
    case JSON_DOUBLE:
        json_write(out, node);
        break;
    }
}

static struct str text_member(const struct json *o, const char *name) {
    const struct json *m = json_get(o, name);
    return json_type_of(m) == JSON_STRING ? json_str(m) : STR_NONE;
}

/* What another dialect's or a web framework's error says. */
static struct str foreign_message(const struct json *tree) {
    struct str found[] = {text_member(json_get(tree, "error"), "message"),
                          text_member(tree, "error"), text_member(tree, "message"),
                          text_member(tree, "detail")};
    for (size_t i = 0; i < ARRAY_LEN(found); i++)
        if (found[i].n)
            return found[i];
    return STR_NONE;
}

static void put_wrapped(struct buf *out, enum dialect d, int status, struct str message,
                        struct str request_id) {
    struct buf clean AUTO(buf_free) = BUF(DIALECT_ERROR_MAX);
    struct buf text AUTO(buf_free) = BUF(2048);
    struct fault f = {0};
    secret_scrub_foreign(&clean, message);
    if (clean.n && !clean.failed)
        (void)fault_set(&f, ERR_UPSTREAM_STATUS, "%.*s", STR_ARG(buf_view(&clean)));
    else
        (void)fault_set(&f, ERR_UPSTREAM_STATUS, "HTTP %d", status);
    err_text(&text, &f, LANG_EN);
    table[d]->status_error(out, status, buf_view(&text), request_id);
}

void dialect_provider_error(struct buf *out, enum dialect d, int status, struct str body,
                            struct str request_id) {
    struct json *tree AUTO(json_free) = NULL;
    body = str_trim(body);
    if (body.n > MAX_PARSED || json_parse(body, &tree, NULL) != OK) {
        bool plain = body.n <= MAX_PLAIN && str_find(body, '<') < 0 && str_utf8_ok(body);
        put_wrapped(out, d, status, plain ? body : STR_NONE, request_id);
        return;
    }
    /* Gemini's streams put the one error into an array */
    const struct json *it = json_length(tree) == 1 ? json_at(tree, 0) : tree;
    if (dialect_ops(d)->own_error(it)) {
        struct buf clean AUTO(buf_free) = BUF(DIALECT_ERROR_MAX);
        put_scrubbed_json(&clean, it);
        if (!clean.failed) {
            buf_str(out, buf_view(&clean));
            return;
        }
    }
    put_wrapped(out, d, status, foreign_message(it), request_id);
}
