/* catalog.h - an immutable picture of models, prices, groups and channels.
 *
 * Built from the database by one thread and swapped in whole; readers hold a reference for as long
 * as they point into it (an exchange holds one to its end). Any thread may ref and read.
 */
#pragma once

#include "domain/billing/price.h"
#include "util/err.h"

struct db;
struct keyring;
struct q_catalog_models;

enum dialect { DIALECT_OPENAI, DIALECT_ANTHROPIC, DIALECT_GEMINI, DIALECT__MAX };
enum channel_type {
    CHANNEL_OPENAI,
    CHANNEL_ANTHROPIC,
    CHANNEL_GEMINI,
    CHANNEL_SANDBOX,
    CHANNEL__MAX
};
enum leave_policy { LEAVE_CANCEL, LEAVE_DRAIN }; /* when the client leaves mid-stream */

struct model_map { /* a channel's "model_mapping": request name -> provider's name */
    struct str from, to;
};

struct channel {
    int64_t id;
    enum channel_type type;
    struct str name, base_url; /* base_url without trailing slash */
    const struct str *keys;    /* unsealed provider keys, at least one ("" for none needed) */
    size_t n_keys;
    int64_t priority;
    uint32_t weight;
    const struct model_map *mapping;
    size_t n_mapping;
    bool enabled;
    bool private_ok; /* may name a private address (an administrator's own channel) */
};

struct budget_rule;

struct group {
    int64_t id;
    struct str name, description;
    ratio ratio;
    bool selectable; /* any account may choose it; else only accounts whose own group it is */
    enum leave_policy leave;
    bool clamp_max_tokens, hard_stop;
    int64_t rpm_limit, tpm_limit, concurrency_limit; /* per user of the group, 0 = none */
    int auto_rank;                     /* position in the site's auto order, -1 = not in it */
    const struct budget_rule *budgets; /* of all calls it serves together */
    size_t n_budgets;
};

struct model {
    int64_t id;
    struct str name, owned_by, display_name;
    int64_t created_s;
    const struct price *price;  /* NULL = no price: refused unless the site allows it */
    int64_t default_max_tokens; /* answer size assumed for holds when the client gives none */
};

/* The enabled channels that serve (group, model): priority descending, then id. */
struct ability {
    const struct group *group;
    struct str model;
    const struct channel **channels;
    size_t n;
};

struct catalog; /* opaque: hash tables over the above */

/* The built-in channel of test keys: always there, id 0, no row. */
extern const struct channel catalog_sandbox;

/* The price in a row; its id is 0 when the model has none. */
struct price catalog_price_of(const struct q_catalog_models *row);
/* Reads everything in one consistent transaction. Channel keys are unsealed with `keys`. A row that
 * makes no sense is logged (CATALOG_BAD_ROW) and left out. */
must_use enum err catalog_load(struct db *db, const struct keyring *keys, struct catalog **out,
                               struct fault *f);
struct catalog *catalog_ref(struct catalog *c);
void catalog_unref(struct catalog **c);

/* Names are exact, to the byte. */
const struct group *catalog_group(const struct catalog *c, struct str name);
const struct group *catalog_group_by_id(const struct catalog *c, int64_t id);
/* The group an account of user_group pays when it uses `using`: the (user group, using group)
 * ratio when the site has one, else the group's own. */
ratio catalog_ratio(const struct catalog *c, const struct group *user_group,
                    const struct group *using_group);
/* Groups in the site's auto order. */
size_t catalog_auto_groups(const struct catalog *c, const struct group *const **out);
const struct model *catalog_model(const struct catalog *c, struct str name);
/* Every model, by name. */
size_t catalog_models(const struct catalog *c, const struct model *const **out);
const struct channel *catalog_channel(const struct catalog *c, int64_t id);
/* NULL when the group has no enabled channel for the model. */
const struct ability *catalog_ability(const struct catalog *c, const struct group *g,
                                      struct str model);
/* A site option (options table) as text, or `absent`. */
struct str catalog_option(const struct catalog *c, const char *name, struct str absent);
int64_t catalog_option_int(const struct catalog *c, const char *name, int64_t absent);
bool catalog_option_bool(const struct catalog *c, const char *name, bool absent);

/* The process's current snapshot. */
void catalog_publish(struct catalog *c); /* takes the reference; NULL at the end of the process */
struct catalog *catalog_current(void);   /* a new reference; NULL before the first publish */
