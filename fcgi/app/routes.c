#include "app/routes.h"

#include "util/counter.h"

static const struct route routes[] = {
#define ROUTE(method, path, kind, dialect, family, flags)        \
    {method,                                                     \
     {path, sizeof(path) - 1 - (path[sizeof(path) - 2] == '*')}, \
     path[sizeof(path) - 2] == '*',                              \
     ROUTE_##kind,                                               \
     DIALECT_##dialect,                                          \
     COUNTER_ROUTE_##family,                                     \
     flags},
#include "app/routes.def"
#undef ROUTE
};

static const struct route api_route = {
    "", {"/api", 4}, true, ROUTE_API, DIALECT_OPENAI, COUNTER_ROUTE_API, 0};

bool route_is_api(struct str path) {
    return str_eq(path, STR("/api")) || str_starts(path, STR("/api/")) ||
           str_starts(path, STR("/v1/dashboard/")) || str_starts(path, STR("/dashboard/"));
}

static bool matches(const struct route *r, struct str path) {
    return r->prefix ? str_starts(path, r->path) && path.n > r->path.n : str_eq(path, r->path);
}

enum err route_find(struct str method, struct str path, const struct route **out, struct fault *f) {
    struct buf allow AUTO(buf_free) = BUF(64);
    if (route_is_api(path)) {
        *out = &api_route;
        return OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (!matches(&routes[i], path))
            continue;
        if (str_eqc(method, routes[i].method)) {
            *out = &routes[i];
            return OK;
        }
        if (allow.n)
            buf_puts(&allow, ", ");
        buf_puts(&allow, routes[i].method);
    }
    if (allow.n)
        return fault_set(f, ERR_METHOD, "%s", allow.p);
    return fault_set(f, ERR_URL_UNKNOWN, "%.*s %.*s", STR_ARG(method), STR_ARG(path));
}
