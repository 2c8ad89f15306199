#include "api/authn.h"

#include "domain/identity/access_token.h"
#include "util/clock.h"

static struct str credential(struct str header) {
    header = str_trim(header);
    if (str_istarts(header, STR("Bearer ")))
        header = str_trim(str_from(header, strlen("Bearer ")));
    return header;
}

static void become(struct api_request *req, const struct identity *who) {
    req->user_id = who->user_id;
    req->role = (int)who->role;
    req->user_name = arena_str(req->mem, str_c(who->user_name));
    req->user_group = arena_str(req->mem, str_c(who->user_group));
    req->token_id = who->token_id;
    req->scopes = who->scopes ? who->scopes : SCOPE_ALL;
    if (who->language[0])
        req->lang = err_lang(str_c(who->language));
}

static enum err by_token(struct api_request *req, struct str token, struct fault *f) {
    struct identity who;
    enum err e = access_token_find(req->db, req->keys, token, req->ip, &who);
    if (e != OK)
        return fault_set(f, e, NULL);
    become(req, &who);
    return who.user_disabled ? fault_set(f, ERR_USER_DISABLED, NULL) : OK;
}

static enum err find_key(struct api_request *req, struct str key, struct fault *f) {
    int64_t pin;
    enum err e = auth_key(req->auth, req->db, key, &req->caller, &pin, f);
    if (e != OK)
        return e;
    const struct caller *c = req->caller;
    req->user_id = c->user_id;
    req->role = (int)ROLE_USER; /* a key never administers */
    req->user_name = c->user_name;
    req->user_group = c->user_group;
    if (c->language.n)
        req->lang = err_lang(c->language);
    req->scopes = c->scopes;
    return OK;
}

uint64_t authn_key_scopes(const struct caller *c, enum api_auth auth) {
    if (c->scopes != scope_mask(SCOPE_F_DEFAULT))
        return c->scopes;
    return auth == API_KEY ? c->scopes | SCOPE_BIT(SCOPE_LOGS_READ) : 0;
}

/* A key manages, and reads what the account's other keys use, only when it names the scope. */
static enum err by_key(struct api_request *req, struct str key, struct fault *f) {
    enum err e = find_key(req, key, f);
    if (e == OK)
        e = auth_use(req->caller, clock_unix_s(), req->ip, 0, f);
    if (e == OK)
        req->scopes = authn_key_scopes(req->caller, API_USER);
    return e == ERR_KEY_INVALID ? fault_set(f, ERR_TOKEN_INVALID, NULL) : e;
}

/* Its own usage and records: also when there is nothing left to use, and a key that names no scopes
 * may read both. */
static enum err by_own_key(struct api_request *req, struct str key, struct fault *f) {
    enum err e = find_key(req, key, f);
    if (e == OK)
        req->scopes = authn_key_scopes(req->caller, API_KEY);
    if (e == OK && req->caller->key_disabled)
        e = fault_set(f, ERR_KEY_DISABLED, NULL);
    if (e == OK)
        e = auth_ip(req->caller, req->ip, f);
    if (e == OK && req->caller->user_disabled)
        e = fault_set(f, ERR_USER_DISABLED, NULL);
    return e;
}

static enum err by_any(struct api_request *req, struct fault *f) {
    struct str secret = credential(req->authorization);
    if (!secret.n)
        return fault_set(f, ERR_UNAUTHORIZED, NULL);
    return access_token_shaped(secret) ? by_token(req, secret, f) : by_key(req, secret, f);
}

static enum err check_user_header(const struct api_request *req, struct fault *f) {
    int64_t id;
    if (!req->new_api_user.n)
        return OK;
    if (str_i64(str_trim(req->new_api_user), &id) && id == req->user_id)
        return OK;
    return fault_set(f, ERR_USER_MISMATCH, NULL);
}

static enum err check_right(const struct api_route *route, const struct api_request *req,
                            struct fault *f) {
    int need = route->auth == API_ROOT    ? (int)ROLE_ROOT
               : route->auth == API_ADMIN ? (int)ROLE_ADMIN
                                          : 0;
    if (req->role < need)
        return fault_set(f, ERR_ROLE_TOO_LOW, NULL);
    if (!api_may(req, route->scope))
        return fault_set(f, ERR_SCOPE_MISSING, "%s", scope_name(route->scope));
    return OK;
}

enum err authn(const struct api_route *route, struct api_request *req, struct fault *f) {
    if (route->auth == API_PUBLIC)
        return OK;
    enum err e = route->auth == API_KEY ? by_own_key(req, credential(req->authorization), f)
                                        : by_any(req, f);
    if (e == OK && route->auth != API_KEY)
        e = check_user_header(req, f);
    if (e == OK)
        e = check_right(route, req, f);
    if (e != OK && req->caller)
        auth_refused(req->auth, req->caller, e, req->ip);
    if (e == OK && req->caller && route->auth != API_KEY) /* to look at one's own usage is no use */
        auth_touch(req->auth, req->caller, req->ip, STR(""), req->user_agent);
    return e;
}
