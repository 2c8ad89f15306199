/* shelf.h - what is offered, as an operator changes it: groups, models with their prices, channels,
 * options. Each function is one transaction; workers follow at once (write.h).
 *
 * Errors: ERR_FIELD_VALUE naming what is wrong, ERR_EXISTS, ERR_ABSENT.
 */
#pragma once

#include "domain/billing/budget.h"
#include "domain/catalog/catalog.h"

struct host;
struct keyring;

/* With `existing` the group must be there and what `has` does not name stays as it is; without, it
 * must not be there yet. */
struct group_edit {
    struct str name;
    bool existing;
    struct {
        bool description, ratio, selectable, drain, clamp_max_tokens, hard_stop, rpm_limit,
            tpm_limit, concurrency_limit, auto_rank;
    } has;
    struct str description;
    int64_t ratio;
    bool selectable, drain, clamp_max_tokens, hard_stop;
    int64_t rpm_limit, tpm_limit, concurrency_limit, auto_rank;
    struct str for_group; /* given: ratio is what accounts of this group pay in group `name` */
    struct budget_edit budgets;
    int64_t id; /* out */
};
must_use enum err group_save(struct db *db, struct host *host, struct group_edit *g,
                             struct fault *f);

/* A price as people know it: USD of a million tokens, in decimals of nine places; -1 = not given:
 * then it follows from the price it is a part of. */
struct price_usd {
    int64_t input, output, cached, cache_write, cache_write_1h, image, audio, audio_output;
    int64_t per_call, search; /* USD each */
};
/* ERR_FIELD_VALUE: a per-call price beside token prices, an output price without an input price,
 * an amount that is no whole number of quota units. */
must_use enum err price_from_usd(const struct price_usd *usd, struct price *out, struct fault *f);
/* quota of USD in decimals of nine places; false when it is no whole number or too much. */
must_use bool quota_from_usd(int64_t usd, int64_t *quota);

struct model_edit {
    struct str name;
    bool existing; /* as in group_edit */
    struct {
        bool display_name, owned_by, default_max_tokens;
    } has;
    struct str display_name, owned_by;
    int64_t default_max_tokens;
    const struct price *price; /* NULL: stays as it is (new: none) */
    int64_t id, price_id;      /* out */
};
must_use enum err model_save(struct db *db, struct host *host, struct model_edit *m,
                             struct fault *f);

struct channel_new {
    struct str name, base_url; /* no base_url: the provider's own */
    enum channel_type type;
    struct str models, groups, mapping; /* separated by commas; mapping: from=to */
    int64_t priority, weight;
    bool private_ok;
    struct str keys; /* a line a key */
    int64_t id;      /* out */
};
must_use bool channel_type_parse(struct str name, enum channel_type *type);
const char *channel_type_name(int64_t type);
must_use enum err channel_add(struct db *db, struct host *host, const struct keyring *keyring,
                              struct channel_new *c, struct fault *f);
/* `which`: number or name. */
must_use enum err channel_find(struct db *db, struct str which, int64_t *id, struct fault *f);
must_use enum err channel_set_enabled(struct db *db, struct host *host, int64_t id, bool enabled);
must_use enum err channel_delete(struct db *db, struct host *host, int64_t id);

/* A value without p removes the option. */
must_use enum err option_save(struct db *db, struct host *host, struct str name, struct str value,
                              struct fault *f);
