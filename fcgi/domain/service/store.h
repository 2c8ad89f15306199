/* store.h - services as the operator makes them. Each call is a transaction of its own; workers
 * follow as they follow the catalogue. host may be NULL. */
#pragma once

#include "domain/service/service.h"

struct service_new {
    struct str name, prefix, base_url, test_base_url, header, secret;
    int64_t call_quota; /* price of a call, 0 = free */
    int64_t id;         /* out */
};
/* ERR_FIELD_VALUE naming what is wrong, ERR_EXISTS. */
must_use enum err service_add(struct db *db, struct host *host, const struct keyring *keys,
                              struct service_new *s, struct fault *f);
/* Ends the service and its scopes; their names may be used again, their bits not. ERR_ABSENT. */
must_use enum err service_remove(struct db *db, struct host *host, struct str name,
                                 struct fault *f);
struct service_scope_edit {
    struct str service, name;
    struct str read_name; /* of the read-only variant; "" = "<name>:read" */
    struct str rules;     /* "METHOD /path" lines */
};
/* Makes the scope with its variant, or replaces the rules of one that is there. ERR_FIELD_VALUE,
 * ERR_ABSENT, ERR_EXISTS. */
must_use enum err service_scope_set(struct db *db, struct host *host,
                                    const struct service_scope_edit *s, struct fault *f);
