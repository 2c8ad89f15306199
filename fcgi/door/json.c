#include "door/json.h"

/* json-c has two names that json.h needs; they are no symbols of the library. */
#define json_bool jsonc_bool
#define json_type jsonc_type
#include <json-c/json.h>
#undef json_bool
#undef json_type
#include <math.h>
#include <stdlib.h>

#define MAX_DEPTH 32
#define MAX_NUMBER 256 /* characters */

/* json-c has no object for null, but absent and null must be told apart. */
struct json {
    char unused;
};
static struct json null_node;

static struct json_object *obj(const struct json *n) {
    return n == &null_node ? NULL : (struct json_object *)(uintptr_t)n;
}

static struct json *node(struct json_object *o) {
    return o ? (struct json *)(void *)o : &null_node;
}

/* json-c's own tokener takes single quotes and NaN, clamps integers and keeps the last of two
 * equal members even when strict, so the text is read here and json-c keeps the tree. */
struct reader {
    struct str text;
    size_t at;
    struct buf word; /* the string or number being read */
    struct fault *fault;
};

static void word_free(struct reader *r) {
    buf_free(&r->word);
}

static enum err wrong(struct reader *r, const char *what) {
    return fault_set(r->fault, ERR_BODY_NOT_JSON, "%s at byte %zu", what, r->at);
}

static char peek(const struct reader *r) {
    return r->at < r->text.n ? r->text.p[r->at] : '\0';
}

static void skip_blanks(struct reader *r) {
    while (r->at < r->text.n && strchr(" \t\r\n", r->text.p[r->at]) && r->text.p[r->at])
        r->at++;
}

static bool take(struct reader *r, struct str literal) {
    if (!str_starts(str_from(r->text, r->at), literal))
        return false;
    r->at += literal.n;
    return true;
}

static void put_utf8(struct buf *b, uint32_t c) {
    if (c < 0x80) {
        buf_putc(b, (char)c);
        return;
    }
    if (c < 0x800) {
        buf_putc(b, (char)(0xC0 | c >> 6));
    } else if (c < 0x10000) {
        buf_putc(b, (char)(0xE0 | c >> 12));
        buf_putc(b, (char)(0x80 | (c >> 6 & 0x3F)));
    } else {
        buf_putc(b, (char)(0xF0 | c >> 18));
        buf_putc(b, (char)(0x80 | (c >> 12 & 0x3F)));
        buf_putc(b, (char)(0x80 | (c >> 6 & 0x3F)));
    }
    buf_putc(b, (char)(0x80 | (c & 0x3F)));
}

static bool take_hex4(struct reader *r, uint32_t *out) {
    uint8_t two[2];
    if (r->text.n - r->at < 4 || !str_hex(str_sub(r->text, r->at, 4), two, 2))
        return false;
    *out = (uint32_t)two[0] << 8 | two[1];
    r->at += 4;
    return true;
}

/* After "\u". */
static bool take_code_point(struct reader *r) {
    uint32_t c, low;
    if (!take_hex4(r, &c) || (c >= 0xDC00 && c <= 0xDFFF))
        return false;
    if (c >= 0xD800 && c <= 0xDBFF) {
        if (!take(r, STR("\\u")) || !take_hex4(r, &low) || low < 0xDC00 || low > 0xDFFF)
            return false;
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    }
    put_utf8(&r->word, c);
    return true;
}

static bool take_escape(struct reader *r) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = peek(r);
    const char *hit = c ? strchr(from, c) : NULL;
    r->at++;
    if (c == 'u')
        return take_code_point(r);
    if (!hit)
        return false;
    buf_putc(&r->word, to[hit - from]);
    return true;
}

