#include "api/handlers.h"
#include "api/token_common.h"
#include "api/token_json.h"
#include "domain/identity/key_audit.h"
#include "domain/routing/sync.h"
#include "door/json.h"
#include "util/clock.h"
#include "util/secret.h"

static void plain_free(struct buf *b) {
    if (b->p)
        secret_wipe(b->p, b->n);
    buf_free(b);
}

/* Reveals one key into *plain and says so in its audit. */
static enum err reveal(struct api_request *req, int64_t id, struct buf *plain) {
    struct audit_event who = token_actor(req);
    struct key_view k;
    enum err e = key_get(req->db, req->user_id, id, req->mem, &k);
    if (e == OK && key_site_reveal(req->catalog) == REVEAL_ONCE)
        e = ERR_KEY_NOT_RECOVERABLE;
    if (e == OK)
        e = key_reveal(req->keys, &k, plain);
    return e != OK ? e : key_audit(req->db, &who, id, "reveal", STR(""));
}

static enum err reveal_one(struct api_request *req, struct api_reply *reply, void *ctx,
                           struct fault *f) {
    (void)ctx;
    (void)f;
    struct buf plain AUTO(plain_free) = BUF(KEY_TEXT_CAP);
    enum err e = reveal(req, req->id[0], &plain);
    struct buf *out = api_data(reply);
    buf_puts(out, "{\"key\":");
    buf_json(out, buf_view(&plain));
    buf_putc(out, '}');
    api_data_end(reply);
    return e;
}

enum err token_reveal(struct api_request *req, struct api_reply *reply, struct fault *f) {
    return api_transaction(req, reply, reveal_one, NULL, f);
}

struct batch {
    int64_t ids[TOKEN_BATCH_MAX];
    size_t n;
};

static enum err reveal_many(struct api_request *req, struct api_reply *reply, void *ctx,
                            struct fault *f) {
    (void)f;
    const struct batch *b = ctx;
    struct buf *out = api_data(reply);
    bool first = true, once = key_site_reveal(req->catalog) == REVEAL_ONCE;
    buf_puts(out, "{\"keys\":{");
    for (size_t i = 0; i < b->n; i++) {
        struct buf plain AUTO(plain_free) = BUF(KEY_TEXT_CAP);
        enum err e = reveal(req, b->ids[i], &plain);
        if (e == ERR_RECORD_NOT_FOUND || (e == ERR_KEY_NOT_RECOVERABLE && !once))
            continue;
        if (e != OK)
            return e;
        buf_printf(out, "%s\"%lld\":", first ? "" : ",", (long long)b->ids[i]);
        buf_json(out, buf_view(&plain));
        first = false;
    }
    buf_puts(out, "}}");
    api_data_end(reply);
    return OK;
}

enum err token_reveal_batch(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct batch b;
    enum err e = token_ids_read(req, b.ids, &b.n, f);
    return e != OK ? e : api_transaction(req, reply, reveal_many, &b, f);
}

struct rotation {
    int64_t grace_s;
    struct change change;
};

static enum err rotate(struct api_request *req, struct api_reply *reply, void *ctx,
                       struct fault *f) {
    struct rotation *r = ctx;
    struct audit_event who = token_actor(req);
    struct key_view k;
    char text[KEY_TEXT_CAP] = "";
    enum err e = key_lock(req->db, req->user_id, req->id[0], req->mem, &k);
    if (e == OK)
        e = key_rotate(req->db, req->keys, &k, key_site_prefix(req->catalog, k.s.test_mode),
                       key_site_reveal(req->catalog) != REVEAL_ONCE, r->grace_s, text, f);
    if (e == OK)
        e = key_audit(
            req->db, &who, k.id, "rotate",
            str_c(arena_printf(req->mem, "{\"grace_seconds\":%lld}", (long long)r->grace_s)));
    struct buf *out = api_data(reply);
    buf_printf(out, "{\"id\":%lld,\"key\":", (long long)req->id[0]);
    buf_json(out, str_c(text));
    buf_printf(out, ",\"old_expires_at\":%lld}", (long long)(clock_unix_s() + r->grace_s));
    api_data_end(reply);
    secret_wipe(text, sizeof text);
    return e == OK ? change_note(req->db, &r->change) : e;
}

enum err token_rotate(struct api_request *req, struct api_reply *reply, struct fault *f) {
    static const char *const known[] = {"grace_seconds", NULL};
    struct json *o AUTO(json_free) = NULL;
    struct rotation r = {KEY_GRACE_DEFAULT_S, {HOST_GEN_KEY, req->id[0], 0}};
    enum err e = OK;
    if (str_trim(req->body).n)
        e = api_body(req, known, &o, f);
    if (e == OK && o)
        e = json_want_int(o, "grace_seconds", &r.grace_s, NULL, f);
    if (e != OK)
        return e;
    if (r.grace_s < 0 || r.grace_s > KEY_GRACE_MAX_S)
        return fault_field(f, ERR_FIELD_VALUE, "grace_seconds", "grace_seconds must be 0 to %d",
                           KEY_GRACE_MAX_S);
    e = api_transaction(req, reply, rotate, &r, f);
    if (e == OK)
        change_apply(req->host, &r.change);
    return e;
}

static enum err end_rotation(struct api_request *req, struct api_reply *reply, void *ctx,
                             struct fault *f) {
    struct change *change = ctx;
    struct audit_event who = token_actor(req);
    struct key_view k;
    enum err e = key_lock(req->db, req->user_id, req->id[0], req->mem, &k);
    if (e == OK)
        e = key_revoke_old(req->db, &k, f);
    if (e == OK)
        e = key_audit(req->db, &who, k.id, "revoke", STR(""));
    api_ok(reply);
    return e == OK ? change_note(req->db, change) : e;
}

enum err token_rotate_end(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct change change = {HOST_GEN_KEY, req->id[0], 0};
    enum err e = api_transaction(req, reply, end_rotation, &change, f);
    if (e == OK)
        change_apply(req->host, &change);
    return e;
}
