#include "domain/billing/budget.h"

#include "domain/billing/lease.h"
#include "domain/billing/zone.h"
#include "door/queries.h"
#include "util/clock.h"

static const struct window {
    char window;
    const char *word, *names[3]; /* by enum budget_owner */
} windows[BUDGET_WINDOWS] = {
#define WINDOW(window, word, name)                                            \
    {                                                                         \
        window, word, {                                                       \
            name " of this key", name " of the account", name " of the group" \
        }                                                                     \
    }
    WINDOW('d', "day", "daily budget"),
    WINDOW('w', "week", "weekly budget"),
    WINDOW('m', "month", "monthly budget"),
    WINDOW('t', "total", "total budget"),
#undef WINDOW
};

const char *budget_name(const struct budget_rule *rule) {
    for (size_t i = 0; i < BUDGET_WINDOWS; i++)
        if (windows[i].window == rule->window)
            return windows[i].names[rule->owner];
    return "budget";
}

void budget_window(const struct budget_rule *rule, int64_t at, int64_t *start, int64_t *end) {
    *start = *end = 0;
    if (rule->window == 't')
        return;
    const struct zone *z = zone_get(str_c(rule->timezone));
    if (!z)
        z = zone_get(STR("UTC"));
    must(z);
    zone_window(z, rule->window, at, start, end);
}

enum err budget_adjust(struct db *db, const struct budget_rule *was, int64_t amount) {
    int64_t start, end, delta = amount - was->amount;
    int64_t kind = was->owner == BUDGET_OF_KEY ? ALLOW_BUDGET : ALLOW_OWNER_BUDGET;
    if (!delta)
        return OK;
    budget_window(was, clock_unix_s(), &start, &end);
    enum err e =
        q_allow_grant(db, &(struct q_allow_grant_in){delta, delta, kind, was->id, start}, NULL);
    if (e == OK && delta < 0)
        e = q_allow_recall_all(db, &(struct q_allow_recall_all_in){kind, was->id, start}, NULL);
    return e;
}

/* --- changes -------------------------------------------------------------------------------- */

static enum err parse_one(struct str part, struct budget_rule *out, struct fault *f) {
    struct str zone = part, number, word;
    str_cut(&zone, '@', &number);
    str_cut(&number, '=', &word);
    *out = (struct budget_rule){0};
    for (size_t i = 0; i < BUDGET_WINDOWS; i++)
        if (str_eqc(word, windows[i].word))
            out->window = windows[i].window;
    if (!out->window)
        return fault_field(f, ERR_FIELD_VALUE, "budget",
                           "a budget is of a day, week, month or total, not '%.*s'", STR_ARG(word));
    if (!str_i64(number, &out->amount) || out->amount < 0 || out->amount > BUDGET_AMOUNT_MAX)
        return fault_field(f, ERR_FIELD_VALUE, "budget",
                           "a budget is 0 (none) to %lld quota units, not '%.*s'",
                           (long long)BUDGET_AMOUNT_MAX, STR_ARG(number));
    if (!str_copy(zone, out->timezone, sizeof out->timezone) || !zone_get(zone))
        return fault_field(f, ERR_FIELD_VALUE, "budget", "there is no time zone '%.*s'",
                           STR_ARG(zone));
    return OK;
}

enum err budget_parse(struct str list, struct budget_edit *out, struct fault *f) {
    struct str part;
    out->n = 0;
    while (list.n && str_cut(&list, ',', &part)) {
        struct budget_rule rule;
        enum err e = parse_one(part, &rule, f);
        for (size_t i = 0; !e && i < out->n; i++)
            if (out->rules[i].window == rule.window)
                e = fault_field(f, ERR_FIELD_VALUE, "budget", "a window is named twice");
        if (e)
            return e;
        out->rules[out->n++] = rule;
    }
    return OK;
}

static enum err save_one(struct db *db, enum budget_owner owner, int64_t owner_id,
                         const struct budget_rule *will) {
    struct q_owner_budget_get row;
    struct str window = str_of(&will->window, 1);
    enum err e =
        q_owner_budget_get(db, &(struct q_owner_budget_get_in){owner, owner_id, window}, &row);
    bool found = e == OK;
    if (e && e != ERR_DB_NO_ROW)
        return e;
    if (found && !will->amount)
        return q_owner_budget_delete(db, &(struct q_owner_budget_delete_in){row.id}, NULL);
    if (!will->amount)
        return OK;
    e = q_owner_budget_put(db,
                           &(struct q_owner_budget_put_in){owner, owner_id, window, will->amount,
                                                           str_c(will->timezone)},
                           NULL);
    if (e || !found)
        return e;
    struct budget_rule was = {
        .id = row.id, .owner = owner, .window = will->window, .amount = row.amount};
    if (!str_copy(row.timezone, was.timezone, sizeof was.timezone))
        return ERR_INTERNAL;
    return budget_adjust(db, &was, will->amount);
}

enum err budget_save(struct db *db, enum budget_owner owner, int64_t owner_id,
                     const struct budget_edit *edit) {
    enum err e = OK;
    for (size_t i = 0; !e && i < edit->n; i++)
        e = save_one(db, owner, owner_id, &edit->rules[i]);
    if (!e && edit->n && owner == BUDGET_OF_USER)
        e = q_user_budgets_count(db, &(struct q_user_budgets_count_in){owner_id}, NULL);
    return e;
}
