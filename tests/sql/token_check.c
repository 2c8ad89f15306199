/* token_check SOCKET NAME - /api/token and the keys it makes, on a real database, without a web
 * server: api_find and api_call as the front threads call them. TAP. */
#include "api/api.h"
#include "domain/audit/audit.h"
#include "domain/catalog/catalog.h"
#include "domain/identity/access_token.h"
#include "domain/identity/caller.h"
#include "domain/identity/refused.h"
#include "domain/routing/host.h"
#include "domain/schema/migrate.h"
#include "door/conf.h"
#include "door/crypt.h"
#include "door/db.h"
#include "door/json.h"
#include "util/clock.h"

#include <dirent.h>
#include <pthread.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int count, failed;
static const char *socket_path, *db_name;
static char dir[] = "/tmp/token-check.XXXXXX";
static struct keyring *keys;
static struct host *host;
static struct auth *auth;
static struct conf conf;

static void printf_like(2, 3) result(bool ok, const char *what, ...) {
    va_list ap;
    va_start(ap, what);
    printf("%sok %d - ", ok ? "" : "not ", ++count);
    vprintf(what, ap);
    putchar('\n');
    va_end(ap);
    failed += !ok;
}

static struct db *session(void) {
    struct passwd *me = getpwuid(getuid());
    must(me != NULL);
    return db_new(&(struct db_conf){socket_path, me->pw_name, "", db_name, 5, 30});
}

static void run(struct db *db, const char *sql) {
    struct fault f = {0};
    if (db_script(db, str_c(sql), &f) != OK) {
        printf("Bail out! %s: %s\n", sql, f.detail);
        exit(1);
    }
}

/* Removes a directory and the plain files and directories of plain files in it. */
static void empty(const char *path) {
    char child[500];
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        if (e->d_type == DT_DIR)
            empty(child);
        else
            unlink(child);
    }
    closedir(d);
    rmdir(path);
}

/* --- a client --------------------------------------------------------------------------------- */

struct client {
    struct db *db;
    char token[KEY_TEXT_CAP + 80];
    const char *language, *idempotency_key, *content_type, *new_api_user, *ip;
    /* the last answer */
    struct api_reply reply;
    struct json *json;
};

static void client_free(struct client *c) {
    json_free(&c->json);
    api_reply_free(&c->reply);
}

static struct client client_of(struct db *db, int64_t user_id, uint64_t scopes) {
    struct client c = {.db = db};
    int64_t id;
    enum err e = access_token_add(
        db, keys, &(struct access_token_new){user_id, -1, STR("test"), scopes}, &id, c.token);
    must(e == OK);
    api_reply_init(&c.reply);
    return c;
}

static int call_n(struct client *c, const char *method, const char *path, struct str body) {
    struct arena mem;
    struct fault f = {0};
    struct str whole = str_c(path), bare;
    arena_init(&mem, 4096);
    api_reply_free(&c->reply);
    api_reply_init(&c->reply);
    struct catalog *catalog = catalog_current();
    must(str_cut(&whole, '?', &bare));
    struct api_request req = {
        .method = str_c(method),
        .path = bare,
        .query = whole,
        .body = body,
        .content_type = str_c(c->content_type ? c->content_type : "application/json"),
        .idempotency_key = str_c(c->idempotency_key),
        .accept_language = str_c(c->language),
        .authorization = str_c(c->token),
        .new_api_user = str_c(c->new_api_user),
        .ip = str_c(c->ip ? c->ip : "192.0.2.1"),
        .request_id = STR("req_test"),
        .db = c->db,
        .conf = &conf,
        .host = host,
        .keys = keys,
        .auth = auth,
        .catalog = catalog,
        .mem = &mem,
    };
    const struct api_route *route = api_find(&req, &f);
    api_call(route, &req, &c->reply, &f);
    catalog_unref(&catalog);
    arena_free(&mem);
    json_free(&c->json);
    if (json_parse(buf_view(&c->reply.body), &c->json, &f) != OK) {
        printf("Bail out! %s %s answered what is not JSON: %s\n", method, path, c->reply.body.p);
        exit(1);
    }
    return c->reply.status;
}

static int call(struct client *c, const char *method, const char *path, const char *body) {
    return call_n(c, method, path, str_c(body));
}

static bool succeeded(const struct client *c) {
    return json_bool(json_get(c->json, "success"));
}

static const char *text_at(const struct client *c, const char *name) {
    const struct json *n = json_get(c->json, name);
    return n && json_type_of(n) == JSON_STRING ? json_str(n).p : "";
}

static bool says(const struct client *c, int status, const char *code) {
    bool fits = c->reply.status == status && !succeeded(c) && strcmp(text_at(c, "code"), code) == 0;
    if (!fits)
        printf("# %d %s\n", c->reply.status, c->reply.body.p);
    return fits;
}

static bool good(const struct client *c) {
    bool fits = c->reply.status == 200 && succeeded(c);
    if (!fits)
        printf("# %d %s\n", c->reply.status, c->reply.body.p);
    return fits;
}

static const struct json *data(const struct client *c) {
    return json_get(c->json, "data");
}

static int64_t int_of(const struct json *o, const char *name) {
    const struct json *n = o ? json_get(o, name) : NULL;
    return n && json_type_of(n) == JSON_INT ? json_int(n) : INT64_MIN;
}

static const char *str_of_json(const struct json *o, const char *name) {
    const struct json *n = o ? json_get(o, name) : NULL;
    return n && json_type_of(n) == JSON_STRING ? json_str(n).p : "";
}

/* Makes a key; returns its id and writes its text. */
static int64_t make_key(struct client *c, const char *body, char text[KEY_TEXT_CAP]) {
    call(c, "POST", "/api/token/?return=1", body);
    if (!good(c))
        return 0;
    snprintf(text, KEY_TEXT_CAP, "%s", str_of_json(data(c), "key"));
    return int_of(data(c), "id");
}

