#include "ctl.h"

#include "domain/admin/account.h"
#include "domain/admin/shelf.h"
#include "domain/identity/access_token.h"
#include "domain/identity/key_audit.h"
#include "domain/routing/sync.h"
#include "util/arena.h"
#include "util/clock.h"
#include "util/secret.h"

#include <stdio.h>

static const struct audit_event operator= {
    .actor = STR_INIT("tollgatectl"), .ip = STR_INIT(""), .request_id = STR_INIT("")};

/* --- keys ------------------------------------------------------------------------------------ */

struct making {
    struct ctl *c;
    struct key_new new;
    struct key_settings s;
};

static enum err make(struct db *db, void *ctx) {
    struct making *m = ctx;
    struct audit_event who = operator;
    who.user_id = m->new.user_id;
    enum err e = key_create(db, m->c->keys, &m->new, &m->c->fault);
    return e ? e : key_audit_created(db, &who, m->new.id, &m->s);
}

static enum err site_settings(struct ctl *c, struct making *m, struct arena *mem) {
    struct catalog *catalog AUTO(catalog_unref) = NULL;
    enum err e = catalog_load(c->db, c->keys, &catalog, &c->fault);
    if (e)
        return e;
    struct key_maker maker = {
        .catalog = catalog, .user_group = m->s.group, .scopes = UINT64_MAX, .service_scopes = 0};
    if (m->s.group.n && !str_eq(m->s.group, STR("auto")) && !catalog_group(catalog, m->s.group))
        return fault_set(&c->fault, ERR_ABSENT, "group %.*s", STR_ARG(m->s.group));
    m->new.prefix = arena_str(mem, key_site_prefix(catalog, m->s.test_mode));
    m->new.max_keys = key_site_max(catalog);
    m->new.recoverable = key_site_reveal(catalog) != REVEAL_ONCE;
    return key_settings_check(&m->s, &maker, mem, &c->fault);
}

static enum err open_all(struct ctl *c) {
    enum err e = ctl_db(c);
    return e ? e : ctl_keys(c);
}

static enum err key_add(struct ctl *c, struct making *m, struct str user, struct arena *mem) {
    enum err e = open_all(c);
    if (!e)
        e = account_find(c->db, user, &m->new.user_id, &c->fault);
    if (!e)
        e = site_settings(c, m, mem);
    m->new.s = &m->s;
    if (!e)
        e = db_transaction(c->db, false, make, m);
    if (!e)
        ctl_done(c, m->new.text, cell_i("id", m->new.id), cell_s("key", str_c(m->new.text)));
    secret_wipe(m->new.text, sizeof m->new.text);
    return e;
}

CTL_HANDLER(ctl_key_add) {
    struct making m = {.c = c, .s = {.expires_at = KEY_NEVER}};
    struct str user;
    int64_t usd = 0, days = 0;
    bool by_usd = false, by_quota = false;
    const struct ctl_option options[] = {
        {"user", CTL_STR, &user, true, NULL},
        {"name", CTL_STR, &m.s.name, true, NULL},
        {"test", CTL_FLAG, &m.s.test_mode, false, NULL},
        {"unlimited", CTL_FLAG, &m.s.unlimited_quota, false, NULL},
        {"quota", CTL_INT, &m.s.remain_quota, false, &by_quota},
        {"usd", CTL_DECIMAL, &usd, false, &by_usd},
        {"group", CTL_STR, &m.s.group, false, NULL},
        {"models", CTL_STR, &m.s.model_limits, false, &m.s.model_limits_enabled},
        {"allow-ips", CTL_STR, &m.s.allow_ips, false, NULL},
        {"days", CTL_INT, &days, false, NULL},
    };
    struct arena mem AUTO(arena_free);
    arena_init(&mem, 4096);
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 0, 0);
    if (e)
        return e;
    if (by_usd + by_quota + m.s.unlimited_quota != 1)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "one of --quota, --usd and --unlimited");
    if (by_usd && !quota_from_usd(usd, &m.s.remain_quota))
        return fault_set(&c->fault, ERR_FIELD_VALUE, "--usd is no whole number of quota units");
    if (days < 0 || days > 36500)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "--days is from 1 to 36500");
    if (days)
        m.s.expires_at = clock_unix_s() + days * 86400;
    return key_add(c, &m, user, &mem);
}

