/* tables.h - what a catalogue is inside; for build.c and catalog.c only. */
#pragma once

#include "domain/catalog/catalog.h"
#include "util/arena.h"
#include "util/hash.h"

#include <stdatomic.h>

struct option {
    struct str name, value;
};

struct ratio_row {
    int64_t user_group, using_group;
    ratio ratio;
};

struct ability_key {
    int64_t group;
    struct str model;
};

struct catalog {
    atomic_int refs;
    struct arena arena; /* everything below points into it, but for the maps' slots */
    struct map options, groups, groups_by_id, ratios, models, channels, abilities;
    const struct group **auto_groups;
    size_t n_auto;
    const struct model **by_name;
    size_t n_models;
};

/* The hashes of the maps' keys. */
uint64_t tables_hash_str(struct str s);
uint64_t tables_hash_pair(int64_t a, int64_t b);
uint64_t tables_hash_ability(const struct ability_key *k);
void tables_init(struct catalog *c);
void tables_free(struct catalog *c);