static const struct json *get_key(struct client *c, int64_t id) {
    char path[64];
    snprintf(path, sizeof path, "/api/token/%lld", (long long)id);
    call(c, "GET", path, "");
    return data(c);
}

static enum err use(struct db *db, const char *text, struct str ip, struct str model,
                    struct fault *f) {
    const struct caller *caller AUTO(caller_unref) = NULL;
    int64_t pin;
    enum err e = auth_key(auth, db, str_c(text), &caller, &pin, f);
    if (e == OK)
        e = auth_use(caller, clock_unix_s(), ip, pin, f);
    return e != OK ? e : auth_model(caller, model, f);
}

static enum err use_plainly(struct db *db, const char *text) {
    struct fault f;
    return use(db, text, STR("192.0.2.1"), STR("gpt-4o"), &f);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void creation_follows_the_contract(struct client *c) {
    call(c, "POST", "/api/token",
         "{\"name\":\"production\",\"expired_time\":-1,\"remain_quota\":100000,"
         "\"unlimited_quota\":false,\"model_limits_enabled\":false,\"model_limits\":\"\","
         "\"allow_ips\":null,\"group\":\"\",\"cross_group_retry\":false}");
    result(strcmp(c->reply.body.p, "{\"success\":true,\"message\":\"\"}") == 0,
           "create answers exactly what the seeds show");
    call(c, "GET", "/api/token/?p=1&page_size=20", "");
    const struct json *items = json_get(data(c), "items");
    result(good(c) && json_length(items) == 1 && int_of(data(c), "total") == 1 &&
               int_of(data(c), "page_size") == 20,
           "the list has it");
    const struct json *k = json_at(items, 0);
    result(strcmp(str_of_json(k, "name"), "production") == 0 && int_of(k, "status") == 1 &&
               int_of(k, "remain_quota") == 100000 && int_of(k, "used_quota") == 0 &&
               int_of(k, "expired_time") == -1,
           "with what was sent");
    result(str_starts(str_c(str_of_json(k, "key")), STR("sk-")) &&
               strstr(str_of_json(k, "key"), "****"),
           "and a masked key");
}

static void reveal_shows_what_was_made(struct client *c) {
    char text[KEY_TEXT_CAP], path[128];
    int64_t id = make_key(c, "{\"name\":\"r\",\"unlimited_quota\":true}", text);
    snprintf(path, sizeof path, "/api/token/%lld/key", (long long)id);
    call(c, "POST", path, "");
    result(good(c) && strcmp(str_of_json(data(c), "key"), text) == 0, "reveal shows the key");
    char body[64];
    snprintf(body, sizeof body, "{\"ids\":[%lld,999999]}", (long long)id);
    call(c, "POST", "/api/token/batch/keys", body);
    char name[24];
    snprintf(name, sizeof name, "%lld", (long long)id);
    result(good(c) && strcmp(str_of_json(json_get(data(c), "keys"), name), text) == 0,
           "so does the batch");
    snprintf(path, sizeof path, "/api/token/search?token=%s", text);
    call(c, "GET", path, "");
    result(good(c) && int_of(data(c), "total") == 1, "search finds it by its whole text");
    snprintf(path, sizeof path, "/api/token/search?token=%.7s", text);
    call(c, "GET", path, "");
    result(good(c) && int_of(data(c), "total") == 1, "and by the beginning of its hint");
    call(c, "GET", "/api/token/search?keyword=PRODUC", "");
    result(good(c) && int_of(data(c), "total") == 1, "and by its name in any case");
    call(c, "GET", "/api/token/search?keyword=%25%25", "");
    result(good(c) && int_of(data(c), "total") == 2, "percent signs match everything");
    call(c, "GET", "/api/token/search?keyword=pro_uc", "");
    result(good(c) && int_of(data(c), "total") == 0, "other wildcards mean themselves");
    call(c, "GET", path, "");
}

static void a_key_works_until_its_rules_say_no(struct client *c) {
    char text[KEY_TEXT_CAP], body[512];
    struct fault f;
    int64_t id =
        make_key(c,
                 "{\"name\":\"use\",\"unlimited_quota\":true,\"model_limits_enabled\":true,"
                 "\"model_limits\":[\"gpt-4o\",\" claude-*\"],"
                 "\"allow_ips\":\"198.51.100.10\\r\\n203.0.113.0/24,2001:db8::/32\"}",
                 text);
    result(strcmp(str_of_json(get_key(c, id), "allow_ips"),
                  "198.51.100.10\n203.0.113.0/24\n2001:db8::/32") == 0,
           "addresses are stored a line each");
    result(use(c->db, text, STR("203.0.113.9"), STR("gpt-4o"), &f) == OK, "an allowed call passes");
    result(use(c->db, text, STR("::ffff:203.0.113.9"), STR("claude-3"), &f) == OK,
           "a v4-mapped address and a model by prefix, too");
    result(use(c->db, text, STR("192.0.2.1"), STR("gpt-4o"), &f) == ERR_IP_NOT_ALLOWED,
           "another address does not");
    result(use(c->db, text, STR(""), STR("gpt-4o"), &f) == ERR_IP_NOT_ALLOWED,
           "nor an unknown one");
    result(use(c->db, text, STR("203.0.113.9"), STR("gpt-4o-mini"), &f) == ERR_MODEL_NOT_ALLOWED,
           "nor another model");
    snprintf(body, sizeof body, "{\"id\":%lld,\"status\":2}", (long long)id);
    call(c, "PUT", "/api/token/?status_only=1", body);
    result(good(c) && int_of(data(c), "status") == 2, "status_only switches it off");
    result(use(c->db, text, STR("203.0.113.9"), STR("gpt-4o"), &f) == ERR_KEY_DISABLED,
           "and the next call is refused");
    result(strcmp(str_of_json(get_key(c, id), "model_limits"), "gpt-4o,claude-*") == 0,
           "status_only changed nothing else");
    snprintf(body, sizeof body,
             "{\"id\":%lld,\"name\":\"use\",\"unlimited_quota\":true,\"status\":1,"
             "\"expired_time\":1000000000}",
             (long long)id);
    call(c, "PUT", "/api/token/", body);
    result(says(c, 200, "token_expired"), "enabling with an expiry in the past is refused");
    snprintf(body, sizeof body,
             "{\"id\":%lld,\"name\":\"use\",\"unlimited_quota\":true,"
             "\"expired_time\":1000000000}",
             (long long)id);
    call(c, "PUT", "/api/token/", body);
    snprintf(body, sizeof body,
             "{\"id\":%lld,\"name\":\"use\",\"unlimited_quota\":true,\"status\":1,"
             "\"expired_time\":4000000000}",
             (long long)id);
    call(c, "PUT", "/api/token/", body);
    result(good(c) && int_of(data(c), "status") == 1,
           "new expiry and status 1 in one call: judged after the update");
    result(use_plainly(c->db, text) == OK, "and the key works again, from anywhere");
    snprintf(body, sizeof body, "/api/token/%lld", (long long)id);
    call(c, "DELETE", body, "");
    result(strcmp(c->reply.body.p, "{\"success\":true,\"message\":\"\"}") == 0, "delete");
    result(use_plainly(c->db, text) == ERR_KEY_INVALID, "a deleted key is unknown at once");
    result(use_plainly(c->db, text) == ERR_KEY_INVALID, "and stays so");
    call(c, "DELETE", body, "");
    result(says(c, 200, "record_not_found"), "deleting it again finds nothing");
}

static void quotas_are_absolute_unless_asked_otherwise(struct client *c) {
    char text[KEY_TEXT_CAP], body[512];
    int64_t id = make_key(c, "{\"name\":\"q\",\"remain_quota\":100}", text);
    static const struct {
        const char *members;
        int64_t want;
    } rows[] = {
        {"\"remain_quota\":70", 70},
        {"\"quota_delta\":-20", 50},
        {"\"remain_quota\":60,\"if_remain_quota\":50", 60},
        {"\"remain_quota\":0", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(body, sizeof body, "{\"id\":%lld,\"name\":\"q\",%s}", (long long)id,
                 rows[i].members);
        call(c, "PUT", "/api/token/", body);
        result(good(c) && int_of(data(c), "remain_quota") == rows[i].want, "quota %s",
               rows[i].members);
    }
    result(int_of(data(c), "status") == 4, "an empty quota shows as exhausted");
    snprintf(body, sizeof body, "{\"id\":%lld,\"status\":1}", (long long)id);
    call(c, "PUT", "/api/token/?status_only=true", body);
    result(says(c, 200, "token_exhausted"), "and cannot be enabled");
    snprintf(body, sizeof body, "{\"id\":%lld,\"name\":\"q\",\"status\":4,\"remain_quota\":5}",
             (long long)id);
    call(c, "PUT", "/api/token/", body);
    result(good(c) && int_of(data(c), "status") == 1, "refilling revives it");
    snprintf(body, sizeof body,
             "{\"id\":%lld,\"name\":\"q\",\"remain_quota\":1,\"if_remain_quota\":9}",
             (long long)id);
    call(c, "PUT", "/api/token/", body);
    result(says(c, 200, "remain_quota_changed"), "compare-and-set notices a change");
}

static void rotation_overlaps(struct client *c) {
    char old[KEY_TEXT_CAP], fresh[KEY_TEXT_CAP], path[64];
    int64_t id = make_key(c, "{\"name\":\"rot\",\"unlimited_quota\":true}", old);
    snprintf(path, sizeof path, "/api/token/%lld/rotate", (long long)id);
    call(c, "DELETE", path, "");
    result(says(c, 200, "no_rotation"), "nothing to revoke before a rotation");
    call(c, "POST", path, "{\"grace_seconds\":3600}");
    snprintf(fresh, sizeof fresh, "%s", str_of_json(data(c), "key"));
    result(good(c) && strcmp(old, fresh) != 0, "a rotation gives another secret");
    result(use_plainly(c->db, old) == OK && use_plainly(c->db, fresh) == OK, "both work");
    call(c, "POST", path, "");
    result(says(c, 200, "rotation_in_progress"), "a third secret is refused");
    result(json_length(json_get(get_key(c, id), "secrets")) == 2, "both are shown");
    call(c, "DELETE", path, "");
    result(good(c) && use_plainly(c->db, old) == ERR_KEY_INVALID && use_plainly(c->db, fresh) == OK,
           "the old one is revoked at once");
    call(c, "POST", path, "{\"grace_seconds\":0}");
    result(good(c) && use_plainly(c->db, fresh) == ERR_KEY_INVALID, "no grace ends it now");
    call(c, "POST", path, "{\"grace_seconds\":2592001}");
    result(says(c, 400, "invalid_value"), "31 days are too long");
    snprintf(path, sizeof path, "/api/token/%lld/audit", (long long)id);
    call(c, "GET", path, "");
    result(good(c) && int_of(data(c), "total") == 4, "its history has every step");
}

static void strangers_find_nothing(struct client *c, struct client *other) {
    char text[KEY_TEXT_CAP], path[80], body[80];
    int64_t id = make_key(c, "{\"name\":\"mine\"}", text);
    static const char *const paths[][2] = {{"GET", ""},           {"DELETE", ""},
                                           {"POST", "/key"},      {"POST", "/rotate"},
                                           {"DELETE", "/rotate"}, {"GET", "/audit"}};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        snprintf(path, sizeof path, "/api/token/%lld%s", (long long)id, paths[i][1]);
        call(other, paths[i][0], path, "");
        result(says(other, 200, "record_not_found"), "%s %s of another account", paths[i][0],
               paths[i][1]);
    }
    snprintf(body, sizeof body, "{\"id\":%lld,\"status\":2}", (long long)id);
    call(other, "PUT", "/api/token/?status_only=1", body);
    result(says(other, 200, "record_not_found"), "PUT of another account");
    static const char *const ids[] = {"0", "-1", "9223372036854775808", "999999999"};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        snprintf(path, sizeof path, "/api/token/%s", ids[i]);
        call(c, "GET", path, "");
        result(says(c, 200, "record_not_found"), "id %s", ids[i]);
    }
}

