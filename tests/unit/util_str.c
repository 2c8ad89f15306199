#include "unit.h"

#include "util/buf.h"
#include "util/err.h"
#include "util/hash.h"
#include "util/secret.h"

static void numbers_are_strict(void **state) {
    (void)state;
    int64_t v;
    assert_true(str_i64(STR("-9223372036854775808"), &v) && v == INT64_MIN);
    assert_true(str_i64(STR("9223372036854775807"), &v) && v == INT64_MAX);
    static const char *const bad[] = {
        "",    "-",   "9223372036854775808",    "-9223372036854775809", "1.0", " 1", "1 ", "+1",
        "0x1", "1e3", "99999999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(str_i64(str_c(bad[i]), &v));
}

static void utf8_is_checked_and_counted(void **state) {
    (void)state;
    assert_true(str_utf8_ok(STR("a\xE9\x94\xAE\xF0\x9F\x94\x91")));
    assert_int_equal(str_utf8_count(STR("a\xE9\x94\xAE\xF0\x9F\x94\x91")), 3);
    static const char *const bad[] = {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE9\x94",
                                      "\x80",     "\xFF",         "\xE0\x80\x80"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(str_utf8_ok(str_c(bad[i])));
}

static void cut_walks_a_list(void **state) {
    (void)state;
    struct str rest = STR("a,,b"), part;
    assert_true(str_cut(&rest, ',', &part));
    assert_str(part, "a");
    assert_true(str_cut(&rest, ',', &part));
    assert_str(part, "");
    assert_true(str_cut(&rest, ',', &part));
    assert_str(part, "b");
    assert_false(str_cut(&rest, ',', &part));
}

static void query_values_are_found(void **state) {
    (void)state;
    struct str v;
    assert_true(str_query_get(STR("p=1&key=a%20b&x"), STR("key"), &v));
    assert_str(v, "a%20b");
    char out[8];
    assert_int_equal(str_url_decode(v, out, sizeof out), 3);
    assert_memory_equal(out, "a b", 3);
    assert_int_equal(str_url_decode(STR("%2"), out, sizeof out), -1);
    assert_true(str_query_get(STR("p=1&x"), STR("x"), &v));
    assert_int_equal(v.n, 0);
    assert_false(str_query_get(STR("pp=1"), STR("p"), &v));
}

static void buffers_stop_at_their_maximum(void **state) {
    (void)state;
    struct buf b AUTO(buf_free) = BUF(4);
    buf_puts(&b, "abcd");
    assert_false(b.failed);
    buf_putc(&b, 'e');
    assert_true(b.failed);
    buf_putc(&b, 'f');
    assert_str(buf_view(&b), "abcd");
    buf_clear(&b);
    buf_i64(&b, -12);
    assert_str(buf_view(&b), "-12");
}

static void json_strings_are_always_valid(void **state) {
    (void)state;
    struct buf b AUTO(buf_free) = BUF(1000);
    buf_json(&b, STR("a\"\\\n\x01\xE9\x94\xAE\xFF"));
    assert_str(buf_view(&b), "\"a\\\"\\\\\\n\\u0001\xE9\x94\xAE\xEF\xBF\xBD\"");
}

static void secrets_are_masked_and_ids_stay(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"key sk-abcdefghijklmnopqrstuvwxyz012345 bad", "key [secret] bad"},
        {"Bearer abcdefgh12", "Bearer [secret]"},
        {"see https://api.example.com/v1?key=1 now", "see [url] now"},
        {"model gpt-4o-mini-2024-07-18", "model gpt-4o-mini-2024-07-18"},
        {"id 123e4567-e89b-12d3-a456-426614174000", "id 123e4567-e89b-12d3-a456-426614174000"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf b AUTO(buf_free) = BUF(1000);
        secret_scrub(&b, str_c(rows[i][0]));
        assert_str(buf_view(&b), rows[i][1]);
    }
}

struct item {
    int64_t key;
};

static uint64_t item_hash(const void *v) {
    return hash_u64((uint64_t)((const struct item *)v)->key);
}

static bool item_eq(const void *v, const void *key) {
    return ((const struct item *)v)->key == *(const int64_t *)key;
}

static void map_finds_what_was_put(void **state) {
    (void)state;
    static struct item items[1000];
    struct map m;
    map_init(&m, item_hash, item_eq);
    for (int64_t i = 0; i < 1000; i++) {
        items[i].key = i;
        map_put(&m, &items[i]);
    }
    for (int64_t i = 0; i < 1000; i += 2)
        assert_ptr_equal(map_remove(&m, hash_u64((uint64_t)i), &i), &items[i]);
    for (int64_t i = 0; i < 1000; i++)
        assert_ptr_equal(map_get(&m, hash_u64((uint64_t)i), &i), i % 2 ? &items[i] : NULL);
    assert_int_equal(m.count, 500);
    map_free(&m);
}

static void fault_texts_are_filled_in_every_language(void **state) {
    (void)state;
    struct fault f = {0};
    assert_int_equal(fault_set(&f, ERR_MODEL_NOT_FOUND, "%s", "gpt-x"), ERR_MODEL_NOT_FOUND);
    for (int lang = LANG_EN; lang <= LANG_VI; lang++) {
        struct buf b AUTO(buf_free) = BUF(1000);
        err_text(&b, &f, (enum lang)lang);
        assert_true(str_find_str(buf_view(&b), STR("gpt-x")) >= 0);
        assert_true(str_find_str(buf_view(&b), STR("%s")) < 0);
    }
    assert_int_equal(err_lang(STR("fr, zh-CN;q=0.9")), LANG_ZH);
}

static void the_language_is_the_one_preferred_most(void **state) {
    (void)state;
    const struct {
        const char *header;
        enum lang want;
    } rows[] = {
        {"", LANG_EN},
        {"zh-TW,zh;q=0.9", LANG_ZH},
        {"VI-vn", LANG_VI},
        {"en;q=0.1,zh;q=0.9", LANG_ZH},
        {"en;q=0.85, vi;q=0.9, zh;q=0.899", LANG_VI},
        {"zh;q=0, vi;q=0.001", LANG_VI},
        {"vi;q=0", LANG_EN},
        {"vi ; q=1.000, zh;q=0.5", LANG_VI},
        {"vi, zh", LANG_VI},
        {"zh;q=garbage, vi;level=1;q=0.2", LANG_VI},
        {";;q=,,;", LANG_EN},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(err_lang(str_c(rows[i].header)), rows[i].want);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_strict),
        cmocka_unit_test(utf8_is_checked_and_counted),
        cmocka_unit_test(cut_walks_a_list),
        cmocka_unit_test(query_values_are_found),
        cmocka_unit_test(buffers_stop_at_their_maximum),
        cmocka_unit_test(json_strings_are_always_valid),
        cmocka_unit_test(secrets_are_masked_and_ids_stay),
        cmocka_unit_test(map_finds_what_was_put),
        cmocka_unit_test(fault_texts_are_filled_in_every_language),
        cmocka_unit_test(the_language_is_the_one_preferred_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
