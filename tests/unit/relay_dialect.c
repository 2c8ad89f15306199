#include "unit.h"

#include "door/json.h"
#include "relay/dialect.h"
#include "relay/exchange.h"

static const enum err rows[] = {
#define ERR(name, http, type, code, flags, en, zh, vi) ERR_##name,
#include "util/err.def"
#undef ERR
};

static struct json *parsed(const struct buf *b) {
    struct json *tree = NULL;
    struct fault f = {0};
    if (b->failed || json_parse(buf_view(b), &tree, &f) != OK)
        fail_msg("%s in %s", f.detail, b->p);
    return tree;
}

static struct str text_of(const struct json *o, const char *name) {
    const struct json *m = json_get(o, name);
    if (json_type_of(m) != JSON_STRING)
        fail_msg("no text %s", name);
    return json_str(m);
}

static bool among(struct str s, const char *const *list) {
    for (; *list; list++)
        if (str_eqc(s, *list))
            return true;
    return false;
}

static struct json *fault_body(enum dialect d, const struct fault *f, struct buf *b) {
    dialect_ops(d)->error(b, f, STR("req-1"), LANG_EN);
    return parsed(b);
}

static void every_error_reads_as_openais(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b AUTO(buf_free) = BUF(8192);
        struct fault f = {0};
        (void)fault_set(&f, rows[i], "de\"tail\n");
        struct json *tree AUTO(json_free) = fault_body(DIALECT_OPENAI, &f, &b);
        const struct json *e = json_get(tree, "error");
        struct buf text AUTO(buf_free) = BUF(8192);
        err_text(&text, &f, LANG_EN);
        assert_true(str_eq(text_of(e, "message"), buf_view(&text)));
        assert_string_equal(json_str(json_get(e, "type")).p, err_type(rows[i]));
        assert_string_equal(json_str(json_get(e, "code")).p, err_code(rows[i]));
        assert_non_null(json_get(e, "param"));
        assert_int_equal(json_type_of(json_get(e, "param")), JSON_NULL);
        assert_null(json_get(e, "resets_at"));
    }
}

static void every_error_has_a_name_anthropic_knows(void **state) {
    (void)state;
    static const char *const names[] = {"authentication_error", "permission_error",
                                        "not_found_error",      "request_too_large",
                                        "rate_limit_error",     "api_error",
                                        "overloaded_error",     "invalid_request_error",
                                        "timeout_error",        NULL};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b AUTO(buf_free) = BUF(8192);
        struct fault f = {.err = rows[i], .detail = "x"};
        struct json *tree AUTO(json_free) = fault_body(DIALECT_ANTHROPIC, &f, &b);
        const struct json *e = json_get(tree, "error");
        assert_str(text_of(tree, "type"), "error");
        assert_str(text_of(tree, "request_id"), "req-1");
        assert_true(text_of(e, "message").n > 0);
        assert_true(among(text_of(e, "type"), names));
    }
}

static void every_error_has_a_google_status(void **state) {
    (void)state;
    static const char *const names[] = {
        "CANCELLED",         "INVALID_ARGUMENT", "DEADLINE_EXCEEDED",  "NOT_FOUND",
        "PERMISSION_DENIED", "ABORTED",          "RESOURCE_EXHAUSTED", "UNIMPLEMENTED",
        "UNAVAILABLE",       "UNAUTHENTICATED",  "INTERNAL",           NULL};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b AUTO(buf_free) = BUF(8192);
        struct fault f = {.err = rows[i], .detail = "x"};
        struct json *tree AUTO(json_free) = fault_body(DIALECT_GEMINI, &f, &b);
        const struct json *e = json_get(tree, "error");
        assert_int_equal(json_int(json_get(e, "code")), err_http(rows[i]));
        assert_true(text_of(e, "message").n > 0);
        assert_true(among(text_of(e, "status"), names));
    }
}

