#include "domain/service/store.h"

#include "domain/admin/write.h"
#include "domain/identity/scope.h"
#include "door/crypt.h"
#include "door/queries.h"
#include "util/clock.h"

#define SECRET_MAX 4096

static const int64_t whole = 0; /* services follow the catalogue's generation */

static bool name_ok(struct str s, size_t max) {
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') ||
              s.p[i] == '-' || s.p[i] == '_' || s.p[i] == '.'))
            return false;
    return s.n > 0 && s.n <= max;
}

static bool url_ok(struct str url) {
    bool http = str_starts(url, STR("https://")) || str_starts(url, STR("http://"));
    for (size_t i = 0; i < url.n; i++)
        if (url.p[i] <= ' ' || url.p[i] > '~' || strchr("?#\\@", url.p[i]))
            return false;
    return http && url.n <= 512;
}

static bool header_ok(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
              (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '-'))
            return false;
    return s.n > 0 && s.n <= 64;
}

static bool secret_ok(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~')
            return false;
    return s.n <= SECRET_MAX;
}

/* Paths of the gateway itself are never a service's. */
static bool prefix_ok(struct str s) {
    static const char *const taken[] = {"/v1",      "/v1beta",  "/api",   "/dashboard",
                                        "/metrics", "/healthz", "/readyz"};
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("?#\\\"%*:", s.p[i]))
            return false;
    if (s.n < 2 || s.n > 128 || s.p[0] != '/' || s.p[s.n - 1] == '/' ||
        str_find_str(s, STR("/.")) >= 0 || str_find_str(s, STR("//")) >= 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
        struct str t = str_c(taken[i]);
        if (str_starts(s, t) && (s.n == t.n || s.p[t.n] == '/'))
            return false;
    }
    return true;
}

static enum err check(const struct service_new *s, struct fault *f) {
    if (!name_ok(s->name, 64))
        return fault_field(f, ERR_FIELD_VALUE, "name", "a name is a-z, 0-9, '-', '_', '.'");
    if (!prefix_ok(s->prefix))
        return fault_field(f, ERR_FIELD_VALUE, "prefix",
                           "a prefix is a path like /tasks that the gateway does not use itself");
    if (!url_ok(s->base_url) || (s->test_base_url.n && !url_ok(s->test_base_url)))
        return fault_field(f, ERR_FIELD_VALUE, "base_url", "a base URL is http(s)://host[/path]");
    if (!header_ok(s->header))
        return fault_field(f, ERR_FIELD_VALUE, "header", "it is no header's name");
    if (!secret_ok(s->secret))
        return fault_field(f, ERR_FIELD_VALUE, "key", "the header's value is printable ASCII");
    if (s->call_quota < 0 || s->call_quota > INT64_C(500000000000))
        return fault_field(f, ERR_FIELD_VALUE, "price", "the price is out of range");
    return OK;
}

struct adding {
    struct service_new *s;
    const struct keyring *keys;
    struct fault *f;
};

/* Also for what is free: limits hold and usage is written for it too. */
static enum err add_price(struct db *db, int64_t call_quota, int64_t *id) {
    struct db_done done;
    struct q_price_insert_in in = {
        .per_call = true, .call_quota = call_quota, .created_s = clock_unix_s()};
    enum err e = q_price_insert(db, &in, &done);
    *id = e == OK ? done.insert_id : 0;
    return e;
}

static enum err add(struct db *db, void *ctx) {
    struct adding *a = ctx;
    struct service_new *s = a->s;
    struct buf sealed AUTO(buf_free) = BUF(SECRET_MAX + CRYPT_SEAL_OVERHEAD);
    int64_t price = 0;
    struct db_done done;
    if (s->secret.n)
        crypt_seal(a->keys, "service_key", s->secret, &sealed);
    enum err e = add_price(db, s->call_quota, &price);
    if (e == OK)
        e = q_service_insert(db,
                             &(struct q_service_insert_in){
                                 .name = s->name,
                                 .prefix = s->prefix,
                                 .base_url = s->base_url,
                                 .test_base_url = s->test_base_url,
                                 .header = s->header,
                                 .sealed = s->secret.n ? buf_view(&sealed) : STR_NONE,
                                 .price_id = price,
                             },
                             &done);
    if (e == ERR_DB_DUPLICATE)
        return fault_set(a->f, ERR_EXISTS, "Service '%.*s' or its prefix", STR_ARG(s->name));
    s->id = e == OK ? done.insert_id : 0;
    return e;
}