static void repeat(struct buf *b, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        buf_puts(b, s);
}

static void bad_input_is_refused_by_name(struct client *c) {
    static const struct {
        const char *body;
        int status;
        const char *code, *param;
    } rows[] = {
        {"", 400, "empty_body", ""},
        {"{", 400, "invalid_json", ""},
        {"[]", 400, "invalid_type", ""},
        {"{\"name\":\"a\",\"name\":\"b\"}", 400, "duplicate_field", "name"},
        {"{\"nmae\":\"a\"}", 400, "unknown_field", "nmae"},
        {"{\"name\":7}", 400, "invalid_type", "name"},
        {"{\"name\":\"a\\u0000b\"}", 400, "invalid_value", "name"},
        {"{\"name\":\"a\xff\"}", 400, "invalid_json", ""},
        {"{\"remain_quota\":-1}", 200, "quota_negative", "remain_quota"},
        {"{\"remain_quota\":0.5}", 400, "invalid_type", "remain_quota"},
        {"{\"remain_quota\":\"5\"}", 400, "invalid_type", "remain_quota"},
        {"{\"remain_quota\":9223372036854775808}", 400, "invalid_type", "remain_quota"},
        {"{\"remain_quota\":500000000000001}", 200, "quota_too_large", "remain_quota"},
        {"{\"expired_time\":\"never\"}", 400, "invalid_type", "expired_time"},
        {"{\"unlimited_quota\":1}", 400, "invalid_type", "unlimited_quota"},
        {"{\"allow_ips\":\"1.2.3.4\\nx\"}", 200, "invalid_allow_ips", "allow_ips"},
        {"{\"allow_ips\":\"1.2.3.4/33\"}", 200, "invalid_allow_ips", "allow_ips"},
        {"{\"allow_ips\":\"1.2.3\"}", 200, "invalid_allow_ips", "allow_ips"},
        {"{\"allow_ips\":\"::1/129\"}", 200, "invalid_allow_ips", "allow_ips"},
        {"{\"allow_ips\":[\"1.2.3.4\"]}", 400, "invalid_type", "allow_ips"},
        {"{\"group\":\"vip\"}", 200, "group_not_allowed", "group"},
        {"{\"group\":\"nosuch\"}", 200, "group_not_allowed", "group"},
        {"{\"auto_groups\":[\"vip\"],\"group\":\"auto\"}", 200, "group_not_allowed", "auto_groups"},
        {"{\"model_limits_enabled\":true,\"model_limits\":\"gpt-9\"}", 200, "model_not_found",
         "model_limits"},
        {"{\"model_limits\":{}}", 400, "invalid_type", "model_limits"},
        {"{\"scopes\":[\"everything\"]}", 200, "unknown_scope", "scopes"},
        {"{\"scopes\":\"inference\"}", 400, "invalid_type", "scopes"},
        {"{\"scopes\":[\"admin:write\"]}", 200, "unknown_scope", "scopes"},
        {"{\"mode\":\"prod\"}", 400, "invalid_value", "mode"},
        {"{\"rpm_limit\":-1}", 400, "invalid_value", "rpm_limit"},
        {"{\"budgets\":[{\"window\":\"year\",\"amount\":1}]}", 400, "invalid_value", "budgets"},
        {"{\"budgets\":[{\"window\":\"day\",\"amount\":0}]}", 400, "invalid_value", "budgets"},
        {"{\"budgets\":[{\"window\":\"day\",\"amount\":1,\"timezone\":\"Mars/Base\"}]}", 400,
         "invalid_value", "budgets"},
        {"{\"budgets\":[{\"window\":\"day\",\"amount\":1},{\"window\":\"day\",\"amount\":2}]}", 400,
         "invalid_value", "budgets"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        call(c, "POST", "/api/token/", rows[i].body);
        result(says(c, rows[i].status, rows[i].code) &&
                   strcmp(text_at(c, "param"), rows[i].param) == 0,
               "%s", rows[i].body);
    }
    call(c, "GET", "/api/token/?page_size=1000000000&p=1", "");
    result(good(c) && int_of(data(c), "page_size") == 100, "page_size 10^9 is 100");
    call(c, "GET", "/api/token/?page_size=0&p=-5", "");
    result(good(c) && int_of(data(c), "page_size") == 10 && int_of(data(c), "page") == 1,
           "page_size 0 is 10, page -5 is 1");
    call(c, "GET", "/api/token/?page_size=-1", "");
    result(good(c) && int_of(data(c), "page_size") == 10, "page_size -1 is 10");
    c->content_type = "text/plain";
    call(c, "POST", "/api/token/", "{}");
    result(says(c, 415, "unsupported_content_type"), "a body that is no JSON by its header");
    c->content_type = NULL;
}

static void long_input_meets_its_limit(struct client *c) {
    static const struct {
        const char *unit;
        size_t n;
        bool fits;
    } names[] = {{"\xE9\x94\xAE", 50, true}, {"\xE9\x94\xAE", 51, false}, {"x", 1000000, false}};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct buf b AUTO(buf_free) = BUF(2000000);
        buf_puts(&b, "{\"name\":\"");
        repeat(&b, names[i].unit, names[i].n);
        buf_puts(&b, "\"}");
        call(c, "POST", "/api/token", b.p);
        result(names[i].fits ? good(c)
                             : says(c, 200, "name_too_long") &&
                                   strcmp(text_at(c, "message"), "token name is too long") == 0,
               "a name of %zu characters", names[i].n);
    }
    struct buf ips AUTO(buf_free) = BUF(2000000);
    buf_puts(&ips, "{\"allow_ips\":\"");
    repeat(&ips, "1.2.3.4\\n", 10000);
    buf_puts(&ips, "\"}");
    call(c, "POST", "/api/token", ips.p);
    result(says(c, 200, "invalid_allow_ips"), "10,000 addresses");
    struct buf deep AUTO(buf_free) = BUF(2000000);
    buf_puts(&deep, "{\"name\":");
    repeat(&deep, "[", 100000);
    call(c, "POST", "/api/token", deep.p);
    result(says(c, 400, "invalid_json"), "100,000 levels");
}

