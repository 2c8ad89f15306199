#include "unit.h"

#include "relay/scan.h"

#define O DIALECT_OPENAI
#define A DIALECT_ANTHROPIC
#define G DIALECT_GEMINI

struct sample {
    enum dialect dialect;
    const char *docs[4]; /* one SSE event's data each, or one whole body */
    struct usage usage;
    int64_t text_bytes;
    const char *id;
    bool usage_only, error, terminal; /* after the last */
};

static const struct sample samples[] = {
    {O,
     {"{\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
      "\"content\":\"Hi \\u00e9\\n\"},\"finish_reason\":null}],\"usage\":null}",
      "{\"id\":\"chatcmpl-2\",\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":"
      "34,\"total_tokens\":46,\"prompt_tokens_details\":{\"cached_tokens\":5,\"audio_tokens\":2},"
      "\"completion_tokens_details\":{\"reasoning_tokens\":7,\"audio_tokens\":3}}}"},
     {.prompt = 12,
      .completion = 34,
      .cached = 5,
      .audio_in = 2,
      .audio_out = 3,
      .reasoning = 7,
      .reported = true},
     6,
     "chatcmpl-1",
     .usage_only = true},
    {O,
     {"{\"choices\":[{\"message\":{\"content\":\"abc\",\"reasoning_content\":\"de\","
      "\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}"
      "]"
      "}}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,\"prompt_cache_hit_tokens\":4,"
      "\"prompt_cache_miss_tokens\":5}}",
      "[DONE]"},
     {.prompt = 9, .completion = 1, .cached = 4, .reported = true},
     13,
     "",
     .terminal = true},
    /* Moonshot's place, and the last one wins */
    {O,
     {"{\"choices\":[{\"delta\":{},\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}]}",
      "{\"choices\":[{\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"xy\"}]},\"usage\":"
      "{\"prompt_tokens\":4,\"completion_tokens\":5,\"cached_tokens\":1}}]}"},
     {.prompt = 4, .completion = 5, .cached = 1, .reported = true},
     2,
     .id = ""},
    /* xAI: reasoning beside the completion; a zero usage later is none */
    {O,
     {"{\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":35,"
      "\"completion_tokens_details\":{\"reasoning_tokens\":20}}}",
      "{\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}}"},
     {.prompt = 10, .completion = 25, .reasoning = 20, .reported = true},
     0,
     .id = ""},
    /* a number that no call can have is none */
    {O,
     {"{\"usage\":{\"prompt_tokens\":99999999999999999999999,\"completion_tokens\":1000000000}}",
      "{\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":\"7\"}}"},
     {.prompt = 0},
     0,
     .id = ""},
    /* OpenRouter and LiteLLM: what was written to a cache has its own price */
    {O,
     {"{\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":5,\"total_tokens\":105,\"cost\":0."
      "001,"
      "\"prompt_tokens_details\":{\"cached_tokens\":10,\"cache_write_tokens\":60}}}"},
     {.prompt = 100, .completion = 5, .cached = 10, .cache_write_5m = 60, .reported = true},
     0,
     .id = ""},
    {O,
     {"{\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":5,\"total_tokens\":105,"
      "\"cache_creation_input_tokens\":70,\"prompt_tokens_details\":{\"cached_tokens\":20}}}"},
     {.prompt = 100, .completion = 5, .cached = 20, .cache_write_5m = 70, .reported = true},
     0,
     .id = ""},
    /* Gemini by OpenAI's path: only the total tells of its thoughts */
    {O,
     {"{\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":424,\"total_tokens\":1016}}"},
     {.prompt = 20, .completion = 996, .reported = true},
     0,
     .id = ""},
    {O,
     {"{\"object\":\"list\",\"data\":[{\"embedding\":[0.1,-2e-3,{\"usage\":{\"prompt_tokens\":99}}]"
      ","
      "\"s\":\"]}\\\"\"}],\"model\":\"m\",\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}"},
     {.prompt = 8, .reported = true},
     0,
     .id = ""},
    /* rerankers */
    {O,
     {"{\"results\":[{\"index\":1,\"relevance_score\":0.9}],\"usage\":{\"total_tokens\":15}}"},
     {.prompt = 15, .reported = true},
     0,
     .id = ""},
    {O,
     {"{\"id\":\"r\",\"results\":[],\"meta\":{\"billed_units\":{\"search_units\":1},\"tokens\":"
      "{\"input_tokens\":21,\"output_tokens\":0}}}"},
     {.prompt = 21, .reported = true},
     0,
     .id = "r"},
    /* images, transcriptions */
    {O,
     {"{\"data\":[{\"b64_json\":\"AAAA\"}],\"usage\":{\"total_tokens\":100,\"input_tokens\":50,"
      "\"output_tokens\":50,\"input_tokens_details\":{\"text_tokens\":10,\"image_tokens\":40}}}"},
     {.prompt = 50, .completion = 50, .image_in = 40, .reported = true},
     0,
     .id = ""},
    {O,
     {"{\"text\":\"hello\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,"
      "\"input_token_details\":{\"text_tokens\":0,\"audio_tokens\":14},\"output_tokens\":3}}"},
     {.prompt = 14, .completion = 3, .audio_in = 14, .reported = true},
     0,
     .id = ""},
    /* Responses: stream and whole */
    {O,
     {"{\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"usage\":null}}",
      "{\"type\":\"response.output_text.delta\",\"delta\":\"Hel\"}",
      "{\"type\":\"response.output_text.done\",\"text\":\"Hel\"}",
      "{\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"output\":[{\"type\":"
      "\"web_search_call\"},{\"type\":\"message\",\"content\":[{\"text\":\"Hel\"}]}],\"usage\":"
      "{\"input_tokens\":36,\"input_tokens_details\":{\"cached_tokens\":6},\"output_tokens\":87,"
      "\"output_tokens_details\":{\"reasoning_tokens\":9},\"total_tokens\":123}}}"},
     {.prompt = 36,
      .completion = 87,
      .cached = 6,
      .reasoning = 9,
      .tool_searches = 1,
      .reported = true},
     3,
     "resp_1",
     .terminal = true},
    {O,
     {"{\"id\":\"resp_2\",\"output\":[{\"type\":\"message\",\"content\":[{\"type\":\"output_text\","
      "\"text\":\"four\"}]}],\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}"},
     {.prompt = 1, .completion = 2, .reported = true},
     4,
     .id = "resp_2"},
    {O,
     {"{\"type\":\"response.audio.delta\",\"delta\":\"UklGRg==\"}",
      "{\"type\":\"error\",\"code\":\"x\",\"message\":\"y\"}"},
     {0},
     0,
     "",
     .error = true},
    {O,
     {"{\"error\":{\"message\":\"no\",\"usage\":{\"prompt_tokens\":5}}}"},
     {0},
     0,
     "",
     .error = true},
    /* Anthropic */
    {A,
     {"{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"content\":[],\"usage\":"
      "{\"input_tokens\":25,\"cache_creation_input_tokens\":100,\"cache_read_input_tokens\":40,"
      "\"cache_creation\":{\"ephemeral_5m_input_tokens\":70,\"ephemeral_1h_input_tokens\":30},"
      "\"output_tokens\":1}}}",
      "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":"
      "\"\\ud83d\\ude00!\"}}",
      "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":"
      "{\"output_tokens\":15,\"server_tool_use\":{\"web_search_requests\":2}}}",
      "{\"type\":\"message_stop\"}"},
     {.prompt = 165,
      .completion = 15,
      .cached = 40,
      .cache_write_5m = 70,
      .cache_write_1h = 30,
      .tool_searches = 2,
      .reported = true},
     5,
     "msg_1",
     .terminal = true},
    {A,
     {"{\"id\":\"msg_2\",\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":\"ab\"},"
      "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"n\",\"input\":{\"k\":[\"v\",\"w\"]}}],"
      "\"usage\":{\"input_tokens\":7,\"cache_creation_input_tokens\":3,\"output_tokens\":4}}"},
     {.prompt = 10, .completion = 4, .cache_write_5m = 3, .reported = true},
     5,
     .id = "msg_2"},
    {A,
     {"{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}"},
     {0},
     0,
     "",
     .error = true},
    /* Gemini: events, and a stream that is one array */
    {G,
     {"{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"abc\"}],\"role\":\"model\"}}],"
      "\"usageMetadata\":{\"promptTokenCount\":4,\"totalTokenCount\":4},\"responseId\":\"g1\"}",
      "{\"candidates\":[{\"content\":{\"parts\":[{\"functionCall\":{\"name\":\"f\",\"args\":"
      "{\"x\":\"yz\"}}}]},\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":4,"
      "\"toolUsePromptTokenCount\":2,\"candidatesTokenCount\":6,\"thoughtsTokenCount\":10,"
      "\"cachedContentTokenCount\":3,\"totalTokenCount\":22,\"promptTokensDetails\":["
      "{\"modality\":\"TEXT\",\"tokenCount\":1},{\"tokenCount\":2,\"modality\":\"AUDIO\"},"
      "{\"modality\":\"IMAGE\",\"tokenCount\":1}],\"candidatesTokensDetails\":[{\"modality\":"
      "\"AUDIO\",\"tokenCount\":5}]}}"},
     {.prompt = 6,
      .completion = 16,
      .cached = 3,
      .image_in = 1,
      .audio_in = 2,
      .audio_out = 5,
      .reasoning = 10,
      .reported = true},
     6,
     "g1",
     .terminal = true},
    {G,
     {"[{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}],\"usageMetadata\":"
      "{\"promptTokenCount\":4}}\n,\r\n{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"b\"}]}"
      ","
      "\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":4,"
      "\"candidatesTokenCount\":2}}]"},
     {.prompt = 4, .completion = 2, .reported = true},
     2,
     "",
     .terminal = true},
    {G, {"[{\"error\":{\"code\":429}}]"}, {0}, 0, "", .error = true},
    /* nothing, and nonsense */
    {O, {"{\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":6"}, {0}, 0, .id = ""},
    {O, {"{\"usage\":{\"prompt_tokens\":\"5\",\"completion_tokens\":-6}}"}, {0}, 0, .id = ""},
    {O,
     {"{\"usage\":{\"prompt_tokens\":5.0,\"completion_tokens\":99999999999999999999}}"},
     {.prompt = 5, .reported = true},
     0,
     .id = ""},
    {O, {"<html>\"usage\":{\"prompt_tokens\":5}"}, {0}, 0, .id = ""},
    {O, {"{]\"usage\":{\"prompt_tokens\":5}}"}, {0}, 0, .id = ""},
};

static void same_usage(const struct usage *a, const struct usage *b) {
    assert_memory_equal(a, b, offsetof(struct usage, reported));
    assert_int_equal(a->reported, b->reported);
}

static void check(const struct sample *k, const struct scan *s) {
    same_usage(&s->usage, &k->usage);
    assert_int_equal(s->text_bytes, k->text_bytes);
    assert_int_equal(scan_text_tokens(s) > 0, k->text_bytes > 0);
    assert_string_equal(s->id, k->id);
    assert_int_equal(s->saw_usage_only, k->usage_only);
    assert_int_equal(s->saw_error, k->error);
    assert_int_equal(s->terminal, k->terminal);
}

static void usage_of_every_dialect_is_found(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        struct scan s;
        scan_init(&s, samples[i].dialect);
        for (size_t d = 0; d < 4 && samples[i].docs[d]; d++)
            scan_event(&s, str_c(samples[i].docs[d]));
        check(&samples[i], &s);
    }
}

/* Feeds one document in pieces: two cuts, or single bytes. */
static void feed_cut(struct scan *s, struct str doc, size_t a, size_t b, bool bytes) {
    scan_begin(s);
    if (bytes) {
        for (size_t i = 0; i < doc.n; i++)
            scan_feed(s, str_sub(doc, i, 1));
    } else {
        scan_feed(s, str_sub(doc, 0, a));
        scan_feed(s, str_sub(doc, a, b - a));
        scan_feed(s, str_from(doc, b));
    }
    scan_finish(s);
}

static void every_split_gives_the_same_answer(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        struct scan before, whole;
        scan_init(&before, samples[i].dialect);
        for (size_t d = 0; d < 4 && samples[i].docs[d]; d++) {
            struct str doc = str_c(samples[i].docs[d]);
            if (str_eq(doc, STR("[DONE]")))
                continue;
            whole = before;
            scan_event(&whole, doc);
            for (size_t a = 0; a <= doc.n + 1; a++) {
                struct scan s = before;
                size_t b = a + (doc.n - a) / 3;
                feed_cut(&s, doc, a, b, a > doc.n);
                same_usage(&s.usage, &whole.usage);
                assert_int_equal(s.text_bytes, whole.text_bytes);
                assert_int_equal(s.text.sum, whole.text.sum);
                assert_string_equal(s.id, whole.id);
                assert_int_equal(s.saw_usage_only, whole.saw_usage_only);
                assert_int_equal(s.saw_error, whole.saw_error);
                assert_int_equal(s.terminal, whole.terminal);
            }
            before = whole;
        }
    }
}

