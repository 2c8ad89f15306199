/* plan.h - which channels a request may try, in which order; decided once, before the first
 * attempt.
 *
 * The first of the asked groups that serves the model is used; with `cross_group` the next ones
 * follow when its candidates are used up. Inside a group: highest priority first, weighted random
 * inside a priority, each channel once. A channel of weight 0 comes after those with a weight; if
 * all have 0, they are equal. Cooling channels go last within their group (and are used only when
 * host_channel_ask allows). Any thread.
 */
#pragma once

#include "domain/catalog/catalog.h"

struct host;

#define PLAN_MAX_STEPS 32
#define PLAN_MAX_CANDIDATES \
    4096 /* of one group and model; the rest, lowest priority, is not seen */

struct plan_step {
    const struct channel *channel;
    const struct group *group; /* the group that serves: its ratio is charged */
    struct str key;            /* one of the channel's keys, round-robin */
    struct str model;          /* provider's name for the model, after mapping */
};

struct plan {
    struct plan_step steps[PLAN_MAX_STEPS];
    size_t n;
};

struct plan_ask {
    const struct catalog *catalog;
    const struct host *host;
    const struct group *const *groups; /* in order; more than one for auto */
    size_t n_groups;
    bool cross_group;
    struct str model;
    int64_t pin_channel;      /* > 0: only this one */
    bool test_mode;           /* only the built-in sandbox channel */
    uint64_t (*random)(void); /* uniform; NULL: the process's own */
};

/* ERR_MODEL_NOT_FOUND when the catalogue does not know the model, ERR_NO_CHANNEL when no enabled
 * channel of the asked groups (or not the pinned one) serves it. The plan points into the
 * catalogue: hold a reference as long. */
must_use enum err plan_make(const struct plan_ask *ask, struct plan *out, struct fault *f);