static void repeated_requests_are_answered_once(struct client *c) {
    char first[KEY_TEXT_CAP];
    c->idempotency_key = "order-1";
    make_key(c, "{\"name\":\"once\"}", first);
    call(c, "POST", "/api/token/?return=1", "{\"name\":\"once\"}");
    result(good(c) && strcmp(str_of_json(data(c), "key"), first) == 0,
           "the same key and body get the same answer");
    call(c, "POST", "/api/token/?return=1", "{\"name\":\"twice\"}");
    result(says(c, 409, "idempotency_conflict"), "another body is a conflict");
    c->idempotency_key = "order-2";
    call(c, "POST", "/api/token/", "{\"name\":\"x\",\"group\":\"nosuch\"}");
    call(c, "POST", "/api/token/", "{\"name\":\"x\"}");
    result(good(c), "a refusal does not use the key up");
    c->idempotency_key = NULL;
    call(c, "GET", "/api/token/search?keyword=once", "");
    result(int_of(data(c), "total") == 1, "one key was made");
}

static void credentials_are_checked(struct client *c, struct db *db) {
    struct client bad = *c;
    bad.json = NULL;
    api_reply_init(&bad.reply);
    snprintf(bad.token, sizeof bad.token, "Bearer %.*s", KEY_TEXT_CAP, c->token);
    call(&bad, "GET", "/api/token", "");
    result(good(&bad), "Bearer is accepted");
    bad.new_api_user = "424242";
    call(&bad, "GET", "/api/token", "");
    result(says(&bad, 401, "user_mismatch"), "New-Api-User must fit");
    bad.new_api_user = "1";
    call(&bad, "GET", "/api/token", "");
    result(good(&bad), "and may be sent");
    bad.new_api_user = NULL;
    bad.token[0] = '\0';
    call(&bad, "GET", "/api/token", "");
    result(says(&bad, 401, "unauthorized"), "no credential");
    snprintf(bad.token, sizeof bad.token, "%s", c->token);
    bad.token[20] = bad.token[20] == 'a' ? 'b' : 'a';
    call(&bad, "GET", "/api/token", "");
    result(says(&bad, 401, "invalid_access_token"), "a mistyped token");
    struct client reader AUTO(client_free) = client_of(db, 1, SCOPE_BIT(SCOPE_KEYS_READ));
    call(&reader, "GET", "/api/token", "");
    result(good(&reader), "a reading token reads");
    call(&reader, "POST", "/api/token", "{}");
    result(says(&reader, 403, "scope_missing"), "and cannot write");
    struct client writer AUTO(client_free) = client_of(db, 1, SCOPE_BIT(SCOPE_KEYS_WRITE));
    call(&writer, "POST", "/api/token", "{\"name\":\"w\"}");
    result(good(&writer), "a writing token makes ordinary keys");
    call(&writer, "POST", "/api/token", "{\"name\":\"w\",\"scopes\":[\"logs:read\"]}");
    result(says(&writer, 200, "scope_exceeded"), "but gives no scope it has not");
    char text[KEY_TEXT_CAP];
    make_key(c, "{\"name\":\"manager\",\"unlimited_quota\":true,\"scopes\":[\"keys:read\"]}", text);
    memcpy(reader.token, text, sizeof text);
    call(&reader, "GET", "/api/token", "");
    result(good(&reader), "an API key with keys:read lists keys");
    call(&reader, "DELETE", "/api/token/1", "");
    result(says(&reader, 403, "scope_missing"), "and deletes none");
    client_free(&bad);
}