/* A string literal into r->word. */
static enum err read_string(struct reader *r) {
    buf_clear(&r->word);
    if (!take(r, STR("\"")))
        return wrong(r, "expected a string");
    for (;;) {
        size_t from = r->at;
        while (r->at < r->text.n && (unsigned char)r->text.p[r->at] >= 0x20 &&
               r->text.p[r->at] != '"' && r->text.p[r->at] != '\\')
            r->at++;
        buf_put(&r->word, r->text.p + from, r->at - from);
        if (take(r, STR("\"")))
            return OK;
        if (!take(r, STR("\\")))
            return wrong(r, r->at < r->text.n ? "control character in a string"
                                              : "unterminated string");
        if (!take_escape(r))
            return wrong(r, "invalid escape");
    }
}

static size_t take_digits(struct reader *r) {
    size_t from = r->at;
    while (peek(r) >= '0' && peek(r) <= '9')
        r->at++;
    return r->at - from;
}

/* Moves past a number of RFC 8259's grammar; false when it is none. */
static bool take_number(struct reader *r, bool *integer) {
    *integer = true;
    take(r, STR("-"));
    bool zero = peek(r) == '0';
    size_t digits = take_digits(r);
    if (!digits || (zero && digits > 1))
        return false;
    if (take(r, STR("."))) {
        *integer = false;
        if (!take_digits(r))
            return false;
    }
    if (peek(r) == 'e' || peek(r) == 'E') {
        *integer = false;
        r->at++;
        if (peek(r) == '+' || peek(r) == '-')
            r->at++;
        if (!take_digits(r))
            return false;
    }
    return true;
}

static enum err read_number(struct reader *r, struct json_object **out) {
    size_t from = r->at;
    bool integer;
    if (!take_number(r, &integer))
        return wrong(r, "unexpected character");
    struct str text = str_sub(r->text, from, r->at - from);
    int64_t i;
    if (integer && str_i64(text, &i)) {
        *out = json_object_new_int64(i);
        return OK;
    }
    char copy[MAX_NUMBER];
    if (!str_copy(text, copy, sizeof copy))
        return wrong(r, "number too long");
    double d = strtod(copy, NULL);
    if (!isfinite(d))
        return wrong(r, "number out of range");
    *out = json_object_new_double_s(d, copy); /* written back as it came */
    return OK;
}

static enum err read_value(struct reader *r, int depth, struct json_object **out);

static enum err read_array(struct reader *r, int depth, struct json_object *array) {
    skip_blanks(r);
    if (take(r, STR("]")))
        return OK;
    for (;;) {
        struct json_object *item = NULL;
        enum err e = read_value(r, depth, &item);
        if (e != OK)
            return e;
        json_object_array_add(array, item);
        skip_blanks(r);
        if (take(r, STR("]")))
            return OK;
        if (!take(r, STR(",")))
            return wrong(r, "expected ',' or ']'");
    }
}

static enum err read_member(struct reader *r, int depth, struct json_object *object) {
    skip_blanks(r);
    enum err e = read_string(r);
    if (e != OK)
        return e;
    if (memchr(r->word.p ? r->word.p : "", '\0', r->word.n))
        return wrong(r, "NUL in a member's name");
    char *name AUTO(base_freep) = str_dup(buf_view(&r->word));
    if (json_object_object_get_ex(object, name, NULL))
        return fault_field(r->fault, ERR_FIELD_DUPLICATE, name, "%.63s", name);
    skip_blanks(r);
    if (!take(r, STR(":")))
        return wrong(r, "expected ':'");
    struct json_object *value = NULL;
    e = read_value(r, depth, &value);
    if (e == OK)
        json_object_object_add(object, name, value);
    return e;
}

static enum err read_object(struct reader *r, int depth, struct json_object *object) {
    skip_blanks(r);
    if (take(r, STR("}")))
        return OK;
    for (;;) {
        enum err e = read_member(r, depth, object);
        if (e != OK)
            return e;
        skip_blanks(r);
        if (take(r, STR("}")))
            return OK;
        if (!take(r, STR(",")))
            return wrong(r, "expected ',' or '}'");
    }
}

