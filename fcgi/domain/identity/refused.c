#include "domain/identity/refused.h"

#include "domain/audit/audit.h"
#include "door/db.h"

void refused_init(struct refused *r) {
    *r = (struct refused){0};
    lock_init(&r->lock);
}

void refused_free(struct refused *r) {
    lock_free(&r->lock);
}

static struct refusal *find(struct refused *r, int64_t key_id, enum err why) {
    for (size_t i = 0; i < r->n; i++)
        if (r->items[i].key_id == key_id && r->items[i].why == why)
            return &r->items[i];
    return NULL;
}

void refused_note(struct refused *r, int64_t key_id, int64_t user_id, enum err why, struct str ip,
                  int64_t now_s) {
    LOCKED(&r->lock);
    struct refusal *it = find(r, key_id, why);
    if (!it && r->n == REFUSED_MAX)
        return;
    if (!it) {
        it = &r->items[r->n++];
        *it = (struct refusal){.key_id = key_id, .user_id = user_id, .since_s = now_s, .why = why};
    }
    it->count++;
    if (!str_copy(ip, it->ip, sizeof it->ip))
        it->ip[0] = '\0';
}

/* Takes one that is due; false when none is. */
static bool take(struct refused *r, int64_t now_s, struct refusal *out) {
    LOCKED(&r->lock);
    for (size_t i = 0; i < r->n; i++) {
        if (now_s - r->items[i].since_s < REFUSED_INTERVAL_S)
            continue;
        *out = r->items[i];
        r->items[i] = r->items[--r->n];
        return true;
    }
    return false;
}

static enum err write_row(struct db *db, void *ctx) {
    const struct refusal *it = ctx;
    struct buf detail AUTO(buf_free) = BUF(256);
    buf_printf(&detail, "{\"code\":\"%s\",\"count\":%lld,\"since\":%lld}", err_code(it->why),
               (long long)it->count, (long long)it->since_s);
    return audit_write(db, &(struct audit_event){.user_id = it->user_id,
                                                 .key_id = it->key_id,
                                                 .kind = "refused",
                                                 .detail = buf_view(&detail),
                                                 .actor = STR("caller"),
                                                 .ip = str_c(it->ip),
                                                 .request_id = STR("")});
}

/* What could not be written is due again at once, with what was counted meanwhile. */
static void put_back(struct refused *r, const struct refusal *it) {
    LOCKED(&r->lock);
    struct refusal *now = find(r, it->key_id, it->why);
    if (now) {
        now->count += it->count;
        now->since_s = it->since_s;
    } else if (r->n < REFUSED_MAX) {
        r->items[r->n++] = *it;
    }
}

enum err refused_flush(struct refused *r, struct db *db, int64_t now_s) {
    struct refusal it;
    while (take(r, now_s, &it)) {
        enum err e = db_transaction(db, false, write_row, &it);
        if (e != OK) {
            put_back(r, &it);
            return e;
        }
    }
    return OK;
}
