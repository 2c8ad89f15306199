/* caller.h - who calls: an API key with its owner, as one immutable, reference-counted picture.
 *
 * auth_key finds it in the process's cache (no database) or reads it; a cached picture is used
 * only while the host's generation counters say it is current. A wrong checksum never reaches the
 * database. Any thread, with that thread's own db session.
 */
#pragma once

#include "domain/billing/budget.h"
#include "domain/identity/cidr.h"
#include "domain/identity/scope.h"
#include "domain/routing/host.h"
#include "util/str.h"

struct db;
struct conf;
struct keyring;

enum key_status { KEY_ENABLED = 1, KEY_DISABLED = 2, KEY_EXPIRED = 3, KEY_EXHAUSTED = 4 };
enum role { ROLE_USER = 1, ROLE_ADMIN = 10, ROLE_ROOT = 100 };

struct caller {
    int64_t key_id, secret_id, user_id;
    struct str key_name, user_name, user_group, key_group; /* key_group "" = the user's own */
    struct str language;                                   /* the user's, "" = none chosen */
    bool key_disabled, user_disabled, unlimited_quota, test_mode, cross_group_retry;
    enum role role;
    int64_t expires_at; /* unix s, -1 = never */
    uint64_t scopes;    /* never 0: the default ones when the key names none; see scope.h */
    bool model_limits_enabled;
    const struct str *models; /* sorted; a trailing '*' is a prefix */
    size_t n_models;
    const struct cidr *allow_ips;
    size_t n_allow_ips;
    const struct str *auto_groups;
    size_t n_auto_groups;
    int64_t rpm_limit, tpm_limit, concurrency_limit;
    const struct budget_rule *budgets; /* the key's */
    size_t n_budgets;
    int64_t user_rpm_limit, user_tpm_limit, user_concurrency_limit; /* all keys of the account */
    const struct budget_rule *user_budgets;
    size_t n_user_budgets;
};

struct auth; /* the cache and what it needs; one per process */

/* conf gives the configuration in force. */
struct auth *auth_new(struct host *host, const struct keyring *keys,
                      const struct conf *(*conf)(void));
void auth_free(struct auth **a);

/* The caller of a presented key (whole secret, blanks trimmed). ERR_KEY_INVALID for anything
 * unknown; disabled and expired are *not* judged here (see auth_admit). *pin is the channel id of
 * a "<key>-<id>" suffix, else 0. Release with caller_unref. */
must_use enum err auth_key(struct auth *a, struct db *db, struct str presented,
                           const struct caller **out, int64_t *pin, struct fault *f);
/* A fresh picture of the key one of whose secrets this is, past the cache (to explain, not to
 * admit). ERR_DB_NO_ROW. */
must_use enum err caller_read(struct db *db, int64_t secret_id, const struct caller **out);
void caller_unref(const struct caller **c);
const struct caller *caller_ref(const struct caller *c);

/* The checks every use of a key needs, in the order of the contract: status and expiry, address,
 * owner, right to pin a channel. ip: textual client address. */
must_use enum err auth_use(const struct caller *c, int64_t now_s, struct str ip, int64_t pin,
                           struct fault *f);
/* The same one by one: auth_admit is auth_use without the address. */
must_use enum err auth_admit(const struct caller *c, int64_t now_s, int64_t pin, struct fault *f);
must_use enum err auth_ip(const struct caller *c, struct str ip, struct fault *f);
must_use enum err auth_model(const struct caller *c, struct str model, struct fault *f);
must_use enum err auth_scope(const struct caller *c, enum scope s, struct fault *f);

/* Notes a use for last_used (model "": of none, the last one stays; written at most once a minute
 * per secret, by the housekeeping call auth_flush in a thread that has a session). */
void auth_touch(struct auth *a, const struct caller *c, struct str ip, struct str model,
                struct str user_agent);
/* Notes a call that the key's own rules refused, for its audit (counted, once a minute); other
 * errors are none of it. Written by the same housekeeping call. */
void auth_refused(struct auth *a, const struct caller *c, enum err why, struct str ip);
/* all: also what has not waited its minute yet. */
must_use enum err auth_flush(struct auth *a, struct db *db, bool all);