static enum err read_container(struct reader *r, int depth, struct json_object **out) {
    if (depth >= MAX_DEPTH)
        return wrong(r, "nested too deep");
    bool array = peek(r) == '[';
    r->at++;
    struct json_object *o = array ? json_object_new_array() : json_object_new_object();
    enum err e = array ? read_array(r, depth + 1, o) : read_object(r, depth + 1, o);
    if (e == OK)
        *out = o;
    else
        json_object_put(o);
    return e;
}

/* *out stays NULL for null. The recursion ends at MAX_DEPTH. */
static enum err read_value(struct reader *r, int depth, struct json_object **out) {
    skip_blanks(r);
    if (r->at >= r->text.n)
        return wrong(r, "unexpected end");
    char c = peek(r);
    if (c == '{' || c == '[')
        return read_container(r, depth, out);
    if (c == '"') {
        enum err e = read_string(r);
        if (e == OK)
            *out = json_object_new_string_len(r->word.p ? r->word.p : "", (int)r->word.n);
        return e;
    }
    if (take(r, STR("null")))
        return OK;
    if (take(r, STR("true"))) {
        *out = json_object_new_boolean(1);
        return OK;
    }
    if (take(r, STR("false"))) {
        *out = json_object_new_boolean(0);
        return OK;
    }
    return read_number(r, out);
}

enum err json_parse(struct str text, struct json **out, struct fault *f) {
    *out = NULL;
    if (!str_trim(text).n)
        return fault_set(f, ERR_BODY_EMPTY, NULL);
    must(text.n < INT32_MAX);
    if (!str_utf8_ok(text))
        return fault_set(f, ERR_BODY_NOT_JSON, "not valid UTF-8");
    struct reader r AUTO(word_free) = {.text = text, .word = BUF(text.n), .fault = f};
    struct json_object *tree = NULL;
    enum err e = read_value(&r, 0, &tree);
    skip_blanks(&r);
    if (e == OK && r.at < text.n)
        e = wrong(&r, "text after the value");
    if (e == OK)
        *out = node(tree);
    else
        json_object_put(tree);
    return e;
}

void json_free(struct json **tree) {
    if (*tree)
        json_object_put(obj(*tree));
    *tree = NULL;
}

enum json_type json_type_of(const struct json *n) {
    switch (json_object_get_type(obj(n))) {
    case json_type_boolean:
        return JSON_BOOL;
    case json_type_int:
        return JSON_INT;
    case json_type_double:
        return JSON_DOUBLE;
    case json_type_string:
        return JSON_STRING;
    case json_type_array:
        return JSON_ARRAY;
    case json_type_object:
        return JSON_OBJECT;
    case json_type_null:
        break;
    }
    return JSON_NULL;
}

struct json *json_get(const struct json *object, const char *name) {
    struct json_object *value;
    if (json_type_of(object) != JSON_OBJECT ||
        !json_object_object_get_ex(obj(object), name, &value))
        return NULL;
    return node(value);
}

size_t json_length(const struct json *array) {
    return json_type_of(array) == JSON_ARRAY ? json_object_array_length(obj(array)) : 0;
}

struct json *json_at(const struct json *array, size_t i) {
    must(i < json_length(array));
    return node(json_object_array_get_idx(obj(array), i));
}

struct str json_str(const struct json *n) {
    must(json_type_of(n) == JSON_STRING);
    return str_of(json_object_get_string(obj(n)), (size_t)json_object_get_string_len(obj(n)));
}

int64_t json_int(const struct json *n) {
    must(json_type_of(n) == JSON_INT);
    return json_object_get_int64(obj(n));
}

bool json_bool(const struct json *n) {
    must(json_type_of(n) == JSON_BOOL);
    return json_object_get_boolean(obj(n));
}

double json_double(const struct json *n) {
    must(json_type_of(n) == JSON_DOUBLE || json_type_of(n) == JSON_INT);
    return json_object_get_double(obj(n));
}

