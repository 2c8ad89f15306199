#include "domain/admin/shelf.h"
#include "domain/admin/write.h"
#include "door/queries.h"
#include "util/clock.h"

struct saving {
    struct model_edit *m;
    struct fault *f;
};

static enum err check(const struct model_edit *m, struct fault *f) {
    if (!m->name.n || m->name.n > 160 || !str_utf8_ok(m->name) || str_find(m->name, ',') >= 0)
        return fault_field(f, ERR_FIELD_VALUE, "name",
                           "a model's name has 1 to 160 bytes and no comma");
    if (m->display_name.n > 255 || m->owned_by.n > 64 || !str_utf8_ok(m->display_name) ||
        !str_utf8_ok(m->owned_by))
        return fault_field(f, ERR_FIELD_VALUE, "display_name", "a text is too long");
    if (m->has.default_max_tokens &&
        (m->default_max_tokens < 1 || m->default_max_tokens > 10000000))
        return fault_field(f, ERR_FIELD_VALUE, "default_max_tokens", "it is 1 to 10000000");
    return OK;
}

static enum err add_price(struct db *db, struct model_edit *m) {
    const struct price *p = m->price;
    struct db_done done;
    if (!p)
        return OK;
    struct q_price_insert_in in = {.per_call = p->per_call,
                                   .call_quota = p->call_quota,
                                   .model = p->model,
                                   .completion = p->completion,
                                   .cache_read = p->cache_read,
                                   .cache_write = p->cache_write,
                                   .cache_write_1h = p->cache_write_1h,
                                   .image = p->image,
                                   .audio = p->audio,
                                   .audio_completion = p->audio_completion,
                                   .search_quota = p->search_quota,
                                   .created_s = clock_unix_s()};
    enum err e = q_price_insert(db, &in, &done);
    m->price_id = e ? 0 : done.insert_id;
    return e;
}

static enum err insert(struct db *db, struct model_edit *m, struct fault *f) {
    struct db_done done;
    struct q_model_insert_in in = {.name = m->name,
                                   .display_name = m->display_name,
                                   .owned_by = m->has.owned_by ? m->owned_by : STR("custom"),
                                   .created_s = clock_unix_s(),
                                   .price_id = {m->price != NULL, m->price_id},
                                   .default_max_tokens =
                                       m->has.default_max_tokens ? m->default_max_tokens : 4096};
    enum err e = q_model_insert(db, &in, &done);
    if (e == ERR_DB_DUPLICATE)
        return fault_set(f, ERR_EXISTS, "Model '%.*s'", STR_ARG(m->name));
    m->id = e ? 0 : done.insert_id;
    return e;
}

#define PICK(member) .member = m->has.member ? m->member : old.member

static enum err update(struct db *db, struct model_edit *m, struct fault *f) {
    struct q_model_by_name old;
    enum err e = q_model_by_name(db, &(struct q_model_by_name_in){m->name}, &old);
    if (e == ERR_DB_NO_ROW)
        return fault_set(f, ERR_ABSENT, "model '%.*s'", STR_ARG(m->name));
    if (e)
        return e;
    m->id = old.id;
    if (!m->price)
        m->price_id = old.price_id.v;
    struct q_model_update_in in = {PICK(display_name), PICK(owned_by),
                                   .price_id =
                                       m->price ? (struct db_i64){true, m->price_id} : old.price_id,
                                   PICK(default_max_tokens), .id = old.id};
    return q_model_update(db, &in, NULL);
}

static enum err save(struct db *db, void *ctx) {
    struct saving *w = ctx;
    enum err e = add_price(db, w->m);
    if (e)
        return e;
    return w->m->existing ? update(db, w->m, w->f) : insert(db, w->m, w->f);
}

enum err model_save(struct db *db, struct host *host, struct model_edit *m, struct fault *f) {
    static const int64_t whole = 0;
    struct saving w = {m, f};
    enum err e = check(m, f);
    return e ? e : admin_write(db, host, HOST_GEN_CATALOG, &whole, save, &w);
}