static void show(struct ctl *c, const struct key_view *k) {
    enum key_status s = key_status_of(k->disabled, k->s.expires_at, k->s.unlimited_quota,
                                      k->s.remain_quota, clock_unix_s());
    static const char *const names[] = {"", "enabled", "disabled", "expired", "exhausted"};
    ctl_row(c, cell_i("id", k->id), cell_s("name", k->s.name), cell_s("status", str_c(names[s])),
            cell_s("hint", k->n_secrets ? k->secrets[0].hint : STR("")),
            cell_s("mode", k->s.test_mode ? STR("test") : STR("live")),
            cell_i("remain_quota", k->s.remain_quota), cell_i("used_quota", k->used_quota),
            cell_b("unlimited", k->s.unlimited_quota), cell_i("created_time", k->created_at));
}

CTL_HANDLER(ctl_key_list) {
    struct arena mem AUTO(arena_free);
    struct str user;
    const struct ctl_option options[] = {{"user", CTL_STR, &user, true, NULL}};
    int64_t id;
    arena_init(&mem, 65536);
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 0, 0);
    if (!e)
        e = open_all(c);
    if (!e)
        e = account_find(c->db, user, &id, &c->fault);
    ctl_list(c);
    for (int64_t at = 0; !e; at += 100) {
        struct key_list page;
        e = key_page(c->db, id, at, 100, &mem, &page);
        for (size_t i = 0; !e && i < page.n; i++)
            show(c, &page.items[i]);
        if (!e && page.n < 100)
            break;
    }
    return e;
}

struct revoking {
    struct ctl *c;
    int64_t user_id, id;
    struct change change;
};

static enum err revoke(struct db *db, void *ctx) {
    struct revoking *r = ctx;
    struct audit_event who = operator;
    who.user_id = r->user_id;
    enum err e = key_delete(db, r->user_id, r->id);
    if (!e)
        e = key_audit(db, &who, r->id, "delete", STR(""));
    r->change = (struct change){.kind = HOST_GEN_KEY, .entity_id = r->id};
    return e ? e : change_note(db, &r->change);
}

CTL_HANDLER(ctl_key_revoke) {
    struct revoking r = {.c = c};
    struct str user;
    const struct ctl_option options[] = {{"user", CTL_STR, &user, true, NULL}};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 1, 1);
    if (!e && !str_i64(str_c(a->v[0]), &r.id))
        e = fault_set(&c->fault, ERR_FIELD_VALUE, "KEY is the number of a key");
    if (!e)
        e = ctl_db(c);
    if (!e)
        e = account_find(c->db, user, &r.user_id, &c->fault);
    if (!e)
        e = db_transaction(c->db, false, revoke, &r);
    if (e)
        return e == ERR_RECORD_NOT_FOUND ? fault_set(&c->fault, ERR_ABSENT, "key %s", a->v[0]) : e;
    struct host *host = ctl_host(c);
    if (host)
        change_apply(host, &r.change);
    ctl_done(c, "the key was revoked", cell_i("id", r.id));
    return OK;
}

/* --- access tokens ---------------------------------------------------------------------------- */

CTL_HANDLER(ctl_access_token_add) {
    struct access_token_new t = {.expires_at = -1};
    struct str user;
    int64_t days = 0, id;
    char text[KEY_TEXT_CAP];
    const struct ctl_option options[] = {{"user", CTL_STR, &user, true, NULL},
                                         {"name", CTL_STR, &t.name, true, NULL},
                                         {"days", CTL_INT, &days, false, NULL}};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 0, 0);
    if (!e && (days < 0 || days > 36500))
        e = fault_set(&c->fault, ERR_FIELD_VALUE, "--days is from 1 to 36500");
    if (!e)
        e = open_all(c);
    if (!e)
        e = account_find(c->db, user, &t.user_id, &c->fault);
    if (days)
        t.expires_at = clock_unix_s() + days * 86400;
    if (!e)
        e = access_token_add(c->db, c->keys, &t, &id, text);
    if (!e)
        ctl_done(c, text, cell_i("id", id), cell_s("token", str_c(text)));
    secret_wipe(text, sizeof text);
    return e;
}
