#include "ctl.h"

#include "domain/admin/shelf.h"
#include "domain/service/store.h"
#include "door/queries.h"
#include "util/secret.h"

#include <stdio.h>

CTL_HANDLER(ctl_service_add) {
    struct service_new s = {.header = STR("Authorization"), .test_base_url = STR("")};
    struct buf secret AUTO(ctl_wipe) = {0};
    int64_t usd = 0;
    bool key_stdin = false;
    const struct ctl_option options[] = {
        {"name", CTL_STR, &s.name, true, NULL},
        {"prefix", CTL_STR, &s.prefix, true, NULL},
        {"base-url", CTL_STR, &s.base_url, true, NULL},
        {"test-base-url", CTL_STR, &s.test_base_url, false, NULL},
        {"header", CTL_STR, &s.header, false, NULL},
        {"per-call-usd", CTL_DECIMAL, &usd, false, NULL},
        {"key-stdin", CTL_FLAG, &key_stdin, false, NULL},
    };
    char said[64];
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 0, 0);
    if (!e && !quota_from_usd(usd, &s.call_quota))
        e = fault_set(&c->fault, ERR_FIELD_VALUE, "--per-call-usd is no whole number of quota");
    if (!e && key_stdin)
        e = ctl_secret_line(c, "value of the header", &secret);
    if (!e)
        e = ctl_db(c);
    if (!e)
        e = ctl_keys(c);
    s.secret = buf_view(&secret);
    if (!e)
        e = service_add(c->db, ctl_host(c), c->keys, &s, &c->fault);
    if (e)
        return e;
    snprintf(said, sizeof said, "service %lld was made", (long long)s.id);
    ctl_done(c, said, cell_i("id", s.id), cell_s("name", s.name), cell_s("prefix", s.prefix));
    return OK;
}

/* "GET /tasks/:id, POST /tasks" -> a line each. */
static void put_rules(struct buf *out, struct str list) {
    struct str rule;
    while (list.n && str_cut(&list, ',', &rule)) {
        buf_str(out, str_trim(rule));
        buf_putc(out, '\n');
    }
}

CTL_HANDLER(ctl_service_scope) {
    struct service_scope_edit s = {.read_name = STR("")};
    struct str allow;
    struct buf rules AUTO(buf_free) = BUF(60000);
    const struct ctl_option options[] = {{"service", CTL_STR, &s.service, true, NULL},
                                         {"name", CTL_STR, &s.name, true, NULL},
                                         {"read-only-name", CTL_STR, &s.read_name, false, NULL},
                                         {"allow", CTL_STR, &allow, true, NULL}};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 0, 0);
    if (e)
        return e;
    put_rules(&rules, allow);
    s.rules = buf_view(&rules);
    e = ctl_db(c);
    if (!e)
        e = service_scope_set(c->db, ctl_host(c), &s, &c->fault);
    if (!e)
        ctl_done(c, "the scope is in force", cell_s("service", s.service), cell_s("scope", s.name));
    return e;
}

CTL_HANDLER(ctl_service_delete) {
    enum err e = ctl_options(c, a, NULL, 0, 1, 1);
    if (!e)
        e = ctl_db(c);
    if (!e)
        e = service_remove(c->db, ctl_host(c), str_c(a->v[0]), &c->fault);
    if (!e)
        ctl_done(c, "the service was deleted", cell_s("name", str_c(a->v[0])));
    return e;
}

static enum err on_service(void *ctx, const struct q_service_list *r) {
    ctl_row(ctx, cell_i("id", r->id), cell_s("name", r->name), cell_s("prefix", r->prefix),
            cell_s("base_url", r->base_url), cell_s("test_base_url", r->test_base_url),
            cell_s("header", r->has_secret ? r->header : STR("")),
            cell_i("call_quota", r->call_quota),
            cell_json("scopes", r->scopes.p ? r->scopes : STR("[]")));
    return OK;
}

CTL_HANDLER(ctl_service_list) {
    enum err e = ctl_plain(c, a);
    ctl_list(c);
    return e ? e : q_service_list(c->db, on_service, c);
}
