#include "relay/peek_parts.h"

#include "relay/plain.h"

/* Where a member stands: directly in the body, or in one of two objects there. */
enum place { IN_BODY, IN_STREAM_OPTIONS, IN_GENERATION_CONFIG };

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
    {STR_INIT("input"), IN_BODY, MEMBER_INPUT},
    {STR_INIT("system"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("instructions"), IN_BODY, MEMBER_TEXT},
    {STR_INIT("contents"), IN_BODY, MEMBER_CONTENTS},
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

static struct str name_of(enum member m) {
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (members[i].member == m)
            return members[i].name;
    return STR_NONE;
}

enum err peek_wrong_type(const struct walk *w, enum member m, const char *wanted) {
    struct str name = name_of(m);
    return fault_field(w->fault, ERR_FIELD_TYPE, name.p, "%s must be %s", name.p, wanted);
}

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

enum err peek_meet(struct walk *w, struct str name) {
    enum place place = w->top == MEMBER_STREAM_OPTIONS ? IN_STREAM_OPTIONS : IN_GENERATION_CONFIG;
    w->member = MEMBER_NONE;
    w->role = ROLE_TEXT;
    if (w->depth == 1) {
        w->peek->empty_object = false;
        w->top = w->member = find_member(name, IN_BODY);
        if (w->top == MEMBER_INPUT || w->top == MEMBER_CONTENTS)
            w->peek->limit_as =
                w->top == MEMBER_INPUT ? PEEK_LIMIT_MAX_OUTPUT : PEEK_LIMIT_GENERATION;
    } else if (w->depth == 2 &&
               (w->top == MEMBER_STREAM_OPTIONS || w->top == MEMBER_GENERATION_CONFIG)) {
        w->member = find_member(name, place);
    } else if (in_text(w)) {
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

bool peek_decode(struct str literal, char *dst, size_t cap, size_t *n) {
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

static enum err take_model(struct walk *w, struct span at, bool escaped) {
    struct peek *k = w->peek;
    struct str text = str_of(w->begin + at.at + 1, at.n - 2);
    size_t n = text.n;
    if (n >= sizeof k->model_text && !escaped)
        return fault_field(w->fault, ERR_FIELD_VALUE, "model", "model is longer than 255 bytes");
    if (escaped) {
        if (!peek_decode(text, k->model_text, sizeof k->model_text - 1, &n))
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
            return peek_wrong_type(w, w->member, "an integer");
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

enum err peek_take(struct walk *w, enum literal kind, struct span at, bool escaped) {
    struct peek *k = w->peek;
    enum member m = w->member;
    bool truth = kind == LITERAL_TRUE, is_bool = truth || kind == LITERAL_FALSE;
    bool null = kind == LITERAL_NULL;
    if (m >= MEMBER_LIMIT && m < MEMBER_N) {
        k->limit_at[m - MEMBER_LIMIT] = at;
        if (null)
            return OK;
        if (kind != LITERAL_NUMBER)
            return peek_wrong_type(w, m, "an integer");
        return take_number(w, at, 0, PEEK_MAX_TOKENS, &k->limit[m - MEMBER_LIMIT]);
    }
    if (m == MEMBER_STREAM_OPTIONS || m == MEMBER_GENERATION_CONFIG) {
        if (!null)
            return peek_wrong_type(w, m, "an object");
        *(m == MEMBER_STREAM_OPTIONS ? &k->stream_options_at : &k->generation_config_at) = at;
        return OK;
    }
    if (m == MEMBER_STREAM || m == MEMBER_INCLUDE_USAGE) {
        if (!null && !is_bool)
            return peek_wrong_type(w, m, "a boolean");
        *(m == MEMBER_STREAM ? &k->stream : &k->include_usage) = truth;
        *(m == MEMBER_STREAM ? &k->stream_at : &k->include_usage_at) = at;
        return OK;
    }
    if (null)
        return OK;
    if (m == MEMBER_MODEL)
        return kind == LITERAL_STRING ? take_model(w, at, escaped)
                                      : peek_wrong_type(w, m, "a string");
    return kind == LITERAL_NUMBER ? take_count(w, at) : peek_wrong_type(w, m, "an integer");
}
