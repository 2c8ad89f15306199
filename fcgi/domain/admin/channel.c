#include "domain/admin/shelf.h"
#include "domain/admin/write.h"
#include "door/crypt.h"
#include "door/queries.h"
#include "util/clock.h"

#define KEY_MAX 4096 /* a provider's key */

static const int64_t whole = 0; /* the catalogue is one entity */

static const struct {
    const char *name, *base_url;
} types[] = {
    [CHANNEL_OPENAI] = {"openai", "https://api.openai.com"},
    [CHANNEL_ANTHROPIC] = {"anthropic", "https://api.anthropic.com"},
    [CHANNEL_GEMINI] = {"gemini", "https://generativelanguage.googleapis.com"},
    [CHANNEL_SANDBOX] = {"sandbox", ""},
};
static_assert(ARRAY_LEN(types) == CHANNEL__MAX, "a type of channel has no row");

bool channel_type_parse(struct str name, enum channel_type *type) {
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eqc(name, types[i].name)) {
            *type = (enum channel_type)i;
            return true;
        }
    return false;
}

const char *channel_type_name(int64_t type) {
    return type >= 0 && type < (int64_t)ARRAY_LEN(types) ? types[type].name : "unknown";
}

static bool url_ok(struct str url) {
    size_t scheme = str_istarts(url, STR("https://"))  ? 8
                    : str_istarts(url, STR("http://")) ? 7
                                                       : 0;
    for (size_t i = 0; i < url.n; i++)
        if (url.p[i] <= ' ' || url.p[i] > '~' || strchr("?#\\@", url.p[i]))
            return false;
    return scheme && url.n > scheme && url.p[scheme] != '/' && url.n <= 512;
}

static enum err check(struct channel_new *c, struct fault *f) {
    if (!c->name.n || c->name.n > 128 || !str_utf8_ok(c->name))
        return fault_field(f, ERR_FIELD_VALUE, "name", "a channel's name has 1 to 128 bytes");
    if (c->type == CHANNEL_SANDBOX ? c->base_url.n > 0 || c->keys.n > 0 : !url_ok(c->base_url))
        return fault_field(
            f, ERR_FIELD_VALUE, "base_url", "%s",
            c->type == CHANNEL_SANDBOX
                ? "a sandbox channel has no base URL and no keys"
                : "a base URL is http(s)://host[:port][/path], without user, query or fragment");
    if (!str_trim(c->models).n)
        return fault_field(f, ERR_FIELD_VALUE, "models", "a channel serves at least one model");
    if (!str_trim(c->groups).n)
        return fault_field(f, ERR_FIELD_VALUE, "groups", "a channel is in at least one group");
    if (c->weight < 0 || c->weight > UINT32_MAX)
        return fault_field(f, ERR_FIELD_VALUE, "weight", "a weight is 0 to 4294967295");
    return OK;
}

struct adding {
    struct channel_new *c;
    const struct keyring *keyring;
    struct fault *f;
};

static bool name_ok(struct str name) {
    return name.n > 0 && name.n <= 160 && str_utf8_ok(name);
}

static enum err add_models(struct db *db, const struct channel_new *c, struct fault *f) {
    struct str rest = c->models, item;
    while (str_cut(&rest, ',', &item)) {
        item = str_trim(item);
        if (!name_ok(item))
            return fault_field(f, ERR_FIELD_VALUE, "models", "a model's name has 1 to 160 bytes");
        enum err e =
            q_channel_model_insert(db, &(struct q_channel_model_insert_in){c->id, item}, NULL);
        if (e == ERR_DB_DUPLICATE)
            return fault_field(f, ERR_FIELD_VALUE, "models", "'%.*s' is there twice",
                               STR_ARG(item));
        if (e)
            return e;
    }
    return OK;
}

static enum err add_groups(struct db *db, const struct channel_new *c, struct fault *f) {
    struct str rest = c->groups, item;
    while (str_cut(&rest, ',', &item)) {
        struct q_group_by_name row;
        item = str_trim(item);
        enum err e = q_group_by_name(db, &(struct q_group_by_name_in){item}, &row);
        if (e == ERR_DB_NO_ROW)
            return fault_set(f, ERR_ABSENT, "group '%.*s'", STR_ARG(item));
        if (!e)
            e = q_channel_group_insert(db, &(struct q_channel_group_insert_in){c->id, row.id},
                                       NULL);
        if (e == ERR_DB_DUPLICATE)
            return fault_field(f, ERR_FIELD_VALUE, "groups", "'%.*s' is there twice",
                               STR_ARG(item));
        if (e)
            return e;
    }
    return OK;
}

