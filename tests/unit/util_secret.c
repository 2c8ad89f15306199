#include "unit.h"

#include "util/secret.h"
#include <time.h>

static void check(void (*scrub)(struct buf *, struct str), const char *text, const char *want) {
    struct buf b AUTO(buf_free) = BUF(4096);
    scrub(&b, str_c(text));
    if (!str_eqc(buf_view(&b), want))
        fail_msg("%s\n became %s\n instead of %s", text, b.p, want);
}

static void credentials_are_masked(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"Incorrect API key provided: sk-proj-abcdefgh1234.",
         "Incorrect API key provided: [secret]."},
        {"key sk-ab*********************wxyz is wrong", "key [secret] is wrong"},
        {"key sk-abcdefgh...wxyz. Next", "key [secret]. Next"},
        {"organization org-Ab12Cd34Ef56Gh78 on tokens", "organization [secret] on tokens"},
        {"{\"m\":\"no:\\nsk-abcdefgh12345678\\u003csk-abcdefgh12345678\"}",
         "{\"m\":\"no:\\n[secret]\\u003c[secret]\"}"},
        {"?key=AbC123xyz&x=1", "?key=[secret]&x=1"},
        {"\"api_key\": \"Zq9w8e7r6t\"", "\"api_key\": \"[secret]\""},
        {"password: hunter22", "password: [secret]"},
        {"Authorization: Bearer abcdefgh", "Authorization: Bearer [secret]"},
        {"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.sig", "[secret]"},
        {"connect wss://user:pass@h.example/x?y failed", "connect [url] failed"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check(secret_scrub, rows[i][0], rows[i][1]);
        check(secret_scrub_foreign, rows[i][0], rows[i][1]);
    }
}

static void ordinary_words_stay_readable(void **state) {
    (void)state;
    static const char *const rows[] = {
        "The model gpt-4o-mini-2024-07-18 does not exist",
        "messages.0.content: Field required",
        "tools.0.custom.input_schema.properties.a",
        "max_tokens: 200000 > 8192, token: 4096",
        "This key: invalid",
        "Missing required parameter: 'key'",
        "claude-3.5-sonnet at 12:30:45, v1.2.3, e.g. 3.14",
        "secret sauce; **bold** text, sk-short",
        "a@ b, @here, std::vector",
        "req 0b7e6a52-5b1c-4c5e-9a0e-7a0d1f6b2c3d",
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check(secret_scrub, rows[i], rows[i]);
        check(secret_scrub_foreign, rows[i], rows[i]);
    }
}

static void a_providers_places_are_hidden(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"dial tcp 10.0.0.5:8080: refused", "dial tcp [host]: refused"},
        {"lookup api.internal.example.com: no such host", "lookup [host]: no such host"},
        {"from llm-7.prod.svc.cluster.local:443.", "from [host]."},
        {"to 2001:db8::1 and ::1", "to [host] and ::1"},
        {"localhost:11434 is down", "[host] is down"},
        {"contact ops.team@example.org!", "contact [email]!"},
        {"mysql://root:pw1234@db", "mysql://[email]"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check(secret_scrub_foreign, rows[i][0], rows[i][1]);
    check(secret_scrub, "refused by 10.0.0.5:8080", "refused by 10.0.0.5:8080");
}

static void a_hostile_text_costs_linear_time(void **state) {
    (void)state;
    static char text[1 << 20];
    static const char *const parts[] = {"a.", "sk-.", "a:", "key=", "\x01"};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        size_t n = strlen(parts[i]);
        for (size_t at = 0; at + n <= sizeof text; at += n)
            memcpy(text + at, parts[i], n);
        struct buf b AUTO(buf_free) = BUF(8 * sizeof text);
        clock_t from = clock(); /* processor time: a busy machine makes it no longer */
        secret_scrub_foreign(&b, str_of(text, sizeof text));
        assert_true(clock() - from < 5 * CLOCKS_PER_SEC);
        assert_false(b.failed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(credentials_are_masked),
        cmocka_unit_test(ordinary_words_stay_readable),
        cmocka_unit_test(a_providers_places_are_hidden),
        cmocka_unit_test(a_hostile_text_costs_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
