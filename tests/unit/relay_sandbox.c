#include "unit.h"

#include "door/json.h"
#include "relay/sandbox.h"

static struct sandbox_answer ask(enum dialect d, const char *path, const char *body, bool stream) {
    const struct sandbox_ask a = {.dialect = d,
                                  .path = str_c(path),
                                  .query = stream ? STR("alt=sse") : STR(""),
                                  .model = STR("m\"1"),
                                  .body = str_c(body),
                                  .stream = stream,
                                  .request_id = STR("req-1\"x")};
    struct sandbox_answer out;
    sandbox_answer(&a, &out);
    assert_false(out.body.failed);
    return out;
}

static struct json *parsed(struct str text) {
    struct json *tree = NULL;
    struct fault f = {0};
    if (json_parse(text, &tree, &f) != OK)
        fail_msg("%s in %.*s", f.detail, STR_ARG(text));
    return tree;
}

/* The JSON of the i-th event; NULL at the end or at [DONE]. */
static struct json *event(struct str *rest, struct str *name) {
    *name = STR("");
    for (struct str line; str_cut(rest, '\n', &line);) {
        line = str_trim(line);
        if (str_starts(line, STR("event: ")))
            *name = str_from(line, 7);
        else if (str_eq(line, STR("data: [DONE]")))
            return NULL;
        else if (str_starts(line, STR("data: ")))
            return parsed(str_from(line, 6));
        else
            assert_int_equal(line.n, 0);
    }
    return NULL;
}

static int64_t number(const struct json *o, const char *name) {
    const struct json *m = json_get(o, name);
    if (json_type_of(m) != JSON_INT)
        fail_msg("no number %s", name);
    return json_int(m);
}

static struct str text(const struct json *o, const char *name) {
    const struct json *m = json_get(o, name);
    if (json_type_of(m) != JSON_STRING)
        fail_msg("no text %s", name);
    return json_str(m);
}

#define CHAT "/v1/chat/completions"
#define USER(t)                                                                                   \
    "{\"messages\":[{\"role\":\"system\",\"content\":\"be\"},{\"role\":\"user\",\"content\":\"" t \
    "\"}]"
#define ASKS(t)                                                                     \
    {DIALECT_OPENAI, CHAT, USER(t) "}"},                                            \
        {DIALECT_OPENAI, "/v1/responses", "{\"input\":\"" t "\"}"},                 \
        {DIALECT_OPENAI, "/v1/completions", "{\"prompt\":\"" t "\"}"},              \
        {DIALECT_ANTHROPIC, "/v1/messages", USER(t) "}"}, {                         \
        DIALECT_GEMINI, "/v1beta/models/m:generateContent",                         \
            "{\"contents\":[{\"role\":\"user\",\"parts\":[{\"text\":\"" t "\"}]}]}" \
    }

struct one_ask {
    enum dialect d;
    const char *path, *body;
};

static void every_endpoint_answers_json_and_the_same_twice(void **state) {
    (void)state;
    static const struct one_ask asks[] = {
        ASKS("hi"),
        {DIALECT_OPENAI, "/v1/embeddings", "{\"input\":[\"a\",\"b\"]}"},
        {DIALECT_OPENAI, "/v1/embeddings", "{\"input\":[1,2],\"encoding_format\":\"base64\"}"},
        {DIALECT_OPENAI, "/v1/moderations", "{\"input\":\"a\"}"},
        {DIALECT_OPENAI, "/v1/rerank", "{\"query\":\"a\",\"documents\":[\"b\",{\"text\":\"a\"}]}"},
        {DIALECT_OPENAI, "/v1/images/generations", "{\"prompt\":\"a\"}"},
        {DIALECT_OPENAI, "/v1/audio/transcriptions", "--x\r\n"},
        {DIALECT_ANTHROPIC, "/v1/messages/count_tokens", USER("hi") "}"},
        {DIALECT_GEMINI, "/v1beta/models/m:embedContent",
         "{\"content\":{\"parts\":[{\"text\":\"a\"}]}}"},
        {DIALECT_GEMINI, "/v1beta/models/m:batchEmbedContents",
         "{\"requests\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}"},
        {DIALECT_GEMINI, "/v1beta/models/m:countTokens", "{\"contents\":[]}"},
        {DIALECT_OPENAI, CHAT, "null"},
        {DIALECT_OPENAI, CHAT, "{\"messages\":7,\"tools\":{},\"tool_choice\":\"required\"}"},
        {DIALECT_OPENAI, CHAT, "{\"messages\":[null,[],{\"content\":[{\"text\":1}]}]}"},
    };
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct sandbox_answer a AUTO(sandbox_answer_free) =
            ask(asks[i].d, asks[i].path, asks[i].body, false);
        struct sandbox_answer b AUTO(sandbox_answer_free) =
            ask(asks[i].d, asks[i].path, asks[i].body, false);
        assert_int_equal(a.status, 200);
        assert_string_equal(a.content_type, "application/json");
        struct json *tree AUTO(json_free) = parsed(buf_view(&a.body));
        assert_int_equal(json_type_of(tree), JSON_OBJECT);
        assert_true(str_eq(buf_view(&a.body), buf_view(&b.body)));
    }
}

