/* Whatever peek_json takes is JSON by another reader's opinion too (and what it calls no JSON is
 * none), model means the same to json-c, and a spliced body says what the edits said. */
#include "fuzz.h"

#include "door/json.h"
#include "relay/peek.h"

/* A plain recursive reader of RFC 8259, written apart from peek: returns where the value ends. */
static size_t value_end(struct str s, size_t i, int depth);

static size_t blanks(struct str s, size_t i) {
    while (i < s.n && memchr(" \t\r\n", s.p[i], 4))
        i++;
    return i;
}

#define NO_VALUE SIZE_MAX

static size_t string_end(struct str s, size_t i) {
    if (i >= s.n || s.p[i] != '"')
        return NO_VALUE;
    size_t from = ++i;
    while (i < s.n && s.p[i] != '"') {
        if ((unsigned char)s.p[i] < 0x20)
            return NO_VALUE;
        if (s.p[i++] != '\\')
            continue;
        uint8_t hex[2];
        if (i >= s.n || !memchr("\"\\/bfnrtu", s.p[i], 9))
            return NO_VALUE;
        if (s.p[i] == 'u' && !str_hex(str_sub(s, i + 1, 4), hex, 2))
            return NO_VALUE;
        i += s.p[i] == 'u' ? 5 : 1;
    }
    return i < s.n && str_utf8_ok(str_sub(s, from, i - from)) ? i + 1 : NO_VALUE;
}

static size_t digits_end(struct str s, size_t i) {
    while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9')
        i++;
    return i;
}

static size_t number_end(struct str s, size_t i) {
    i += i < s.n && s.p[i] == '-';
    size_t e = digits_end(s, i);
    if (e == i || (s.p[i] == '0' && e > i + 1))
        return NO_VALUE;
    if (e < s.n && s.p[e] == '.') {
        i = e + 1;
        e = digits_end(s, i);
        if (e == i)
            return NO_VALUE;
    }
    if (e < s.n && (s.p[e] == 'e' || s.p[e] == 'E')) {
        i = e + 1;
        i += i < s.n && (s.p[i] == '+' || s.p[i] == '-');
        e = digits_end(s, i);
        if (e == i)
            return NO_VALUE;
    }
    return e;
}

static size_t container_end(struct str s, size_t i, int depth) {
    bool object = s.p[i] == '{';
    char close = object ? '}' : ']';
    i = blanks(s, i + 1);
    if (i < s.n && s.p[i] == close)
        return i + 1;
    for (;;) {
        if (object) {
            i = string_end(s, blanks(s, i));
            if (i == NO_VALUE)
                return NO_VALUE;
            i = blanks(s, i);
            if (i >= s.n || s.p[i++] != ':')
                return NO_VALUE;
        }
        i = value_end(s, blanks(s, i), depth + 1);
        if (i == NO_VALUE)
            return NO_VALUE;
        i = blanks(s, i);
        if (i >= s.n || (s.p[i] != ',' && s.p[i] != close))
            return NO_VALUE;
        if (s.p[i++] == close)
            return i;
    }
}

static size_t value_end(struct str s, size_t i, int depth) {
    static const char *const words[] = {"true", "false", "null"};
    if (i >= s.n)
        return NO_VALUE;
    for (size_t w = 0; w < ARRAY_LEN(words); w++)
        if (str_starts(str_from(s, i), str_c(words[w])))
            return i + strlen(words[w]);
    if (s.p[i] == '"')
        return string_end(s, i);
    if (s.p[i] != '{' && s.p[i] != '[')
        return number_end(s, i);
    return depth < PEEK_MAX_DEPTH ? container_end(s, i, depth) : NO_VALUE;
}

static bool is_json(struct str s) {
    size_t end = value_end(s, blanks(s, 0), 0);
    return end != NO_VALUE && blanks(s, end) == s.n;
}

static void same_model_as_json_c(struct str body, const struct peek *k) {
    struct json *tree AUTO(json_free) = NULL;
    if (json_parse(body, &tree, NULL))
        return; /* it is stricter: numbers, duplicates, depth */
    const struct json *model = json_get(tree, "model");
    if (model && json_type_of(model) == JSON_STRING)
        must(str_eq(json_str(model), k->model));
    else
        must(k->model.n == 0);
}

static void edits_take(struct str body, const struct peek *k, const struct edits *e) {
    struct buf out AUTO(buf_free) = BUF(1 << 20);
    struct peek after;
    must(splice(body, k, e, false, &out) == OK);
    must(splice_is_noop(k, e) == str_eq(buf_view(&out), body));
    must(peek_json(buf_view(&out), &after, NULL) == OK);
    must(str_eq(after.model, e->model.n && k->model_at.n ? e->model : k->model));
    must(after.include_usage == (k->include_usage || e->force_include_usage));
    bool lower = e->max_tokens > 0 && (k->max_tokens < 0 || k->max_tokens > e->max_tokens);
    must(after.max_tokens == (lower ? e->max_tokens : k->max_tokens));
    must(after.stream == k->stream && after.n == k->n);
    must(splice_is_noop(&after, e));
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct str body = str_of(p, n);
    struct peek k;
    struct fault f = {0};
    enum err e = peek_json(body, &k, &f);
    must(e == OK || f.err == e);
    if (e == ERR_BODY_NOT_JSON || e == ERR_BODY_EMPTY)
        must(!is_json(body));
    if (e)
        return 0;
    must(is_json(body));
    must(k.prompt_tokens >= 0 && k.n >= 1 && body.p[k.object_end] == '}');
    same_model_as_json_c(body, &k);
    edits_take(body, &k, &(struct edits){.model = STR("ne\"w"), .force_include_usage = true});
    edits_take(body, &k, &(struct edits){.max_tokens = 77});
    return 0;
}
