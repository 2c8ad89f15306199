#include "api/scopes.h"

#include "domain/service/service.h"

enum err scopes_find(struct api_request *req, struct str name, uint64_t *bit) {
    struct services *s AUTO(services_unref) = NULL;
    *bit = scope_find(name);
    if (*bit)
        return OK;
    enum err e = services_current(req->db, req->host, req->keys, &s);
    if (e == OK)
        *bit = services_scope_find(s, name);
    return e;
}

enum err scopes_name(struct api_request *req, int bit, struct str *name) {
    struct services *s AUTO(services_unref) = NULL;
    *name = bit < SCOPE__BUILTIN ? str_c(scope_name((enum scope)bit)) : STR("");
    if (bit < SCOPE_SERVICE_FIRST)
        return OK;
    enum err e = services_current(req->db, req->host, req->keys, &s);
    if (e == OK)
        *name = arena_str(req->mem, services_scope_name(s, bit));
    return e;
}

enum err scopes_of_services(struct api_request *req, uint64_t *mask) {
    struct services *s AUTO(services_unref) = NULL;
    enum err e = services_current(req->db, req->host, req->keys, &s);
    *mask = e == OK ? services_scope_mask(s) : 0;
    return e;
}
