/* build.h - makes a catalogue out of rows, in the order options, groups, ratios, prices, models,
 * channels, abilities.
 *
 * Everything is copied. An add returns NULL, or why the row is left out (a constant text); a
 * duplicate is left out, the first stays. Not thread safe.
 */
#pragma once

#include "domain/catalog/catalog.h"

struct builder;

struct builder *builder_new(void);
void builder_free(struct builder **b);

const char *builder_option(struct builder *b, struct str name, struct str value);
const char *builder_group(struct builder *b, const struct group *g);
const char *builder_ratio(struct builder *b, int64_t user_group, int64_t using_group, ratio r);
/* m->price points to the caller's copy, or is NULL. */
const char *builder_model(struct builder *b, const struct model *m);
/* A disabled channel is found by its id and serves nothing. */
const char *builder_channel(struct builder *b, const struct channel *c);
const char *builder_ability(struct builder *b, int64_t group, struct str model, int64_t channel);

/* Takes the builder; the catalogue has one reference. */
struct catalog *builder_finish(struct builder **b);
