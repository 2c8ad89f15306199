#include "ctl.h"

#include "domain/admin/shelf.h"
#include "door/queries.h"

#include <stdio.h>

static enum err add(struct ctl *c, struct channel_new *n, bool with_keys) {
    struct buf keys AUTO(ctl_wipe) = BUF((size_t)2 << 20);
    enum err e = with_keys ? ctl_stdin(c, &keys) : OK;
    if (!e)
        e = ctl_keys(c);
    if (!e)
        e = ctl_db(c);
    if (e)
        return e;
    n->keys = buf_view(&keys);
    if (with_keys && !str_trim(n->keys).n)
        return fault_set(&c->fault, ERR_FIELD_VALUE, "standard input has no provider key");
    e = channel_add(c->db, ctl_host(c), c->keys, n, &c->fault);
    if (e)
        return e;
    ctl_done(c, "the channel was added", cell_i("id", n->id), cell_s("name", n->name));
    return OK;
}

CTL_HANDLER(ctl_channel_add) {
    struct channel_new n = {.groups = STR("default"), .weight = 1};
    struct str type;
    bool with_keys = false;
    const struct ctl_option options[] = {{"name", CTL_STR, &n.name, true, NULL},
                                         {"type", CTL_STR, &type, true, NULL},
                                         {"base-url", CTL_STR, &n.base_url, false, NULL},
                                         {"models", CTL_STR, &n.models, true, NULL},
                                         {"groups", CTL_STR, &n.groups, false, NULL},
                                         {"mapping", CTL_STR, &n.mapping, false, NULL},
                                         {"priority", CTL_INT, &n.priority, false, NULL},
                                         {"weight", CTL_INT, &n.weight, false, NULL},
                                         {"private", CTL_FLAG, &n.private_ok, false, NULL},
                                         {"key-stdin", CTL_FLAG, &with_keys, false, NULL}};
    enum err e = ctl_options(c, a, options, ARRAY_LEN(options), 0, 0);
    if (e)
        return e;
    if (!channel_type_parse(type, &n.type))
        return fault_set(&c->fault, ERR_FIELD_VALUE,
                         "--type is openai, anthropic, gemini or sandbox");
    return add(c, &n, with_keys);
}

/* JSON for programs, commas for people. */
static struct ctl_cell names(const struct ctl *c, const char *name, struct str json,
                             struct buf *plain) {
    if (c->json)
        return cell_json(name, json.p ? json : STR("[]"));
    for (size_t i = 0; i < json.n; i++)
        if (!strchr("[]\"", json.p[i]))
            buf_putc(plain, json.p[i]);
    return cell_s(name, buf_view(plain));
}

static enum err on_channel(void *ctx, const struct q_channel_rows *r) {
    struct ctl *c = ctx;
    struct buf models AUTO(buf_free) = BUF((size_t)1 << 24);
    struct buf groups AUTO(buf_free) = BUF((size_t)1 << 24);
    ctl_row(c, cell_i("id", r->id), cell_s("name", r->name),
            cell_s("type", str_c(channel_type_name(r->type))), cell_b("enabled", r->enabled),
            cell_i("priority", r->priority), cell_i("weight", r->weight), cell_i("keys", r->keys_n),
            cell_s("base_url", r->base_url), names(c, "groups", r->group_names, &groups),
            names(c, "models", r->models, &models));
    return OK;
}

CTL_HANDLER(ctl_channel_list) {
    enum err e = ctl_plain(c, a);
    ctl_list(c);
    return e ? e : q_channel_rows(c->db, on_channel, c);
}

static enum err find(struct ctl *c, struct ctl_args *a, int64_t *id) {
    enum err e = ctl_options(c, a, NULL, 0, 1, 1);
    if (!e)
        e = ctl_db(c);
    return e ? e : channel_find(c->db, str_c(a->v[0]), id, &c->fault);
}

static enum err answer(struct ctl *c, int64_t id, const char *what) {
    char said[64];
    snprintf(said, sizeof said, "channel %lld %s", (long long)id, what);
    ctl_done(c, said, cell_i("id", id));
    return OK;
}

static enum err set_enabled(struct ctl *c, struct ctl_args *a, bool enabled) {
    int64_t id;
    enum err e = find(c, a, &id);
    if (!e)
        e = channel_set_enabled(c->db, ctl_host(c), id, enabled);
    return e ? e : answer(c, id, enabled ? "is enabled" : "is disabled");
}

CTL_HANDLER(ctl_channel_enable) {
    return set_enabled(c, a, true);
}

CTL_HANDLER(ctl_channel_disable) {
    return set_enabled(c, a, false);
}

CTL_HANDLER(ctl_channel_delete) {
    int64_t id;
    enum err e = find(c, a, &id);
    if (!e)
        e = channel_delete(c->db, ctl_host(c), id);
    return e ? e : answer(c, id, "was deleted");
}
