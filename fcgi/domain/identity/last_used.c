#include "domain/identity/last_used.h"

#include "door/db.h"
#include "door/queries.h"

#include <stdlib.h>

#define MAX_WAITING 4096
#define BATCH 100 /* in one transaction, which locks the rows of the keys for a moment */

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

struct batch {
    struct last_use *uses;
    size_t n;
};

static int by_key(const void *pa, const void *pb) {
    const struct last_use *a = pa, *b = pb;
    return (a->key_id > b->key_id) - (a->key_id < b->key_id);
}

static enum err run_write(struct db *db, void *ctx) {
    const struct batch *b = ctx;
    struct q_secret_used_in secrets[BATCH];
    struct q_key_used_in keys[BATCH];
    for (size_t i = 0; i < b->n; i++) {
        const struct last_use *u = &b->uses[i];
        struct str ip = str_c(u->ip), model = str_c(u->model);
        int64_t before = u->at_s - LAST_USED_INTERVAL_S;
        secrets[i] = (struct q_secret_used_in){u->at_s, ip,           str_c(u->user_agent),
                                               model,   u->secret_id, before};
        keys[i] = (struct q_key_used_in){u->at_s, ip, model, u->key_id, before};
    }
    enum err e = q_key_used(db, keys, b->n, NULL);
    return e ? e : q_secret_used(db, secrets, b->n, NULL);
}

/* In one order, so that workers that write the same keys wait for each other and never deadlock. */
static enum err write_uses(struct db *db, struct last_use *uses, size_t n) {
    if (n)
        qsort(uses, n, sizeof *uses, by_key);
    enum err e = OK;
    for (size_t at = 0; at < n && e != ERR_DB_AWAY; at += BATCH) {
        struct batch b = {uses + at, n - at < BATCH ? n - at : BATCH};
        enum err this = db_transaction(db, true, run_write, &b);
        if (this != OK)
            e = this;
    }
    return e;
}

enum err last_used_flush(struct last_used *l, struct db *db) {
    struct last_use *uses AUTO(base_freep) = NULL;
    size_t n;
    {
        LOCKED(&l->lock);
        uses = l->waiting;
        n = l->n;
        l->waiting = NULL;
        l->n = 0;
    }
    return write_uses(db, uses, n);
}
