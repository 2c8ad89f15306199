/* service.h - services: HTTP upstreams of the operator's own, called with API keys.
 *
 * A service owns the paths under its prefix. Its scopes are named sets of "METHOD /path" patterns
 * (":x" is any one part, "*" at the end the rest), each with a read-only variant that allows its
 * GETs. A key without a scope of the service may not call it. Test keys go to the test
 * base URL and pay from the sandbox balance.
 *
 * The picture of all services is read when the catalogue's generation changes; readers hold a
 * reference. Any thread with its own session.
 */
#pragma once

#include "domain/catalog/catalog.h"
#include "util/err.h"

struct host;

struct service_rule {
    struct str method, path; /* path behind the prefix */
};

struct service_scope {
    struct str name, read_name;
    int bit; /* bit + 1: the read-only variant */
    const struct service_rule *rules;
    size_t n_rules;
};

struct service {
    int64_t id;
    struct str name, prefix;   /* prefix without a slash at the end */
    struct str header, secret; /* secret "" = none is sent */
    struct channel live, test; /* test.base_url "" = test keys are refused */
    struct price price;
    struct model model; /* for billing and usage rows: "service:<name>", a price per call */
    const struct service_scope *scopes;
    size_t n_scopes;
};

struct services;

/* The current picture, with a new reference. */
must_use enum err services_current(struct db *db, const struct host *host,
                                   const struct keyring *keys, struct services **out);
void services_unref(struct services **s);
struct services *services_ref(struct services *s);

/* The service that owns the path, NULL when none does; *rest is the path behind its prefix. */
const struct service *services_match(const struct services *s, struct str path, struct str *rest);
/* May a key with these scopes make this call? ERR_METHOD, ERR_URL_UNKNOWN, ERR_SCOPE_MISSING. */
must_use enum err service_check(const struct service *s, uint64_t scopes, struct str method,
                                struct str rest, struct fault *f);

/* Scopes of all services: their bits, a bit's name ("" = none), a name's bit (0 = none). */
uint64_t services_scope_mask(const struct services *s);
struct str services_scope_name(const struct services *s, int bit);
uint64_t services_scope_find(const struct services *s, struct str name);
const struct service *services_at(const struct services *s, size_t i); /* NULL past the end */

/* A path that can be appended to a base URL and means there what it was checked as here: absolute,
 * no empty or dot segment, no escape that hides a letter, a separator, a control character or
 * another escape. */
bool service_path_ok(struct str path);

/* "METHOD /path" lines: *n rules into out (may be NULL to check), or false. */
#define SERVICE_RULES_MAX 64
must_use bool service_rules_parse(struct str text, struct service_rule out[SERVICE_RULES_MAX],
                                  size_t *n);
bool service_rule_matches(const struct service_rule *r, struct str method, struct str rest);
