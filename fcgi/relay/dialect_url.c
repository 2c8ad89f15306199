#include "relay/dialect_parts.h"

static bool is_alnum(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool dialect_is_word(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]))
            return false;
    return s.n > 0;
}

/* "v1", "v4", "v1beta" */
static bool is_version(struct str segment) {
    return segment.n >= 2 && segment.p[0] == 'v' && segment.p[1] >= '1' && segment.p[1] <= '9' &&
           dialect_is_word(segment);
}

/* The part of an absolute URL behind scheme and host, "" when there is none. False for a URL that
 * nothing can be appended to. */
static bool base_path(struct str base, struct str *path) {
    size_t scheme = str_istarts(base, STR("https://"))  ? 8
                    : str_istarts(base, STR("http://")) ? 7
                                                        : 0;
    struct str rest = str_from(base, scheme);
    for (size_t i = 0; i < base.n; i++)
        if (base.p[i] <= ' ' || base.p[i] > '~' || base.p[i] == '?' || base.p[i] == '#' ||
            base.p[i] == '\\')
            return false;
    ptrdiff_t slash = str_find(rest, '/');
    *path = slash < 0 ? STR("") : str_from(rest, (size_t)slash);
    return scheme && rest.n && slash != 0;
}

static bool names_version(struct str path, bool only_last) {
    bool found = false;
    for (struct str part; str_cut(&path, '/', &part);)
        found = is_version(part) || (found && !only_last);
    return found;
}

bool dialect_path_is_plain(struct str path) {
    for (size_t i = 0; i < path.n; i++)
        if (!is_alnum(path.p[i]) && !(path.p[i] && strchr("/-_.~:", path.p[i])))
            return false;
    struct str part;
    if (!str_cut(&path, '/', &part) || part.n)
        return false;
    while (str_cut(&path, '/', &part))
        if (!part.n || str_eq(part, STR(".")) || str_eq(part, STR("..")))
            return false;
    return true;
}

/* "/v1/chat" -> "/chat" */
static struct str without_version(struct str path) {
    struct str rest = str_from(path, 1), first;
    if (!str_cut(&rest, '/', &first) || !is_version(first))
        return path;
    return str_from(path, 1 + first.n);
}

bool dialect_put_plain_path(struct buf *out, struct str path, struct str model) {
    (void)model;
    buf_str(out, path);
    return dialect_path_is_plain(path);
}

static bool is_key(struct str pair) {
    struct str name, value = pair;
    char plain[8];
    if (!str_cut(&value, '=', &name))
        return false;
    ptrdiff_t n = str_url_decode(name, plain, sizeof plain);
    return n >= 0 && str_ieq(str_of(plain, (size_t)n), STR("key"));
}

/* What may not stand in a query is encoded, so that it stays data. */
void dialect_put_query(struct buf *out, struct str query, bool with_key) {
    char sep = '?';
    for (struct str pair; str_cut(&query, '&', &pair);) {
        if (!pair.n || (!with_key && is_key(pair)))
            continue;
        buf_putc(out, sep);
        sep = '&';
        for (size_t i = 0; i < pair.n; i++) {
            char c = pair.p[i];
            if (c > ' ' && c <= '~' && !strchr("#\"<>\\^`{|}[]", c))
                buf_putc(out, c);
            else
                buf_printf(out, "%%%02X", (unsigned)(unsigned char)c);
        }
    }
}

enum err dialect_url(struct buf *out, enum dialect d, struct str base, struct str path,
                     struct str query, struct str model) {
    const struct dialect_ops *ops = dialect_ops(d);
    while (str_ends(base, STR("/")))
        base.n--;
    struct str own;
    if (!base_path(base, &own) || !path.n || path.p[0] != '/')
        return ERR_FIELD_VALUE;
    if (names_version(own, ops->version_is_last))
        path = without_version(path);
    if (!path.n)
        return ERR_FIELD_VALUE;
    buf_str(out, base);
    bool plain = ops->put_path(out, path, model);
    dialect_put_query(out, query, false);
    return plain && !out->failed ? OK : ERR_FIELD_VALUE;
}
