#include "ctl.h"

#include "domain/admin/account.h"
#include "domain/admin/shelf.h"
#include "door/queries.h"

#include <stdio.h>

static enum err add(struct ctl *c, struct account_new *n) {
    struct buf password AUTO(ctl_wipe) = {0};
    enum err e = ctl_secret_line(c, "password", &password);
    if (!e)
        e = ctl_db(c);
    if (e)
        return e;
    n->password = buf_view(&password);
    e = account_add(c->db, ctl_host(c), n, &c->fault);
    if (e)
        return e;
    char said[64];
    snprintf(said, sizeof said, "account %lld was made", (long long)n->id);
    ctl_done(c, said, cell_i("id", n->id), cell_s("email", n->email),
             cell_s("username", n->username), cell_i("quota", n->balance));
    return OK;
}

CTL_HANDLER(ctl_user_add) {
    struct account_new n = {.group = STR("default")};
    struct str role = STR("user");
    int64_t usd;
    bool by_quota = false, by_usd = false;
    const struct ctl_option options[] = {{"email", CTL_STR, &n.email, true, NULL},
                                         {"username", CTL_STR, &n.username, false, NULL},
                                         {"role", CTL_STR, &role, false, NULL},
                                         {"group", CTL_STR, &n.group, false, NULL},
                                         {"quota", CTL_INT, &n.balance, false, &by_quota},
                                         {"usd", CTL_DECIMAL, &usd, false, &by_usd}};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 0, 0);
    if (e)
        return e;
    if (by_quota && by_usd)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "--quota and --usd exclude each other");
    if (by_usd && !quota_from_usd(usd, &n.balance))
        return fault_set(&c->fault, ERR_FIELD_VALUE,
                         "--usd is no whole number of quota units (0.000002 USD)");
    if (!account_role_parse(role, &n.role))
        return fault_set(&c->fault, ERR_FIELD_VALUE, "--role is user, admin or root");
    return add(c, &n);
}

static enum err on_user(void *ctx, const struct q_user_rows *r) {
    ctl_row(ctx, cell_i("id", r->id), cell_s("email", r->email), cell_s("username", r->username),
            cell_s("role", str_c(account_role_name(r->role))),
            cell_b("enabled", r->status == ACCOUNT_ENABLED), cell_s("group", r->user_group),
            cell_i("quota", r->granted - r->used), cell_i("used_quota", r->used),
            cell_i("keys", r->live_keys), cell_i("rpm", r->rpm_limit), cell_i("tpm", r->tpm_limit),
            cell_i("concurrency", r->concurrency_limit), cell_s("budget", r->budgets),
            cell_i("created_time", r->created_at));
    return OK;
}

CTL_HANDLER(ctl_user_list) {
    enum err e = ctl_plain(c, a);
    ctl_list(c);
    return e ? e : q_user_rows(c->db, on_user, c);
}

static enum err find(struct ctl *c, struct ctl_args *a, int64_t *id) {
    enum err e = ctl_options(c, a, NULL, 0, 1, 1);
    if (!e)
        e = ctl_db(c);
    return e ? e : account_find(c->db, str_c(a->v[0]), id, &c->fault);
}

static enum err answer(struct ctl *c, int64_t id, const char *what) {
    char said[64];
    snprintf(said, sizeof said, "account %lld %s", (long long)id, what);
    ctl_done(c, said, cell_i("id", id));
    return OK;
}

CTL_HANDLER(ctl_user_passwd) {
    struct buf password AUTO(ctl_wipe) = {0};
    int64_t id;
    enum err e = find(c, a, &id);
    if (!e)
        e = ctl_secret_line(c, "new password", &password);
    if (!e)
        e = account_set_password(c->db, ctl_host(c), id, buf_view(&password), &c->fault);
    return e ? e : answer(c, id, "has a new password");
}

static enum err set_status(struct ctl *c, struct ctl_args *a, enum account_status status,
                           const char *what) {
    int64_t id;
    enum err e = find(c, a, &id);
    if (!e)
        e = account_set_status(c->db, ctl_host(c), id, status);
    return e ? e : answer(c, id, what);
}

CTL_HANDLER(ctl_user_enable) {
    return set_status(c, a, ACCOUNT_ENABLED, "is enabled");
}

CTL_HANDLER(ctl_user_disable) {
    return set_status(c, a, ACCOUNT_DISABLED, "is disabled");
}

CTL_HANDLER(ctl_user_limits) {
    struct account_limits l = {0};
    struct str budgets = STR("");
    int64_t id;
    const struct ctl_option options[] = {
        {"rpm", CTL_INT, &l.rpm, false, &l.has.rpm},
        {"tpm", CTL_INT, &l.tpm, false, &l.has.tpm},
        {"concurrency", CTL_INT, &l.concurrency, false, &l.has.concurrency},
        {"budget", CTL_STR, &budgets, false, NULL}};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 1, 1);
    if (!e)
        e = budget_parse(budgets, &l.budgets, &c->fault);
    if (!e)
        e = ctl_db(c);
    if (!e)
        e = account_find(c->db, str_c(a->v[0]), &id, &c->fault);
    if (!e)
        e = account_set_limits(c->db, ctl_host(c), id, &l, &c->fault);
    return e ? e : answer(c, id, "has these limits");
}
