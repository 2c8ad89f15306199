#include "domain/identity/caller.h"

#include "domain/identity/caller_cache.h"
#include "domain/identity/caller_load.h"
#include "domain/identity/key_text.h"
#include "domain/identity/last_used.h"
#include "domain/identity/refused.h"
#include "door/conf.h"
#include "door/crypt.h"
#include "door/queries.h"
#include "util/clock.h"
#include "util/counter.h"

#include <stdlib.h>

/* With the database away a picture that nobody changed is used this long beyond its time. */
#define GRACE_MS (10 * 60 * 1000)

struct auth {
    struct host *host;
    const struct keyring *keys;
    struct caller_cache *cache;
    const struct conf *(*conf)(void);
    struct last_used last_used;
    struct refused refused;
};

struct auth *auth_new(struct host *host, const struct keyring *keys,
                      const struct conf *(*conf)(void)) {
    struct auth *a = base_zalloc(sizeof *a);
    a->host = host;
    a->keys = keys;
    a->cache = caller_cache_new(conf()->auth_cache_entries);
    a->conf = conf;
    last_used_init(&a->last_used);
    refused_init(&a->refused);
    return a;
}

void auth_free(struct auth **a) {
    if (!*a)
        return;
    caller_cache_free(&(*a)->cache);
    last_used_free(&(*a)->last_used);
    refused_free(&(*a)->refused);
    free(*a);
    *a = NULL;
}

static bool is_unchanged(const struct auth *a, const struct held *h) {
    return h->key_gen == host_gen(a->host, HOST_GEN_KEY, h->caller.key_id) &&
           h->user_gen == host_gen(a->host, HOST_GEN_USER, h->caller.user_id);
}

struct asked {
    struct str key, hash; /* of the newest generation */
    unsigned edition;     /* of the keyring that hashed it */
};

/* A key that is stored with another pepper is found by that, and then has the newest. */
static enum err read_picture(struct auth *a, struct db *db, const struct asked *ask,
                             struct held **out) {
    struct secret_ids ids;
    uint8_t hash[CRYPT_HASH_LEN];
    enum err e = caller_load(db, ask->hash, out);
    if (e != ERR_DB_NO_ROW ||
        (!keyring_refresh(a->keys, ask->edition) && keyring_generations(a->keys) == 1))
        return e;
    e = secret_find(db, a->keys, ask->key, &ids);
    crypt_hash(a->keys, "api_key", ask->key, hash);
    return e == OK ? caller_load(db, str_of(hash, sizeof hash), out) : e;
}

/* The counters of a picture are those from before it was read, so a change that commits meanwhile
 * makes it stale instead of being missed. */
static enum err read_again(struct auth *a, struct db *db, const struct asked *ask, int64_t key_id,
                           int64_t user_id, struct held **out) {
    uint32_t key_gen = host_gen(a->host, HOST_GEN_KEY, key_id);
    uint32_t user_gen = host_gen(a->host, HOST_GEN_USER, user_id);
    enum err e = read_picture(a, db, ask, out);
    if (e != OK)
        return e;
    (*out)->key_gen = key_gen;
    (*out)->user_gen = user_gen;
    return OK;
}

/* Whose counters they are is only known from the picture. */
static enum err read_first(struct auth *a, struct db *db, const struct asked *ask,
                           struct held **out) {
    uint32_t bumps = host_gen_bumps(a->host);
    struct held *h AUTO(held_unref) = NULL;
    enum err e = read_picture(a, db, ask, &h);
    if (e != OK)
        return e;
    h->key_gen = host_gen(a->host, HOST_GEN_KEY, h->caller.key_id);
    h->user_gen = host_gen(a->host, HOST_GEN_USER, h->caller.user_id);
    if (host_gen_bumps(a->host) != bumps)
        return read_again(a, db, ask, h->caller.key_id, h->caller.user_id, out);
    *out = h;
    h = NULL;
    return OK;
}

