#include "api/handlers.h"
#include "api/scopes.h"
#include "api/token_common.h"
#include "api/token_json.h"
#include "domain/identity/access_token.h"
#include "domain/identity/key_audit.h"
#include "door/json.h"
#include "door/queries.h"
#include "util/secret.h"

#define BASE_NAME "default" /* the one token of the base contract */

struct making {
    struct access_token_new t;
    bool replace; /* others of the name end */
    bool bare;    /* the answer is the text alone */
};

/* The account's audit names the token by the number that its revocation has as well. */
static enum err audit_made(struct api_request *req, const struct access_token_new *t, int64_t id,
                           int64_t replaced) {
    struct audit_event who = token_actor(req);
    struct buf detail AUTO(buf_free) = BUF(4096);
    buf_printf(&detail, "{\"id\":%lld,\"name\":", (long long)id);
    buf_json(&detail, t->name);
    buf_puts(&detail, ",\"scopes\":");
    enum err e = scopes_json(req, t->scopes, &detail);
    buf_printf(&detail, ",\"expired_time\":%lld,\"replaced\":%lld}", (long long)t->expires_at,
               (long long)replaced);
    return e != OK ? e : key_audit(req->db, &who, 0, "access_token_create", buf_view(&detail));
}

static enum err make(struct api_request *req, struct api_reply *reply, void *ctx, struct fault *f) {
    const struct making *m = ctx;
    struct q_access_token_count have;
    struct db_done gone = {0};
    char text[KEY_TEXT_CAP] = "";
    int64_t id = 0;
    enum err e = OK;
    if (m->replace)
        e = q_access_token_delete_named(
            req->db, &(struct q_access_token_delete_named_in){req->user_id, m->t.name}, &gone);
    if (e == OK)
        e = q_access_token_count(req->db, &(struct q_access_token_count_in){req->user_id}, &have);
    if (e == OK && have.n >= ACCESS_TOKEN_MAX)
        return fault_set(f, ERR_TOKENS_TOO_MANY, "%d", ACCESS_TOKEN_MAX);
    if (e == OK)
        e = access_token_add(req->db, req->keys, &m->t, &id, text);
    if (e == OK)
        e = audit_made(req, &m->t, id, gone.affected);
    struct buf *out = api_data(reply);
    if (!m->bare)
        buf_printf(out, "{\"id\":%lld,\"key\":", (long long)id);
    buf_json(out, str_c(text));
    if (!m->bare)
        buf_putc(out, '}');
    api_data_end(reply);
    secret_wipe(text, sizeof text);
    return e;
}

/* A token gives at most what the credential has that asks for it. */
static uint64_t own_scopes(const struct api_request *req) {
    return req->scopes == SCOPE_ALL ? 0 : req->scopes;
}

enum err user_token(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct making m = {{req->user_id, -1, STR(BASE_NAME), own_scopes(req)}, true, true};
    return api_transaction(req, reply, make, &m, f);
}

static enum err read_scopes(struct api_request *req, const struct json *list, uint64_t *out,
                            struct fault *f) {
    struct str unknown, name;
    *out = own_scopes(req);
    if (!list || json_type_of(list) == JSON_NULL ||
        (json_type_of(list) == JSON_ARRAY && !json_length(list)))
        return OK;
    enum err e = scopes_read(req, list, out, &unknown, f);
    if (e == OK && unknown.p)
        return fault_field(f, ERR_SCOPE_UNKNOWN, "scopes", "%.*s",
                           (int)(unknown.n < 60 ? unknown.n : 60), unknown.p);
    uint64_t beyond = *out & ~req->scopes;
    if (e != OK || !beyond)
        return e;
    e = scopes_name(req, __builtin_ctzll(beyond), &name);
    return e != OK ? e : fault_field(f, ERR_SCOPE_EXCEEDED, "scopes", "%.*s", STR_ARG(name));
}

static enum err read_body(struct api_request *req, struct making *m, struct fault *f) {
    static const char *const known[] = {"name", "scopes", "expired_time", NULL};
    struct json *o AUTO(json_free) = NULL;
    struct str name = STR("");
    int64_t expires = KEY_NEVER;
    enum err e = api_body(req, known, &o, f);
    if (e == OK)
        e = json_want_str(o, "name", &name, NULL, f);
    if (e == OK)
        e = json_want_int(o, "expired_time", &expires, NULL, f);
    if (e == OK)
        e = read_scopes(req, json_get(o, "scopes"), &m->t.scopes, f);
    if (e == OK)
        e = key_name_check(name, f);
    m->t.name = arena_str(req->mem, name);
    m->t.expires_at = expires > 0 ? expires : KEY_NEVER;
    return e;
}

enum err access_token_create(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct making m = {.t = {.user_id = req->user_id}};
    enum err e = read_body(req, &m, f);
    return e != OK ? e : api_transaction(req, reply, make, &m, f);
}

struct rows {
    struct api_request *req;
    struct buf *out;
    bool any;
};

static enum err put_row(void *ctx, const struct q_access_token_list *row) {
    struct rows *r = ctx;
    buf_printf(r->out, "%s{\"id\":%lld,\"name\":", r->any ? "," : "", (long long)row->id);
    r->any = true;
    buf_json(r->out, row->name);
    buf_puts(r->out, ",\"key_hint\":");
    buf_json(r->out, row->hint);
    buf_printf(r->out,
               ",\"created_time\":%lld,\"expired_time\":%lld,\"last_used_time\":%lld,"
               "\"last_used_ip\":",
               (long long)row->created_at, (long long)row->expires_at,
               (long long)row->last_used_at);
    buf_json(r->out, row->last_used_ip);
    buf_puts(r->out, ",\"scopes\":");
    enum err e = scopes_json(r->req, (uint64_t)row->scopes, r->out);
    buf_putc(r->out, '}');
    return e;
}

enum err access_token_list(struct api_request *req, struct api_reply *reply, struct fault *f) {
    (void)f;
    struct rows r = {req, api_data(reply), false};
    buf_putc(r.out, '[');
    enum err e =
        q_access_token_list(req->db, &(struct q_access_token_list_in){req->user_id}, put_row, &r);
    buf_putc(r.out, ']');
    api_data_end(reply);
    return e;
}

static enum err revoke(struct api_request *req, struct api_reply *reply, void *ctx,
                       struct fault *f) {
    (void)ctx;
    (void)f;
    struct db_done done;
    struct audit_event who = token_actor(req);
    enum err e = q_access_token_delete(
        req->db, &(struct q_access_token_delete_in){req->user_id, req->id[0]}, &done);
    if (e == OK && !done.affected)
        return ERR_RECORD_NOT_FOUND;
    api_ok(reply);
    return e != OK
               ? e
               : key_audit(req->db, &who, 0, "access_token_revoke",
                           str_c(arena_printf(req->mem, "{\"id\":%lld}", (long long)req->id[0])));
}

enum err access_token_revoke(struct api_request *req, struct api_reply *reply, struct fault *f) {
    return api_transaction(req, reply, revoke, NULL, f);
}
