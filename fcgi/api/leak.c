/* What GitHub's secret scanning tells of keys of this site that it found in public. */
#include "api/handlers.h"

#include "domain/identity/caller_load.h"
#include "domain/identity/key_audit.h"
#include "domain/identity/key_text.h"
#include "domain/routing/sync.h"
#include "door/conf.h"
#include "door/db.h"
#include "door/json.h"
#include "door/sign.h"
#include "util/clock.h"
#include "util/hash.h"
#include "util/lock.h"
#include "util/log.h"

#include <fcntl.h>
#include <unistd.h>

#define LIST_MAX (256u << 10)
#define REPORTS_MAX 1000 /* in one message */
#define TEXT_MAX 512     /* of a source's name or address, for the audit */
#define CALLS_A_MINUTE 60
#define CALLERS 256

/* --- how often an address may ask --------------------------------------------------------------
 * A table of fixed size: addresses that share a slot share its allowance. */

static struct lock rate_lock = LOCK_INIT;
static struct {
    int64_t minute;
    int calls;
} callers[CALLERS];

static enum err spend_call(struct str ip, struct fault *f) {
    int64_t now = clock_mono_us() / 1000000, minute = now / 60 + 1;
    size_t at = (size_t)(hash_bytes(ip.p, ip.n) % CALLERS);
    LOCKED(&rate_lock);
    if (callers[at].minute != minute) {
        callers[at].minute = minute;
        callers[at].calls = 0;
    }
    if (callers[at].calls++ < CALLS_A_MINUTE)
        return OK;
    fault_set(f, ERR_RATE_LIMIT, "%d reports a minute", CALLS_A_MINUTE);
    f->retry_after_s = 60 - now % 60;
    return ERR_RATE_LIMIT;
}

/* --- whose word it is --------------------------------------------------------------------------
 */

/* Read for each message: they are rare, and a new list is in force at once. */
static enum err read_list(const char *path, struct buf *out) {
    int fd AUTO(base_closep) = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return ERR_INTERNAL;
    for (;;) {
        char *room = buf_room(out, 4096);
        ssize_t n = room ? read(fd, room, 4096) : -1;
        if (n <= 0)
            return n < 0 ? ERR_INTERNAL : OK;
        out->n += (size_t)n;
    }
}

static const struct json *find_key(const struct json *list, struct str id) {
    const struct json *keys =
        json_type_of(list) == JSON_OBJECT ? json_get(list, "public_keys") : NULL;
    size_t n = keys && json_type_of(keys) == JSON_ARRAY ? json_length(keys) : 0;
    for (size_t i = 0; i < n; i++) {
        const struct json *item = json_at(keys, i);
        struct str name = STR(""), pem = STR("");
        if (json_type_of(item) == JSON_OBJECT &&
            json_want_str(item, "key_identifier", &name, NULL, NULL) == OK &&
            json_want_str(item, "key", &pem, NULL, NULL) == OK && name.n && str_eq(name, id))
            return json_get(item, "key");
    }
    return NULL;
}

static enum err check_signature(const struct api_request *req, struct fault *f) {
    struct buf text AUTO(buf_free) = BUF(LIST_MAX), signature AUTO(buf_free) = BUF(4096);
    struct json *list AUTO(json_free) = NULL;
    if (read_list(req->conf->leak_github_keys, &text) != OK ||
        json_parse(buf_view(&text), &list, NULL) != OK) {
        LOG(LOG_EV_LEAK_KEYS_BAD, log_s("file", req->conf->leak_github_keys));
        return fault_set(f, ERR_INTERNAL, NULL);
    }
    const struct json *key = find_key(list, str_trim(req->github_key));
    if (!key || !sign_base64(str_trim(req->github_signature), &signature) ||
        !sign_ecdsa_ok(json_str(key), req->body, buf_view(&signature)))
        return fault_set(f, ERR_SIGNATURE, NULL);
    return OK;
}

/* --- what is told ------------------------------------------------------------------------------
 */

struct report {
    struct str token, type, url, source;
    bool ours;
};

struct reports {
    struct report *items;
    size_t n;
};