static void a_chat_echoes_and_counts(void **state) {
    (void)state;
    struct sandbox_answer a AUTO(sandbox_answer_free) =
        ask(DIALECT_OPENAI, CHAT, USER("h\\u00e9 \\\"you\\\"") ",\"n\":2}", false);
    struct json *tree AUTO(json_free) = parsed(buf_view(&a.body));
    const struct json *choices = json_get(tree, "choices"), *usage = json_get(tree, "usage");
    assert_int_equal(json_length(choices), 2);
    assert_str(text(json_get(json_at(choices, 1), "message"), "content"),
               "You said: h\xc3\xa9 \"you\"");
    assert_str(text(tree, "model"), "m\"1");
    assert_true(number(usage, "prompt_tokens") > 0);
    assert_int_equal(number(usage, "completion_tokens") % 2, 0);
    assert_int_equal(number(usage, "total_tokens"),
                     number(usage, "prompt_tokens") + number(usage, "completion_tokens"));
}

static void a_chat_stream_has_role_words_finish_usage_and_done(void **state) {
    (void)state;
    struct sandbox_answer a AUTO(sandbox_answer_free) = ask(
        DIALECT_OPENAI, CHAT, USER("a b c") ",\"stream_options\":{\"include_usage\":true}}", true);
    assert_string_equal(a.content_type, "text/event-stream");
    assert_true(str_ends(buf_view(&a.body), STR("data: [DONE]\n\n")));
    struct buf said AUTO(buf_free) = BUF(1000);
    struct str rest = buf_view(&a.body), name;
    size_t events = 0, usages = 0, finished = 0;
    for (;; events++) {
        struct json *tree AUTO(json_free) = event(&rest, &name);
        if (!tree)
            break;
        const struct json *choices = json_get(tree, "choices");
        if (!json_length(choices)) {
            usages++;
            assert_true(number(json_get(tree, "usage"), "total_tokens") > 0);
            continue;
        }
        assert_int_equal(json_type_of(json_get(tree, "usage")), JSON_NULL);
        const struct json *delta = json_get(json_at(choices, 0), "delta");
        if (events == 0)
            assert_str(text(delta, "role"), "assistant");
        if (json_get(delta, "content"))
            buf_str(&said, text(delta, "content"));
        finished += json_type_of(json_get(json_at(choices, 0), "finish_reason")) == JSON_STRING;
    }
    assert_str(buf_view(&said), "You said: a b c");
    assert_int_equal(events, 1 + 5 + 1 + 1);
    assert_int_equal(usages, 1);
    assert_int_equal(finished, 1);
}

#define SCHEMA                                                                                  \
    "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#/$defs/A\"},\"b\":{\"type\":"      \
    "[\"integer\",\"null\"]},\"c\":{\"enum\":[\"x\"]}},\"required\":[\"a\",\"b\",\"c\",\"d\"]," \
    "\"$defs\":{\"A\":{\"type\":\"ARRAY\",\"items\":{\"type\":\"boolean\"}}}}"
#define FITTED "{\"a\":[true],\"b\":1,\"c\":\"x\",\"d\":null}"

static void tool_calls_fit_the_tools_schema(void **state) {
    (void)state;
    static const struct one_ask asks[] = {
        {DIALECT_OPENAI, CHAT,
         USER("call the tool") ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                               "\"parameters\":" SCHEMA "}}]}"},
        {DIALECT_OPENAI, CHAT,
         USER("x") ",\"tool_choice\":\"required\",\"tools\":[{\"type\":\"function\",\"function\":{"
                   "\"name\":\"f\",\"parameters\":" SCHEMA "}}]}"},
        {DIALECT_OPENAI, "/v1/responses",
         "{\"input\":\"sandbox:tool\",\"tools\":[{\"type\":\"function\",\"name\":\"f\","
         "\"parameters\":" SCHEMA "}]}"},
        {DIALECT_ANTHROPIC, "/v1/messages",
         USER("x") ",\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\"},\"tools\":["
                   "{\"name\":\"g\"},{\"name\":\"f\",\"input_schema\":" SCHEMA "}]}"},
        {DIALECT_GEMINI, "/v1beta/models/m:generateContent",
         "{\"contents\":[{\"parts\":[{\"text\":\"x\"}]}],\"toolConfig\":{\"functionCallingConfig\":"
         "{\"mode\":\"ANY\"}},\"tools\":[{\"functionDeclarations\":[{\"name\":\"f\","
         "\"parameters\":" SCHEMA "}]}]}"},
    };
    struct buf quoted AUTO(buf_free) = BUF(1000);
    buf_json(&quoted, STR(FITTED));
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct sandbox_answer a AUTO(sandbox_answer_free) =
            ask(asks[i].d, asks[i].path, asks[i].body, false);
        struct json *tree AUTO(json_free) = parsed(buf_view(&a.body));
        assert_non_null(tree);
        if (str_find_str(buf_view(&a.body), STR(FITTED)) < 0 &&
            str_find_str(buf_view(&a.body), buf_view(&quoted)) < 0)
            fail_msg("%s", a.body.p);
        assert_true(str_find_str(buf_view(&a.body), STR("\"name\":\"f\"")) >= 0);
    }
}

