#include "relay/peek.h"

#include "domain/billing/estimate.h"

#define MAX_BOUNDARY 70 /* RFC 2046 */

struct form {
    struct str body, delimiter; /* "--boundary" */
    struct peek *peek;
    struct fault *fault;
    bool model, stream, n; /* met */
};

struct part {
    struct str name, value;
    bool file;
};

/* The next `name=value` of a header's parameters, RFC 2045 quoted strings unquoted only by their
 * quotes (an escaped quote stays as it was sent). False at the end. */
static bool cut_parameter(struct str *rest, struct str *name, struct str *value) {
    struct str s = *rest;
    ptrdiff_t semi = str_find(s, ';');
    if (semi < 0)
        return false;
    s = str_from(s, (size_t)semi + 1);
    size_t eq = 0;
    while (eq < s.n && s.p[eq] != '=' && s.p[eq] != ';')
        eq++;
    *name = str_trim(str_sub(s, 0, eq));
    *value = STR("");
    if (eq == s.n || s.p[eq] == ';') {
        *rest = str_from(s, eq);
        return true;
    }
    s = str_from(s, eq + 1);
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = str_from(s, 1);
    size_t i = 0;
    if (s.n && s.p[0] == '"') {
        for (i = 1; i < s.n && s.p[i] != '"'; i++)
            i += s.p[i] == '\\' && i + 1 < s.n;
        *value = str_sub(s, 1, i - 1);
        i += i < s.n;
    } else {
        while (i < s.n && s.p[i] != ';')
            i++;
        *value = str_trim(str_sub(s, 0, i));
    }
    *rest = str_from(s, i);
    return true;
}

static bool find_boundary(struct str content_type, struct str *boundary) {
    struct str name, value;
    while (cut_parameter(&content_type, &name, &value))
        if (str_ieq(name, STR("boundary"))) {
            *boundary = value;
            return value.n > 0 && value.n <= MAX_BOUNDARY;
        }
    return false;
}

/* How a delimiter at `at` goes on: behind its line (*last: it was the closing one), or 0 when it
 * is none: the beginning of a longer word. */
static size_t end_of_delimiter(const struct form *f, size_t at, bool *last) {
    struct str rest = str_from(f->body, at + f->delimiter.n);
    *last = str_starts(rest, STR("--"));
    if (*last)
        return at + f->delimiter.n + 2;
    size_t i = 0;
    while (i < rest.n && (rest.p[i] == ' ' || rest.p[i] == '\t'))
        i++;
    if (i < rest.n && rest.p[i] == '\r')
        i++;
    return i < rest.n && rest.p[i] == '\n' ? at + f->delimiter.n + i + 1 : 0;
}

/* Finds the next delimiter line at or behind `from`: *at is where the part before it ends, the
 * return value where the next begins; 0 = there is none. */
static size_t find_delimiter(const struct form *f, size_t from, size_t *at, bool *last) {
    size_t begin = from;
    for (;;) {
        ptrdiff_t found = str_find_str(str_from(f->body, from), f->delimiter);
        if (found < 0)
            return 0;
        size_t d = from + (size_t)found;
        bool at_line = d == 0 || f->body.p[d - 1] == '\n';
        size_t next = at_line ? end_of_delimiter(f, d, last) : 0;
        if (next) {
            *at = d;
            if (d > begin)
                *at -= d > begin + 1 && f->body.p[d - 2] == '\r' ? 2 : 1;
            return next;
        }
        from = d + 1;
    }
}

static bool read_disposition(struct str line, struct part *part) {
    struct str name, value;
    if (!str_istarts(line, STR("content-disposition:")))
        return false;
    while (cut_parameter(&line, &name, &value)) {
        if (str_ieq(name, STR("name")))
            part->name = value;
        else if (str_ieq(name, STR("filename")) || str_ieq(name, STR("filename*")))
            part->file = true;
    }
    return part->name.n > 0;
}

