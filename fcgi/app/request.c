#include "app/request.h"

#include "door/crypt.h"
#include "util/clock.h"

#define FIELD(param, member) \
    { STR_INIT(param), offsetof(struct request, member) }

static const struct {
    struct str param;
    size_t at;
} fields[] = {
    FIELD("REQUEST_METHOD", method),
    FIELD("CONTENT_TYPE", content_type),
    FIELD("HTTP_CONTENT_ENCODING", content_encoding),
    FIELD("REMOTE_ADDR", remote_ip),
    FIELD("HTTP_X_FORWARDED_FOR", forwarded_for),
    FIELD("HTTP_AUTHORIZATION", authorization),
    FIELD("HTTP_X_API_KEY", x_api_key),
    FIELD("HTTP_API_KEY", api_key),
    FIELD("HTTP_X_GOOG_API_KEY", x_goog_api_key),
    FIELD("HTTP_ANTHROPIC_VERSION", anthropic_version),
    FIELD("HTTP_ANTHROPIC_BETA", anthropic_beta),
    FIELD("HTTP_OPENAI_BETA", openai_beta),
    FIELD("HTTP_USER_AGENT", user_agent),
    FIELD("HTTP_ACCEPT_LANGUAGE", accept_language),
    FIELD("HTTP_COOKIE", cookie),
    FIELD("HTTP_ORIGIN", origin),
    FIELD("HTTP_SEC_FETCH_SITE", sec_fetch_site),
    FIELD("HTTP_IDEMPOTENCY_KEY", idempotency_key),
    FIELD("HTTP_NEW_API_USER", new_api_user),
    FIELD("HTTP_GITHUB_PUBLIC_KEY_IDENTIFIER", github_key),
    FIELD("HTTP_GITHUB_PUBLIC_KEY_SIGNATURE", github_signature),
    FIELD("HTTP_ACCEPT", accept),
    FIELD("HTTP_IF_MATCH", if_match),
    FIELD("HTTP_IF_NONE_MATCH", if_none_match),
    FIELD("HTTP_IF_MODIFIED_SINCE", if_modified_since),
    FIELD("HTTP_RANGE", range),
    FIELD("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", request_headers),
    FIELD("HTTP_X_REQUEST_ID", id),
};

static struct str *field_at(struct request *rq, size_t i) {
    return (struct str *)(void *)((char *)rq + fields[i].at);
}

/* The fields whose names are equally long, as a chain: every request has some twenty parameters,
 * most of which are none of them. A place is an index + 1. */
#define LONGEST_NAME 64
static struct { uint8_t first[LONGEST_NAME], next[ARRAY_LEN(fields)]; } by_length;

__attribute__((constructor)) static void chain_fields(void) {
    for (size_t i = ARRAY_LEN(fields); i-- > 0;) {
        size_t n = fields[i].param.n;
        must(n < LONGEST_NAME);
        by_length.next[i] = by_length.first[n];
        by_length.first[n] = (uint8_t)(i + 1);
    }
}

static struct str *field_of(struct request *rq, struct str name) {
    uint8_t at = name.n < LONGEST_NAME ? by_length.first[name.n] : 0;
    while (at && memcmp(fields[at - 1].param.p, name.p, name.n) != 0)
        at = by_length.next[at - 1];
    return at ? field_at(rq, at - 1U) : NULL;
}

static bool id_is_sane(struct str id) {
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              c == '.' || c == '_' || c == '-'))
            return false;
    }
    return id.n >= 1 && id.n <= 64;
}

static struct str make_id(struct arena *mem) {
    uint8_t random[9];
    struct buf b AUTO(buf_free) = BUF(64);
    crypt_random(random, sizeof random);
    uint8_t ms[6];
    int64_t now = clock_unix_us() / 1000;
    for (size_t i = sizeof ms; i-- > 0; now >>= 8)
        ms[i] = (uint8_t)now;
    buf_puts(&b, "req_");
    buf_hex(&b, ms, sizeof ms);
    buf_hex(&b, random, sizeof random);
    return arena_str(mem, buf_view(&b));
}

static void split_uri(struct request *rq, struct str uri) {
    ptrdiff_t q = str_find(uri, '?');
    rq->path = q < 0 ? uri : str_sub(uri, 0, (size_t)q);
    rq->query = q < 0 ? STR("") : str_from(uri, (size_t)q + 1);
    if (rq->path.n > 1 && str_ends(rq->path, STR("/")))
        rq->path.n--; /* both spellings reach the same handler */
}

static char *move_value(struct str *s, char *to) {
    if (s->n)
        memcpy(to, s->p, s->n);
    s->p = to;
    return to + s->n + 1;
}

/* All wanted values move into one block. */
static void copy_values(struct request *rq, struct arena *mem, struct str *uri) {
    size_t total = uri->n + 1;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        total += field_at(rq, i)->n + 1;
    char *to = move_value(uri, arena_alloc(mem, total));
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        to = move_value(field_at(rq, i), to);
}

static void take(struct request *rq, struct str name, struct str value, struct str *uri) {
    bool is_header = str_starts(name, STR("HTTP_"));
    if (is_header)
        rq->header_bytes += name.n - 5 + value.n;
    else if (str_starts(name, STR("REDIRECT_HTTP_")))
        name = str_from(name, strlen("REDIRECT_")); /* Apache's rewriting adds the prefix */
    struct str *field = field_of(rq, name);
    if (field && !field->n)
        *field = value;
    else if (is_header)
        return;
    else if (str_eq(name, STR("REQUEST_URI")))
        *uri = value;
    else if (str_eq(name, STR("CONTENT_LENGTH")) && !str_i64(value, &rq->content_length))
        rq->content_length = -1;
}

enum err request_parse(const struct fcgi_conn *c, struct arena *mem, int64_t max_header_bytes,
                       struct request *rq, struct fault *f) {
    struct str uri = STR("");
    *rq = (struct request){.content_length = -1};
    const char *line;
    for (size_t i = 0; (line = fcgi_param(c, i)); i++) {
        struct str value = str_c(line), name;
        if (str_cut(&value, '=', &name) && value.p)
            take(rq, name, value, &uri);
    }
    copy_values(rq, mem, &uri);
    split_uri(rq, uri);
    if (!id_is_sane(rq->id))
        rq->id = make_id(mem);
    if ((int64_t)rq->header_bytes > max_header_bytes)
        return fault_set(f, ERR_HEADERS_TOO_LARGE, "%lld", (long long)max_header_bytes);
    if (!rq->method.n || !uri.n)
        return fault_set(f, ERR_INTERNAL, NULL);
    return OK;
}