static void a_tool_result_is_answered_in_words(void **state) {
    (void)state;
    static const char tools[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"call the tool\"},{\"role\":\"assistant\","
        "\"tool_calls\":[]},{\"role\":\"tool\",\"content\":\"sun\"}],\"tool_choice\":\"required\","
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]}";
    struct sandbox_answer a AUTO(sandbox_answer_free) = ask(DIALECT_OPENAI, CHAT, tools, false);
    assert_true(str_find_str(buf_view(&a.body), STR("\"finish_reason\":\"stop\"")) >= 0);
}

static void a_schema_that_multiplies_itself_ends(void **state) {
    (void)state;
    static const char body[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"response_format\":{\"type\":"
        "\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"object\",\"properties\":{\"a\":{"
        "\"$ref\":\"#\"}},\"required\":[\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\",\"a\"]}}}}";
    struct sandbox_answer a AUTO(sandbox_answer_free) = ask(DIALECT_OPENAI, CHAT, body, false);
    assert_true(a.body.n > 0);
}

static void streams_of_named_events_are_well_formed(void **state) {
    (void)state;
    static const struct {
        struct one_ask a;
        const char *names;
    } cases[] = {
        {{DIALECT_ANTHROPIC, "/v1/messages", USER("a b") "}"},
         "message_start content_block_start ping content_block_delta content_block_delta "
         "content_block_delta content_block_delta content_block_stop message_delta message_stop "},
        {{DIALECT_OPENAI, "/v1/responses", "{\"input\":\"a\"}"},
         "response.created response.in_progress response.output_item.added "
         "response.content_part.added response.output_text.delta response.output_text.delta "
         "response.output_text.delta response.output_text.done response.content_part.done "
         "response.output_item.done response.completed "},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sandbox_answer a AUTO(sandbox_answer_free) =
            ask(cases[i].a.d, cases[i].a.path, cases[i].a.body, true);
        struct buf names AUTO(buf_free) = BUF(1000);
        struct str rest = buf_view(&a.body), name;
        for (int n = 0;; n++) {
            struct json *tree AUTO(json_free) = event(&rest, &name);
            if (!tree)
                break;
            assert_true(str_eq(text(tree, "type"), name));
            if (cases[i].a.d == DIALECT_OPENAI)
                assert_int_equal(number(tree, "sequence_number"), n);
            buf_str(&names, name);
            buf_putc(&names, ' ');
        }
        assert_string_equal(names.p, cases[i].names);
    }
}

static void gemini_streams_as_events_or_as_an_array(void **state) {
    (void)state;
    static const char body[] = "{\"contents\":[{\"parts\":[{\"text\":\"a b\"}]}]}";
    static const char path[] = "/v1beta/models/m:streamGenerateContent";
    struct sandbox_answer a AUTO(sandbox_answer_free) = ask(DIALECT_GEMINI, path, body, true);
    struct sandbox_answer b AUTO(sandbox_answer_free) = ask(DIALECT_GEMINI, path, body, false);
    struct json *array AUTO(json_free) = parsed(buf_view(&b.body));
    assert_string_equal(b.content_type, "application/json");
    assert_int_equal(json_length(array), 4);
    struct str rest = buf_view(&a.body), name;
    for (size_t i = 0; i < 4; i++) {
        struct json *tree AUTO(json_free) = event(&rest, &name);
        const struct json *c = json_at(json_get(tree, "candidates"), 0);
        assert_int_equal(json_get(c, "finishReason") != NULL, i == 3);
        assert_true(number(json_get(tree, "usageMetadata"), "totalTokenCount") > 0);
    }
    assert_null(event(&rest, &name));
}

static void directives_make_failures(void **state) {
    (void)state;
    static const struct one_ask asks[] = {ASKS("please sandbox:status=429!")};
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct sandbox_answer a AUTO(sandbox_answer_free) =
            ask(asks[i].d, asks[i].path, asks[i].body, true);
        assert_int_equal(a.status, 429);
        assert_string_equal(a.content_type, "application/json");
        struct json *tree AUTO(json_free) = parsed(buf_view(&a.body));
        assert_true(text(json_get(tree, "error"), "message").n > 0);
    }
    struct sandbox_answer odd AUTO(sandbox_answer_free) =
        ask(DIALECT_OPENAI, CHAT, USER("sandbox:status=200 sandbox:words=x") "}", false);
    assert_int_equal(odd.status, 200);
    struct sandbox_answer none AUTO(sandbox_answer_free) =
        ask(DIALECT_OPENAI, "/v1/nothing", "{}", false);
    assert_int_equal(none.status, 404);
}

