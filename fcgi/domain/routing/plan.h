/* plan.h - which channels a request may try, in which order; decided once, before the first
 * attempt.
 *
 * Inside a group: highest priority first, weighted random inside a priority, each channel once.
 * Cooling channels go last within their group (and are used only when host_channel_ask allows).
 * With `cross_group` the next group follows when a group's candidates are used up.
 */
#pragma once

#include "domain/catalog/catalog.h"

struct host;

#define PLAN_MAX_STEPS 32

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
    int64_t pin_channel; /* > 0: only this one */
    bool test_mode;      /* only the sandbox channel */
};

/* ERR_MODEL_NOT_FOUND when no group of the catalogue serves the model at all, ERR_NO_CHANNEL when
 * the asked groups do not or all are disabled. */
must_use enum err plan_make(const struct plan_ask *ask, struct plan *out, struct fault *f);
