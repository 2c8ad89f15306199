#include "api/scopes.h"

enum err scopes_find(struct api_request *req, struct str name, uint64_t *bit) {
    (void)req;
    *bit = scope_find(name);
    return OK;
}

enum err scopes_name(struct api_request *req, int bit, struct str *name) {
    (void)req;
    *name = bit < SCOPE__BUILTIN ? str_c(scope_name((enum scope)bit)) : STR("");
    return OK;
}

enum err scopes_of_services(struct api_request *req, uint64_t *mask) {
    (void)req;
    *mask = 0;
    return OK;
}
