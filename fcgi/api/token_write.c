#include "api/handlers.h"
#include "api/scopes.h"
#include "api/token_body.h"
#include "api/token_common.h"
#include "api/token_json.h"
#include "domain/identity/key_audit.h"
#include "domain/routing/sync.h"
#include "util/clock.h"
#include "util/secret.h"

static enum err maker_of(struct api_request *req, struct key_maker *out) {
    *out = (struct key_maker){
        .catalog = req->catalog, .user_group = req->user_group, .scopes = req->scopes};
    return scopes_of_services(req, &out->service_scopes);
}

struct creation {
    struct token_body body;
    struct key_new new;
};

/* Judged after the Idempotency-Key: a repetition has the first answer, whatever has changed since.
 */
static enum err create(struct api_request *req, struct api_reply *reply, void *ctx,
                       struct fault *f) {
    struct creation *c = ctx;
    struct key_maker maker;
    struct audit_event who = token_actor(req);
    enum err e = maker_of(req, &maker);
    if (e == OK)
        e = key_settings_check(&c->body.s, &maker, req->mem, f);
    if (e == OK)
        e = key_create(req->db, req->keys, &c->new, f);
    if (e == OK)
        e = key_audit_created(req->db, &who, c->new.id, &c->body.s);
    if (e != OK)
        return e;
    struct str flag;
    if (!str_query_get(req->query, STR("return"), &flag) || !str_eqc(flag, "1")) {
        api_ok(reply);
        return OK;
    }
    struct buf *out = api_data(reply);
    buf_printf(out, "{\"id\":%lld,\"key\":", (long long)c->new.id);
    buf_json(out, str_c(c->new.text));
    buf_putc(out, '}');
    api_data_end(reply);
    return OK;
}

enum err token_create(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct creation c;
    enum err e = token_body_read(req, &c.body, f);
    if (e != OK)
        return e;
    c.new = (struct key_new){
        .user_id = req->user_id,
        .max_keys = key_site_max(req->catalog),
        .prefix = key_site_prefix(req->catalog, c.body.s.test_mode),
        .recoverable = key_site_reveal(req->catalog) != REVEAL_ONCE,
        .s = &c.body.s,
    };
    e = api_transaction(req, reply, create, &c, f);
    secret_wipe(c.new.text, sizeof c.new.text);
    return e;
}

/* Members the base contract does not know stay as they are when the client does not send them. */
static void keep_absent(struct token_body *b, const struct key_settings *before) {
    struct key_settings *s = &b->s;
    s->test_mode = before->test_mode; /* a key does not change its kind */
    if (!b->has_scopes)
        s->scopes = before->scopes;
    if (!b->has_rpm)
        s->rpm_limit = before->rpm_limit;
    if (!b->has_tpm)
        s->tpm_limit = before->tpm_limit;
    if (!b->has_concurrency)
        s->concurrency_limit = before->concurrency_limit;
    if (!b->has_auto_groups)
        s->auto_groups = before->auto_groups;
    if (!b->has_budgets) {
        memcpy(s->budgets, before->budgets, sizeof s->budgets);
        s->n_budgets = before->n_budgets;
    }
}

/* Scopes of a service that was removed are shown to nobody, so no client can send them back; a key
 * without them would be one that names none, which may do more. */
static void keep_gone_scopes(struct token_body *b, const struct key_settings *before,
                             struct key_maker *maker) {
    uint64_t gone = before->scopes & ~(scope_mask(SCOPE_F_KEY) | maker->service_scopes);
    b->s.scopes |= gone;
    maker->service_scopes |= gone;
}

struct update {
    const struct token_body *body;
    bool status_only;
    struct change change;
};

/* quota_delta and if_remain_quota keep what calls spend between a client's load and its save. */
static enum err apply_quota(struct token_body *b, const struct key_view *k, struct key_quota *out,
                            struct fault *f) {
    *out = (struct key_quota){.absolute = true};
    if (b->has_if_remain_quota && b->if_remain_quota != k->s.remain_quota)
        return fault_field(f, ERR_QUOTA_CHANGED, "if_remain_quota", "%lld",
                           (long long)k->s.remain_quota);
    if (b->has_if_remain_quota && !b->has_quota_delta &&
        !__builtin_sub_overflow(b->s.remain_quota, k->s.remain_quota, &out->value))
        out->absolute = false;
    if (!b->has_quota_delta)
        return OK;
    *out = (struct key_quota){.value = b->quota_delta};
    if (__builtin_add_overflow(k->s.remain_quota, b->quota_delta, &b->s.remain_quota))
        return fault_field(f, ERR_FIELD_VALUE, "quota_delta", "quota_delta");
    return OK;
}

