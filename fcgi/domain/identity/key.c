#include "domain/identity/key.h"

#include "domain/billing/zone.h"
#include "domain/catalog/catalog.h"
#include "domain/identity/key_text.h"
#include "domain/routing/choose.h"

#include <stdlib.h>

enum err key_name_check(struct str name, struct fault *f) {
    if (!str_utf8_ok(name))
        return fault_field(f, ERR_FIELD_VALUE, "name", "name is not valid UTF-8");
    if (str_utf8_count(name) > KEY_NAME_MAX)
        return fault_field(f, ERR_NAME_TOO_LONG, "name", NULL);
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] < 0x20 || name.p[i] == 0x7F)
            return fault_field(f, ERR_FIELD_VALUE, "name", "name has a control character");
    return OK;
}

static enum err check_quota(struct key_settings *s, struct fault *f) {
    if (s->unlimited_quota) { /* not looked at; kept in range for the day it is limited again */
        if (s->remain_quota < 0)
            s->remain_quota = 0;
        if (s->remain_quota > KEY_QUOTA_MAX)
            s->remain_quota = KEY_QUOTA_MAX;
        return OK;
    }
    if (s->remain_quota < 0)
        return fault_field(f, ERR_QUOTA_NEGATIVE, "remain_quota", NULL);
    if (s->remain_quota > KEY_QUOTA_MAX)
        return fault_field(f, ERR_QUOTA_TOO_LARGE, "remain_quota", "%lld",
                           (long long)KEY_QUOTA_MAX);
    return OK;
}

static enum err check_addresses(struct key_settings *s, struct arena *mem, struct fault *f) {
    struct cidr *list AUTO(base_freep) = NULL;
    struct buf text AUTO(buf_free) = BUF((size_t)KEY_ALLOW_IPS_MAX * 64);
    size_t n;
    enum err e = cidr_list_parse(s->allow_ips, "allow_ips", KEY_ALLOW_IPS_MAX, &list, &n, f);
    if (e == ERR_FIELD_VALUE && f)
        f->err = ERR_ALLOW_IPS;
    if (e != OK)
        return e == ERR_FIELD_VALUE ? ERR_ALLOW_IPS : e;
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(&text, '\n');
        cidr_text(&list[i], &text);
    }
    s->allow_ips = arena_str(mem, buf_view(&text));
    return OK;
}

/* Is it an entry of a list that has no blanks? */
static bool list_has(struct str list, struct str entry) {
    struct str part;
    while (list.n && str_cut(&list, ',', &part))
        if (str_eq(part, entry))
            return true;
    return false;
}

static void list_add(struct buf *list, struct str entry) {
    if (list_has(buf_view(list), entry))
        return;
    if (list->n)
        buf_putc(list, ',');
    buf_str(list, entry);
}

static bool may_use(const struct key_maker *maker, struct str group) {
    return choose_may_use(maker->catalog, maker->user_group, group);
}

static enum err deny_group(const char *field, struct str group, struct fault *f) {
    return fault_field(f, ERR_GROUP_DENIED, field, "%.*s", (int)(group.n < 100 ? group.n : 100),
                       group.p);
}

static enum err check_groups(struct key_settings *s, const struct key_maker *maker,
                             struct arena *mem, struct fault *f) {
    struct buf list AUTO(buf_free) = BUF(4096);
    struct str rest = s->auto_groups, part;
    size_t n = 0;
    if (s->group.n && !str_eqc(s->group, "auto") && !may_use(maker, s->group))
        return deny_group("group", s->group, f);
    while (rest.n && str_cut(&rest, ',', &part)) {
        part = str_trim(part);
        if (!part.n)
            continue;
        if (++n > KEY_AUTO_GROUPS_MAX)
            return fault_field(f, ERR_FIELD_VALUE, "auto_groups", "auto_groups has more than %d",
                               KEY_AUTO_GROUPS_MAX);
        if (!may_use(maker, part))
            return deny_group("auto_groups", part, f);
        list_add(&list, part);
    }
    if (list.failed)
        return fault_field(f, ERR_FIELD_VALUE, "auto_groups", "auto_groups is too long");
    s->auto_groups = arena_str(mem, buf_view(&list));
    return OK;
}

/* A list is checked only when it is in force: clients send old ones along with enabled=false. */
static enum err check_models(struct key_settings *s, const struct key_maker *maker,
                             struct arena *mem, struct fault *f) {
    struct buf list AUTO(buf_free) = BUF(60000);
    struct str rest = s->model_limits, part;
    size_t n = 0;
    while (rest.n && str_cut(&rest, ',', &part)) {
        part = str_trim(part);
        if (!part.n)
            continue;
        bool prefix = part.p[part.n - 1] == '*';
        if (++n > KEY_MODELS_MAX)
            return fault_field(f, ERR_FIELD_VALUE, "model_limits", "model_limits has more than %d",
                               KEY_MODELS_MAX);
        if (s->model_limits_enabled && !prefix && !catalog_model(maker->catalog, part))
            return fault_field(f, ERR_MODEL_UNKNOWN, "model_limits", "%.*s",
                               (int)(part.n < 200 ? part.n : 200), part.p);
        list_add(&list, part);
    }
    if (list.failed)
        return fault_field(f, ERR_FIELD_VALUE, "model_limits", "model_limits is too long");
    s->model_limits = arena_str(mem, buf_view(&list));
    return OK;
}

