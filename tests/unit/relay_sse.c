#include "unit.h"

#include "relay/sse.h"

#define MAX_EVENTS 32

struct heard { /* events as text: "event|data|raw" lines of each */
    struct buf text;
    struct buf raw;
    size_t n;
    const char *begin, *end; /* the input: views that lie in it were not copied */
    size_t copied;
    enum err answer;
};

static enum err hear(void *ctx, const struct sse_event *ev) {
    struct heard *h = ctx;
    buf_puts(&h->text, "<");
    buf_str(&h->text, ev->event);
    buf_puts(&h->text, "|");
    buf_str(&h->text, ev->data);
    buf_puts(&h->text, ">");
    buf_str(&h->raw, ev->raw);
    h->copied += ev->raw.p < h->begin || ev->raw.p > h->end;
    h->n++;
    return h->answer;
}

/* Feeds text in pieces that end at the given offsets. */
static enum err feed(struct str text, size_t max, const size_t *cuts, size_t n_cuts,
                     struct heard *h) {
    struct sse s AUTO(sse_free);
    sse_init(&s, max);
    size_t from = 0;
    *h = (struct heard){
        .text = BUF(100000), .raw = BUF(100000), .begin = text.p, .end = text.p + text.n};
    for (size_t i = 0; i <= n_cuts; i++) {
        size_t to = i < n_cuts ? cuts[i] : text.n;
        enum err e = sse_feed(&s, str_sub(text, from, to - from), hear, h);
        if (e)
            return e;
        from = to;
    }
    return sse_end(&s, hear, h);
}

static void silence(struct heard *h) {
    buf_free(&h->text);
    buf_free(&h->raw);
}

static const struct {
    const char *in, *heard;
} samples[] = {
    {"data: a\n\n", "<|a>"},
    {"data:a\r\n\r\ndata:  b\r\rdata\n\n", "<|a><| b><|>"},
    {"event: x\ndata: 1\ndata: 2\ndata:\n\n", "<x|1\n2\n>"},
    {"\xEF\xBB\xBF"
     "data: bom\n\n",
     "<|bom>"},
    {"data: \xEF\xBB\xBFin\n\n\xEF\xBB\xBF"
     "data: late\n\n",
     "<|\xEF\xBB\xBFin><|>"},
    {": ping\n\ndata: a\n\n", "<|><|a>"},
    {"id: 7\nretry: 10\nother: z\ndata:{\"a\":\":\"}\n\n", "<|{\"a\":\":\"}>"},
    {"data: [DONE]\n\n", "<|[DONE]>"},
    /* the end without a blank line */
    {"data: a\n\ndata: b\n", "<|a><|b>"},
    {"data: a\n\ndata: b", "<|a>"},
    {"data: [DONE]", "<|[DONE]>"},
    {"event: x\n", ""},
    {"data: a\r\n\r", "<|a>"},
    {"", ""},
    {"\n\n", "<|><|>"},
    {"datax: no\ndata : no\nevent:e\n\n", "<e|>"},
};

static void events_are_the_same_however_they_are_cut(void **state) {
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        struct str in = str_c(samples[i].in);
        struct heard h;
        for (size_t a = 0; a <= in.n; a++)
            for (size_t b = a; b <= in.n; b++) {
                assert_int_equal(feed(in, 1000, (size_t[]){a, b}, 2, &h), OK);
                assert_str(buf_view(&h.text), samples[i].heard);
                silence(&h);
            }
    }
}

static void every_byte_is_passed_on(void **state) {
    (void)state;
    struct str in = STR(": c\r\n\r\ndata: a\n\n\revent: z\rdata: b\n\r\ndata: x\n\n");
    for (size_t cut = 0; cut <= in.n; cut++) {
        struct heard h;
        assert_int_equal(feed(in, 1000, &cut, 1, &h), OK);
        assert_true(str_eq(buf_view(&h.raw), in));
        silence(&h);
    }
}

static void a_forgotten_blank_line_is_added(void **state) {
    (void)state;
    struct heard h;
    assert_int_equal(feed(STR("data: a\n"), 8, NULL, 0, &h), OK);
    assert_str(buf_view(&h.raw), "data: a\n\n");
    silence(&h);
    assert_int_equal(feed(STR("data: [DONE]"), 12, NULL, 0, &h), OK);
    assert_str(buf_view(&h.raw), "data: [DONE]\n\n");
    silence(&h);
}

static void whole_events_are_not_copied(void **state) {
    (void)state;
    struct str in = STR("data: a\n\ndata: b\n\ndata: c\n\n");
    struct heard h;
    assert_int_equal(feed(in, 9, NULL, 0, &h), OK);
    assert_int_equal(h.copied, 0);
    silence(&h);
    assert_int_equal(feed(in, 9, (size_t[]){12}, 1, &h), OK);
    assert_int_equal(h.copied, 1);
    silence(&h);
}

static void an_endless_event_is_refused(void **state) {
    (void)state;
    struct str in = STR("data: 123456789\n\n");
    for (size_t cut = 0; cut <= in.n; cut++) {
        struct heard h;
        assert_int_equal(feed(in, in.n - 1, &cut, 1, &h), ERR_UPSTREAM_INVALID);
        silence(&h);
        assert_int_equal(feed(in, in.n, &cut, 1, &h), OK);
        assert_int_equal(h.n, 1);
        silence(&h);
    }
}

static void a_listener_can_stop(void **state) {
    (void)state;
    struct sse s AUTO(sse_free);
    sse_init(&s, 100);
    struct heard h = {.text = BUF(100), .raw = BUF(100), .answer = ERR_CLIENT_GONE};
    assert_int_equal(sse_feed(&s, STR("data: a\n\ndata: b\n\n"), hear, &h), ERR_CLIENT_GONE);
    assert_int_equal(h.n, 1);
    silence(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_the_same_however_they_are_cut),
        cmocka_unit_test(every_byte_is_passed_on),
        cmocka_unit_test(a_forgotten_blank_line_is_added),
        cmocka_unit_test(whole_events_are_not_copied),
        cmocka_unit_test(an_endless_event_is_refused),
        cmocka_unit_test(a_listener_can_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
