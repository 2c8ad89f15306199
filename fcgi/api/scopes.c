#include "api/scopes.h"

#include "domain/service/service.h"
#include "door/json.h"

static enum err find(struct api_request *req, struct str name, uint64_t *bit) {
    struct services *s AUTO(services_unref) = NULL;
    *bit = scope_find(name);
    if (*bit)
        return OK;
    enum err e = services_current(req->db, req->host, req->keys, &s);
    if (e == OK)
        *bit = services_scope_find(s, name);
    return e;
}

enum err scopes_read(struct api_request *req, const struct json *list, uint64_t *scopes,
                     struct str *unknown, struct fault *f) {
    *scopes = 0;
    *unknown = STR_NONE;
    bool fits = json_type_of(list) == JSON_ARRAY;
    for (size_t i = 0; fits && i < json_length(list); i++) {
        const struct json *name = json_at(list, i);
        uint64_t bit = 0;
        fits = json_type_of(name) == JSON_STRING;
        enum err e = fits ? find(req, json_str(name), &bit) : OK;
        if (e != OK)
            return e;
        if (fits && !bit)
            *unknown = arena_str(req->mem, json_str(name));
        *scopes |= bit;
    }
    return fits ? OK
                : fault_field(f, ERR_FIELD_TYPE, "scopes", "scopes must be an array of strings");
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
