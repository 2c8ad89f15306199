#include "unit.h"

#include "door/json.h"

#include <string.h>

static enum err parse(const char *text) {
    struct json *tree AUTO(json_free) = NULL;
    struct fault f = {0};
    return json_parse(str_c(text), &tree, &f);
}

static void a_body_is_written_back_as_it_came(void **state) {
    (void)state;
    static const char *const texts[] = {
        "null",
        "[]",
        "{}",
        "-0.10e+5",
        "18446744073709551616",
        "{\"b\":1,\"a\":[true,false,null,-9223372036854775808,0.30000000000000004]}",
        "\"tab\\t quote\\\" \xE9\x94\xAE \xF0\x9F\x94\x91\"",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct json *tree AUTO(json_free) = NULL;
        assert_int_equal(json_parse(str_c(texts[i]), &tree, NULL), OK);
        struct buf out AUTO(buf_free) = BUF(1000);
        json_write(&out, tree);
        assert_str(buf_view(&out), texts[i]);
    }
}

static void escapes_are_decoded(void **state) {
    (void)state;
    struct json *tree AUTO(json_free) = NULL;
    assert_int_equal(json_parse(STR("\"\\u0041\\n\\/\\ud83d\\udd11\\u00e9\\u0000x\""), &tree, NULL),
                     OK);
    struct str s = json_str(tree);
    assert_int_equal(s.n, 11);
    assert_memory_equal(s.p, "A\n/\xF0\x9F\x94\x91\xC3\xA9\0x", 11);
}

static void what_is_not_json_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{'a':1}",
        "NaN",
        "[Infinity]",
        "[1,]",
        "{\"a\":1,}",
        "{\"a\"}",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "-",
        "tru",
        "nulll",
        "[1 2]",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"a",
        "\"a\nb\"",
        "{} {}",
        "[1",
        "{\"a\":",
        "1e999",
        "/* */1",
        "\"\xC3\"",
        "{1:2}",
        "\"\\u12g4\"",
        "{\"\\u0000\":1}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (parse(texts[i]) != ERR_BODY_NOT_JSON)
            fail_msg("accepted: %s", texts[i]);
    assert_int_equal(parse(""), ERR_BODY_EMPTY);
    assert_int_equal(parse(" \r\n"), ERR_BODY_EMPTY);
}

static void an_error_tells_where(void **state) {
    (void)state;
    struct json *tree AUTO(json_free) = NULL;
    struct fault f = {0};
    assert_int_equal(json_parse(STR("{\"a\":tru}"), &tree, &f), ERR_BODY_NOT_JSON);
    assert_string_equal(f.detail, "unexpected character at byte 5");
}

static void a_member_given_twice_is_named(void **state) {
    (void)state;
    struct json *tree AUTO(json_free) = NULL;
    struct fault f = {0};
    assert_int_equal(json_parse(STR("{\"x\":{\"quota\":1,\"quot\\u0061\":2}}"), &tree, &f),
                     ERR_FIELD_DUPLICATE);
    assert_string_equal(f.param, "quota");
    assert_int_equal(parse("{\"a\":null,\"a\":null}"), ERR_FIELD_DUPLICATE);
}

static void depth_is_limited(void **state) {
    (void)state;
    char text[2 * 33 + 1];
    for (size_t depth = 32; depth <= 33; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        assert_int_equal(parse(text), depth == 32 ? OK : ERR_BODY_NOT_JSON);
    }
}

static void absent_and_null_differ_where_it_matters(void **state) {
    (void)state;
    struct json *tree AUTO(json_free) = NULL;
    assert_int_equal(json_parse(STR("{\"a\":null}"), &tree, NULL), OK);
    assert_null(json_get(tree, "b"));
    assert_int_equal(json_type_of(json_get(tree, "a")), JSON_NULL);
    int64_t v = 7;
    bool given = true;
    assert_int_equal(json_want_int(tree, "a", &v, &given, NULL), OK);
    assert_false(given);
    assert_int_equal(v, 7);
}

static void wrong_types_name_the_field(void **state) {
    (void)state;
    struct json *tree AUTO(json_free) = NULL;
    assert_int_equal(json_parse(STR("{\"s\":1,\"i\":\"1\",\"f\":1.5,\"big\":9223372036854775808,"
                                    "\"b\":0,\"e\":1e3}"),
                                &tree, NULL),
                     OK);
    struct fault f = {0};
    struct str s;
    int64_t i;
    bool b;
    assert_int_equal(json_want_str(tree, "s", &s, NULL, &f), ERR_FIELD_TYPE);
    assert_string_equal(f.param, "s");
    assert_int_equal(json_want_int(tree, "i", &i, NULL, &f), ERR_FIELD_TYPE);
    assert_int_equal(json_want_int(tree, "f", &i, NULL, &f), ERR_FIELD_TYPE);
    assert_int_equal(json_want_int(tree, "e", &i, NULL, &f), ERR_FIELD_TYPE);
    assert_int_equal(json_want_int(tree, "big", &i, NULL, &f), ERR_FIELD_TYPE);
    assert_string_equal(f.param, "big");
    assert_int_equal(json_want_bool(tree, "b", &b, NULL, &f), ERR_FIELD_TYPE);
    assert_string_equal(f.detail, "b must be true or false");
}

static void unknown_fields_are_named(void **state) {
    (void)state;
    static const char *const known[] = {"name", "id", NULL};
    struct json *tree AUTO(json_free) = NULL;
    struct fault f = {0};
    assert_int_equal(json_parse(STR("{\"name\":1,\"nmae\":2}"), &tree, NULL), OK);
    assert_int_equal(json_only(tree, known, &f), ERR_FIELD_UNKNOWN);
    assert_string_equal(f.param, "nmae");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_is_written_back_as_it_came),
        cmocka_unit_test(escapes_are_decoded),
        cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(an_error_tells_where),
        cmocka_unit_test(a_member_given_twice_is_named),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(absent_and_null_differ_where_it_matters),
        cmocka_unit_test(wrong_types_name_the_field),
        cmocka_unit_test(unknown_fields_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
