#include "unit.h"

#include <stdio.h>

#include "domain/identity/key_text.h"
#include "domain/identity/scope.h"
#include "door/crypt.h"

static void a_new_key_is_well_formed_and_unlike_others(void **state) {
    (void)state;
    static const char *const prefixes[] = {"sk-", "sk-test-", "aitk_live_", "aitk_test_"};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        char a[KEY_TEXT_CAP], b[KEY_TEXT_CAP];
        key_text_make(str_c(prefixes[i]), a);
        key_text_make(str_c(prefixes[i]), b);
        assert_true(str_starts(str_c(a), str_c(prefixes[i])));
        assert_int_equal(strlen(a), strlen(prefixes[i]) + KEY_BODY_LEN);
        assert_true(key_text_ok(str_c(a)));
        assert_string_not_equal(a, b);
    }
}

static void a_mistyped_key_is_told_without_the_database(void **state) {
    (void)state;
    char key[KEY_TEXT_CAP];
    key_text_make(STR("sk-"), key);
    for (size_t i = 0; key[i]; i++) {
        char was = key[i];
        key[i] = was == 'x' ? 'y' : 'x';
        assert_false(key_text_ok(str_c(key)));
        key[i] = was;
    }
    for (size_t n = 0; n < strlen(key); n++)
        assert_false(key_text_ok(str_of(key, n)));
    assert_true(key_text_ok(str_c(key)));
}

static void the_checksum_is_the_published_one(void **state) {
    (void)state; /* scanners compute it on their own: it must never change */
    assert_true(key_text_ok(STR("sk-00000000000000000000000000000000000000000003P9rQy")));
}

static void a_pin_is_taken_off_only_behind_a_whole_key(void **state) {
    (void)state;
    char key[KEY_TEXT_CAP], text[KEY_TEXT_CAP + 32];
    struct str got;
    int64_t pin;
    key_text_make(STR("sk-"), key);
    snprintf(text, sizeof text, " %s-42\r\n", key);
    assert_true(key_text_parse(str_c(text), &got, &pin));
    assert_str(got, key);
    assert_int_equal(pin, 42);
    assert_true(key_text_parse(str_c(key), &got, &pin));
    assert_int_equal(pin, 0);
    static const char *const bad[] = {"-", "-0", "--1", "-1x", "-99999999999999999999", " 42"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(text, sizeof text, "%s%s", key, bad[i]);
        assert_false(key_text_parse(str_c(text), &got, &pin));
    }
    key_text_make(STR("aitk_live_"), key);
    snprintf(text, sizeof text, "sk-%s-7", key);
    assert_true(key_text_parse(str_c(text), &got, &pin));
    assert_str(got, key);
    assert_int_equal(pin, 7);
    snprintf(text, sizeof text, "sk-sk-%s", key);
    assert_false(key_text_parse(str_c(text), &got, &pin));
    assert_false(key_text_parse(STR("sk-"), &got, &pin));
    assert_false(key_text_parse(STR(""), &got, &pin));
    assert_false(key_text_parse(STR("-1"), &got, &pin));
}

static void a_hint_shows_eight_digits(void **state) {
    (void)state;
    char key[KEY_TEXT_CAP], hint[KEY_HINT_CAP];
    key_text_make(STR("aitk_live_"), key);
    key_text_hint(str_c(key), hint);
    assert_int_equal(strlen(hint), strlen("aitk_live_") + 18);
    assert_memory_equal(hint, key, strlen("aitk_live_") + 4);
    assert_string_equal(hint + strlen(hint) - 4, key + strlen(key) - 4);
}

static void odd_prefixes_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"",     "sk",         "sk ",
                                      "s\"-", "k\xC3\xA9-", "abcdefghijklmnopqrst-"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(key_prefix_ok(str_c(bad[i])));
    assert_true(key_prefix_ok(STR("sk-")));
    assert_true(key_prefix_ok(STR("aitk_live_")));
}

static void leaked_keys_are_found_in_text(void **state) {
    (void)state;
    char a[KEY_TEXT_CAP], b[KEY_TEXT_CAP], text[400];
    key_text_make(STR("sk-"), a);
    key_text_make(STR("sk-"), b);
    snprintf(text, sizeof text, "sk-sk-nothing KEY=%s\nsk-%.20s,\"%s\"", a, a + 3, b);
    size_t at = 0;
    struct str key;
    assert_true(key_text_find(str_c(text), STR("sk-"), &at, &key));
    assert_str(key, a);
    assert_true(key_text_find(str_c(text), STR("sk-"), &at, &key));
    assert_str(key, b);
    assert_false(key_text_find(str_c(text), STR("sk-"), &at, &key));
}

static void scopes_have_distinct_names(void **state) {
    (void)state;
    uint64_t all = 0;
    for (int s = 0; s < SCOPE__BUILTIN; s++) {
        assert_int_equal(scope_find(str_c(scope_name((enum scope)s))), SCOPE_BIT(s));
        all |= SCOPE_BIT(s);
    }
    assert_int_equal(scope_find(STR("keys")), 0);
    assert_int_equal(scope_mask(SCOPE_F_DEFAULT) & ~scope_mask(SCOPE_F_KEY), 0);
    assert_int_equal(scope_mask(SCOPE_F_KEY) & ~all, 0);
}

int main(void) {
    crypt_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_key_is_well_formed_and_unlike_others),
        cmocka_unit_test(a_mistyped_key_is_told_without_the_database),
        cmocka_unit_test(the_checksum_is_the_published_one),
        cmocka_unit_test(a_pin_is_taken_off_only_behind_a_whole_key),
        cmocka_unit_test(a_hint_shows_eight_digits),
        cmocka_unit_test(odd_prefixes_are_refused),
        cmocka_unit_test(leaked_keys_are_found_in_text),
        cmocka_unit_test(scopes_have_distinct_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