enum err service_add(struct db *db, struct host *host, const struct keyring *keys,
                     struct service_new *s, struct fault *f) {
    struct adding a = {s, keys, f};
    enum err e = check(s, f);
    return e != OK ? e : admin_write(db, host, HOST_GEN_CATALOG, &whole, add, &a);
}

struct naming {
    struct str service, name, rules;
    struct fault *f;
};

static enum err find(struct db *db, const struct naming *n, int64_t *id) {
    struct q_service_by_name row;
    *id = 0;
    enum err e = q_service_by_name(db, &(struct q_service_by_name_in){n->service}, &row);
    if (e == ERR_DB_NO_ROW)
        return fault_set(n->f, ERR_ABSENT, "service '%.*s'", STR_ARG(n->service));
    if (e == OK)
        *id = row.id;
    return e;
}

static enum err remove_all(struct db *db, void *ctx) {
    int64_t id;
    enum err e = find(db, ctx, &id);
    if (e == OK)
        e = q_service_scopes_delete(db, &(struct q_service_scopes_delete_in){id}, NULL);
    return e != OK ? e : q_service_delete(db, &(struct q_service_delete_in){id}, NULL);
}

enum err service_remove(struct db *db, struct host *host, struct str name, struct fault *f) {
    struct naming n = {.service = name, .f = f};
    return admin_write(db, host, HOST_GEN_CATALOG, &whole, remove_all, &n);
}

/* Names stand in JSON lists and on command lines: "Task Poster (read-only)", "tasks:write". */
static bool scope_name_ok(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~' || strchr("\"\\,", s.p[i]))
            return false;
    return s.n > 0 && s.n <= 64 && s.p[0] != ' ' && s.p[s.n - 1] != ' ' && !scope_find(s);
}

struct scoping {
    struct naming n;
    struct str read_name;
};

static enum err new_scope(struct db *db, const struct scoping *w, int64_t id) {
    struct q_service_scope_last last;
    enum err e = q_service_scope_last(db, &last);
    if (e == OK && last.bit + 3 >= SCOPE__MAX)
        return fault_field(w->n.f, ERR_FIELD_VALUE, "name", "there are no more scopes to give");
    struct q_service_scope_insert_in in = {.bit = last.bit + 2,
                                           .service_id = id,
                                           .name = w->n.name,
                                           .read_name = w->read_name,
                                           .rules = w->n.rules};
    return e != OK ? e : q_service_scope_insert(db, &in, NULL);
}

static enum err set_scope(struct db *db, void *ctx) {
    const struct scoping *w = ctx;
    const struct naming *n = &w->n;
    struct q_service_scope_owner owner;
    int64_t id;
    enum err e = find(db, n, &id);
    if (e != OK)
        return e;
    e = q_service_scope_owner(
        db, &(struct q_service_scope_owner_in){n->name, n->name, w->read_name, w->read_name},
        &owner);
    if (e == ERR_DB_NO_ROW)
        return new_scope(db, w, id);
    if (e == OK && (owner.service_id != id || !str_eq(owner.name, n->name)))
        return fault_set(n->f, ERR_EXISTS, "Scope '%.*s'", STR_ARG(n->name));
    return e != OK ? e
                   : q_service_scope_update(
                         db, &(struct q_service_scope_update_in){n->rules, id, n->name}, NULL);
}

enum err service_scope_set(struct db *db, struct host *host, const struct service_scope_edit *s,
                           struct fault *f) {
    struct service_rule parsed[SERVICE_RULES_MAX];
    struct buf read AUTO(buf_free) = BUF(128);
    size_t count;
    buf_str(&read, s->read_name.n ? s->read_name : s->name);
    buf_puts(&read, s->read_name.n ? "" : ":read");
    struct scoping w = {{s->service, s->name, s->rules, f}, buf_view(&read)};
    if (!scope_name_ok(s->name) || !scope_name_ok(w.read_name) || str_eq(s->name, w.read_name))
        return fault_field(f, ERR_FIELD_VALUE, "name",
                           "a scope's name has 1 to 64 printable ASCII characters without \",\\");
    if (!service_rules_parse(s->rules, parsed, &count))
        return fault_field(
            f, ERR_FIELD_VALUE, "allow",
            "a rule is METHOD /path, where :x is any part and * at the end the rest");
    return admin_write(db, host, HOST_GEN_CATALOG, &whole, set_scope, &w);
}
