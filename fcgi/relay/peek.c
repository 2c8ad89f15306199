#include "relay/peek.h"

#include "domain/billing/estimate.h"
#include "relay/plain.h"

/* Where a member stands: directly in the body, or in one of two objects there. */
enum place { IN_BODY, IN_STREAM_OPTIONS, IN_GENERATION_CONFIG };

enum member {
    MEMBER_NONE,
    MEMBER_MODEL,
    MEMBER_STREAM,
    MEMBER_STREAM_OPTIONS,
    MEMBER_INCLUDE_USAGE,
    MEMBER_LIMIT, /* + enum peek_limit */
    MEMBER_N = MEMBER_LIMIT + PEEK_LIMIT__MAX,
    MEMBER_BEST_OF,
    MEMBER_CANDIDATES,
    MEMBER_GENERATION_CONFIG,
    MEMBER_TEXT,  /* what the model reads is in its strings */
    MEMBER_SCHEMA /* the same, member names included */
};

static const struct {
    struct str name;
    enum place place;
    enum member member;
} members[] = {
    {STR_INIT("model"), IN_BODY, MEMBER_MODEL},
    {STR_INIT("stream"), IN_BODY, MEMBER_STREAM},
    {STR_INIT("stream_options"), IN_BODY, MEMBER_STREAM_OPTIONS},
    {STR_INIT("include_usage"), IN_STREAM_OPTIONS, MEMBER_INCLUDE_USAGE},
    {STR_INIT("max_completion_tokens"), IN_BODY, MEMBER_LIMIT + PEEK_LIMIT_MAX_COMPLETION},
    {STR_INIT("max_output_tokens"), IN_BODY, MEMBER_LIMIT + PEEK_LIMIT_MAX_OUTPUT},
    {STR_INIT("max_tokens"), IN_BODY, MEMBER_LIMIT + PEEK_LIMIT_MAX_TOKENS},
    {STR_INIT("maxOutputTokens"), IN_GENERATION_CONFIG, MEMBER_LIMIT + PEEK_LIMIT_GENERATION},
    {STR_INIT("max_output_tokens"), IN_GENERATION_CONFIG, MEMBER_LIMIT + PEEK_LIMIT_GENERATION},
    {STR_INIT("n"), IN_BODY, MEMBER_N},
    {STR_INIT("best_of"), IN_BODY, MEMBER_BEST_OF},
    {STR_INIT("candidateCount"), IN_GENERATION_CONFIG, MEMBER_CANDIDATES},
    {STR_INIT("candidate_count"), IN_GENERATION_CONFIG, MEMBER_CANDIDATES},
    {STR_INIT("generationConfig"), IN_BODY, MEMBER_GENERATION_CONFIG},
    {STR_INIT("generation_config"), IN_BODY, MEMBER_GENERATION_CONFIG},
    {STR_INIT("messages"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("prompt"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("input"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("system"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("instructions"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("contents"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("content"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("requests"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("systemInstruction"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("system_instruction"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("query"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("documents"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("suffix"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("tools"), IN_BODY, MEMBER_SCHEMA},
    {STR_INIT("functions"), IN_BODY, MEMBER_SCHEMA},
    {STR_INIT("response_format"), IN_BODY, MEMBER_SCHEMA},
    {STR_INIT("text"), IN_BODY, MEMBER_SCHEMA},
};

/* How a string inside MEMBER_TEXT counts. */
enum role { ROLE_TEXT, ROLE_MEDIA, ROLE_SILENT };

static const struct {
    struct str name;
    enum role role;
} roles[] = {
    {STR_INIT("data"), ROLE_MEDIA},
    {STR_INIT("url"), ROLE_MEDIA},
    {STR_INIT("image_url"), ROLE_MEDIA},
    {STR_INIT("file_data"), ROLE_MEDIA},
    {STR_INIT("file_url"), ROLE_MEDIA},
    {STR_INIT("fileUri"), ROLE_MEDIA},
    {STR_INIT("role"), ROLE_SILENT},
    {STR_INIT("type"), ROLE_SILENT},
    {STR_INIT("id"), ROLE_SILENT},
    {STR_INIT("call_id"), ROLE_SILENT},
    {STR_INIT("tool_call_id"), ROLE_SILENT},
    {STR_INIT("tool_use_id"), ROLE_SILENT},
    {STR_INIT("media_type"), ROLE_SILENT},
    {STR_INIT("mimeType"), ROLE_SILENT},
    {STR_INIT("mime_type"), ROLE_SILENT},
    {STR_INIT("format"), ROLE_SILENT},
    {STR_INIT("detail"), ROLE_SILENT},
    {STR_INIT("status"), ROLE_SILENT},
    {STR_INIT("signature"), ROLE_SILENT},
    {STR_INIT("thoughtSignature"), ROLE_SILENT},
    {STR_INIT("encrypted_content"), ROLE_SILENT},
};

/* What a provider adds around each message. */
#define MESSAGE_TOKENS 4

struct walk {
    const unsigned char *begin, *p, *end;
    struct peek *peek;
    struct fault *fault;
    struct estimate text;
    int64_t tokens;   /* beside those of the text */
    uint64_t objects; /* one bit a level, the innermost lowest: is it an object? */
    int depth;
    enum member top;    /* the body's member we are in */
    enum member member; /* whose value comes next */
    enum role role;     /* of the string that comes next */
    uint32_t seen;      /* members met, one bit each */
};

enum literal { LITERAL_STRING, LITERAL_NUMBER, LITERAL_TRUE, LITERAL_FALSE, LITERAL_NULL };

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

static struct str name_of(enum member m) {
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (members[i].member == m)
            return members[i].name;
    return STR_NONE;
}

static enum err wrong_type(const struct walk *w, enum member m, const char *wanted) {
    struct str name = name_of(m);
    return fault_field(w->fault, ERR_FIELD_TYPE, name.p, "%s must be %s", name.p, wanted);
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
            const unsigned char *next = plain_utf8(w->p, w->end);
            if (!next)
                return broken(w, "invalid UTF-8");
            w->p = next;
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

/* The text of a validated literal (without its quotes). False: longer than cap, or half a pair of
 * surrogates, which is no text. */
static bool decode(struct str literal, char *dst, size_t cap, size_t *n) {
    static const char plain[128] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
    const unsigned char *p = (const unsigned char *)literal.p, *end = p + literal.n;
    *n = 0;
    while (p < end) {
        char out[4];
        size_t len = 1;
        if (*p != '\\') {
            out[0] = (char)*p++;
        } else if (p[1] != 'u') {
            out[0] = plain[p[1]];
            p += 2;
        } else {
            uint32_t code = (uint32_t)plain_hex4(p + 2);
            p += 6;
            if ((code & 0xF800) == 0xD800) {
                bool pair = !(code & 0x400) && end - p >= 6 && p[0] == '\\' && p[1] == 'u';
                uint32_t low = pair ? (uint32_t)plain_hex4(p + 2) : 0;
                if ((low & 0xFC00) != 0xDC00)
                    return false;
                code = 0x10000 + ((code & 0x3FF) << 10) + (low & 0x3FF);
                p += 6;
            }
            len = plain_put_utf8(code, out);
        }
        if (len > cap - *n)
            return false;
        memcpy(dst + *n, out, len);
        *n += len;
    }
    return true;
}

/* members */

static enum member find_member(struct str name, enum place place) {
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (members[i].place == place && str_eq(members[i].name, name))
            return members[i].member;
    return MEMBER_NONE;
}

static enum role find_role(struct str name) {
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (str_eq(roles[i].name, name))
            return roles[i].role;
    return ROLE_TEXT;
}

/* Decides what the value of the member just named is for. */
static enum err meet(struct walk *w, struct str name) {
    enum place place = w->top == MEMBER_STREAM_OPTIONS ? IN_STREAM_OPTIONS : IN_GENERATION_CONFIG;
    w->member = MEMBER_NONE;
    w->role = ROLE_TEXT;
    if (w->depth == 1) {
        w->peek->empty_object = false;
        w->top = w->member = find_member(name, IN_BODY);
    } else if (w->depth == 2 &&
               (w->top == MEMBER_STREAM_OPTIONS || w->top == MEMBER_GENERATION_CONFIG)) {
        w->member = find_member(name, place);
    } else if (w->top == MEMBER_TEXT) {
        w->role = find_role(name);
    }
    if (w->member == MEMBER_NONE || w->member >= MEMBER_TEXT)
        return OK;
    if (w->seen & UINT32_C(1) << w->member)
        return fault_field(w->fault, ERR_FIELD_DUPLICATE, name_of(w->member).p, "%s",
                           name_of(w->member).p);
    w->seen |= UINT32_C(1) << w->member;
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
        name = decode(name, text, sizeof text, &n) ? str_of(text, n) : STR_NONE;
    }
    skip_blanks(w);
    if (w->p == w->end || *w->p != ':')
        return broken(w, "expected ':'");
    w->p++;
    return meet(w, name);
}

static enum err take_model(struct walk *w, struct span at, bool escaped) {
    struct peek *k = w->peek;
    struct str text = str_of(w->begin + at.at + 1, at.n - 2);
    size_t n = text.n;
    if (n >= sizeof k->model_text && !escaped)
        return fault_field(w->fault, ERR_FIELD_VALUE, "model", "model is longer than 255 bytes");
    if (escaped) {
        if (!decode(text, k->model_text, sizeof k->model_text - 1, &n))
            return fault_field(w->fault, ERR_FIELD_VALUE, "model",
                               "model is longer than 255 bytes or no Unicode text");
        text = str_of(k->model_text, n);
    }
    k->model = text;
    k->model_at = at;
    return OK;
}

static enum err take_number(struct walk *w, struct span at, int64_t least, int64_t most,
                            int64_t *out) {
    struct str name = name_of(w->member), text = str_of(w->begin + at.at, at.n);
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] == '.' || text.p[i] == 'e' || text.p[i] == 'E')
            return wrong_type(w, w->member, "an integer");
    if (!str_i64(text, out) || *out < least || *out > most)
        return fault_field(w->fault, ERR_FIELD_VALUE, name.p, "%s must be from %lld to %lld",
                           name.p, (long long)least, (long long)most);
    return OK;
}

static enum err take_count(struct walk *w, struct span at) {
    int64_t n;
    enum err e = take_number(w, at, 1, PEEK_MAX_N, &n);
    if (!e && n > w->peek->n)
        w->peek->n = n;
    return e;
}

/* The value of a member that is read, when it is no array or object. */
static enum err take(struct walk *w, enum literal kind, struct span at, bool escaped) {
    struct peek *k = w->peek;
    enum member m = w->member;
    bool truth = kind == LITERAL_TRUE, is_bool = truth || kind == LITERAL_FALSE;
    bool null = kind == LITERAL_NULL;
    if (m >= MEMBER_LIMIT && m < MEMBER_N) {
        k->limit_at[m - MEMBER_LIMIT] = at;
        if (null)
            return OK;
        if (kind != LITERAL_NUMBER)
            return wrong_type(w, m, "an integer");
        return take_number(w, at, 0, PEEK_MAX_TOKENS, &k->limit[m - MEMBER_LIMIT]);
    }
    if (m == MEMBER_STREAM_OPTIONS || m == MEMBER_GENERATION_CONFIG) {
        if (!null)
            return wrong_type(w, m, "an object");
        *(m == MEMBER_STREAM_OPTIONS ? &k->stream_options_at : &k->generation_config_at) = at;
        return OK;
    }
    if (m == MEMBER_STREAM || m == MEMBER_INCLUDE_USAGE) {
        if (!null && !is_bool)
            return wrong_type(w, m, "a boolean");
        *(m == MEMBER_STREAM ? &k->stream : &k->include_usage) = truth;
        *(m == MEMBER_STREAM ? &k->stream_at : &k->include_usage_at) = at;
        return OK;
    }
    if (null)
        return OK;
    if (m == MEMBER_MODEL)
        return kind == LITERAL_STRING ? take_model(w, at, escaped) : wrong_type(w, m, "a string");
    return kind == LITERAL_NUMBER ? take_count(w, at) : wrong_type(w, m, "an integer");
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
        w->tokens += w->top == MEMBER_TEXT && !(w->objects & 1);
    }
    if (e || w->member == MEMBER_NONE || w->member >= MEMBER_TEXT)
        return e;
    return take(w, kind, (struct span){(size_t)(from - w->begin), (size_t)(w->p - from)}, escaped);
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
        return wrong_type(w, w->member, "a single value");
    }
    w->p++;
    w->depth++;
    w->objects = w->objects << 1 | object;
    w->member = MEMBER_NONE;
    w->role = ROLE_TEXT;
    w->tokens += object && w->depth == 3 && w->top == MEMBER_TEXT ? MESSAGE_TOKENS : 0;
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
