#include "relay/peek_parts.h"

#include "relay/plain.h"

/* What a provider adds around each message. */
#define MESSAGE_TOKENS 4

static enum err broken(const struct walk *w, const char *what) {
    return fault_set(w->fault, ERR_BODY_NOT_JSON, "%s at byte %zu", what,
                     (size_t)(w->p - w->begin));
}

static void skip_blanks(struct walk *w) {
    const unsigned char *p = w->p;
    while (p < w->end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    w->p = p;
}

/* strings */

/* One escape, from its backslash; its character is counted when `count`. */
static enum err read_escape(struct walk *w, bool count) {
    static const char plain[128] = {['"'] = '"', ['\\'] = '\\', ['/'] = '/',  ['b'] = ' ',
                                    ['f'] = ' ', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
    char out[4];
    size_t n = 1;
    if (w->end - w->p < 2)
        return broken(w, "unfinished escape");
    unsigned char c = w->p[1];
    if (c < 128 && plain[c]) {
        out[0] = plain[c];
        w->p += 2;
    } else {
        int code = c == 'u' && w->end - w->p >= 6 ? plain_hex4(w->p + 2) : -1;
        if (code < 0)
            return broken(w, "invalid escape");
        /* a pair of surrogates is one character: its first half stands for both */
        bool high = (code & 0xFC00) == 0xD800, low = (code & 0xFC00) == 0xDC00;
        n = low ? 0 : plain_put_utf8(high ? 0x1F600 : (uint32_t)code, out);
        w->p += 6;
    }
    if (count)
        estimate_feed(&w->text, str_of(out, n));
    return OK;
}

/* Passes the characters beyond ASCII that follow each other; stops at the first that is none. */
static bool skip_utf8(struct walk *w) {
    const unsigned char *p = w->p, *next = p;
    while (next && p < w->end && *p >= 0x80) {
        next = plain_utf8(p, w->end);
        p = next ? next : p;
    }
    w->p = p;
    return next != NULL;
}

/* The string whose opening quote is at p, up to behind its closing quote. */
static enum err read_string(struct walk *w, bool count, bool *escaped) {
    const unsigned char *from = ++w->p;
    *escaped = false;
    for (;;) {
        w->p = plain_ascii(w->p, w->end);
        if (w->p == w->end)
            return broken(w, "unfinished string");
        unsigned char c = *w->p;
        if (c >= 0x80) {
            if (!skip_utf8(w))
                return broken(w, "invalid UTF-8");
            continue;
        }
        if (c < 0x20)
            return broken(w, "control character in a string");
        if (count)
            estimate_feed(&w->text, str_of(from, (size_t)(w->p - from)));
        if (c == '"')
            break;
        *escaped = true;
        enum err e = read_escape(w, count);
        if (e)
            return e;
        from = w->p;
    }
    w->p++;
    if (count)
        estimate_break(&w->text);
    return OK;
}

/* A member's name and its colon. */
static enum err read_name(struct walk *w) {
    char text[32];
    bool escaped;
    skip_blanks(w);
    if (w->p == w->end || *w->p != '"')
        return broken(w, "expected a member name");
    const unsigned char *from = w->p + 1;
    enum err e = read_string(w, w->depth > 1 && w->top == MEMBER_SCHEMA, &escaped);
    if (e)
        return e;
    struct str name = str_of(from, (size_t)(w->p - 1 - from));
    if (escaped) {
        size_t n;
        /* longer than every name we know, or no text: none of ours */
        name = peek_decode(name, text, sizeof text, &n) ? str_of(text, n) : STR_NONE;
    }
    skip_blanks(w);
    if (w->p == w->end || *w->p != ':')
        return broken(w, "expected ':'");
    w->p++;
    return peek_meet(w, name);
}

/* values */

static bool is_digit(const struct walk *w, const unsigned char *p) {
    return p < w->end && *p >= '0' && *p <= '9';
}

static enum err read_number(struct walk *w) {
    const unsigned char *p = w->p;
    p += *p == '-';
    if (!is_digit(w, p))
        return broken(w, "invalid value");
    if (*p == '0')
        p++;
    else
        while (is_digit(w, p))
            p++;
    if (p < w->end && *p == '.') {
        if (!is_digit(w, ++p))
            return broken(w, "invalid number");
        while (is_digit(w, p))
            p++;
    }
    if (p < w->end && (*p | 0x20) == 'e') {
        p++;
        p += p < w->end && (*p == '+' || *p == '-');
        if (!is_digit(w, p))
            return broken(w, "invalid number");
        while (is_digit(w, p))
            p++;
    }
    w->p = p;
    return OK;
}

static enum err read_word(struct walk *w, struct str word) {
    if ((size_t)(w->end - w->p) < word.n || memcmp(w->p, word.p, word.n) != 0)
        return broken(w, "invalid value");
    w->p += word.n;
    return OK;
}

/* A string that is a value; text and media are counted here. */
static enum err read_text(struct walk *w, bool *escaped) {
    const unsigned char *from = w->p;
    bool inside = w->top >= MEMBER_TEXT;
    enum err e = read_string(w, inside && w->role == ROLE_TEXT, escaped);
    if (!e && inside && w->role == ROLE_MEDIA)
        w->tokens += PEEK_MEDIA_TOKENS + (w->p - from) / 1024;
    return e;
}

static enum err read_scalar(struct walk *w) {
    const unsigned char *from = w->p;
    enum literal kind;
    bool escaped = false;
    enum err e;
    switch (*from) {
    case '"':
        kind = LITERAL_STRING;
        e = read_text(w, &escaped);
        break;
    case 't':
        kind = LITERAL_TRUE;
        e = read_word(w, STR("true"));
        break;
    case 'f':
        kind = LITERAL_FALSE;
        e = read_word(w, STR("false"));
        break;
    case 'n':
        kind = LITERAL_NULL;
        e = read_word(w, STR("null"));
        break;
    default:
        kind = LITERAL_NUMBER;
        e = read_number(w);
        /* a prompt may be a list of token ids */
        w->tokens += in_text(w) && !(w->objects & 1);
    }
    if (e || w->member == MEMBER_NONE || w->member >= MEMBER_TEXT)
        return e;
    return peek_take(w, kind, (struct span){(size_t)(from - w->begin), (size_t)(w->p - from)},
                     escaped);
}

/* Enters the array or object at p. */
static enum err enter(struct walk *w) {
    bool object = *w->p == '{';
    size_t at = (size_t)(w->p - w->begin);
    if (w->depth == PEEK_MAX_DEPTH)
        return broken(w, "nested deeper than 64 levels");
    if (object && w->member == MEMBER_STREAM_OPTIONS) {
        w->peek->has_stream_options = true;
        w->peek->stream_options_at.at = at;
    } else if (object && w->member == MEMBER_GENERATION_CONFIG) {
        w->peek->generation_config_at.at = at;
    } else if (w->member != MEMBER_NONE && w->member < MEMBER_TEXT) {
        return peek_wrong_type(w, w->member, "a single value");
    }
    w->p++;
    w->depth++;
    w->objects = w->objects << 1 | object;
    w->member = MEMBER_NONE;
    w->role = ROLE_TEXT;
    w->tokens += object && w->depth == 3 && in_text(w) ? MESSAGE_TOKENS : 0;
    return OK;
}

static void leave(struct walk *w) {
    size_t at = (size_t)(w->p++ - w->begin);
    w->depth--;
    w->objects >>= 1;
    w->role = ROLE_TEXT;
    if (w->depth == 0)
        w->peek->object_end = at;
    if (w->depth == 1 && w->top == MEMBER_STREAM_OPTIONS)
        w->peek->stream_options_at.n = at + 1 - w->peek->stream_options_at.at;
    if (w->depth == 1 && w->top == MEMBER_GENERATION_CONFIG)
        w->peek->generation_config_at.n = at + 1 - w->peek->generation_config_at.at;
}

/* After a value: closes what ends here. *more: a comma followed, so another value comes. */
static enum err after_value(struct walk *w, bool *more) {
    *more = false;
    while (w->depth > 0) {
        bool object = w->objects & 1;
        skip_blanks(w);
        if (w->p == w->end)
            return broken(w, "unexpected end");
        if (*w->p == ',') {
            w->p++;
            w->member = MEMBER_NONE;
            *more = true;
            return object ? read_name(w) : OK;
        }
        if (*w->p != (object ? '}' : ']'))
            return broken(w, object ? "expected ',' or '}'" : "expected ',' or ']'");
        leave(w);
    }
    return OK;
}

static enum err read_document(struct walk *w) {
    for (bool more = true; more;) {
        enum err e;
        skip_blanks(w);
        if (w->p == w->end)
            return broken(w, "unexpected end");
        bool object = *w->p == '{';
        if (object || *w->p == '[') {
            e = enter(w);
            if (e)
                return e;
            skip_blanks(w);
            bool empty = w->p < w->end && *w->p == (object ? '}' : ']');
            if (!empty) {
                e = object ? read_name(w) : OK;
                if (e)
                    return e;
                continue;
            }
            leave(w);
        } else {
            e = read_scalar(w);
            if (e)
                return e;
        }
        e = after_value(w, &more);
        if (e)
            return e;
    }
    skip_blanks(w);
    return w->p == w->end ? OK : broken(w, "more after the end");
}

enum err peek_json(struct str body, struct peek *k, struct fault *f) {
    const unsigned char *p = (const unsigned char *)body.p;
    struct walk w = {.begin = p, .p = p, .end = p + body.n, .peek = k, .fault = f};
    *k = (struct peek){.n = 1, .max_tokens = -1, .limit = {-1, -1, -1, -1}, .empty_object = true};
    skip_blanks(&w);
    if (w.p == w.end)
        return fault_set(f, ERR_BODY_EMPTY, NULL);
    bool object = *w.p == '{';
    enum err e = read_document(&w);
    if (e)
        return e;
    if (!object)
        return fault_set(f, ERR_FIELD_TYPE, "the body must be a JSON object");
    for (size_t i = 0; i < PEEK_LIMIT__MAX; i++)
        if (k->limit[i] >= 0)
            k->max_tokens = k->limit[i];
    k->prompt_tokens = w.tokens + estimate_total(&w.text);
    return OK;
}