static void statuses_map_to_each_sdks_own_class(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *openai, *anthropic, *gemini;
    } want[] = {
        {400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"},
        {401, "authentication_error", "authentication_error", "UNAUTHENTICATED"},
        {403, "permission_error", "permission_error", "PERMISSION_DENIED"},
        {404, "invalid_request_error", "not_found_error", "NOT_FOUND"},
        {413, "invalid_request_error", "request_too_large", "INVALID_ARGUMENT"},
        {429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"},
        {500, "server_error", "api_error", "INTERNAL"},
        {501, "server_error", "api_error", "UNIMPLEMENTED"},
        {502, "server_error", "api_error", "UNAVAILABLE"},
        {503, "service_unavailable", "overloaded_error", "UNAVAILABLE"},
        {504, "server_error", "timeout_error", "DEADLINE_EXCEEDED"},
        {529, "server_error", "overloaded_error", "INTERNAL"},
    };
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const char *type[] = {want[i].openai, want[i].anthropic, want[i].gemini};
        for (int d = 0; d < DIALECT__MAX; d++) {
            struct buf b AUTO(buf_free) = BUF(8192);
            dialect_ops((enum dialect)d)->status_error(&b, want[i].status, STR("m"), STR("r"));
            struct json *tree AUTO(json_free) = parsed(&b);
            struct str got =
                text_of(json_get(tree, "error"), d == DIALECT_GEMINI ? "status" : "type");
            if (!str_eqc(got, type[d]))
                fail_msg("%d: %s", want[i].status, b.p);
        }
    }
}

static void a_budget_tells_when_it_resets_and_a_field_which_it_is(void **state) {
    (void)state;
    struct buf b AUTO(buf_free) = BUF(8192);
    struct fault f = {0};
    (void)fault_field(&f, ERR_BUDGET, "n", "day");
    f.resets_at = 1767225600;
    struct json *tree AUTO(json_free) = fault_body(DIALECT_OPENAI, &f, &b);
    const struct json *e = json_get(tree, "error");
    assert_int_equal(json_int(json_get(e, "resets_at")), 1767225600);
    assert_str(text_of(e, "param"), "n");
}

static void provider_errors_pass_without_the_providers_secrets(void **state) {
    (void)state;
    static const struct {
        enum dialect d;
        const char *body, *want;
    } cases[] = {
        {DIALECT_OPENAI,
         "{\"error\":{\"message\":\"Bad key:\\nsk-abcdefgh12345678, see https://x.example/k\","
         "\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"invalid_api_key\",\"n\":[1,"
         "2.50,true]}}",
         "{\"error\":{\"message\":\"Bad key:\\n[secret], see [url]\","
         "\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"invalid_api_key\",\"n\":[1,"
         "2.50,true]}}"},
        {DIALECT_ANTHROPIC,
         "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"},"
         "\"request_id\":\"req_1\"}",
         "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"},"
         "\"request_id\":\"req_1\"}"},
        {DIALECT_GEMINI,
         "[{\"error\":{\"code\":400,\"message\":\"API key not "
         "valid\",\"status\":\"INVALID_ARGUMENT\"}}]",
         "{\"error\":{\"code\":400,\"message\":\"API key not "
         "valid\",\"status\":\"INVALID_ARGUMENT\"}}"},
        {DIALECT_OPENAI, "<html><body>502 Bad Gateway nginx</body></html>",
         "{\"error\":{\"message\":\"The provider answered with an error: HTTP 502\","
         "\"type\":\"server_error\",\"param\":null,\"code\":null}}"},
        {DIALECT_OPENAI, "",
         "{\"error\":{\"message\":\"The provider answered with an error: HTTP 502\","
         "\"type\":\"server_error\",\"param\":null,\"code\":null}}"},
        {DIALECT_OPENAI, "no healthy upstream at 10.1.2.3:80\n",
         "{\"error\":{\"message\":\"The provider answered with an error: no healthy upstream at "
         "[host]\","
         "\"type\":\"server_error\",\"param\":null,\"code\":null}}"},
        {DIALECT_ANTHROPIC, "{\"error\":{\"message\":\"quota\",\"type\":\"x\"}}",
         "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":"
         "\"The provider answered with an error: quota\"},\"request_id\":\"req-1\"}"},
        {DIALECT_GEMINI, "{\"detail\":\"Not Found\"}",
         "{\"error\":{\"code\":502,\"message\":\"The provider answered with an error: Not Found\","
         "\"status\":\"UNAVAILABLE\"}}"},
        {DIALECT_OPENAI, "\xff\xfe broken",
         "{\"error\":{\"message\":\"The provider answered with an "
         "error: HTTP 502\",\"type\":\"server_error\",\"param\":null,\"code\":null}}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b AUTO(buf_free) = BUF(DIALECT_ERROR_MAX);
        dialect_provider_error(&b, cases[i].d, 502, str_c(cases[i].body), STR("req-1"));
        if (!str_eqc(buf_view(&b), cases[i].want))
            fail_msg("%s\n became %s", cases[i].body, b.p);
    }
}