static void texts_follow_the_language(struct client *c) {
    c->language = "zh-CN,zh;q=0.9";
    call(c, "GET", "/api/token/999999", "");
    result(strcmp(text_at(c, "message"),
                  "\xE8\xAE\xB0\xE5\xBD\x95\xE4\xB8\x8D\xE5\xAD\x98\xE5\x9C\xA8") == 0 &&
               says(c, 200, "record_not_found"),
           "Chinese text, English code");
    c->language = NULL;
    call(c, "PATCH", "/api/token/", "");
    result(says(c, 405, "method_not_allowed") &&
               strstr(c->reply.headers.p, "Allow: GET, POST, PUT"),
           "405 says what is allowed");
    call(c, "GET", "/api/tokens", "");
    result(says(c, 404, "unknown_url"), "an unknown path");
}

static struct client key_client(struct db *db, const char *text) {
    struct client c = {.db = db};
    api_reply_init(&c.reply);
    snprintf(c.token, sizeof c.token, "Bearer %s", text);
    return c;
}

static void a_key_reads_its_own_usage(struct client *c) {
    char text[KEY_TEXT_CAP], body[160];
    int64_t id = make_key(c, "{\"name\":\"meter\",\"remain_quota\":1250000}", text);
    run(c->db,
        "INSERT INTO usage_rows (created_s, type, user_id, key_id, group_id, channel_id, "
        "price_id, group_ratio, cost, prompt, completion, cached, cache_write_5m, "
        "cache_write_1h, image_in, audio_in, audio_out, reasoning, searches, status, "
        "attempts, end_reason, policy, stream, test_mode, estimated, interrupted, "
        "started_us, first_byte_us, duration_us, request_id, model) SELECT 5, 2, 1, MAX(id), "
        "1, 1, 1, 1, 77, 10, 20, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1, 0, 0, 1, 0, 0, 0, 1, 1, "
        "2500000, 'req_9', 'gpt-4o' FROM api_keys; "
        "UPDATE allowances SET remain = remain - 77, spent = 77 WHERE kind = 3 AND owner_id = "
        "(SELECT MAX(id) FROM api_keys);");
    struct client k AUTO(client_free) = key_client(c->db, text);
    call(&k, "GET", "/api/usage/token/", "");
    result(json_bool(json_get(k.json, "code")) && int_of(data(&k), "total_used") == 77 &&
               int_of(data(&k), "total_available") == 1249923 &&
               int_of(data(&k), "expires_at") == 0,
           "its quota in the base contract's shape");
    call(&k, "GET", "/api/log/token", "");
    const struct json *row = json_at(data(&k), 0);
    result(json_length(data(&k)) == 1 && int_of(row, "quota") == 77 &&
               int_of(row, "use_time") == 2 &&
               strcmp(str_of_json(row, "model_name"), "gpt-4o") == 0,
           "its calls");
    call(&k, "GET", "/v1/dashboard/billing/subscription", "");
    result(strstr(k.reply.body.p, "\"hard_limit_usd\":2.5,"), "what it was given, in dollars");
    call(&k, "GET", "/dashboard/billing/usage", "");
    result(strcmp(k.reply.body.p, "{\"object\":\"list\",\"total_usage\":0.0154}") == 0,
           "what it used, in cents");
    call(&k, "GET", "/api/token", "");
    result(says(&k, 403, "scope_missing"), "but no other key");
    snprintf(body, sizeof body,
             "{\"id\":%lld,\"name\":\"meter\",\"remain_quota\":0,\"expired_time\":1000000000}",
             (long long)id);
    call(c, "PUT", "/api/token", body);
    call(&k, "GET", "/api/usage/token", "");
    result(k.reply.status == 200 && int_of(data(&k), "total_available") == 0,
           "also when it is exhausted and expired");
    snprintf(body, sizeof body, "{\"id\":%lld,\"status\":2}", (long long)id);
    call(c, "PUT", "/api/token?status_only=1", body);
    call(&k, "GET", "/api/usage/token", "");
    result(says(&k, 401, "api_key_disabled"), "not when it is disabled");
    call(&k, "GET", "/v1/dashboard/billing/usage", "");
    result(k.reply.status == 401 &&
               strcmp(str_of_json(json_get(k.json, "error"), "code"), "api_key_disabled") == 0,
           "in OpenAI's shape where that is imitated");
}

