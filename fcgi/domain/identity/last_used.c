#include "domain/identity/last_used.h"

#include "door/queries.h"

#include <stdlib.h>

#define MAX_WAITING 4096

void last_used_init(struct last_used *l) {
    *l = (struct last_used){0};
    lock_init(&l->lock);
}

void last_used_free(struct last_used *l) {
    free(l->waiting);
    lock_free(&l->lock);
}

/* What fits of a text a client sent, never half a character. */
static void take(struct str s, char *to, size_t cap) {
    s = str_sub(s, 0, cap - 1);
    while (s.n && !str_utf8_ok(s))
        s.n--;
    must(str_copy(s, to, cap));
}

void last_used_note(struct last_used *l, int64_t key_id, int64_t secret_id, int64_t at_s,
                    struct str ip, struct str model, struct str user_agent) {
    LOCKED(&l->lock);
    if (l->n == MAX_WAITING)
        return;
    if (!l->waiting)
        l->waiting = base_alloc(MAX_WAITING * sizeof *l->waiting);
    struct last_use *u = &l->waiting[l->n++];
    *u = (struct last_use){.key_id = key_id, .secret_id = secret_id, .at_s = at_s};
    take(ip, u->ip, sizeof u->ip);
    take(model, u->model, sizeof u->model);
    take(user_agent, u->user_agent, sizeof u->user_agent);
}

static enum err write_one(struct db *db, const struct last_use *u) {
    struct str ip = str_c(u->ip), model = str_c(u->model);
    enum err e = q_secret_used(
        db, &(struct q_secret_used_in){u->at_s, ip, str_c(u->user_agent), model, u->secret_id},
        NULL);
    if (e == OK)
        e = q_key_used(db, &(struct q_key_used_in){u->at_s, ip, model, u->key_id}, NULL);
    return e;
}

enum err last_used_flush(struct last_used *l, struct db *db) {
    struct last_use *uses AUTO(base_freep) = NULL;
    size_t n;
    enum err e = OK;
    {
        LOCKED(&l->lock);
        uses = l->waiting;
        n = l->n;
        l->waiting = NULL;
        l->n = 0;
    }
    for (size_t i = 0; i < n; i++) {
        enum err this = write_one(db, &uses[i]);
        if (this != OK)
            e = this;
        if (this == ERR_DB_AWAY)
            break;
    }
    return e;
}