static void a_huge_provider_error_is_capped(void **state) {
    (void)state;
    static char body[200000];
    static const char head[] = "{\"error\":{\"message\":\"";
    memset(body, 'a', sizeof body);
    memcpy(body, head, sizeof head - 1);
    memcpy(body + sizeof body - 3, "\"}}", 3);
    struct buf b AUTO(buf_free) = BUF(DIALECT_ERROR_MAX);
    dialect_provider_error(&b, DIALECT_OPENAI, 400, str_of(body, sizeof body), STR("r"));
    struct json *tree AUTO(json_free) = parsed(&b);
    assert_true(text_of(json_get(tree, "error"), "message").n < 1000);
}

static void a_broken_stream_ends_with_an_event_each_sdk_raises_on(void **state) {
    (void)state;
    static const struct {
        enum dialect d;
        const char *path, *head;
        const char *member;
    } cases[] = {
        {DIALECT_OPENAI, "/v1/chat/completions", "data: ", "error"},
        {DIALECT_OPENAI, "/v1/responses", "event: error\ndata: ", "error"},
        {DIALECT_ANTHROPIC, "/v1/messages", "event: error\ndata: ", "error"},
        {DIALECT_GEMINI, "/v1beta/models/x:streamGenerateContent", "data: ", "error"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b AUTO(buf_free) = BUF(8192);
        struct fault f = {.err = ERR_UPSTREAM_BROKE};
        dialect_ops(cases[i].d)->stream_error(&b, &f, STR("req-1"), str_c(cases[i].path));
        assert_true(str_starts(buf_view(&b), str_c(cases[i].head)));
        assert_true(str_ends(buf_view(&b), STR("}\n\n")));
        buf_drop(&b, strlen(cases[i].head));
        assert_int_equal(str_find(str_sub(buf_view(&b), 0, b.n - 2), '\n'), -1);
        struct json *tree AUTO(json_free) = parsed(&b);
        assert_true(text_of(json_get(tree, "error"), "message").n > 0);
    }
}

static const struct model_entry models[] = {
    {STR_INIT("gpt-\"4"), STR_INIT("openai"), STR_INIT(""), 1700000000},
    {STR_INIT("text-embed"), STR_INIT("o"), STR_INIT("Embedder"), 0},
};

static void models_are_listed_as_each_sdk_reads_them(void **state) {
    (void)state;
    static const char *const want[] = {
        [DIALECT_OPENAI] =
            "{\"success\":true,\"object\":\"list\",\"data\":["
            "{\"id\":\"gpt-\\\"4\",\"object\":\"model\",\"created\":1700000000,\"owned_by\":"
            "\"openai\"},"
            "{\"id\":\"text-embed\",\"object\":\"model\",\"created\":0,\"owned_by\":\"o\"}]}",
        [DIALECT_ANTHROPIC] =
            "{\"data\":[{\"type\":\"model\",\"id\":\"gpt-\\\"4\",\"display_name\":\"gpt-\\\"4\","
            "\"created_at\":\"2023-11-14T22:13:20Z\"},{\"type\":\"model\",\"id\":\"text-embed\","
            "\"display_name\":\"Embedder\",\"created_at\":\"1970-01-01T00:00:00Z\"}],"
            "\"has_more\":false,\"first_id\":\"gpt-\\\"4\",\"last_id\":\"text-embed\"}",
        [DIALECT_GEMINI] =
            "{\"models\":[{\"name\":\"models/gpt-\\\"4\",\"displayName\":\"gpt-\\\"4\","
            "\"supportedGenerationMethods\":[\"generateContent\",\"streamGenerateContent\","
            "\"countTokens\"]},{\"name\":\"models/text-embed\",\"displayName\":\"Embedder\","
            "\"supportedGenerationMethods\":[\"embedContent\",\"batchEmbedContents\","
            "\"countTokens\"]}]}",
    };
    static const char *const none[] = {
        [DIALECT_OPENAI] = "{\"success\":true,\"object\":\"list\",\"data\":[]}",
        [DIALECT_ANTHROPIC] = "{\"data\":[],\"has_more\":false,\"first_id\":null,\"last_id\":null}",
        [DIALECT_GEMINI] = "{\"models\":[]}",
    };
    for (int d = 0; d < DIALECT__MAX; d++) {
        struct buf b AUTO(buf_free) = BUF(8192);
        dialect_ops((enum dialect)d)->model_list(&b, models, ARRAY_LEN(models));
        assert_string_equal(b.p, want[d]);
        buf_clear(&b);
        dialect_ops((enum dialect)d)->model_list(&b, NULL, 0);
        assert_string_equal(b.p, none[d]);
    }
}

static void collect(void *ctx, const char *line) {
    buf_puts(ctx, line);
    buf_putc(ctx, '|');
}

static void credentials_are_the_providers_own_headers(void **state) {
    (void)state;
    static const struct {
        enum dialect d;
        const char *key, *version, *beta, *want;
    } cases[] = {
        {DIALECT_OPENAI, "k1", "v", "b", "Authorization: Bearer k1|"},
        {DIALECT_OPENAI, "", "", "", ""},
        {DIALECT_ANTHROPIC, "k1", "", "", "x-api-key: k1|anthropic-version: 2023-06-01|"},
        {DIALECT_ANTHROPIC, "k1", "2024-01-01", "a,b",
         "x-api-key: k1|anthropic-version: 2024-01-01|anthropic-beta: a,b|"},
        {DIALECT_ANTHROPIC, "k\r\nX: y", "1", "a\nb", "anthropic-version: 1|"},
        {DIALECT_GEMINI, "k1", "", "", "x-goog-api-key: k1|"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b AUTO(buf_free) = BUF(1024);
        dialect_ops(cases[i].d)
            ->credentials(collect, &b, str_c(cases[i].key), str_c(cases[i].version),
                          str_c(cases[i].beta));
        assert_str(buf_view(&b), cases[i].want);
    }
}

static void paths_join_every_kind_of_base(void **state) {
    (void)state;
    static const struct {
        enum dialect d;
        const char *base, *path, *query, *want;
    } cases[] = {
        {DIALECT_OPENAI, "https://h", "/v1/chat/completions", "", "https://h/v1/chat/completions"},
        {DIALECT_OPENAI, "https://h/v1", "/v1/chat/completions", "",
         "https://h/v1/chat/completions"},
        {DIALECT_OPENAI, "http://h:80/v1/", "/v1/embeddings", "", "http://h:80/v1/embeddings"},
        {DIALECT_OPENAI, "https://h/api/paas/v4", "/v1/embeddings", "",
         "https://h/api/paas/v4/embeddings"},
        {DIALECT_OPENAI, "https://h/v1beta/openai", "/v1/embeddings", "",
         "https://h/v1beta/openai/embeddings"},
        {DIALECT_OPENAI, "https://h/proxy", "/v1/embeddings", "", "https://h/proxy/v1/embeddings"},
        {DIALECT_OPENAI, "https://h/vertex", "/v1/embeddings", "a=1&key=k&b=2",
         "https://h/vertex/v1/embeddings?a=1&b=2"},
        {DIALECT_OPENAI, "https://v1.h", "/v1/embeddings", "", "https://v1.h/v1/embeddings"},
        {DIALECT_ANTHROPIC, "https://h/v1", "/v1/messages", "beta=true",
         "https://h/v1/messages?beta=true"},
        {DIALECT_ANTHROPIC, "https://h/v1/gw/anthropic", "/v1/messages", "",
         "https://h/v1/gw/anthropic/v1/messages"},
        {DIALECT_GEMINI, "https://h", "/v1beta/models/a:generateContent", "alt=sse&key=k",
         "https://h/v1beta/models/m%2F1:generateContent?alt=sse"},
        {DIALECT_GEMINI, "https://h/v1beta", "/v1beta/models/a%2f..%2f:streamGenerateContent",
         "k%65y=s&&alt=sse", "https://h/v1beta/models/m%2F1:streamGenerateContent?alt=sse"},
        {DIALECT_GEMINI, "https://h", "/v1beta/models/../x:y:countTokens", "",
         "https://h/v1beta/models/m%2F1:countTokens"},
        {DIALECT_OPENAI, "https://h", "/v1/x", "a=\r\nX: y#z\xff&@=//..",
         "https://h/v1/x?a=%0D%0AX:%20y%23z%FF&@=//.."},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b AUTO(buf_free) = BUF(4096);
        assert_int_equal(dialect_url(&b, cases[i].d, str_c(cases[i].base), str_c(cases[i].path),
                                     str_c(cases[i].query), STR("m/1")),
                         OK);
        assert_string_equal(b.p, cases[i].want);
    }
}

static void no_path_leaves_the_base(void **state) {
    (void)state;
    static const struct {
        enum dialect d;
        const char *base, *path;
    } cases[] = {
        {DIALECT_OPENAI, "https://h", "/v1/../admin"},
        {DIALECT_OPENAI, "https://h", "/v1/%2e%2e/admin"},
        {DIALECT_OPENAI, "https://h", "//evil/v1/x"},
        {DIALECT_OPENAI, "https://h", "/v1//x"},
        {DIALECT_OPENAI, "https://h", "@evil/v1/x"},
        {DIALECT_OPENAI, "https://h", "/@evil"},
        {DIALECT_OPENAI, "https://h", "/v1/x\r\nHost: evil"},
        {DIALECT_OPENAI, "https://h", "/v1/x?y"},
        {DIALECT_OPENAI, "https://h", "/v1/x#y"},
        {DIALECT_OPENAI, "https://h", "/v1\\..\\x"},
        {DIALECT_OPENAI, "https://h", "v1/x"},
        {DIALECT_OPENAI, "https://h", ""},
        {DIALECT_OPENAI, "https://h", "/v1/./x"},
        {DIALECT_OPENAI, "https://h/v1", "/v1"},
        {DIALECT_OPENAI, "https://h?x=", "/v1/x"},
        {DIALECT_OPENAI, "ftp://h", "/v1/x"},
        {DIALECT_OPENAI, "https://", "/v1/x"},
        {DIALECT_OPENAI, "", "/v1/x"},
        {DIALECT_OPENAI, "https:// h", "/v1/x"},
        {DIALECT_GEMINI, "https://h", "/../v1beta/models/a:generateContent"},
        {DIALECT_GEMINI, "https://h", "/v1beta/models/a:generateContent/../../x"},
        {DIALECT_GEMINI, "https://h", "/v1beta/models/a:"},
        {DIALECT_GEMINI, "https://h", "/v1beta/../x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b AUTO(buf_free) = BUF(4096);
        if (dialect_url(&b, cases[i].d, str_c(cases[i].base), str_c(cases[i].path), STR(""),
                        STR("m")) != ERR_FIELD_VALUE)
            fail_msg("%s%s became %s", cases[i].base, cases[i].path, b.p);
    }
    struct buf small AUTO(buf_free) = BUF(12);
    assert_int_equal(
        dialect_url(&small, DIALECT_OPENAI, STR("https://h"), STR("/v1/chat"), STR(""), STR("m")),
        ERR_FIELD_VALUE);
}

/* The key of a request and the dialect of its errors: what each vendor's own client sends. */
static void a_request_is_understood_in_the_dialect_of_its_client(void **state) {
    (void)state;
    static const struct {
        struct request rq;
        enum dialect d;
        const char *key;
    } cases[] = {
        {{.path = STR_INIT("/v1/chat/completions"), .authorization = STR_INIT("Bearer a")},
         DIALECT_OPENAI,
         "a"},
        {{.path = STR_INIT("/v1/models"), .authorization = STR_INIT(" bearer  a ")},
         DIALECT_OPENAI,
         "a"},
        {{.path = STR_INIT("/v1/nothing"), .authorization = STR_INIT("a")}, DIALECT_OPENAI, "a"},
        {{.path = STR_INIT("/v1/models"),
          .x_api_key = STR_INIT("b"),
          .anthropic_version = STR_INIT("2023-06-01")},
         DIALECT_ANTHROPIC,
         "b"},
        {{.path = STR_INIT("/v1/messages/count_tokens"),
          .authorization = STR_INIT("Bearer a"),
          .x_api_key = STR_INIT("b")},
         DIALECT_ANTHROPIC,
         "b"},
        {{.path = STR_INIT("/v1beta/models"),
          .authorization = STR_INIT("Bearer a"),
          .x_goog_api_key = STR_INIT("c"),
          .anthropic_version = STR_INIT("2023-06-01")},
         DIALECT_GEMINI,
         "c"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum dialect d = dialect_of_request(&cases[i].rq);
        assert_int_equal(d, cases[i].d);
        assert_true(str_eqc(dialect_ops(d)->key(&cases[i].rq), cases[i].key));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_reads_as_openais),
        cmocka_unit_test(every_error_has_a_name_anthropic_knows),
        cmocka_unit_test(every_error_has_a_google_status),
        cmocka_unit_test(statuses_map_to_each_sdks_own_class),
        cmocka_unit_test(a_budget_tells_when_it_resets_and_a_field_which_it_is),
        cmocka_unit_test(provider_errors_pass_without_the_providers_secrets),
        cmocka_unit_test(a_huge_provider_error_is_capped),
        cmocka_unit_test(a_broken_stream_ends_with_an_event_each_sdk_raises_on),
        cmocka_unit_test(models_are_listed_as_each_sdk_reads_them),
        cmocka_unit_test(credentials_are_the_providers_own_headers),
        cmocka_unit_test(paths_join_every_kind_of_base),
        cmocka_unit_test(no_path_leaves_the_base),
        cmocka_unit_test(a_request_is_understood_in_the_dialect_of_its_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
