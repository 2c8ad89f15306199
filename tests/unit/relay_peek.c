#include "unit.h"

#include "door/json.h"
#include "relay/peek.h"

static void peek_ok(struct str body, struct peek *k) {
    struct fault f = {0};
    enum err e = peek_json(body, k, &f);
    if (e)
        fail_msg("%s: %s", err_code(e), f.detail);
}

static void what_is_no_json_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{",
        "}",
        "{]",
        "[}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":[1,]}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":NaN}",
        "{\"a\":+1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.5}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":tru}",
        "{\"a\":nul",
        "{} {}",
        "{}x",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\",
        "{\"a\":\"b",
        "{\"a\":\"\xC3\"}",
        "{\"a\":\"\xED\xA0\x80\"}",
        "{\"a\":\"\xF5\x80\x80\x80\"}",
        "{\"\xFF\":1}",
        "\xEF\xBB\xBF{}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{,}",
        "[,]",
        "/**/{}",
        "{\"a\":0x1}",
        "{\"a\":1e+}",
        "{\"a\":\"\x01\"}",
        "nan",
        "{\"a\":\v1}",
        "[",
        "\"",
        "-",
        "t",
        "{\"a\":\"\\ud83d\\u00\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct peek k;
        struct fault f = {0};
        if (peek_json(str_c(bad[i]), &k, &f) != ERR_BODY_NOT_JSON)
            fail_msg("%s", bad[i]);
        assert_true(strlen(f.detail) > 0);
    }
}

static void nothing_and_no_object_are_told_apart(void **state) {
    (void)state;
    struct peek k;
    assert_int_equal(peek_json(STR(""), &k, NULL), ERR_BODY_EMPTY);
    assert_int_equal(peek_json(STR(" \r\n"), &k, NULL), ERR_BODY_EMPTY);
    static const char *const no_object[] = {"[]", "\"model\"", "1", "null", " true "};
    for (size_t i = 0; i < ARRAY_LEN(no_object); i++)
        assert_int_equal(peek_json(str_c(no_object[i]), &k, NULL), ERR_FIELD_TYPE);
}

static void valid_json_of_every_kind_passes(void **state) {
    (void)state;
    static const char *const good[] = {
        "{}",
        " { } ",
        "{\"a\":[]}",
        "{\"a\":[{}, [ ] ,-0.0e-0,1E+9,null,true,false]}",
        "{\"\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00\\ud800\"}",
        ("{\"a\":"
         "\"\x7F\xC2\x80\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\"}"),
        "{\"model\":null,\"stream\":null,\"n\":null,\"stream_options\":null,\"max_tokens\":null}",
    };
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct peek k;
        peek_ok(str_c(good[i]), &k);
        assert_int_equal(k.model.n, 0);
        assert_int_equal(k.n, 1);
        assert_int_equal(k.max_tokens, -1);
        assert_false(k.stream || k.include_usage || k.has_stream_options);
    }
}

static void members_are_read(void **state) {
    (void)state;
    struct str body = STR(" {\"x\":{\"model\":\"no\"},\"model\" : \"gpt-4o\",\"stream\":true,"
                          "\"stream_options\":{\"a\":1,\"include_usage\":true},"
                          "\"max_tokens\":100,\"n\":3,\"messages\":[{\"role\":\"user\","
                          "\"content\":\"Hello there, how are you?\"}]} ");
    struct peek k;
    peek_ok(body, &k);
    assert_str(k.model, "gpt-4o");
    assert_str(str_sub(body, k.model_at.at, k.model_at.n), "\"gpt-4o\"");
    assert_true(k.stream && k.has_stream_options && k.include_usage);
    assert_str(str_sub(body, k.stream_at.at, k.stream_at.n), "true");
    assert_str(str_sub(body, k.stream_options_at.at, k.stream_options_at.n),
               "{\"a\":1,\"include_usage\":true}");
    assert_int_equal(k.max_tokens, 100);
    assert_int_equal(k.n, 3);
    assert_false(k.empty_object);
    assert_int_equal(body.p[k.object_end], '}');
    assert_int_equal(k.object_end, body.n - 2);
    assert_in_range(k.prompt_tokens, 8, 16);
}

static void escaped_names_and_models_are_the_same(void **state) {
    (void)state;
    struct peek k;
    peek_ok(STR("{\"mod\\u0065l\":\"g\\u0070t\\/\\u00e9\\ud83d\\ude00\"}"), &k);
    assert_str(k.model, "gpt/\xC3\xA9\xF0\x9F\x98\x80");
    assert_int_equal(peek_json(STR("{\"model\":\"a\",\"mod\\u0065l\":\"b\"}"), &k, NULL),
                     ERR_FIELD_DUPLICATE);
}