/* A credential that may write keys may make ordinary ones; more than that only if it has it. */
static enum err check_scopes(const struct key_settings *s, const struct key_maker *maker,
                             struct fault *f) {
    uint64_t possible = scope_mask(SCOPE_F_KEY) | maker->service_scopes;
    uint64_t own = maker->scopes | scope_mask(SCOPE_F_DEFAULT);
    if (s->unknown_scope.p)
        return fault_field(f, ERR_SCOPE_UNKNOWN, "scopes", "%.*s",
                           (int)(s->unknown_scope.n < 60 ? s->unknown_scope.n : 60),
                           s->unknown_scope.p);
    if (s->scopes & ~possible)
        return fault_field(f, ERR_SCOPE_UNKNOWN, "scopes", "scopes");
    for (int i = 0; i < SCOPE__MAX; i++)
        if (s->scopes & ~own & SCOPE_BIT(i))
            return fault_field(f, ERR_SCOPE_EXCEEDED, "scopes", "%s",
                               i < SCOPE__BUILTIN ? scope_name((enum scope)i) : "service");
    return OK;
}

static enum err check_limit(const char *field, int64_t v, struct fault *f) {
    if (v >= 0 && v <= KEY_LIMIT_MAX)
        return OK;
    return fault_field(f, ERR_FIELD_VALUE, field, "%s must be 0 to %lld", field,
                       (long long)KEY_LIMIT_MAX);
}

static enum err check_budgets(const struct key_settings *s, struct fault *f) {
    for (size_t i = 0; i < s->n_budgets; i++) {
        const struct budget_rule *b = &s->budgets[i];
        if (b->amount < 1 || b->amount > KEY_QUOTA_MAX)
            return fault_field(f, ERR_FIELD_VALUE, "budgets", "budgets: amount must be 1 to %lld",
                               (long long)KEY_QUOTA_MAX);
        if (!zone_get(str_c(b->timezone)))
            return fault_field(f, ERR_FIELD_VALUE, "budgets", "budgets: unknown timezone %s",
                               b->timezone);
        for (size_t j = 0; j < i; j++)
            if (s->budgets[j].window == b->window)
                return fault_field(f, ERR_FIELD_VALUE, "budgets",
                                   "budgets: two for the same window");
    }
    return OK;
}

enum err key_settings_check(struct key_settings *s, const struct key_maker *maker,
                            struct arena *mem, struct fault *f) {
    enum err e = key_name_check(s->name, f);
    if (e == OK)
        e = check_quota(s, f);
    if (e == OK)
        e = check_addresses(s, mem, f);
    if (e == OK)
        e = check_groups(s, maker, mem, f);
    if (e == OK)
        e = check_models(s, maker, mem, f);
    if (e == OK)
        e = check_scopes(s, maker, f);
    if (e == OK)
        e = check_limit("rpm_limit", s->rpm_limit, f);
    if (e == OK)
        e = check_limit("tpm_limit", s->tpm_limit, f);
    if (e == OK)
        e = check_limit("concurrency_limit", s->concurrency_limit, f);
    return e != OK ? e : check_budgets(s, f);
}

enum key_status key_status_of(bool disabled, int64_t expires_at, bool unlimited,
                              int64_t remain_quota, int64_t now_s) {
    if (disabled)
        return KEY_DISABLED;
    if (expires_at >= 0 && now_s >= expires_at)
        return KEY_EXPIRED;
    return unlimited || remain_quota > 0 ? KEY_ENABLED : KEY_EXHAUSTED;
}

enum key_reveal_mode key_site_reveal(const struct catalog *c) {
    struct str mode = catalog_option(c, "key_reveal", STR("endpoint"));
    if (str_eqc(mode, "always"))
        return REVEAL_ALWAYS;
    return str_eqc(mode, "once") ? REVEAL_ONCE : REVEAL_ENDPOINT;
}

struct str key_site_prefix(const struct catalog *c, bool test_mode) {
    struct str absent = test_mode ? STR("sk-test-") : STR("sk-");
    struct str prefix =
        catalog_option(c, test_mode ? "key_prefix_test" : "key_prefix_live", absent);
    return key_prefix_ok(prefix) ? prefix : absent;
}

int64_t key_site_max(const struct catalog *c) {
    return catalog_option_int(c, "max_user_tokens", 1000);
}
