#include "unit.h"

#include "domain/billing/estimate.h"
#include "util/buf.h"

#include <stdio.h>

/* tests/unit/data/estimate_corpus.txt: texts, each behind a line "%% language tokens"; the tokens
 * were counted by gpt-tokenizer (o200k). */
#define MAX_LANGUAGES 64

struct language {
    struct str name;
    int64_t tokens, estimate;
};

struct corpus {
    struct buf text;
    struct language languages[MAX_LANGUAGES];
    size_t n_languages;
    int64_t texts, near;
};

static void read_file(const char *path, struct buf *out) {
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("cannot read %s", path);
    for (;;) {
        char *room = buf_room(out, 4096);
        assert_non_null(room);
        size_t n = fread(room, 1, 4096, f);
        if (n == 0)
            break;
        out->n += n;
    }
    fclose(f);
}

static struct language *language_of(struct corpus *c, struct str name) {
    for (size_t i = 0; i < c->n_languages; i++)
        if (str_eq(c->languages[i].name, name))
            return &c->languages[i];
    assert_true(c->n_languages < MAX_LANGUAGES);
    c->languages[c->n_languages].name = name;
    return &c->languages[c->n_languages++];
}

static int64_t distance(int64_t a, int64_t b) {
    return a > b ? a - b : b - a;
}

static void judge(struct corpus *c, struct str head, struct str text) {
    struct str name, number = head;
    int64_t tokens = 0, estimate = estimate_tokens(text);
    assert_true(str_cut(&number, ' ', &name) && str_i64(number, &tokens));
    struct language *l = language_of(c, name);
    l->tokens += tokens;
    l->estimate += estimate;
    c->texts++;
    c->near += distance(tokens, estimate) * 4 <= tokens || distance(tokens, estimate) <= 2;
}

static int read_corpus(void **state) {
    static struct corpus c = {.text = {.max = 1 << 20}};
    read_file(DATA_DIR "/estimate_corpus.txt", &c.text);
    struct str rest = str_from(buf_view(&c.text), 3), entry, head;
    while (rest.n) {
        ptrdiff_t end = str_find_str(rest, STR("\n%% "));
        entry = end < 0 ? str_sub(rest, 0, rest.n - 1) : str_sub(rest, 0, (size_t)end);
        rest = str_from(rest, end < 0 ? rest.n : (size_t)end + 4);
        assert_true(str_cut(&entry, '\n', &head));
        judge(&c, head, entry);
    }
    *state = &c;
    return 0;
}

static int forget_corpus(void **state) {
    struct corpus *c = *state;
    buf_free(&c->text);
    return 0;
}

static void no_language_is_off_by_a_quarter(void **state) {
    const struct corpus *c = *state;
    assert_true(c->texts >= 200 && c->n_languages >= 20);
    for (size_t i = 0; i < c->n_languages; i++) {
        const struct language *l = &c->languages[i];
        if (distance(l->tokens, l->estimate) * 4 > l->tokens)
            fail_msg("%.*s: %lld estimated, %lld true", STR_ARG(l->name), (long long)l->estimate,
                     (long long)l->tokens);
    }
}

static void nineteen_texts_of_twenty_are_within_a_quarter(void **state) {
    const struct corpus *c = *state;
    if (c->near * 20 < c->texts * 19)
        fail_msg("%lld of %lld", (long long)c->near, (long long)c->texts);
}

static void all_texts_together_are_within_a_twentieth(void **state) {
    const struct corpus *c = *state;
    int64_t tokens = 0, estimate = 0;
    for (size_t i = 0; i < c->n_languages; i++) {
        tokens += c->languages[i].tokens;
        estimate += c->languages[i].estimate;
    }
    assert_true(distance(tokens, estimate) * 20 <= tokens);
}

static void the_pieces_of_a_text_add_up(void **state) {
    const struct corpus *c = *state;
    struct str text = str_sub(buf_view(&c->text), 0, 3000);
    int64_t whole = estimate_tokens(text);
    for (size_t cut = 0; cut <= text.n; cut++) {
        struct estimate e = {0};
        estimate_feed(&e, str_sub(text, 0, cut));
        estimate_feed(&e, STR_NONE);
        estimate_feed(&e, str_from(text, cut));
        assert_int_equal(estimate_total(&e), whole);
    }
}

/* Long texts are counted in another way than short ones. */
static void a_long_text_costs_what_its_bytes_cost_one_by_one(void **state) {
    (void)state;
    static char text[400000];
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof text; i++) {
        seed = seed * 1664525 + 1013904223;
        text[i] = (char)(seed >> 24);
    }
    for (size_t n = sizeof text - 16; n <= sizeof text; n++) {
        struct estimate e = {0};
        for (size_t i = 0; i < n; i++)
            estimate_feed(&e, str_of(text + i, 1));
        assert_int_equal(estimate_tokens(str_of(text, n)), estimate_total(&e));
    }
}

static void nothing_costs_nothing_and_any_byte_something(void **state) {
    (void)state;
    assert_int_equal(estimate_tokens(STR("")), 0);
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        int64_t n = estimate_tokens(str_of(&c, 1));
        assert_int_equal(n, b >= 0x80 && b < 0xC0 ? 0 : b >= 0xF0 ? 2 : 1);
    }
}

static void texts_apart_cost_more_than_one_word(void **state) {
    (void)state;
    struct estimate one = {0}, two = {0};
    estimate_feed(&one, STR("under"));
    estimate_feed(&one, STR("ground"));
    estimate_feed(&two, STR("under"));
    estimate_break(&two);
    estimate_feed(&two, STR("ground"));
    assert_true(two.sum > one.sum);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_language_is_off_by_a_quarter),
        cmocka_unit_test(nineteen_texts_of_twenty_are_within_a_quarter),
        cmocka_unit_test(all_texts_together_are_within_a_twentieth),
        cmocka_unit_test(the_pieces_of_a_text_add_up),
        cmocka_unit_test(a_long_text_costs_what_its_bytes_cost_one_by_one),
        cmocka_unit_test(nothing_costs_nothing_and_any_byte_something),
        cmocka_unit_test(texts_apart_cost_more_than_one_word),
    };
    return cmocka_run_group_tests(tests, read_corpus, forget_corpus);
}
