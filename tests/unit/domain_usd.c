#include "domain/admin/shelf.h"

#include "unit.h"

static const struct price_usd nothing = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

static int64_t usd(const char *text) {
    int64_t v;
    must(price_ratio_parse(text, strlen(text), &v));
    return v;
}

static struct price priced(const struct price_usd *u) {
    struct price p;
    struct fault f = {0};
    assert_int_equal(price_from_usd(u, &p, &f), OK);
    return p;
}

static void a_million_tokens_cost_what_the_price_says(void **state) {
    static const struct {
        const char *in, *out, *cached;
    } prices[] = {
        {"2.5", "10", "1.25"},    {"0.15", "0.6", "0.075"}, {"3", "15", "0.3"},
        {"0.05", "0.4", "0.005"}, {"75", "150", "37.5"},    {"0.3", "2.5", "0.03"},
        {"0.07", "1.1", "0.014"}, {"1.1", "4.4", "0.55"},   {"0.000001", "1", "0.000001"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(prices); i++) {
        struct price_usd u = nothing;
        u.input = usd(prices[i].in);
        u.output = usd(prices[i].out);
        u.cached = usd(prices[i].cached);
        struct price p = priced(&u);
        /* A billion tokens of each, so that a ratio's last decimal would show: a ratio of 1 is 2
         * USD a million, so they cost half of the price's billionths in quota units. */
        int64_t n = 1000000000;
        int64_t in = price_cost(&p, RATIO_ONE, &(struct usage){.prompt = n});
        int64_t out = price_cost(&p, RATIO_ONE, &(struct usage){.completion = n});
        int64_t cached = price_cost(&p, RATIO_ONE, &(struct usage){.prompt = n, .cached = n});
        assert_int_equal(in, u.input / 2);
        assert_in_range(out, u.output / 2 - 1, u.output / 2 + 1);
        assert_in_range(cached, u.cached / 2 - 1, u.cached / 2 + 1);
    }
}

static void what_has_no_price_of_its_own_costs_what_it_is_part_of(void **state) {
    struct price_usd u = nothing;
    (void)state;
    u.input = usd("4");
    struct price p = priced(&u);
    assert_int_equal(p.model, 2 * RATIO_ONE);
    assert_int_equal(p.completion, RATIO_ONE);
    assert_int_equal(p.cache_read, RATIO_ONE);
    assert_int_equal(p.image, RATIO_ONE);
    assert_int_equal(p.audio_completion, RATIO_ONE);
    u.cache_write = usd("5");
    p = priced(&u);
    assert_int_equal(p.cache_write, RATIO_ONE * 5 / 4);
    assert_int_equal(p.cache_write_1h, RATIO_ONE * 5 / 4);
    u.cache_write_1h = usd("8");
    u.audio = usd("40");
    u.audio_output = usd("80");
    p = priced(&u);
    assert_int_equal(p.cache_write_1h, 2 * RATIO_ONE);
    assert_int_equal(p.audio, 10 * RATIO_ONE);
    assert_int_equal(p.audio_completion, 2 * RATIO_ONE);
}

static void a_free_model_is_free_and_stays_so(void **state) {
    struct price_usd u = nothing;
    struct fault f = {0};
    struct price p;
    (void)state;
    u.input = 0;
    u.output = 0;
    p = priced(&u);
    assert_int_equal(price_cost(&p, RATIO_ONE, &(struct usage){.prompt = 9, .completion = 9}), 0);
    u.output = 1; /* would be free, too, since ratios are of the input's price */
    assert_int_equal(price_from_usd(&u, &p, &f), ERR_FIELD_VALUE);
}

static void prices_that_contradict_each_other_are_refused(void **state) {
    struct price_usd u = nothing;
    struct price p;
    struct fault f = {0};
    (void)state;
    assert_int_equal(price_from_usd(&u, &p, &f), ERR_FIELD_VALUE);
    u.output = RATIO_ONE;
    assert_int_equal(price_from_usd(&u, &p, &f), ERR_FIELD_VALUE);
    u.input = RATIO_ONE;
    assert_int_equal(price_from_usd(&u, &p, &f), OK);
    u.per_call = RATIO_ONE;
    assert_int_equal(price_from_usd(&u, &p, &f), ERR_FIELD_VALUE);
    u = nothing;
    u.per_call = 1;
    assert_int_equal(price_from_usd(&u, &p, &f), ERR_FIELD_VALUE);
    u.per_call = usd("0.01");
    u.search = usd("0.025");
    assert_int_equal(price_from_usd(&u, &p, &f), OK);
    assert_int_equal(p.call_quota, 5000);
    assert_int_equal(p.search_quota, 12500);
    u = nothing;
    u.input = 1; /* the dearest answer over the cheapest question does not fit a ratio */
    u.output = usd("9000000000");
    assert_int_equal(price_from_usd(&u, &p, &f), ERR_FIELD_VALUE);
}

static void a_balance_is_a_whole_number_of_units(void **state) {
    int64_t q;
    (void)state;
    assert_true(quota_from_usd(usd("0.000002"), &q) && q == 1);
    assert_true(quota_from_usd(usd("1000000.5"), &q) && q == INT64_C(500000250000));
    assert_true(quota_from_usd(0, &q) && q == 0);
    assert_false(quota_from_usd(usd("0.000003"), &q));
    assert_false(quota_from_usd(-1, &q));
    assert_false(quota_from_usd(usd("9000000000"), &q));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_million_tokens_cost_what_the_price_says),
        cmocka_unit_test(what_has_no_price_of_its_own_costs_what_it_is_part_of),
        cmocka_unit_test(a_free_model_is_free_and_stays_so),
        cmocka_unit_test(prices_that_contradict_each_other_are_refused),
        cmocka_unit_test(a_balance_is_a_whole_number_of_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