static enum err read_reports(struct api_request *req, const struct json *list, struct reports *out,
                             struct fault *f) {
    if (json_type_of(list) != JSON_ARRAY)
        return fault_field(f, ERR_FIELD_TYPE, "body", "the body must be an array of reports");
    out->n = json_length(list);
    if (out->n > REPORTS_MAX)
        return fault_field(f, ERR_BATCH_TOO_LARGE, "body", "%d", REPORTS_MAX);
    out->items = arena_alloc(req->mem, (out->n + 1) * sizeof *out->items);
    for (size_t i = 0; i < out->n; i++) {
        const struct json *o = json_at(list, i);
        struct report *r = &out->items[i];
        *r = (struct report){STR(""), STR(""), STR(""), STR(""), false};
        enum err e = json_type_of(o) == JSON_OBJECT
                         ? json_want_str(o, "token", &r->token, NULL, f)
                         : fault_field(f, ERR_FIELD_TYPE, "body", "a report must be an object");
        if (!e)
            e = json_want_str(o, "type", &r->type, NULL, f);
        if (!e)
            e = json_want_str(o, "url", &r->url, NULL, f);
        if (!e)
            e = json_want_str(o, "source", &r->source, NULL, f);
        if (e)
            return e;
    }
    return OK;
}

/* --- what is done ------------------------------------------------------------------------------
 */

struct suspending {
    struct api_request *req;
    const struct report *report;
    struct str key;
    struct change change;
    bool ours;
};

static void put_detail(struct buf *out, const struct report *r, bool ended) {
    buf_puts(out, "{\"reporter\":\"github\",");
    if (ended)
        buf_puts(out, "\"suspended\":false,");
    buf_puts(out, "\"type\":");
    buf_json(out, str_sub(r->type, 0, TEXT_MAX));
    buf_puts(out, ",\"source\":");
    buf_json(out, str_sub(r->source, 0, TEXT_MAX));
    buf_puts(out, ",\"url\":");
    buf_json(out, str_sub(r->url, 0, TEXT_MAX));
    buf_putc(out, '}');
}

static enum err suspend(struct db *db, void *ctx) {
    struct suspending *s = ctx;
    struct secret_ids ids;
    struct buf detail AUTO(buf_free) = BUF(16384);
    s->ours = false;
    enum err e = secret_find(db, s->req->keys, s->key, &ids);
    if (e != OK)
        return e == ERR_DB_NO_ROW ? OK : e;
    s->ours = true;
    /* a secret that was rotated away opens nothing: its key goes on */
    bool ended = secret_ended(&ids, clock_unix_s());
    put_detail(&detail, s->report, ended);
    e = ended ? OK : key_set_disabled(db, ids.key_id, true);
    if (!e)
        e = key_audit(db,
                      &(struct audit_event){.user_id = ids.user_id,
                                            .actor = STR("github secret scanning"),
                                            .ip = s->req->ip,
                                            .request_id = s->req->request_id},
                      ids.key_id, "leak", buf_view(&detail));
    s->change = (struct change){.kind = HOST_GEN_KEY, .entity_id = ids.key_id};
    return e ? e : change_note(db, &s->change);
}

/* A transaction each: what was suspended stays so when a later one fails, and is told again. */
static enum err suspend_one(struct api_request *req, struct report *r) {
    struct suspending s = {.req = req, .report = r};
    int64_t pin;
    if (!key_text_parse(r->token, &s.key, &pin))
        return OK;
    enum err e = db_transaction(req->db, false, suspend, &s);
    if (e != OK || !s.ours)
        return e;
    r->ours = true;
    if (req->host)
        change_apply(req->host, &s.change);
    LOG(LOG_EV_KEY_LEAKED, log_i("key", s.change.entity_id),
        log_str("request_id", req->request_id));
    return OK;
}

static void put_answer(struct api_reply *reply, const struct reports *all) {
    struct buf *out = &reply->body;
    reply->status = 200;
    for (size_t i = 0; i < all->n; i++) {
        const struct report *r = &all->items[i];
        buf_puts(out, i ? ",{\"token_raw\":" : "[{\"token_raw\":");
        buf_json(out, r->token);
        buf_puts(out, ",\"token_type\":");
        buf_json(out, r->type);
        buf_printf(out, ",\"label\":\"%s\"}", r->ours ? "true_positive" : "false_positive");
    }
    buf_puts(out, all->n ? "]" : "[]");
}

enum err leak_github(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct json *list AUTO(json_free) = NULL;
    struct reports all = {0};
    if (!req->conf->leak_github_keys[0])
        return fault_set(f, ERR_URL_UNKNOWN, "%.*s %.*s", STR_ARG(req->method), STR_ARG(req->path));
    enum err e = spend_call(req->ip, f);
    if (!e)
        e = check_signature(req, f);
    if (!e)
        e = json_parse(req->body, &list, f);
    if (!e)
        e = read_reports(req, list, &all, f);
    for (size_t i = 0; !e && i < all.n; i++)
        e = suspend_one(req, &all.items[i]);
    if (!e)
        put_answer(reply, &all);
    return e;
}