static void a_cut_answer_ends_half_way(void **state) {
    (void)state;
    static const struct one_ask asks[] = {ASKS("sandbox:cut sandbox:words=40")};
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct sandbox_answer a AUTO(sandbox_answer_free) =
            ask(asks[i].d, asks[i].path, asks[i].body, true);
        assert_true(a.cut);
        assert_true(a.body.n > 50);
        assert_true(str_find_str(buf_view(&a.body), STR("[DONE]")) < 0);
    }
}

static void words_come_as_asked_and_within_the_clients_limit(void **state) {
    (void)state;
    static const struct {
        const char *body;
        size_t words;
        const char *finish;
    } cases[] = {
        {USER("sandbox:words=50") "}", 50, "stop"},
        {USER("sandbox:words=999999") "}", 5000, "stop"},
        {USER("sandbox:words=50") ",\"max_tokens\":10}", 10, "length"},
        {USER("sandbox:words=50") ",\"max_tokens\":10,\"max_completion_tokens\":5}", 5, "length"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sandbox_answer a AUTO(sandbox_answer_free) =
            ask(DIALECT_OPENAI, CHAT, cases[i].body, false);
        struct json *tree AUTO(json_free) = parsed(buf_view(&a.body));
        const struct json *choice = json_at(json_get(tree, "choices"), 0);
        struct str said = text(json_get(choice, "message"), "content"), word;
        size_t words = 0;
        while (str_cut(&said, ' ', &word))
            words += word.n > 0;
        assert_str(text(choice, "finish_reason"), cases[i].finish);
        if (i < 2)
            assert_int_equal(words, cases[i].words);
        else
            assert_in_range(number(json_get(tree, "usage"), "completion_tokens"), 1,
                            cases[i].words);
    }
}

static void embeddings_are_unit_vectors_of_the_asked_size(void **state) {
    (void)state;
    struct sandbox_answer a AUTO(sandbox_answer_free) = ask(
        DIALECT_OPENAI, "/v1/embeddings", "{\"input\":[\"a\",\"b\"],\"dimensions\":300}", false);
    struct json *tree AUTO(json_free) = parsed(buf_view(&a.body));
    const struct json *data = json_get(tree, "data");
    for (size_t i = 0; i < 2; i++) {
        const struct json *v = json_get(json_at(data, i), "embedding");
        double sum = 0;
        for (size_t k = 0; k < json_length(v); k++)
            sum += json_double(json_at(v, k)) * json_double(json_at(v, k));
        assert_int_equal(json_length(v), 300);
        assert_true(sum > 0.999 && sum < 1.001);
    }
    assert_true(json_double(json_at(json_get(json_at(data, 0), "embedding"), 0)) !=
                json_double(json_at(json_get(json_at(data, 1), "embedding"), 0)));
}

static void a_body_too_large_to_read_is_counted_by_size(void **state) {
    (void)state;
    static char body[4 << 20];
    memset(body, ' ', sizeof body - 1);
    struct sandbox_answer a AUTO(sandbox_answer_free) = ask(DIALECT_OPENAI, CHAT, body, false);
    struct json *tree AUTO(json_free) = parsed(buf_view(&a.body));
    assert_true(number(json_get(tree, "usage"), "prompt_tokens") >= 1000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_endpoint_answers_json_and_the_same_twice),
        cmocka_unit_test(a_chat_echoes_and_counts),
        cmocka_unit_test(a_chat_stream_has_role_words_finish_usage_and_done),
        cmocka_unit_test(tool_calls_fit_the_tools_schema),
        cmocka_unit_test(a_tool_result_is_answered_in_words),
        cmocka_unit_test(a_schema_that_multiplies_itself_ends),
        cmocka_unit_test(streams_of_named_events_are_well_formed),
        cmocka_unit_test(gemini_streams_as_events_or_as_an_array),
        cmocka_unit_test(directives_make_failures),
        cmocka_unit_test(a_cut_answer_ends_half_way),
        cmocka_unit_test(words_come_as_asked_and_within_the_clients_limit),
        cmocka_unit_test(embeddings_are_unit_vectors_of_the_asked_size),
        cmocka_unit_test(a_body_too_large_to_read_is_counted_by_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