/* For a hash that is not in the cache, or whose picture `old` is out of date. */
static enum err fetch(struct auth *a, struct db *db, struct str key,
                      const uint8_t hash[CRYPT_HASH_LEN], unsigned edition, const struct held *old,
                      struct held **out) {
    const struct asked ask = {key, str_of(hash, CRYPT_HASH_LEN), edition};
    enum err e = old ? read_again(a, db, &ask, old->caller.key_id, old->caller.user_id, out)
                     : read_first(a, db, &ask, out);
    if (e == ERR_DB_NO_ROW) {
        caller_cache_put_unknown(a->cache, hash, clock_mono_ms());
        return ERR_KEY_INVALID;
    }
    if (e != OK)
        return e;
    (*out)->read_at_ms = clock_mono_ms();
    if (old)
        (*out)->touched_s = old->touched_s;
    caller_cache_put(a->cache, hash, *out);
    return OK;
}

static enum err find_held(struct auth *a, struct db *db, struct str key, struct held **out) {
    uint8_t hash[CRYPT_HASH_LEN];
    struct held *old AUTO(held_unref) = NULL;
    int64_t now_ms = clock_mono_ms(), ttl_ms = a->conf()->auth_cache_ttl;
    unsigned edition = crypt_hash(a->keys, "api_key", key, hash);
    enum cached found = caller_cache_get(a->cache, hash, now_ms, &old);
    if (found == CACHED_UNKNOWN)
        return ERR_KEY_INVALID;
    bool unchanged = old && is_unchanged(a, old);
    if (unchanged && now_ms - old->read_at_ms < ttl_ms) {
        counter_add_at(COUNTER_AUTH_CACHE, COUNTER_LOOKUP_HIT, 0, 1);
        *out = old;
        old = NULL;
        return OK;
    }
    counter_add_at(COUNTER_AUTH_CACHE, COUNTER_LOOKUP_MISS, 0, 1);
    enum err e = fetch(a, db, key, hash, edition, old, out);
    if (e == ERR_DB_AWAY && unchanged && now_ms - old->read_at_ms < ttl_ms + GRACE_MS) {
        *out = old;
        old = NULL;
        return OK;
    }
    return e;
}

enum err auth_key(struct auth *a, struct db *db, struct str presented, const struct caller **out,
                  int64_t *pin, struct fault *f) {
    struct str key;
    struct held *h AUTO(held_unref) = NULL;
    *out = NULL;
    if (!key_text_parse(presented, &key, pin)) {
        bool missing = !str_trim(presented).n;
        if (!missing)
            counter_add(COUNTER_KEY_CHECKSUM, 1);
        return fault_set(f, missing ? ERR_KEY_MISSING : ERR_KEY_INVALID, NULL);
    }
    enum err e = find_held(a, db, key, &h);
    if (e == OK && h->secret_expires_at >= 0 && clock_unix_s() >= h->secret_expires_at)
        e = ERR_KEY_INVALID;
    if (e != OK)
        return fault_set(f, e, NULL);
    *out = &h->caller;
    h = NULL;
    return OK;
}

enum err caller_read(struct db *db, int64_t secret_id, const struct caller **out) {
    struct held *h;
    struct q_secret_hash secret;
    enum err e = q_secret_hash(db, &(struct q_secret_hash_in){secret_id}, &secret);
    if (e == OK)
        e = caller_load(db, secret.hash, &h);
    *out = e == OK ? &h->caller : NULL;
    return e;
}

const struct caller *caller_ref(const struct caller *c) {
    atomic_fetch_add_explicit(&held_of(c)->refs, 1, memory_order_relaxed);
    return c;
}

void caller_unref(const struct caller **c) {
    struct held *h = *c ? held_of(*c) : NULL;
    held_unref(&h);
    *c = NULL;
}

