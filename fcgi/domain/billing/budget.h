/* budget.h - budgets: what a key, an account (all its keys) or a group (all calls it serves) may
 * spend in a day, a week, a month or altogether.
 *
 * A window of a budget is an allowance; it is made when it is first met. Any thread.
 */
#pragma once

#include "util/err.h"

struct db;

enum budget_owner { BUDGET_OF_KEY, BUDGET_OF_USER, BUDGET_OF_GROUP };

struct budget_rule {
    int64_t id;
    enum budget_owner owner;
    char window; /* 'd', 'w', 'm'; of accounts and groups also 't': it never begins anew */
    int64_t amount;
    char timezone[48];
};

#define BUDGET_WINDOWS 4
#define BUDGET_AMOUNT_MAX INT64_C(500000000000000) /* 1 billion USD */

/* The window that `at` (unix seconds) lies in: [*start, *end); both 0: it never begins anew. */
void budget_window(const struct budget_rule *rule, int64_t at, int64_t *start, int64_t *end);
/* "daily budget of the account" */
const char *budget_name(const struct budget_rule *rule);

/* The running window was granted the old amount; it gets the difference at once. In a transaction.
 */
must_use enum err budget_adjust(struct db *db, const struct budget_rule *was, int64_t amount);

/* Changes of an owner's budgets; what they do not name stays as it is. */
struct budget_edit {
    size_t n;
    struct budget_rule rules[BUDGET_WINDOWS]; /* amount 0: no such budget any more */
};
/* "day=500000@Europe/Berlin,total=0": quota units by window, and where the window begins (none: the
 * account's time zone, a group's is UTC). ERR_FIELD_VALUE. */
must_use enum err budget_parse(struct str list, struct budget_edit *out, struct fault *f);
/* In a transaction. */
must_use enum err budget_save(struct db *db, enum budget_owner owner, int64_t owner_id,
                              const struct budget_edit *edit);