static void random_pieces_give_the_same_answer(void **state) {
    (void)state;
    uint32_t seed = 1;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++)
        for (int round = 0; round < 50; round++) {
            struct scan whole, s;
            struct str rest = str_c(samples[i].docs[0]);
            scan_init(&whole, samples[i].dialect);
            s = whole;
            scan_feed(&whole, rest);
            scan_finish(&whole);
            while (rest.n) {
                seed = seed * 1103515245 + 12345;
                size_t n = seed >> 16 & 31;
                scan_feed(&s, str_sub(rest, 0, n));
                rest = str_from(rest, n);
            }
            scan_finish(&s);
            same_usage(&s.usage, &whole.usage);
            assert_int_equal(s.text.sum, whole.text.sum);
            assert_string_equal(s.id, whole.id);
            assert_int_equal(s.saw_usage_only, whole.saw_usage_only);
        }
}

static void a_zero_wipes_nothing_out(void **state) {
    (void)state;
    struct scan s;
    scan_init(&s, A);
    scan_event(&s, STR("{\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,"
                       "\"output_tokens\":1}}}"));
    scan_event(&s, STR("{\"type\":\"message_delta\",\"usage\":{\"input_tokens\":0,"
                       "\"output_tokens\":15}}"));
    assert_int_equal(s.usage.prompt, 25);
    assert_int_equal(s.usage.completion, 15);
}

static void deep_nesting_is_survived(void **state) {
    (void)state;
    static char deep[20000];
    struct scan s;
    scan_init(&s, O);
    memset(deep, '[', sizeof deep);
    scan_event(&s, str_of(deep, sizeof deep));
    assert_false(s.usage.reported);
    struct buf b AUTO(buf_free) = BUF(100000);
    buf_puts(&b, "{\"x\":");
    buf_put(&b, deep, sizeof deep);
    for (size_t i = 0; i < sizeof deep; i++)
        buf_putc(&b, ']');
    buf_puts(&b, ",\"usage\":{\"prompt_tokens\":3}}");
    scan_event(&s, buf_view(&b));
    assert_int_equal(s.usage.prompt, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage_of_every_dialect_is_found),
        cmocka_unit_test(every_split_gives_the_same_answer),
        cmocka_unit_test(random_pieces_give_the_same_answer),
        cmocka_unit_test(a_zero_wipes_nothing_out),
        cmocka_unit_test(deep_nesting_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