enum err json_each(const struct json *object,
                   enum err (*fn)(void *ctx, struct str name, struct json *value), void *ctx) {
    if (json_type_of(object) != JSON_OBJECT)
        return OK;
    struct json_object_iterator it = json_object_iter_begin(obj(object));
    struct json_object_iterator end = json_object_iter_end(obj(object));
    for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        enum err e =
            fn(ctx, str_c(json_object_iter_peek_name(&it)), node(json_object_iter_peek_value(&it)));
        if (e != OK)
            return e;
    }
    return OK;
}

struct writing {
    struct buf *out;
    bool first;
};

static enum err write_member(void *ctx, struct str name, struct json *value) {
    struct writing *w = ctx;
    if (!w->first)
        buf_putc(w->out, ',');
    w->first = false;
    buf_json(w->out, name);
    buf_putc(w->out, ':');
    json_write(w->out, value);
    return OK;
}

static void write_array(struct buf *out, const struct json *array) {
    buf_putc(out, '[');
    for (size_t i = 0; i < json_length(array); i++) {
        if (i)
            buf_putc(out, ',');
        json_write(out, json_at(array, i));
    }
    buf_putc(out, ']');
}

void json_write(struct buf *out, const struct json *n) {
    struct writing w = {out, true};
    switch (json_type_of(n)) {
    case JSON_NULL:
        buf_puts(out, "null");
        break;
    case JSON_BOOL:
        buf_puts(out, json_bool(n) ? "true" : "false");
        break;
    case JSON_INT:
        buf_i64(out, json_int(n));
        break;
    case JSON_DOUBLE:
        buf_puts(out, json_object_to_json_string_ext(obj(n), JSON_C_TO_STRING_PLAIN));
        break;
    case JSON_STRING:
        buf_json(out, json_str(n));
        break;
    case JSON_ARRAY:
        write_array(out, n);
        break;
    case JSON_OBJECT:
        buf_putc(out, '{');
        if (json_each(n, write_member, &w) == OK)
            buf_putc(out, '}');
        break;
    }
}

/* The member when it is there and not null; else NULL, *given false. */
static const struct json *wanted(const struct json *o, const char *name, bool *given) {
    const struct json *n = json_get(o, name);
    bool there = n && json_type_of(n) != JSON_NULL;
    if (given)
        *given = there;
    return there ? n : NULL;
}

static enum err wrong_type(const char *name, const char *want, struct fault *f) {
    return fault_field(f, ERR_FIELD_TYPE, name, "%s must be %s", name, want);
}

enum err json_want_str(const struct json *o, const char *name, struct str *out, bool *given,
                       struct fault *f) {
    const struct json *n = wanted(o, name, given);
    if (n && json_type_of(n) != JSON_STRING)
        return wrong_type(name, "a string", f);
    if (n)
        *out = json_str(n);
    return OK;
}

enum err json_want_int(const struct json *o, const char *name, int64_t *out, bool *given,
                       struct fault *f) {
    const struct json *n = wanted(o, name, given);
    if (n && json_type_of(n) != JSON_INT)
        return wrong_type(name, "a 64-bit integer", f);
    if (n)
        *out = json_int(n);
    return OK;
}

enum err json_want_bool(const struct json *o, const char *name, bool *out, bool *given,
                        struct fault *f) {
    const struct json *n = wanted(o, name, given);
    if (n && json_type_of(n) != JSON_BOOL)
        return wrong_type(name, "true or false", f);
    if (n)
        *out = json_bool(n);
    return OK;
}

struct known {
    const char *const *names;
    struct fault *fault;
};

static enum err check_known(void *ctx, struct str name, struct json *value) {
    (void)value;
    const struct known *k = ctx;
    for (const char *const *p = k->names; *p; p++)
        if (str_eqc(name, *p))
            return OK;
    return fault_field(k->fault, ERR_FIELD_UNKNOWN, name.p, "%.63s", name.p);
}

enum err json_only(const struct json *o, const char *const *names, struct fault *f) {
    struct known k = {names, f};
    return json_each(o, check_known, &k);
}
