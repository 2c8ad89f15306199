/* key_check SOCKET NAME - keys and access tokens in use on a real database: who is let in,
 * rotation, usage by key, peppers, last use, audit. TAP. */
#include "site.h"

#include "domain/admin/account.h"
#include "domain/audit/audit.h"
#include "domain/identity/refused.h"
#include "door/crypt.h"
#include "door/db.h"
#include "util/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

static void last_use_is_written_once_a_minute(struct db *db) {
    struct client c AUTO(client_free) = client_of(db, 1, 0);
    char text[KEY_TEXT_CAP];
    int64_t id = make_key(&c, "{\"name\":\"touch\",\"unlimited_quota\":true}", text), pin;
    const struct caller *caller AUTO(caller_unref) = NULL;
    struct fault f;
    must(auth_key(site.auth, db, str_c(text), &caller, &pin, &f) == OK);
    auth_touch(site.auth, caller, STR("203.0.113.5"), STR("gpt-4o"), STR("curl/8"));
    auth_touch(site.auth, caller, STR("203.0.113.6"), STR("other"), STR("curl/9"));
    result(auth_flush(site.auth, db, false) == OK, "last uses are written");
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

static const struct caller *picture_of(struct db *db, const char *key) {
    const struct caller *c = NULL;
    int64_t pin;
    must(auth_key(site.auth, db, str_c(key), &c, &pin, NULL) == OK);
    return c;
}

static void limits_of_an_account_reach_its_keys(struct db *db) {
    struct client client AUTO(client_free) = client_of(db, 1, 0);
    char plain[KEY_TEXT_CAP], budgeted[KEY_TEXT_CAP];
    make_key(&client, "{\"name\":\"plain\",\"unlimited_quota\":true}", plain);
    make_key(&client,
             "{\"name\":\"budgeted\",\"unlimited_quota\":true,"
             "\"budgets\":[{\"window\":\"day\",\"amount\":5,\"timezone\":\"Europe/Berlin\"}]}",
             budgeted);
    const struct caller *c = picture_of(db, plain);
    result(!c->n_user_budgets && !c->user_rpm_limit && !c->n_budgets, "an account has no limits");
    caller_unref(&c);
    struct account_limits l = {.has = {.rpm = true}, .rpm = 60};
    struct fault f = {0};
    run(db, "UPDATE users SET timezone = 'Asia/Ho_Chi_Minh' WHERE id = 1");
    must(budget_parse(STR("day=700,total=9000@UTC"), &l.budgets, &f) == OK);
    enum err e = account_set_limits(db, site.host, 1, &l, &f);
    c = picture_of(db, budgeted);
    const struct budget_rule *b = c->user_budgets;
    result(!e && c->user_rpm_limit == 60 && c->n_budgets == 1 && c->budgets[0].amount == 5 &&
               c->n_user_budgets == 2,
           "limits of an account reach a remembered key at once, beside its own");
    result(b[0].owner == BUDGET_OF_USER && b[0].window == 'd' && b[0].amount == 700 &&
               str_eqc(STR("Asia/Ho_Chi_Minh"), b[0].timezone),
           "a budget's day is the account's");
    result(b[1].window == 't' && b[1].amount == 9000 && str_eqc(STR("UTC"), b[1].timezone),
           "unless another time zone is named");
    int64_t start, end, now = 1700000000; /* 05:13 in Ho Chi Minh City */
    budget_window(&b[0], now, &start, &end);
    result(start == 1699981200 && end == start + 86400, "and begins at its midnight");
    budget_window(&b[1], now, &start, &end);
    result(start == 0 && end == 0, "a total never begins anew");
    caller_unref(&c);
    l = (struct account_limits){.has = {.rpm = true}};
    must(budget_parse(STR("day=0,week=0,total=0"), &l.budgets, &f) == OK);
    e = account_set_limits(db, site.host, 1, &l, &f);
    c = picture_of(db, plain);
    result(!e && !c->user_rpm_limit && !c->n_user_budgets, "and go as they came");
    caller_unref(&c);
}

static void authentication_is_fast(struct db *db) {
    struct client c AUTO(client_free) = client_of(db, 1, 0);
    char text[KEY_TEXT_CAP];
    make_key(&c, "{\"name\":\"bench\",\"unlimited_quota\":true}", text);
    const int rounds = 200000;
    int wrong = use_plainly(db, text) != OK;
    int64_t from = clock_mono_us();
    for (int i = 0; i < rounds; i++)
        wrong += use_plainly(db, text) != OK;
    int64_t hit = (clock_mono_us() - from) * 1000 / rounds;
    text[10] = text[10] == 'a' ? 'b' : 'a';
    from = clock_mono_us();
    for (int i = 0; i < rounds; i++)
        wrong += use_plainly(db, text) != ERR_KEY_INVALID;
    int64_t bad = (clock_mono_us() - from) * 1000 / rounds;
    result(!wrong && hit < 100000, "a hit takes %lld ns, a bad checksum %lld ns", (long long)hit,
           (long long)bad);
}

static void peppers_rotate_under_use(struct db *db) {
    struct client c AUTO(client_free) = client_of(db, 1, 0);
    char text[KEY_TEXT_CAP], path[120];
    struct fault f = {0};
    make_key(&c, "{\"name\":\"old pepper\",\"unlimited_quota\":true}", text);
    snprintf(path, sizeof path, "%s/secrets", site.dir);
    must(keyring_init(path, true, &f) == OK);
    keyring_free(&site.keys);
    must(keyring_load(path, &site.keys, &f) == OK);
    site_auth();
    result(use_plainly(db, text) == OK, "a key of the former pepper works");
    call(&c, "GET", "/api/token", "");
    result(good(&c), "so does an access token");
    snprintf(path, sizeof path, "%s/secrets/1.key", site.dir);
    must(unlink(path) == 0);
    snprintf(path, sizeof path, "%s/secrets", site.dir);
    keyring_free(&site.keys);
    must(keyring_load(path, &site.keys, &f) == OK);
    site_auth();
    result(use_plainly(db, text) == OK, "its use moved it to the new one");
    call(&c, "GET", "/api/token", "");
    result(good(&c), "the access token as well");
}

static void the_chain_of_audit_rows_holds(struct db *db) {
    struct audit_report r;
    struct fault f = {0};
    enum err e = audit_verify(db, &r, &f);
    result(e == OK && r.rows > 20, "untouched: %lld rows fit", (long long)r.rows);
    run(db, "CREATE TABLE audit_copy AS SELECT * FROM audit; "
            "UPDATE audit SET detail = '{}' WHERE user_id = 1 ORDER BY id LIMIT 1;");
    e = audit_verify(db, &r, &f);
    result(e == ERR_INTERNAL && r.bad_row > 0, "an edited row is found: %s", f.detail);
    run(db, "DELETE FROM audit; INSERT INTO audit SELECT * FROM audit_copy;");
    e = audit_verify(db, &r, &f);
    result(e == OK, "put back, it fits");
    run(db, "DELETE FROM audit WHERE id = "
            "(SELECT id FROM audit_copy WHERE user_id = 1 ORDER BY id LIMIT 1 OFFSET 5);");
    e = audit_verify(db, &r, &f);
    result(e == ERR_INTERNAL && r.bad_row > 0, "a row removed between others is found: %s",
           f.detail);
    run(db, "DELETE FROM audit; INSERT INTO audit SELECT * FROM audit_copy;"
            "DELETE FROM audit WHERE user_id = 1 ORDER BY id DESC LIMIT 1;");
    e = audit_verify(db, &r, &f);
    result(e == ERR_INTERNAL, "the last row removed is found: %s", f.detail);
    run(db, "DELETE FROM audit; INSERT INTO audit SELECT * FROM audit_copy; "
            "DELETE FROM audit_heads WHERE user_id = 1;");
    e = audit_verify(db, &r, &f);
    result(e == ERR_INTERNAL, "a removed chain end is found: %s", f.detail);
}

int main(int argc, char **argv) {
    struct db *db = site_start(argc, argv);
    struct client one = client_of(db, 1, 0);
    a_key_works_until_its_rules_say_no(&one);
    rotation_overlaps(&one);
    credentials_are_checked(&one, db);
    a_key_reads_its_own_usage(&one);
    access_tokens_are_several_and_limited(&one);
    last_use_is_written_once_a_minute(db);
    refused_calls_are_counted_for_the_owner(db);
    limits_of_an_account_reach_its_keys(db);
    authentication_is_fast(db);
    peppers_rotate_under_use(db);
    the_chain_of_audit_rows_holds(db);
    client_free(&one);
    return site_end(&db);
}
