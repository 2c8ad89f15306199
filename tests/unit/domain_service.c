#include "unit.h"

#include "domain/identity/scope.h"
#include "domain/service/service.h"

#include <stdio.h>

static struct service_rule rules[SERVICE_RULES_MAX];
static struct service_scope scope = {
    .name = STR_INIT("all"), .read_name = STR_INIT("some"), .bit = 16, .rules = rules};
static const struct service service = {
    .name = STR_INIT("s"), .prefix = STR_INIT("/svc/s"), .scopes = &scope, .n_scopes = 1};

static void use_rules(const char *text) {
    assert_true(service_rules_parse(str_c(text), rules, &scope.n_rules));
}

static bool allowed(int bit, const char *method, const char *path) {
    return service_check(&service, SCOPE_BIT(bit), str_c(method), str_c(path), NULL) == OK;
}

static void a_rule_allows_its_own_calls_and_no_others(void **state) {
    (void)state;
    use_rules("GET /tasks\nPOST /tasks/:id/approve\n* /hooks/*");
    assert_true(allowed(16, "GET", "/tasks"));
    assert_true(allowed(16, "POST", "/tasks/7/approve"));
    assert_true(allowed(16, "PATCH", "/hooks/1/2/3"));
    assert_true(allowed(16, "GET", "/hooks/caf%C3%A9"));
    static const char *const no[][2] = {{"POST", "/tasks"},
                                        {"GET", "/tasks/7"},
                                        {"GET", "/task"},
                                        {"GET", "/"},
                                        {"GET", "/Tasks"},
                                        {"POST", "/tasks//approve"},
                                        {"POST", "/tasks/7/approve/8"},
                                        {"GET", "/hooks"},
                                        {"GET", "/hooks/../tasks"},
                                        {"GET", "/hooks/%2e%2e/tasks"},
                                        {"GET", "/hooks/..;a/tasks"},
                                        {"GET", "/hooks/a%2Fb"},
                                        {"GET", "/hooks/a%00"},
                                        {"GET", "/hooks/%zz"},
                                        {"GET", "/hooks/a%"},
                                        {"GET", "/hooks/a b"},
                                        {"GET", "/hooks/a\\b"}};
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        if (allowed(16, no[i][0], no[i][1]))
            fail_msg("%s %s is allowed", no[i][0], no[i][1]);
}

static uint32_t seed = 20261121;

static uint32_t below(uint32_t n) {
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

/* A path of a few parts out of a small set, so that rules and calls often meet. */
static void put_path(char *out, size_t cap, bool rule) {
    static const char *const parts[] = {"a", "b", "c", ":x", "*"};
    size_t n = 0, want = 1 + below(3);
    for (size_t i = 0; i < want; i++) {
        const char *part = parts[below(rule ? i + 1 == want ? 5 : 4 : 3)];
        n += (size_t)snprintf(out + n, cap - n, "/%s", part);
    }
}

static void a_read_only_scope_never_writes_and_never_reads_more(void **state) {
    (void)state;
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "*"};
    static const char *const asked[] = {"GET",     "POST",  "PUT",      "PATCH", "DELETE",
                                        "OPTIONS", "TRACE", "PROPFIND", "get",   "*"};
    int met = 0;
    for (int round = 0; round < 20000; round++) {
        char text[512], path[64];
        size_t n = 0;
        for (uint32_t i = 0, lines = 1 + below(4); i < lines; i++) {
            put_path(path, sizeof path, true);
            n += (size_t)snprintf(text + n, sizeof text - n, "%s %s\n", methods[below(6)], path);
        }
        use_rules(text);
        put_path(path, sizeof path, false);
        for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
            bool reads = allowed(17, asked[i], path), all = allowed(16, asked[i], path);
            assert_true(!reads || strcmp(asked[i], "GET") == 0);
            assert_true(!reads || all);
            met += reads;
        }
        assert_false(allowed(18, "GET", path));
        assert_int_not_equal(
            service_check(&service, SCOPE_BIT(SCOPE_INFERENCE), STR("GET"), str_c(path), NULL), OK);
    }
    assert_true(met > 1000);
}

static void a_rule_that_is_none_is_refused_when_it_is_written(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",         "GET",        "GET tasks",   "HEAD /x",   "get /x",    "GET /a*",
        "GET /*/b", "GET /a?b=1", "GET /%2e%2e", "GET /a\\b", "/tasks GET"};
    size_t n;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (service_rules_parse(str_c(bad[i]), rules, &n))
            fail_msg("'%s' is taken as a rule", bad[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_allows_its_own_calls_and_no_others),
        cmocka_unit_test(a_read_only_scope_never_writes_and_never_reads_more),
        cmocka_unit_test(a_rule_that_is_none_is_refused_when_it_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
