#include "unit.h"

#include "api/api.h"
#include "api/models.h"
#include "api/status.h"
#include "domain/catalog/build.h"
#include "domain/identity/caller.h"
#include "door/json.h"

#include <stdlib.h>

static const struct str one_key = STR_INIT("k");

static struct catalog *site(size_t models) {
    struct builder *b = builder_new();
    struct group g = {.id = 1, .name = STR("default"), .selectable = true, .auto_rank = 0};
    assert_null(builder_group(b, &g));
    struct channel ch = {.id = 1,
                         .name = STR("c"),
                         .base_url = STR("https://p.example"),
                         .keys = &one_key,
                         .n_keys = 1,
                         .enabled = true};
    assert_null(builder_channel(b, &ch));
    struct price price = {.id = 1};
    static const char *const names[] = {"a/b", "gpt \"x\""};
    for (size_t i = 0; i < models; i++) {
        struct model m = {.id = (int64_t)i + 1, .name = str_c(names[i]), .price = &price};
        assert_null(builder_model(b, &m));
        assert_null(builder_ability(b, 1, m.name, 1));
    }
    assert_null(builder_option(b, STR("system_name"), STR("Us \"and\" them")));
    assert_null(builder_option(b, STR("smtp_password"), STR("hunter2hunter2")));
    assert_null(builder_option(b, STR("usd_exchange_rate"), STR("7.3")));
    assert_null(builder_option(b, STR("chats"), STR("[{\"a\":1}")));
    assert_null(builder_option(b, STR("register_enabled"), STR("false")));
    return builder_finish(&b);
}

static struct json *parsed(const struct buf *b) {
    struct json *tree;
    struct fault f = {0};
    if (json_parse(buf_view(b), &tree, &f) != OK)
        fail_msg("%s in %s", f.detail, b->p);
    return tree;
}

static void lists_are_json_in_every_dialect_also_when_empty(void **state) {
    (void)state;
    static const char *const member[] = {
        [DIALECT_OPENAI] = "data", [DIALECT_ANTHROPIC] = "data", [DIALECT_GEMINI] = "models"};
    struct caller who = {.user_group = STR("default")};
    for (size_t models = 0; models <= 2; models++) {
        struct catalog *c AUTO(catalog_unref) = site(models);
        for (int d = 0; d < DIALECT__MAX; d++) {
            struct buf out AUTO(buf_free) = BUF(10000);
            assert_int_equal(models_list(&out, (enum dialect)d, &who, c, NULL), OK);
            struct json *tree AUTO(json_free) = parsed(&out);
            assert_int_equal(json_length(json_get(tree, member[d])), models);
        }
    }
}

static void one_model_is_found_or_is_the_clients_mistake(void **state) {
    (void)state;
    struct catalog *c AUTO(catalog_unref) = site(2);
    struct caller who = {.user_group = STR("default")};
    struct buf out AUTO(buf_free) = BUF(10000);
    assert_int_equal(models_one(&out, DIALECT_OPENAI, STR("a/b"), &who, c, NULL), OK);
    struct json *tree AUTO(json_free) = parsed(&out);
    assert_str(json_str(json_get(tree, "id")), "a/b");
    struct fault f = {0};
    buf_clear(&out);
    assert_int_equal(models_one(&out, DIALECT_OPENAI, STR("nope"), &who, c, &f),
                     ERR_MODEL_NOT_FOUND);
    assert_int_equal(err_http(f.err), 404);
    assert_int_equal(out.n, 0);
    who.user_group = STR("other");
    assert_int_equal(models_one(&out, DIALECT_OPENAI, STR("a/b"), &who, c, &f),
                     ERR_GROUP_NOT_ALLOWED);
}

static void the_status_shows_public_options_and_no_others(void **state) {
    (void)state;
    struct catalog *c AUTO(catalog_unref) = site(0);
    struct buf out AUTO(buf_free) = BUF(10000);
    status_write(&out, c, 1234);
    struct json *tree AUTO(json_free) = parsed(&out);
    assert_null(strstr(out.p, "hunter2"));
    assert_str(json_str(json_get(tree, "system_name")), "Us \"and\" them");
    assert_int_equal(json_int(json_get(tree, "start_time")), 1234);
    assert_int_equal(json_int(json_get(tree, "quota_per_unit")), 500000);
    assert_true(json_double(json_get(tree, "usd_exchange_rate")) > 7.29);
    assert_false(json_bool(json_get(tree, "register_enabled")));
    assert_true(json_bool(json_get(tree, "password_login_enabled")));
    /* a broken option does not break the page */
    assert_int_equal(json_type_of(json_get(tree, "chats")), JSON_ARRAY);
    assert_int_equal(json_length(json_get(tree, "chats")), 0);
}

static void anybody_may_ask_for_the_status(void **state) {
    (void)state;
    struct catalog *c AUTO(catalog_unref) = site(0);
    struct api_request req = {.method = STR("GET"), .path = STR("/api/status/"), .catalog = c};
    struct fault f = {0};
    const struct api_route *route = api_find(&req, &f);
    assert_non_null(route);
    struct api_reply reply AUTO(api_reply_free);
    api_reply_init(&reply);
    api_call(route, &req, &reply, &f);
    assert_int_equal(reply.status, 200);
    struct json *tree AUTO(json_free) = parsed(&reply.body);
    assert_true(json_bool(json_get(tree, "success")));
    const struct json *data = json_get(tree, "data");
    assert_true(json_int(json_get(data, "start_time")) > 1700000000);
    assert_int_equal(json_type_of(json_get(data, "version")), JSON_STRING);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_json_in_every_dialect_also_when_empty),
        cmocka_unit_test(one_model_is_found_or_is_the_clients_mistake),
        cmocka_unit_test(the_status_shows_public_options_and_no_others),
        cmocka_unit_test(anybody_may_ask_for_the_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
