#include "domain/admin/shelf.h"
#include "domain/admin/write.h"
#include "door/queries.h"

struct saving {
    struct group_edit *g;
    struct fault *f;
};

static enum err check(const struct group_edit *g, struct fault *f) {
    if (!g->name.n || g->name.n > 64 || !str_utf8_ok(g->name) || str_eqc(g->name, "auto") ||
        str_find(g->name, ',') >= 0)
        return fault_field(f, ERR_FIELD_VALUE, "name",
                           "a group's name has 1 to 64 bytes, no comma, and is not 'auto'");
    if (g->description.n > 255 || !str_utf8_ok(g->description))
        return fault_field(f, ERR_FIELD_VALUE, "description", "the description is too long");
    if (g->rpm_limit < 0 || g->tpm_limit < 0 || g->concurrency_limit < 0)
        return fault_field(f, ERR_FIELD_VALUE, "limit", "a limit is 0 (none) or more");
    if (g->auto_rank < -1 || g->auto_rank > INT16_MAX)
        return fault_field(f, ERR_FIELD_VALUE, "auto_rank", "a rank is -1 (none) to %d", INT16_MAX);
    return OK;
}

static enum err find(struct db *db, struct str name, int64_t *id, struct fault *f) {
    struct q_group_by_name row;
    enum err e = q_group_by_name(db, &(struct q_group_by_name_in){name}, &row);
    if (e == ERR_DB_NO_ROW)
        return fault_set(f, ERR_ABSENT, "group '%.*s'", STR_ARG(name));
    if (!e)
        *id = row.id;
    return e;
}

static enum err find_or_make(struct db *db, struct group_edit *g, struct fault *f) {
    struct db_done done;
    if (g->existing)
        return find(db, g->name, &g->id, f);
    enum err e = q_group_insert(db, &(struct q_group_insert_in){g->name}, &done);
    if (e == ERR_DB_DUPLICATE)
        return fault_set(f, ERR_EXISTS, "Group '%.*s'", STR_ARG(g->name));
    if (!e)
        g->id = done.insert_id;
    return e;
}

#define PICK(member) .member = g->has.member ? g->member : old.member

static enum err update(struct db *db, const struct group_edit *g) {
    struct q_group_get old;
    enum err e = q_group_get(db, &(struct q_group_get_in){g->id}, &old);
    if (e)
        return e;
    struct q_group_update_in in = {
        PICK(description),       PICK(ratio),     PICK(selectable), PICK(drain),
        PICK(clamp_max_tokens),  PICK(hard_stop), PICK(rpm_limit),  PICK(tpm_limit),
        PICK(concurrency_limit), PICK(auto_rank), .id = g->id};
    e = q_group_update(db, &in, NULL);
    return e ? e : budget_save(db, BUDGET_OF_GROUP, g->id, &g->budgets);
}

static enum err save(struct db *db, void *ctx) {
    struct saving *w = ctx;
    struct group_edit *g = w->g;
    enum err e = find_or_make(db, g, w->f);
    if (e || !g->for_group.n)
        return e ? e : update(db, g);
    int64_t payer;
    e = find(db, g->for_group, &payer, w->f);
    return e ? e
             : q_group_ratio_put(db, &(struct q_group_ratio_put_in){payer, g->id, g->ratio}, NULL);
}

enum err group_save(struct db *db, struct host *host, struct group_edit *g, struct fault *f) {
    static const int64_t whole = 0;
    struct saving w = {g, f};
    enum err e = check(g, f);
    return e ? e : admin_write(db, host, HOST_GEN_CATALOG, &whole, save, &w);
}