static enum err check_key(const struct caller *c, int64_t now_s, struct fault *f) {
    if (c->key_disabled)
        return fault_set(f, ERR_KEY_DISABLED, NULL);
    if (c->expires_at >= 0 && now_s >= c->expires_at)
        return fault_set(f, ERR_KEY_EXPIRED, NULL);
    return OK;
}

static enum err check_owner(const struct caller *c, int64_t pin, struct fault *f) {
    if (c->user_disabled)
        return fault_set(f, ERR_USER_DISABLED, NULL);
    if (pin && c->role < ROLE_ADMIN)
        return fault_set(f, ERR_PIN_NOT_ALLOWED, NULL);
    return OK;
}

enum err auth_admit(const struct caller *c, int64_t now_s, int64_t pin, struct fault *f) {
    enum err e = check_key(c, now_s, f);
    return e != OK ? e : check_owner(c, pin, f);
}

enum err auth_use(const struct caller *c, int64_t now_s, struct str ip, int64_t pin,
                  struct fault *f) {
    enum err e = check_key(c, now_s, f);
    if (e == OK)
        e = auth_ip(c, ip, f);
    return e != OK ? e : check_owner(c, pin, f);
}

enum err auth_ip(const struct caller *c, struct str ip, struct fault *f) {
    uint8_t addr[16];
    if (!c->n_allow_ips)
        return OK;
    if (addr_parse(ip, addr) && cidr_list_has(c->allow_ips, c->n_allow_ips, addr))
        return OK;
    return fault_set(f, ERR_IP_NOT_ALLOWED, "%.*s", STR_ARG(ip));
}

static bool model_matches(struct str rule, struct str model) {
    if (rule.n && rule.p[rule.n - 1] == '*')
        return str_starts(model, str_sub(rule, 0, rule.n - 1));
    return str_eq(rule, model);
}

enum err auth_model(const struct caller *c, struct str model, struct fault *f) {
    if (!c->model_limits_enabled)
        return OK;
    for (size_t i = 0; i < c->n_models; i++)
        if (model_matches(c->models[i], model))
            return OK;
    return fault_set(f, ERR_MODEL_NOT_ALLOWED, "%.*s", (int)(model.n < 200 ? model.n : 200),
                     model.p);
}

enum err auth_scope(const struct caller *c, enum scope s, struct fault *f) {
    if (c->scopes & SCOPE_BIT(s))
        return OK;
    return fault_set(f, ERR_SCOPE_MISSING, "%s",
                     s < SCOPE__BUILTIN ? scope_name(s) : "of this service");
}

void auth_touch(struct auth *a, const struct caller *c, struct str ip, struct str model,
                struct str user_agent) {
    struct held *h = held_of(c);
    int64_t now = clock_unix_s(),
            before = atomic_load_explicit(&h->touched_s, memory_order_relaxed);
    if (now - before < LAST_USED_INTERVAL_S ||
        !atomic_compare_exchange_strong(&h->touched_s, &before, now))
        return;
    last_used_note(&a->last_used, c->key_id, c->secret_id, now, ip, model, user_agent);
}

void auth_refused(struct auth *a, const struct caller *c, enum err why, struct str ip) {
    static const enum err rules[] = {ERR_KEY_DISABLED,     ERR_KEY_EXPIRED,   ERR_IP_NOT_ALLOWED,
                                     ERR_PIN_NOT_ALLOWED,  ERR_SCOPE_MISSING, ERR_MODEL_NOT_ALLOWED,
                                     ERR_GROUP_NOT_ALLOWED};
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (rules[i] == why)
            refused_note(&a->refused, c->key_id, c->user_id, why, ip, clock_unix_s());
}

enum err auth_flush(struct auth *a, struct db *db, bool all) {
    enum err e = last_used_flush(&a->last_used, db);
    return e != OK ? e : refused_flush(&a->refused, db, all ? INT64_MAX : clock_unix_s());
}
