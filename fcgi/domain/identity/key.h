/* key.h - an API key as its owner sees and edits it: its settings and the rules they obey.
 *
 * On the wire it is a `token`. Texts are stored in normal form: allow_ips a line an entry,
 * model_limits and auto_groups separated by commas. Pure; any thread.
 */
#pragma once

#include "domain/identity/caller.h"
#include "util/arena.h"

struct catalog;

#define KEY_NAME_MAX 50 /* code points */
#define KEY_QUOTA_MAX INT64_C(500000000000000)
#define KEY_LIMIT_MAX INT64_C(1000000000)
#define KEY_ALLOW_IPS_MAX 1000
#define KEY_MODELS_MAX 1000
#define KEY_AUTO_GROUPS_MAX 16
#define KEY_BUDGETS_MAX 3
#define KEY_NEVER INT64_C(-1) /* expires_at */

struct key_settings {
    struct str name, model_limits, allow_ips, group, auto_groups;
    int64_t expires_at; /* unix s or KEY_NEVER */
    int64_t remain_quota;
    bool unlimited_quota, model_limits_enabled, cross_group_retry, test_mode;
    uint64_t scopes;          /* as stored: 0 = none named */
    struct str unknown_scope; /* a name in a client's list that no scope has; .p NULL = none */
    int64_t rpm_limit, tpm_limit, concurrency_limit;
    struct budget_rule budgets[KEY_BUDGETS_MAX];
    size_t n_budgets;
};

struct key_maker { /* who creates or changes a key */
    const struct catalog *catalog;
    struct str user_group;
    uint64_t scopes;         /* of the credential used */
    uint64_t service_scopes; /* all that the operator's services define */
};

/* At most KEY_NAME_MAX code points, valid UTF-8, no control characters. */
must_use enum err key_name_check(struct str name, struct fault *f);
/* The rules in the order of the contract: name, quota, addresses, group, models, scopes, limits and
 * budgets. Brings texts to normal form (in mem). The fault names the field. */
must_use enum err key_settings_check(struct key_settings *s, const struct key_maker *maker,
                                     struct arena *mem, struct fault *f);

/* What the owner sees: disabled wins, then expired, then exhausted. */
enum key_status key_status_of(bool disabled, int64_t expires_at, bool unlimited,
                              int64_t remain_quota, int64_t now_s);
/* How much of a key's text the site shows after it was made (option key_reveal; default endpoint).
 */
enum key_reveal_mode { REVEAL_ONCE, REVEAL_ENDPOINT, REVEAL_ALWAYS };
enum key_reveal_mode key_site_reveal(const struct catalog *c);
/* The prefix of new keys: options key_prefix_live (sk-) and key_prefix_test (sk-test-). */
struct str key_site_prefix(const struct catalog *c, bool test_mode);
/* The most live keys of an account: option max_user_tokens (1000). */
int64_t key_site_max(const struct catalog *c);