static void explain_names_the_deciding_rule(struct client *c) {
    char text[KEY_TEXT_CAP], path[160];
    int64_t id = make_key(c,
                          "{\"name\":\"why\",\"unlimited_quota\":true,\"allow_ips\":\"10.0.0.0/8\","
                          "\"model_limits_enabled\":true,\"model_limits\":\"claude-3\","
                          "\"budgets\":[{\"window\":\"day\",\"amount\":500,"
                          "\"timezone\":\"Europe/Berlin\"}]}",
                          text);
    static const struct {
        const char *query, *code;
    } rows[] = {
        {"ip=192.0.2.1&model=claude-3", "ip_not_allowed"},
        {"ip=10.1.1.1&model=gpt-4o", "model_not_allowed"},
        {"ip=10.1.1.1&path=/api/log/token", "scope_missing"},
        {"ip=10.1.1.1", "insufficient_user_quota"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(path, sizeof path, "/api/token/%lld/explain?%s", (long long)id, rows[i].query);
        call(c, "GET", path, "");
        result(good(c) && !json_bool(json_get(data(c), "allowed")) &&
                   strcmp(str_of_json(data(c), "code"), rows[i].code) == 0,
               "explain %s: %s", rows[i].query, rows[i].code);
    }
    int64_t reset = int_of(data(c), "next_reset");
    result(reset > clock_unix_s() && reset <= clock_unix_s() + 25 * 3600, "and the next reset");
    const struct json *b = json_at(json_get(get_key(c, id), "budgets"), 0);
    result(int_of(b, "amount") == 500 && int_of(b, "spent") == 0 && int_of(b, "resets_at") == reset,
           "as the key itself shows");
}

static void access_tokens_are_several_and_limited(struct client *c) {
    call(c, "GET", "/api/user/token", "");
    result(good(c) && json_type_of(data(c)) == JSON_STRING, "the base contract's one token");
    struct client first AUTO(client_free) = {.db = c->db};
    api_reply_init(&first.reply);
    snprintf(first.token, sizeof first.token, "%.*s", KEY_TEXT_CAP, json_str(data(c)).p);
    call(&first, "GET", "/api/token", "");
    result(good(&first), "works");
    call(c, "GET", "/api/user/token/", "");
    call(&first, "GET", "/api/token", "");
    result(says(&first, 401, "invalid_access_token"), "until the next one is made");
    call(c, "POST", "/api/user/tokens",
         "{\"name\":\"reader\",\"scopes\":[\"keys:read\",\"account:write\"],"
         "\"expired_time\":4000000000}");
    int64_t id = int_of(data(c), "id");
    snprintf(first.token, sizeof first.token, "%s", str_of_json(data(c), "key"));
    call(&first, "GET", "/api/token", "");
    result(good(&first), "a scoped one does what it may");
    call(&first, "DELETE", "/api/token/1", "");
    result(says(&first, 403, "scope_missing"), "and nothing else");
    call(&first, "POST", "/api/user/tokens", "{\"name\":\"x\",\"scopes\":[\"keys:write\"]}");
    result(says(&first, 200, "scope_exceeded"), "nor makes one that may more");
    call(&first, "POST", "/api/user/tokens", "{\"name\":\"x\"}");
    struct client heir AUTO(client_free) = {.db = c->db};
    api_reply_init(&heir.reply);
    snprintf(heir.token, sizeof heir.token, "%s", str_of_json(data(&first), "key"));
    call(&heir, "DELETE", "/api/token/1", "");
    result(says(&heir, 403, "scope_missing"), "what it makes may no more than itself");
    char path[64];
    snprintf(path, sizeof path, "/api/user/tokens/%lld", (long long)id);
    call(c, "DELETE", path, "");
    result(good(c), "it is revoked");
    call(&first, "GET", "/api/token", "");
    result(says(&first, 401, "invalid_access_token"), "at once");
    call(c, "POST", "/api/user/tokens", "{\"name\":\"old\",\"expired_time\":1000000000}");
    snprintf(first.token, sizeof first.token, "%s", str_of_json(data(c), "key"));
    call(&first, "GET", "/api/token", "");
    result(says(&first, 401, "invalid_access_token"), "an expired one is unknown");
    call(c, "GET", "/api/user/tokens", "");
    result(good(c) && json_length(data(c)) >= 4 && !strstr(c->reply.body.p, first.token),
           "the list has hints, no tokens");
}

static void *create_many(void *arg) {
    struct db *db = session();
    struct client c AUTO(client_free) = client_of(db, 3, 0);
    int64_t *made = arg;
    for (int i = 0; i < 10; i++) {
        call(&c, "POST", "/api/token", "{\"name\":\"race\"}");
        if (succeeded(&c))
            ++*made;
        else if (strcmp(text_at(&c, "code"), "too_many_tokens") != 0)
            printf("# %s\n", c.reply.body.p);
    }
    db_free(&db);
    return NULL;
}

static void parallel_creates_stop_at_the_limit(struct db *db) {
    pthread_t threads[8];
    int64_t made[8] = {0}, sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        must(pthread_create(&threads[i], NULL, create_many, &made[i]) == 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
        sum += made[i];
    }
    struct client c AUTO(client_free) = client_of(db, 3, 0);
    call(&c, "GET", "/api/token?page_size=100", "");
    result(sum == 30 && int_of(data(&c), "total") == 30 &&
               json_length(json_get(data(&c), "items")) == 30,
           "80 creates at once make the 30 keys that are allowed (%lld)", (long long)sum);
    call(&c, "GET", "/api/token?page_size=7&p=5", "");
    result(json_length(json_get(data(&c), "items")) == 2, "the last page is read from its end");
    int64_t last = int_of(json_at(json_get(data(&c), "items"), 1), "id");
    int64_t before = int_of(json_at(json_get(data(&c), "items"), 0), "id");
    result(before > last, "newest first there, too");
    call(&c, "GET", "/api/token?page_size=7&p=6", "");
    result(json_length(json_get(data(&c), "items")) == 0, "behind the end is nothing");
}

static void the_chain_of_audit_rows_holds(struct db *db) {
    struct audit_report r;
    struct fault f = {0};
    enum err e = audit_verify(db, &r, &f);
    result(e == OK && r.rows > 30, "untouched: %lld rows fit", (long long)r.rows);
    run(db, "CREATE TABLE audit_copy AS SELECT * FROM audit; "
            "UPDATE audit SET detail = '{}' WHERE user_id = 1 ORDER BY id LIMIT 1;");
    e = audit_verify(db, &r, &f);
    result(e == ERR_INTERNAL && r.bad_row > 0, "an edited row is found: %s", f.detail);
    run(db, "DELETE FROM audit; INSERT INTO audit SELECT * FROM audit_copy;");
    e = audit_verify(db, &r, &f);
    result(e == OK, "put back, it fits");
    run(db, "DELETE FROM audit WHERE user_id = 3 ORDER BY id DESC LIMIT 1;");
    e = audit_verify(db, &r, &f);
    result(e == ERR_INTERNAL, "the last row removed is found: %s", f.detail);
    run(db, "DELETE FROM audit; INSERT INTO audit SELECT * FROM audit_copy; "
            "DELETE FROM audit_heads WHERE user_id = 3;");
    e = audit_verify(db, &r, &f);
    result(e == ERR_INTERNAL, "a removed chain end is found: %s", f.detail);
}

static void peppers_rotate_under_use(struct db *db) {
    struct client c AUTO(client_free) = client_of(db, 1, 0);
    char text[KEY_TEXT_CAP], path[120];
    struct fault f = {0};
    make_key(&c, "{\"name\":\"old pepper\",\"unlimited_quota\":true}", text);
    snprintf(path, sizeof path, "%s/secrets", dir);
    must(keyring_init(path, true, &f) == OK);
    keyring_free(&keys);
    must(keyring_load(path, &keys, &f) == OK);
    auth_free(&auth);
    auth = auth_new(host, keys, 1000, 60000);
    result(use_plainly(db, text) == OK, "a key of the former pepper works");
    call(&c, "GET", "/api/token", "");
    result(good(&c), "so does an access token");
    snprintf(path, sizeof path, "%s/secrets/1.key", dir);
    must(unlink(path) == 0);
    snprintf(path, sizeof path, "%s/secrets", dir);
    keyring_free(&keys);
    must(keyring_load(path, &keys, &f) == OK);
    auth_free(&auth);
    auth = auth_new(host, keys, 1000, 60000);
    result(use_plainly(db, text) == OK, "its use moved it to the new one");
    call(&c, "GET", "/api/token", "");
    result(good(&c), "the access token as well");
}

static void last_use_is_written_once_a_minute(struct db *db) {
    struct client c AUTO(client_free) = client_of(db, 1, 0);
    char text[KEY_TEXT_CAP];
    int64_t id = make_key(&c, "{\"name\":\"touch\",\"unlimited_quota\":true}", text), pin;
    const struct caller *caller AUTO(caller_unref) = NULL;
    struct fault f;
    must(auth_key(auth, db, str_c(text), &caller, &pin, &f) == OK);
    auth_touch(auth, caller, STR("203.0.113.5"), STR("gpt-4o"), STR("curl/8"));
    auth_touch(auth, caller, STR("203.0.113.6"), STR("other"), STR("curl/9"));
    result(auth_flush_last_used(auth, db) == OK, "last uses are written");
    const struct json *k = get_key(&c, id);
    const struct json *s = json_at(json_get(k, "secrets"), 0);
    result(int_of(k, "accessed_time") > 0 &&
               strcmp(str_of_json(k, "last_used_ip"), "203.0.113.5") == 0 &&
               strcmp(str_of_json(s, "last_used_model"), "gpt-4o") == 0 &&
               strcmp(str_of_json(s, "last_used_agent"), "curl/8") == 0,
           "the first of the minute");
}

static void refused_calls_are_counted_for_the_owner(struct db *db) {
    struct client c AUTO(client_free) = client_of(db, 1, 0);
    struct refused *r AUTO(base_freep) = base_zalloc(sizeof *r);
    char text[KEY_TEXT_CAP], path[64];
    int64_t id = make_key(&c, "{\"name\":\"probed\"}", text);
    refused_init(r);
    for (int i = 0; i < 17; i++)
        refused_note(r, id, 1, ERR_IP_NOT_ALLOWED, STR("203.0.113.66"), 1000);
    refused_note(r, id, 1, ERR_KEY_EXPIRED, STR("203.0.113.66"), 1030);
    must(refused_flush(r, db, 1059) == OK);
    result(r->n == 2, "nothing is written before the minute is over");
    must(refused_flush(r, db, 1060) == OK);
    refused_free(r);
    snprintf(path, sizeof path, "/api/token/%lld/audit", (long long)id);
    call(&c, "GET", path, "");
    const struct json *row = json_at(json_get(data(&c), "items"), 0);
    result(r->n == 1 && int_of(data(&c), "total") == 2 &&
               strcmp(str_of_json(row, "action"), "refused") == 0 &&
               int_of(json_get(row, "detail"), "count") == 17 &&
               strcmp(str_of_json(row, "ip"), "203.0.113.66") == 0,
           "17 refused calls are one row");
}

static void authentication_is_fast(struct db *db) {
    struct client c AUTO(client_free) = client_of(db, 1, 0);
    char text[KEY_TEXT_CAP];
    make_key(&c, "{\"name\":\"bench\",\"unlimited_quota\":true}", text);
    const int rounds = 200000;
    must(use_plainly(db, text) == OK);
    int64_t from = clock_mono_us();
    for (int i = 0; i < rounds; i++)
        if (use_plainly(db, text) != OK)
            failed++;
    int64_t hit = (clock_mono_us() - from) * 1000 / rounds;
    text[10] = text[10] == 'a' ? 'b' : 'a';
    from = clock_mono_us();
    for (int i = 0; i < rounds; i++)
        if (use_plainly(db, text) != ERR_KEY_INVALID)
            failed++;
    int64_t bad = (clock_mono_us() - from) * 1000 / rounds;
    result(hit < 100000, "a hit takes %lld ns, a bad checksum %lld ns", (long long)hit,
           (long long)bad);
}

static void prepare(struct db *db) {
    struct fault f = {0};
    char path[120];
    must(schema_migrate(db, NULL, &f) == OK);
    run(db, "INSERT INTO users (id, username, created_at) VALUES (1, 'one', 1), (2, 'two', 1), "
            "(3, 'three', 1);"
            "INSERT INTO `groups` (name, selectable) VALUES ('vip', FALSE), ('fast', TRUE);"
            "INSERT INTO models (name) VALUES ('gpt-4o'), ('claude-3');");
    must(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/secrets", dir);
    must(keyring_init(path, false, &f) == OK && keyring_load(path, &keys, &f) == OK);
    must(host_open(dir, &host, &f) == OK);
    auth = auth_new(host, keys, 1000, 60000);
    conf_defaults(&conf);
    struct catalog *catalog = NULL;
    must(catalog_load(db, keys, &catalog, &f) == OK);
    catalog_publish(catalog);
}

static void limit_keys(struct db *db, const char *option) {
    struct catalog *catalog = NULL;
    run(db, option);
    must(catalog_load(db, keys, &catalog, NULL) == OK);
    catalog_publish(catalog);
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    socket_path = argv[1];
    db_name = argv[2];
    crypt_init();
    db_library_init();
    struct db *db = session();
    prepare(db);
    struct client one = client_of(db, 1, 0), two = client_of(db, 2, 0);
    creation_follows_the_contract(&one);
    reveal_shows_what_was_made(&one);
    a_key_works_until_its_rules_say_no(&one);
    quotas_are_absolute_unless_asked_otherwise(&one);
    rotation_overlaps(&one);
    strangers_find_nothing(&one, &two);
    bad_input_is_refused_by_name(&one);
    long_input_meets_its_limit(&one);
    repeated_requests_are_answered_once(&one);
    credentials_are_checked(&one, db);
    texts_follow_the_language(&one);
    a_key_reads_its_own_usage(&one);
    explain_names_the_deciding_rule(&one);
    access_tokens_are_several_and_limited(&one);
    last_use_is_written_once_a_minute(db);
    refused_calls_are_counted_for_the_owner(db);
    authentication_is_fast(db);
    peppers_rotate_under_use(db);
    limit_keys(db, "INSERT INTO options VALUES ('max_user_tokens', '30');");
    parallel_creates_stop_at_the_limit(db);
    the_chain_of_audit_rows_holds(db);
    client_free(&one);
    client_free(&two);
    auth_free(&auth);
    host_close(&host);
    keyring_free(&keys);
    catalog_publish(NULL);
    db_free(&db);
    empty(dir);
    printf("1..%d\n", count);
    return failed != 0;
}
