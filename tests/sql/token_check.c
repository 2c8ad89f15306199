/* token_check SOCKET NAME - /api/token on a real database: the contract, bad input, races. TAP. */
#include "site.h"

#include "door/db.h"
#include "util/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

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
        {"ip=10.1.1.1&path=/api/log/self", "scope_missing"},
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
    site_set(c->db, "INSERT INTO allowances VALUES (1, 1, 0, 9000, 9000, 0)");
    site_set(c->db, "INSERT INTO owner_budgets (owner_kind, owner_id, time_window, amount)"
                    " SELECT 2, id, 't', 700 FROM `groups` WHERE name = 'default'");
    snprintf(path, sizeof path, "/api/token/%lld/explain?ip=10.1.1.1", (long long)id);
    call(c, "GET", path, "");
    result(good(c) && json_bool(json_get(data(c), "allowed")), "a balance and budgets can pay");
    run(c->db, "INSERT INTO allowances SELECT 5, id, 0, 700, 0, 700 FROM owner_budgets");
    call(c, "GET", path, "");
    result(good(c) && strcmp(str_of_json(data(c), "code"), "budget_exhausted") == 0 &&
               strstr(str_of_json(data(c), "message"), "total budget of the group"),
           "a budget of the group that is used up is named");
    run(c->db, "DELETE FROM allowances WHERE kind IN (1, 5)");
    site_set(c->db, "DELETE FROM owner_budgets");
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
    result(json_length(json_get(data(&c), "items")) == 2, "the last page has the rest");
    int64_t last = int_of(json_at(json_get(data(&c), "items"), 1), "id");
    int64_t before = int_of(json_at(json_get(data(&c), "items"), 0), "id");
    result(before > last, "newest first there, too");
    call(&c, "GET", "/api/token?page_size=7&p=6", "");
    result(json_length(json_get(data(&c), "items")) == 0, "behind the end is nothing");
}

/* Keys that lie far apart, as those of one account among many do. */
static void every_page_is_found(struct db *db) {
    struct client c AUTO(client_free) = client_of(db, 2, 0);
    char path[64];
    int64_t above = INT64_MAX, seen = 0, middle = 0;
    site_set(db, "UPDATE options SET value = '2000' WHERE name = 'max_user_tokens';");
    for (int i = 0; i < 1205; i++) {
        if (i % 400 == 399)
            run(db, "INSERT INTO api_keys (id, user_id, created_at, deleted_at) "
                    "SELECT MAX(id) + 9000, 9, 1, 1 FROM api_keys;");
        call(&c, "POST", "/api/token?return=1", "{\"name\":\"many\"}");
        if (i == 600)
            middle = int_of(data(&c), "id");
    }
    snprintf(path, sizeof path, "/api/token/%lld", (long long)middle);
    call(&c, "DELETE", path, "");
    for (int p = 1; p <= 13; p++) {
        snprintf(path, sizeof path, "/api/token?page_size=100&p=%d", p);
        call(&c, "GET", path, "");
        const struct json *items = json_get(data(&c), "items");
        for (size_t i = 0; i < json_length(items); i++) {
            int64_t id = int_of(json_at(items, i), "id");
            seen += id < above && id != middle;
            above = id;
        }
    }
    result(seen == 1204 && json_length(json_get(data(&c), "items")) == 4,
           "thirteen pages show each of 1204 keys once, newest first (%lld)", (long long)seen);
    call(&c, "GET", "/api/token?page_size=100&p=14", "");
    result(json_length(json_get(data(&c), "items")) == 0, "and no more");
}

int main(int argc, char **argv) {
    struct db *db = site_start(argc, argv);
    struct client one = client_of(db, 1, 0), two = client_of(db, 2, 0);
    creation_follows_the_contract(&one);
    reveal_shows_what_was_made(&one);
    quotas_are_absolute_unless_asked_otherwise(&one);
    strangers_find_nothing(&one, &two);
    bad_input_is_refused_by_name(&one);
    long_input_meets_its_limit(&one);
    repeated_requests_are_answered_once(&one);
    texts_follow_the_language(&one);
    explain_names_the_deciding_rule(&one);
    site_set(db, "INSERT INTO options VALUES ('max_user_tokens', '30');");
    parallel_creates_stop_at_the_limit(db);
    every_page_is_found(db);
    client_free(&one);
    client_free(&two);
    return site_end(&db);
}