static void the_narrowest_limit_decides(void **state) {
    (void)state;
    static const struct {
        const char *body;
        int64_t max;
    } rows[] = {
        {"{\"max_tokens\":1,\"max_output_tokens\":2,\"max_completion_tokens\":3}", 3},
        {"{\"max_output_tokens\":2,\"max_tokens\":1}", 2},
        {"{\"max_tokens\":1,\"max_completion_tokens\":null}", 1},
        {"{\"max_tokens\":0}", 0},
        {"{\"generationConfig\":{\"maxOutputTokens\":7,\"x\":{\"maxOutputTokens\":8}}}", 7},
        {"{\"generation_config\":{\"max_output_tokens\":7}}", 7},
        {"{\"maxOutputTokens\":7,\"x\":{\"max_tokens\":1},\"y\":[{\"max_tokens\":2}]}", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct peek k;
        peek_ok(str_c(rows[i].body), &k);
        assert_int_equal(k.max_tokens, rows[i].max);
    }
    struct peek k;
    peek_ok(STR("{\"n\":2,\"best_of\":5}"), &k);
    assert_int_equal(k.n, 5);
    peek_ok(STR("{\"generationConfig\":{\"candidateCount\":4}}"), &k);
    assert_int_equal(k.n, 4);
}

static void wrong_members_are_named(void **state) {
    (void)state;
    static const struct {
        const char *body;
        enum err err;
        const char *param;
    } rows[] = {
        {"{\"model\":1}", ERR_FIELD_TYPE, "model"},
        {"{\"model\":[\"a\"]}", ERR_FIELD_TYPE, "model"},
        {"{\"model\":{}}", ERR_FIELD_TYPE, "model"},
        {"{\"model\":\"\\ud800\"}", ERR_FIELD_VALUE, "model"},
        {"{\"stream\":\"true\"}", ERR_FIELD_TYPE, "stream"},
        {"{\"stream\":1}", ERR_FIELD_TYPE, "stream"},
        {"{\"stream\":false,\"stream\":true}", ERR_FIELD_DUPLICATE, "stream"},
        {"{\"stream_options\":[]}", ERR_FIELD_TYPE, "stream_options"},
        {"{\"stream_options\":true}", ERR_FIELD_TYPE, "stream_options"},
        {"{\"stream_options\":{\"include_usage\":1}}", ERR_FIELD_TYPE, "include_usage"},
        {"{\"stream_options\":{\"include_usage\":true,\"include_usage\":false}}",
         ERR_FIELD_DUPLICATE, "include_usage"},
        {"{\"max_tokens\":\"5\"}", ERR_FIELD_TYPE, "max_tokens"},
        {"{\"max_tokens\":5.0}", ERR_FIELD_TYPE, "max_tokens"},
        {"{\"max_tokens\":1e3}", ERR_FIELD_TYPE, "max_tokens"},
        {"{\"max_tokens\":-1}", ERR_FIELD_VALUE, "max_tokens"},
        {"{\"max_tokens\":99999999999999999999}", ERR_FIELD_VALUE, "max_tokens"},
        {"{\"max_completion_tokens\":1000000001}", ERR_FIELD_VALUE, "max_completion_tokens"},
        {"{\"max_tokens\":1,\"max_tokens\":null}", ERR_FIELD_DUPLICATE, "max_tokens"},
        {"{\"n\":0}", ERR_FIELD_VALUE, "n"},
        {"{\"n\":1025}", ERR_FIELD_VALUE, "n"},
        {"{\"n\":true}", ERR_FIELD_TYPE, "n"},
        {"{\"generationConfig\":{},\"generation_config\":{}}", ERR_FIELD_DUPLICATE,
         "generationConfig"},
        {"{\"generationConfig\":{\"maxOutputTokens\":{}}}", ERR_FIELD_TYPE, "maxOutputTokens"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct peek k;
        struct fault f = {0};
        if (peek_json(str_c(rows[i].body), &k, &f) != rows[i].err)
            fail_msg("%s", rows[i].body);
        assert_string_equal(f.param, rows[i].param);
    }
}

static void names_end_at_255_bytes(void **state) {
    (void)state;
    for (size_t n = 254; n < 258; n++)
        for (int escaped = 0; escaped < 2; escaped++) {
            struct buf b AUTO(buf_free) = BUF(1000);
            buf_puts(&b, "{\"model\":\"");
            for (size_t i = escaped ? 1 : 0; i < n; i++)
                buf_putc(&b, 'm');
            buf_puts(&b, escaped ? "\\u006d\"}" : "\"}");
            struct peek k;
            assert_int_equal(peek_json(buf_view(&b), &k, NULL), n < 256 ? OK : ERR_FIELD_VALUE);
            assert_int_equal(k.model.n, n < 256 ? n : 0);
        }
}

static void depth_is_capped(void **state) {
    (void)state;
    for (size_t depth = 62; depth < 67; depth++) {
        struct buf b AUTO(buf_free) = BUF(1000);
        buf_puts(&b, "{\"a\":");
        for (size_t i = 1; i < depth; i++)
            buf_puts(&b, "[");
        for (size_t i = 1; i < depth; i++)
            buf_puts(&b, "]");
        buf_puts(&b, "}");
        struct peek k;
        assert_int_equal(peek_json(buf_view(&b), &k, NULL),
                         depth <= PEEK_MAX_DEPTH ? OK : ERR_BODY_NOT_JSON);
    }
}

static void media_does_not_count_as_text(void **state) {
    (void)state;
    struct buf b AUTO(buf_free) = BUF(300000);
    struct peek k;
    buf_puts(&b, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
                 "\"image_url\":{\"url\":\"data:image/png;base64,");
    for (size_t i = 0; i < 102400; i++)
        buf_putc(&b, "AbC9+xYz"[i & 7]);
    buf_puts(&b, "\"}},\"words\"]}]}");
    peek_ok(buf_view(&b), &k);
    assert_in_range(k.prompt_tokens, 900, 920);
    peek_ok(STR("{\"input\":[1,2,3,4,5,6,7,8,9]}"), &k);
    assert_int_equal(k.prompt_tokens, 9);
    peek_ok(STR("{\"metadata\":{\"a\":\"long text that no model reads\"},\"n\":1}"), &k);
    assert_int_equal(k.prompt_tokens, 0);
    peek_ok(STR("{\"tools\":[{\"properties\":{\"city\":1}}]}"), &k);
    assert_in_range(k.prompt_tokens, 1, 6);
}

/* splice */

static const char *const bodies[] = {
    "{}",
    " { } ",
    "{\"model\":\"old\"}",
    "{\"model\" : \"ol\\u0064\" , \"stream\":true }\n",
    "{\"stream_options\":null,\"model\":\"old\"}",
    "{\"model\":\"old\",\"stream_options\":{}}",
    ("{\"model\":\"old\",\"stream_options\":{ \"include_usage\" : false, \"x\":[1,{\"y\":2}] "
     "},\"z\":1}"),
    "{\"stream_options\":{\"include_obfuscation\":false},\"max_tokens\":5,\"model\":\"old\"}",
    "{\"stream_options\":{\"include_usage\":true},\"max_tokens\":50,\"model\":\"old\"}",
    "{\"stream_options\":{\"include_usage\":null},\"max_tokens\":null,\"max_completion_tokens\":9}",
    "{\"max_completion_tokens\":null,\"model\":\"old\",\"m\":\"\\u00e9\\\"\"}",
    "{\"max_output_tokens\":60,\"input\":\"old\",\"model\":\"old\"}",
    "{\"generationConfig\":{\"maxOutputTokens\":70,\"temperature\":0.5},\"contents\":[]}",
    "{\"generationConfig\":{\"temperature\":0.5},\"contents\":[]}",
    "{\"contents\":[],\"generationConfig\":{ }}",
    "{\"generation_config\":null,\"contents\":[]}",
    "{\"generation_config\":null}",
    "{\"contents\":[]}",
    "{\"input\":\"\"}",
};

static const struct edits edits[] = {
    {.model = STR_INIT("new")},
    {.model = STR_INIT("n\"e\\w\n\xC3\xA9")},
    {.force_include_usage = true},
    {.max_tokens = 50},
    {.model = STR_INIT("new"), .force_include_usage = true, .max_tokens = 7},
    {.model = STR_INIT("old"), .max_tokens = 5},
    {.max_tokens = 0},
};

/* Members an edit may touch; all others must stay as they are. */
static bool is_edited(struct str name) {
    static const char *const names[] = {"model",
                                        "stream_options",
                                        "include_usage",
                                        "max_tokens",
                                        "max_completion_tokens",
                                        "max_output_tokens",
                                        "generationConfig",
                                        "generation_config",
                                        "maxOutputTokens"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eqc(name, names[i]))
            return true;
    return false;
}

static enum err same_in(void *ctx, struct str name, struct json *value) {
    const struct json *other = ctx;
    char z[64];
    assert_true(str_copy(name, z, sizeof z));
    struct json *there = other ? json_get(other, z) : NULL;
    if (json_type_of(value) == JSON_OBJECT && is_edited(name))
        return json_each(value, same_in,
                         there && json_type_of(there) == JSON_OBJECT ? there : NULL);
    if (is_edited(name))
        return OK;
    struct buf a AUTO(buf_free) = BUF(10000), b AUTO(buf_free) = BUF(10000);
    assert_non_null(there);
    json_write(&a, value);
    json_write(&b, there);
    assert_true(str_eq(buf_view(&a), buf_view(&b)));
    return OK;
}

static void only_the_edited_members_differ(struct str before, struct str after) {
    struct json *a AUTO(json_free) = NULL, *b AUTO(json_free) = NULL;
    struct fault f = {0};
    assert_int_equal(json_parse(before, &a, &f), OK);
    if (json_parse(after, &b, &f))
        fail_msg("%.*s: %s", STR_ARG(after), f.detail);
    assert_int_equal(json_each(a, same_in, b), OK);
    assert_int_equal(json_each(b, same_in, a), OK);
}

static void edits_change_what_they_say_and_nothing_else(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        for (size_t j = 0; j < ARRAY_LEN(edits); j++) {
            struct str body = str_c(bodies[i]);
            const struct edits *e = &edits[j];
            struct peek k, after;
            struct buf out AUTO(buf_free) = BUF(10000);
            peek_ok(body, &k);
            assert_int_equal(splice(body, &k, e, false, &out), OK);
            assert_int_equal(splice_is_noop(&k, e), str_eq(buf_view(&out), body));
            only_the_edited_members_differ(body, buf_view(&out));
            peek_ok(buf_view(&out), &after);
            if (e->model.n && k.model.n)
                assert_true(str_eq(after.model, e->model));
            else
                assert_true(str_eq(after.model, k.model));
            assert_int_equal(after.include_usage, k.include_usage || e->force_include_usage);
            bool lower = e->max_tokens > 0 && (k.max_tokens < 0 || k.max_tokens > e->max_tokens);
            assert_int_equal(after.max_tokens, lower ? e->max_tokens : k.max_tokens);
            assert_true(splice_is_noop(&after, e));
        }
}

static void edits_are_minimal(void **state) {
    (void)state;
    static const struct {
        const char *body;
        struct edits e;
        const char *out;
    } rows[] = {
        {"{ }",
         {.force_include_usage = true, .max_tokens = 3},
         "{ \"stream_options\":{\"include_usage\":true},\"max_tokens\":3}"},
        {"{\"stream_options\":{\"a\":1},\"model\":\"x\" }",
         {.force_include_usage = true, .model = STR_INIT("y")},
         "{\"stream_options\":{\"include_usage\":true,\"a\":1},\"model\":\"y\" }"},
        {"{\"generationConfig\":{},\"contents\":0}",
         {.max_tokens = 3},
         "{\"generationConfig\":{\"maxOutputTokens\":3},\"contents\":0}"},
        {"{\"contents\":1}",
         {.max_tokens = 3},
         "{\"contents\":1,\"generationConfig\":{\"maxOutputTokens\":3}}"},
        {"{\"input\":1}", {.max_tokens = 3}, "{\"input\":1,\"max_output_tokens\":3}"},
        {"{\"max_tokens\":null,\"max_completion_tokens\":9}",
         {.max_tokens = 3},
         "{\"max_tokens\":null,\"max_completion_tokens\":3}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct peek k;
        struct buf out AUTO(buf_free) = BUF(1000);
        peek_ok(str_c(rows[i].body), &k);
        assert_int_equal(splice(str_c(rows[i].body), &k, &rows[i].e, false, &out), OK);
        assert_str(buf_view(&out), rows[i].out);
    }
    struct peek k;
    struct buf small AUTO(buf_free) = BUF(10);
    peek_ok(str_c(bodies[2]), &k);
    assert_int_equal(splice(str_c(bodies[2]), &k, &edits[0], false, &small), ERR_BODY_TOO_LARGE);
}

/* multipart */

static const struct {
    const char *type, *body;
} forms[] = {
    /* curl */
    {"multipart/form-data; boundary=------------------------d74496d66958873e",
     "--------------------------d74496d66958873e\r\n"
     "Content-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n"
     "Content-Type: audio/wav\r\n\r\n"
     "RIFF\r\n--not the boundary\r\n\r\nname=\"model\"\r\n"
     "--------------------------d74496d66958873e\r\n"
     "Content-Disposition: form-data; name=\"model\"\r\n\r\n"
     "whisper-1\r\n"
     "--------------------------d74496d66958873e--\r\n"},
    /* undici */
    {"multipart/form-data; boundary=----formdata-undici-012345678901",
     "------formdata-undici-012345678901\r\n"
     "Content-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n"
     "------formdata-undici-012345678901\r\n"
     "Content-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".mp3\"\r\n"
     "Content-Type: application/octet-stream\r\n\r\n\xFF\xFB\r\n"
     "------formdata-undici-012345678901--"},
    /* python: quoted, and parameters around */
    {"multipart/form-data; charset=utf-8; Boundary=\"0a1b=:;2c\"; x=y",
     "--0a1b=:;2c\r\ncontent-disposition:form-data;name=model;x\r\n\r\nwhisper-1\r\n"
     "--0a1b=:;2c--\r\nepilogue"},
    /* bare LF, preamble, blanks behind the boundary, a longer boundary inside */
    {"multipart/form-data; boundary=b",
     "preamble --b\n--b \t\nX: 1\nContent-Disposition: form-data; name=\"prompt\"\n\n"
     "--bb\n--b-\n --b\n--b\nContent-Disposition: form-data; name=\"model\"\n\nwhisper-1\n--b--\n"},
};

static void every_clients_form_is_read_and_edited(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct str body = str_c(forms[i].body), type = str_c(forms[i].type);
        struct peek k, after;
        struct fault f = {0};
        struct edits e = {.model = STR("other-model"), .force_include_usage = true};
        struct buf out AUTO(buf_free) = BUF(10000);
        if (peek_multipart(body, type, &k, &f))
            fail_msg("%zu: %s", i, f.detail);
        assert_str(k.model, "whisper-1");
        assert_false(k.stream);
        assert_int_equal(splice(body, &k, &e, true, &out), OK);
        assert_int_equal(out.n, body.n + 2);
        assert_int_equal(peek_multipart(buf_view(&out), type, &after, &f), OK);
        assert_str(after.model, "other-model");
    }
}

static void fields_of_a_form_are_read(void **state) {
    (void)state;
    struct peek k;
    struct str type = STR("multipart/form-data; boundary=b");
#define FIELD(name, value) \
    "--b\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
    assert_int_equal(peek_multipart(STR(FIELD("stream", "true") FIELD("n", "4")
                                            FIELD("prompt", "a cat") "--b--\r\n"),
                                    type, &k, NULL),
                     OK);
    assert_true(k.stream);
    assert_int_equal(k.n, 4);
    assert_int_equal(k.model.n, 0);
    assert_in_range(k.prompt_tokens, 1, 4);
    static const struct {
        const char *body;
        enum err err;
    } bad[] = {
        {"", ERR_BODY_EMPTY},
        {"x", ERR_BODY_CORRUPT},
        {"--b\r\n", ERR_BODY_CORRUPT},
        {FIELD("model", "m"), ERR_BODY_CORRUPT},
        {"--b\r\nX: y\r\n\r\nvalue\r\n--b--", ERR_BODY_CORRUPT},
        {"--b\r\nContent-Disposition: form-data; name=\"model\"\r\n--b--", ERR_BODY_CORRUPT},
        {FIELD("model", "m") FIELD("model", "m") "--b--", ERR_FIELD_DUPLICATE},
        {FIELD("n", "0") "--b--", ERR_FIELD_VALUE},
        {FIELD("n", "many") "--b--", ERR_FIELD_VALUE},
        {FIELD("stream", "maybe") "--b--", ERR_FIELD_TYPE},
        {FIELD("model", "\xFF") "--b--", ERR_FIELD_VALUE},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (peek_multipart(str_c(bad[i].body), type, &k, NULL) != bad[i].err)
            fail_msg("%zu", i);
    assert_int_equal(peek_multipart(STR("--b--"), type, &k, NULL), OK);
    assert_int_equal(peek_multipart(STR("--b--"), STR("multipart/form-data"), &k, NULL),
                     ERR_BODY_CORRUPT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(nothing_and_no_object_are_told_apart),
        cmocka_unit_test(valid_json_of_every_kind_passes),
        cmocka_unit_test(members_are_read),
        cmocka_unit_test(escaped_names_and_models_are_the_same),
        cmocka_unit_test(the_narrowest_limit_decides),
        cmocka_unit_test(wrong_members_are_named),
        cmocka_unit_test(names_end_at_255_bytes),
        cmocka_unit_test(depth_is_capped),
        cmocka_unit_test(media_does_not_count_as_text),
        cmocka_unit_test(edits_change_what_they_say_and_nothing_else),
        cmocka_unit_test(edits_are_minimal),
        cmocka_unit_test(every_clients_form_is_read_and_edited),
        cmocka_unit_test(fields_of_a_form_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
