#include "relay/peek.h"

struct patch { /* the bytes at `at` give way to: text before, a value, text after */
    struct span at;
    bool comma; /* parts it from the member before it */
    const char *before, *after;
    int64_t number;    /* the value; -1 = none */
    struct str string; /* the value, when it is one */
};

struct patches { /* in the order of the body */
    struct patch list[PEEK_LIMIT__MAX + 2];
    size_t n;
    bool comma; /* a member added at the end needs one */
};

static void add_patch(struct patches *s, struct patch p) {
    must(s->n < ARRAY_LEN(s->list));
    size_t i = s->n++;
    for (; i > 0 && s->list[i - 1].at.at > p.at.at; i--)
        s->list[i] = s->list[i - 1];
    s->list[i] = p;
}

static void add_member(struct patches *s, const struct peek *p, struct patch patch) {
    patch.at = (struct span){p->object_end, 0};
    patch.comma = s->comma;
    s->comma = true;
    add_patch(s, patch);
}

/* Adds a member at the beginning of the object literal. */
static void add_inside(struct patches *s, struct str body, struct span object, struct patch patch) {
    struct str inside = str_trim(str_sub(body, object.at + 1, object.n - 1));
    patch.at = (struct span){object.at + 1, 0};
    patch.after = inside.p[0] == '}' ? "" : ",";
    add_patch(s, patch);
}

static bool wants_usage(const struct peek *p, const struct edits *e) {
    return e->force_include_usage && !(p->has_stream_options && p->include_usage);
}

static bool wants_model(const struct peek *p, const struct edits *e) {
    return e->model.n && p->model_at.n && !str_eq(e->model, p->model);
}

static bool wants_limit(const struct peek *p, const struct edits *e) {
    bool given = false;
    for (size_t i = 0; i < PEEK_LIMIT__MAX; i++) {
        if (p->limit[i] > e->max_tokens)
            return e->max_tokens > 0;
        given |= p->limit[i] >= 0;
    }
    return e->max_tokens > 0 && !given;
}

bool splice_is_noop(const struct peek *p, const struct edits *e) {
    return !wants_model(p, e) && !wants_usage(p, e) && !wants_limit(p, e);
}

static void patch_usage(struct patches *s, struct str body, const struct peek *p) {
    struct patch value = {.number = -1, .before = "true", .at = p->include_usage_at};
    if (p->include_usage_at.n) {
        add_patch(s, value);
    } else if (p->has_stream_options) {
        value.before = "\"include_usage\":true";
        add_inside(s, body, p->stream_options_at, value);
    } else if (p->stream_options_at.n) {
        value.before = "{\"include_usage\":true}";
        value.at = p->stream_options_at;
        add_patch(s, value);
    } else {
        value.before = "\"stream_options\":{\"include_usage\":true}";
        add_member(s, p, value);
    }
}

static void add_limit(struct patches *s, struct str body, const struct peek *p, int64_t tokens) {
    static const char *const names[PEEK_LIMIT__MAX] = {
        [PEEK_LIMIT_MAX_TOKENS] = "\"max_tokens\":",
        [PEEK_LIMIT_GENERATION] = "\"maxOutputTokens\":",
        [PEEK_LIMIT_MAX_OUTPUT] = "\"max_output_tokens\":",
        [PEEK_LIMIT_MAX_COMPLETION] = "\"max_completion_tokens\":",
    };
    struct patch value = {.number = tokens, .before = names[p->limit_as], .after = ""};
    struct span config = p->generation_config_at;
    if (p->limit_as != PEEK_LIMIT_GENERATION) {
        add_member(s, p, value);
    } else if (config.n && body.p[config.at] == '{') {
        add_inside(s, body, config, value);
    } else if (config.n) {
        value.before = "{\"maxOutputTokens\":";
        value.after = "}";
        value.at = config;
        add_patch(s, value);
    } else {
        value.before = "\"generationConfig\":{\"maxOutputTokens\":";
        value.after = "}";
        add_member(s, p, value);
    }
}

static void patch_limits(struct patches *s, struct str body, const struct peek *p,
                         const struct edits *e) {
    const struct span *null = NULL;
    bool given = false;
    for (size_t i = 0; i < PEEK_LIMIT__MAX; i++) {
        if (p->limit[i] > e->max_tokens)
            add_patch(s, (struct patch){.at = p->limit_at[i], .number = e->max_tokens});
        if (p->limit[i] >= 0)
            given = true;
        else if (p->limit_at[i].n)
            null = &p->limit_at[i];
    }
    if (!given && null)
        add_patch(s, (struct patch){.at = *null, .number = e->max_tokens});
    else if (!given)
        add_limit(s, body, p, e->max_tokens);
}

static void put_patch(struct buf *out, const struct patch *p) {
    if (p->comma)
        buf_putc(out, ',');
    buf_puts(out, p->before ? p->before : "");
    if (p->string.n)
        buf_json(out, p->string);
    else if (p->number >= 0)
        buf_i64(out, p->number);
    buf_puts(out, p->after ? p->after : "");
}

static enum err splice_multipart(struct str body, const struct peek *p, const struct edits *e,
                                 struct buf *out) {
    struct span at = wants_model(p, e) ? p->model_at : (struct span){0, 0};
    buf_str(out, str_sub(body, 0, at.at));
    if (at.n)
        buf_str(out, e->model);
    buf_str(out, str_from(body, at.at + at.n));
    return out->failed ? ERR_BODY_TOO_LARGE : OK;
}

enum err splice(struct str body, const struct peek *p, const struct edits *e, bool multipart,
                struct buf *out) {
    if (multipart)
        return splice_multipart(body, p, e, out);
    struct patches s = {.comma = !p->empty_object};
    if (wants_model(p, e))
        add_patch(&s, (struct patch){.at = p->model_at, .number = -1, .string = e->model});
    if (wants_usage(p, e))
        patch_usage(&s, body, p);
    if (wants_limit(p, e))
        patch_limits(&s, body, p, e);
    size_t at = 0;
    for (size_t i = 0; i < s.n; i++) {
        buf_str(out, str_sub(body, at, s.list[i].at.at - at));
        put_patch(out, &s.list[i]);
        at = s.list[i].at.at + s.list[i].at.n;
    }
    buf_str(out, str_from(body, at));
    return out->failed ? ERR_BODY_TOO_LARGE : OK;
}