static enum err add_mapping(struct db *db, const struct channel_new *c, struct fault *f) {
    struct str rest = c->mapping, item;
    while (c->mapping.n && str_cut(&rest, ',', &item)) {
        struct str to = item, from;
        if (!str_cut(&to, '=', &from) || !to.p || !name_ok(from = str_trim(from)) ||
            !name_ok(to = str_trim(to)))
            return fault_field(f, ERR_FIELD_VALUE, "mapping", "a mapping is from=to");
        enum err e = q_channel_mapping_insert(
            db, &(struct q_channel_mapping_insert_in){c->id, from, to}, NULL);
        if (e == ERR_DB_DUPLICATE)
            return fault_field(f, ERR_FIELD_VALUE, "mapping", "'%.*s' is there twice",
                               STR_ARG(from));
        if (e)
            return e;
    }
    return OK;
}

static bool key_ok(struct str key) {
    for (size_t i = 0; i < key.n; i++)
        if (key.p[i] <= ' ' || key.p[i] > '~')
            return false;
    return key.n <= KEY_MAX;
}

static enum err add_keys(struct db *db, const struct channel_new *c, const struct keyring *ring,
                         struct fault *f) {
    struct str rest = c->keys, line;
    while (c->keys.n && str_cut(&rest, '\n', &line)) {
        line = str_trim(line);
        if (!line.n)
            continue;
        if (!key_ok(line))
            return fault_field(f, ERR_FIELD_VALUE, "key",
                               "a provider key is printable ASCII without blanks");
        struct buf sealed AUTO(buf_free) = BUF(KEY_MAX + CRYPT_SEAL_OVERHEAD);
        crypt_seal(ring, "channel_key", line, &sealed);
        enum err e = q_channel_key_insert(
            db, &(struct q_channel_key_insert_in){c->id, buf_view(&sealed)}, NULL);
        if (e)
            return e;
    }
    return OK;
}

static enum err add(struct db *db, void *ctx) {
    struct adding *w = ctx;
    struct channel_new *c = w->c;
    struct db_done done;
    struct q_channel_insert_in in = {.name = c->name,
                                     .type = (int64_t)c->type,
                                     .base_url = c->base_url,
                                     .priority = c->priority,
                                     .weight = c->weight,
                                     .private_ok = c->private_ok,
                                     .created_s = clock_unix_s()};
    enum err e = q_channel_insert(db, &in, &done);
    if (e == ERR_DB_DUPLICATE)
        return fault_set(w->f, ERR_EXISTS, "Channel '%.*s'", STR_ARG(c->name));
    if (e)
        return e;
    c->id = done.insert_id;
    e = add_models(db, c, w->f);
    if (!e)
        e = add_groups(db, c, w->f);
    if (!e)
        e = add_mapping(db, c, w->f);
    return e ? e : add_keys(db, c, w->keyring, w->f);
}

enum err channel_add(struct db *db, struct host *host, const struct keyring *keyring,
                     struct channel_new *c, struct fault *f) {
    struct adding w = {c, keyring, f};
    if (!c->base_url.n)
        c->base_url = str_c(types[c->type].base_url);
    while (str_ends(c->base_url, STR("/")))
        c->base_url.n--;
    enum err e = check(c, f);
    return e ? e : admin_write(db, host, HOST_GEN_CATALOG, &whole, add, &w);
}

enum err channel_find(struct db *db, struct str which, int64_t *id, struct fault *f) {
    struct q_channel_by_name row;
    int64_t number;
    if (!str_i64(which, &number))
        number = 0;
    enum err e = q_channel_by_name(db, &(struct q_channel_by_name_in){number, which}, &row);
    if (e == ERR_DB_NO_ROW)
        return fault_set(f, ERR_ABSENT, "channel '%.*s'", STR_ARG(which));
    if (!e)
        *id = row.id;
    return e;
}

static enum err set_enabled(struct db *db, void *ctx) {
    return q_channel_set_enabled(db, ctx, NULL);
}

enum err channel_set_enabled(struct db *db, struct host *host, int64_t id, bool enabled) {
    struct q_channel_set_enabled_in in = {enabled, id};
    return admin_write(db, host, HOST_GEN_CATALOG, &whole, set_enabled, &in);
}

static enum err erase(struct db *db, void *ctx) {
    return q_channel_delete(db, ctx, NULL);
}

enum err channel_delete(struct db *db, struct host *host, int64_t id) {
    struct q_channel_delete_in in = {id};
    return admin_write(db, host, HOST_GEN_CATALOG, &whole, erase, &in);
}
