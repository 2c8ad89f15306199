/* choose.h - what a key may use: its groups, in the order they are tried, and the models in them.
 *
 * A key's group is "" (its owner's own), a group's name, or "auto" (the key's own ordered list,
 * else the site's). An account may use its own group and every selectable one. Any thread; the
 * results point into the catalogue.
 */
#pragma once

#include "domain/catalog/catalog.h"
#include "util/err.h"

struct caller;

#define CHOOSE_MAX_GROUPS 32

struct choice {
    const struct group *groups[CHOOSE_MAX_GROUPS];
    size_t n;
    const struct group *own; /* the account's group: what the ratios depend on; may be NULL */
};

bool choose_may_use(const struct catalog *c, struct str user_group, struct str group);

/* ERR_GROUP_NOT_ALLOWED when the key's group is not usable (any more), or none of "auto" is. */
must_use enum err choose_groups(const struct caller *who, const struct catalog *c,
                                struct choice *out, struct fault *f);

/* The models the key may list, by name, each once: served in one of its groups (test keys: all,
 * the sandbox serves them), within its model limits, with a price unless the site allows models
 * without one (option "allow_unpriced_models"). The array is the caller's to free. */
must_use enum err choose_models(const struct caller *who, const struct catalog *c,
                                const struct model ***out, size_t *n, struct fault *f);
/* The same for one name: ERR_MODEL_NOT_FOUND when it would not be listed. */
must_use enum err choose_model(const struct caller *who, const struct catalog *c, struct str name,
                               const struct model **out, struct fault *f);