/* 1 and 2 are commands. 3 and 4 are computed: forms send back what they have read, so the current
 * one is taken as "leave it". */
static enum err apply_status(const struct token_body *b, const struct key_view *k,
                             const struct key_settings *after, bool status_only, bool *disabled,
                             struct fault *f) {
    int64_t now = clock_unix_s();
    *disabled = k->disabled;
    if (!b->has_status)
        return status_only ? fault_field(f, ERR_PARAMETERS, "status", NULL) : OK;
    enum key_status is =
        key_status_of(k->disabled, k->s.expires_at, k->s.unlimited_quota, k->s.remain_quota, now);
    if (!status_only && b->status == (int64_t)is && is > KEY_DISABLED)
        return OK;
    if (b->status != KEY_ENABLED && b->status != KEY_DISABLED)
        return fault_field(f, ERR_PARAMETERS, "status", NULL);
    *disabled = b->status == KEY_DISABLED;
    if (*disabled ||
        is == KEY_ENABLED) /* forms send back that it is enabled, whatever they change */
        return OK;
    enum key_status will =
        key_status_of(false, after->expires_at, after->unlimited_quota, after->remain_quota, now);
    if (will == KEY_EXPIRED)
        return fault_field(f, ERR_ENABLE_EXPIRED, "status", NULL);
    return will == KEY_EXHAUSTED ? fault_field(f, ERR_ENABLE_EXHAUSTED, "status", NULL) : OK;
}

/* The settings after the update, judged. */
static enum err apply_settings(struct api_request *req, struct token_body *b,
                               const struct key_view *k, struct key_quota *quota, struct fault *f) {
    struct key_maker maker;
    enum err e = maker_of(req, &maker);
    if (e != OK)
        return e;
    if (b->has_mode && b->s.test_mode != k->s.test_mode)
        return fault_field(f, ERR_FIELD_VALUE, "mode", "mode: a key stays what it is");
    keep_absent(b, &k->s);
    keep_gone_scopes(b, &k->s, &maker);
    maker.scopes |= k->s.scopes; /* what the key has already is not granted anew */
    e = apply_quota(b, k, quota, f);
    if (e == OK)
        e = key_settings_check(&b->s, &maker, req->mem, f);
    if (quota->absolute)
        quota->value = b->s.remain_quota;
    return e;
}

static enum err update(struct api_request *req, struct api_reply *reply, void *ctx,
                       struct fault *f) {
    struct update *u = ctx;
    struct token_body b = *u->body; /* this may run again */
    struct audit_event who = token_actor(req);
    struct key_quota quota = {0};
    struct key_view k;
    bool disabled;
    enum err e = key_lock(req->db, req->user_id, b.id, req->mem, &k);
    if (e != OK)
        return e;
    if (u->status_only)
        b.s = k.s;
    else
        e = apply_settings(req, &b, &k, &quota, f);
    if (e == OK)
        e = apply_status(&b, &k, &b.s, u->status_only, &disabled, f);
    if (e == OK)
        e = u->status_only ? key_set_disabled(req->db, k.id, disabled)
                           : key_update(req->db, &k, &b.s, disabled, quota);
    if (e == OK)
        e = key_audit_changed(req->db, &who, &k, &b.s, disabled);
    if (e == OK)
        e = key_get(req->db, req->user_id, b.id, req->mem, &k);
    if (e == OK)
        e = token_json(req, &k, api_data(reply));
    api_data_end(reply);
    return e == OK ? change_note(req->db, &u->change) : e;
}

enum err token_update(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct token_body body;
    struct str flag;
    enum err e = token_body_read(req, &body, f);
    struct update u = {&body,
                       str_query_get(req->query, STR("status_only"), &flag) && flag.n,
                       {HOST_GEN_KEY, body.id, 0}};
    if (e == OK)
        e = api_transaction(req, reply, update, &u, f);
    if (e == OK)
        change_apply(req->host, &u.change);
    return e;
}