/* Splits a part into its headers and its value. */
static bool read_part(struct str text, struct part *part) {
    bool named = false;
    while (text.p) {
        struct str line;
        if (str_find(text, '\n') < 0 || !str_cut(&text, '\n', &line))
            return false;
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n == 0) {
            part->value = text;
            return named;
        }
        named |= read_disposition(line, part);
    }
    return false;
}

static enum err take_model(struct form *f, struct str value) {
    struct peek *p = f->peek;
    if (value.n >= sizeof p->model_text || !str_utf8_ok(value))
        return fault_field(f->fault, ERR_FIELD_VALUE, "model",
                           "model is longer than 255 bytes or no Unicode text");
    p->model = value;
    p->model_at = (struct span){(size_t)(value.p - f->body.p), value.n};
    return OK;
}

static enum err take_stream(struct form *f, struct str value) {
    value = str_trim(value);
    f->peek->stream = str_ieq(value, STR("true")) || str_eq(value, STR("1"));
    if (!f->peek->stream && value.n && !str_ieq(value, STR("false")) && !str_eq(value, STR("0")))
        return fault_field(f->fault, ERR_FIELD_TYPE, "stream", "stream must be a boolean");
    f->peek->stream_at = (struct span){(size_t)(value.p - f->body.p), value.n};
    return OK;
}

static enum err take_n(struct form *f, struct str value) {
    int64_t n;
    if (!str_i64(str_trim(value), &n) || n < 1 || n > PEEK_MAX_N)
        return fault_field(f->fault, ERR_FIELD_VALUE, "n", "n must be from 1 to %lld",
                           (long long)PEEK_MAX_N);
    f->peek->n = n;
    return OK;
}

static enum err take_part(struct form *f, const struct part *part) {
    static const struct {
        struct str name;
        size_t met;
        enum err (*take)(struct form *f, struct str value);
    } fields[] = {
        {STR_INIT("model"), offsetof(struct form, model), take_model},
        {STR_INIT("stream"), offsetof(struct form, stream), take_stream},
        {STR_INIT("n"), offsetof(struct form, n), take_n},
    };
    if (part->file) {
        f->peek->prompt_tokens += PEEK_MEDIA_TOKENS + (int64_t)(part->value.n / 1024);
        return OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!str_eq(part->name, fields[i].name))
            continue;
        bool *met = (bool *)(void *)((char *)f + fields[i].met);
        if (*met)
            return fault_field(f->fault, ERR_FIELD_DUPLICATE, fields[i].name.p, "%s",
                               fields[i].name.p);
        *met = true;
        return fields[i].take(f, part->value);
    }
    if (str_eq(part->name, STR("prompt")) || str_eq(part->name, STR("input")))
        f->peek->prompt_tokens += estimate_tokens(part->value);
    return OK;
}

enum err peek_multipart(struct str body, struct str content_type, struct peek *k,
                        struct fault *fault) {
    char delimiter[2 + MAX_BOUNDARY] = "--";
    struct form f = {.body = body, .peek = k, .fault = fault};
    struct str boundary;
    *k = (struct peek){.n = 1, .max_tokens = -1, .limit = {-1, -1, -1, -1}};
    if (body.n == 0)
        return fault_set(fault, ERR_BODY_EMPTY, NULL);
    if (!find_boundary(content_type, &boundary))
        return fault_set(fault, ERR_BODY_CORRUPT, "no boundary in Content-Type");
    memcpy(delimiter + 2, boundary.p, boundary.n);
    f.delimiter = str_of(delimiter, 2 + boundary.n);
    bool last = false;
    size_t end, from = find_delimiter(&f, 0, &end, &last);
    while (from && !last) {
        struct part part = {.file = false};
        size_t next = find_delimiter(&f, from, &end, &last);
        if (!next)
            return fault_set(fault, ERR_BODY_CORRUPT, "the last boundary is missing");
        if (!read_part(str_sub(body, from, end - from), &part))
            return fault_set(fault, ERR_BODY_CORRUPT, "a part without a name");
        enum err e = take_part(&f, &part);
        if (e)
            return e;
        from = next;
    }
    return from ? OK : fault_set(fault, ERR_BODY_CORRUPT, "no boundary in the body");
}
