#include "api/api.h"
#include "api/handlers.h"

static const struct api_route rows[] = {
#define API_ROUTE(method, path, handler, auth, scope) \
    {method, path, handler, API_##auth, SCOPE_##scope},
#include "api/routes.def"
#undef API_ROUTE
};

const struct api_route *api_routes(size_t *n) {
    *n = ARRAY_LEN(rows);
    return rows;
}

bool api_owns(struct str path) {
    static const struct str roots[] = {STR_INIT("/api/"), STR_INIT("/dashboard/billing/"),
                                       STR_INIT("/v1/dashboard/billing/")};
    for (size_t i = 0; i < ARRAY_LEN(roots); i++)
        if (str_starts(path, roots[i]))
            return true;
    return str_eqc(path, "/api");
}

/* A number that no row can have is still a path of this shape: it is the handler's "not found". */
static bool take_id(struct str part, int64_t *id) {
    size_t digits = part.n && part.p[0] == '-' ? 1 : 0;
    if (part.n == digits)
        return false;
    for (size_t i = digits; i < part.n; i++)
        if (part.p[i] < '0' || part.p[i] > '9')
            return false;
    if (!str_i64(part, id) || *id < 0)
        *id = 0;
    return true;
}

/* Both without a slash at the end. */
static bool match(struct str pattern, struct str path, struct api_request *req) {
    size_t ids = 0, args = 0;
    struct str want, part;
    while (str_cut(&pattern, '/', &want)) {
        if (!str_cut(&path, '/', &part))
            return false;
        if (str_eqc(want, ":id")) {
            must(ids < ARRAY_LEN(req->id));
            if (!take_id(part, &req->id[ids++]))
                return false;
        } else if (want.n && want.p[0] == ':') {
            must(args < ARRAY_LEN(req->arg));
            if (!part.n)
                return false;
            req->arg[args++] = part;
        } else if (!str_eq(want, part)) {
            return false;
        }
    }
    return !path.p;
}

static struct str without_slash(struct str path) {
    return path.n > 1 && path.p[path.n - 1] == '/' ? str_sub(path, 0, path.n - 1) : path;
}

const struct api_route *api_find(struct api_request *req, struct fault *f) {
    struct str path = without_slash(req->path);
    struct buf allow AUTO(buf_free) = BUF(128);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!match(str_c(rows[i].path), path, req))
            continue;
        if (str_eqc(req->method, rows[i].method))
            return &rows[i];
        if (allow.n)
            buf_puts(&allow, ", ");
        buf_puts(&allow, rows[i].method);
    }
    if (allow.n)
        fault_set(f, ERR_METHOD, "%s", allow.p);
    else
        fault_set(f, ERR_URL_UNKNOWN, "%.*s %.*s", (int)(req->method.n < 16 ? req->method.n : 16),
                  req->method.p, (int)(path.n < 200 ? path.n : 200), path.p);
    return NULL;
}
