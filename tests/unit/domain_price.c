#include "domain/billing/price.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#define FIELDS 23
#define VECTORS 20000

static void take(const int64_t v[FIELDS], struct price *p, ratio *group, struct usage *u) {
    *p = (struct price){.id = 1,
                        .per_call = v[0] != 0,
                        .call_quota = v[1],
                        .search_quota = v[2],
                        .model = v[4],
                        .completion = v[5],
                        .cache_read = v[6],
                        .cache_write = v[7],
                        .cache_write_1h = v[8],
                        .image = v[9],
                        .audio = v[10],
                        .audio_completion = v[11]};
    *group = v[3];
    *u = (struct usage){.prompt = v[12],
                        .completion = v[13],
                        .cached = v[14],
                        .cache_write_5m = v[15],
                        .cache_write_1h = v[16],
                        .image_in = v[17],
                        .audio_in = v[18],
                        .audio_out = v[19],
                        .tool_searches = v[20],
                        .images = v[21]};
}

static void every_cost_equals_exact_fractions(void **state) {
    (void)state;
    FILE *f = fopen("tests/unit/price_vectors.txt", "r");
    assert_non_null(f);
    size_t n = 0;
    int64_t v[FIELDS];
    for (bool more = true; more;) {
        size_t i = 0;
        for (; i < FIELDS; i++)
            if (fscanf(f, "%ld", &v[i]) != 1)
                break;
        more = i == FIELDS;
        if (!more)
            break;
        struct price p;
        ratio group;
        struct usage u;
        take(v, &p, &group, &u);
        int64_t got = price_cost(&p, group, &u);
        if (got != v[FIELDS - 1])
            fail_msg("vector %zu: %ld, exact %ld", n, got, v[FIELDS - 1]);
        n++;
    }
    fclose(f);
    assert_int_equal(n, VECTORS);
}

static const struct price gpt = {.id = 1,
                                 .model = RATIO_ONE * 5 / 4,
                                 .completion = 4 * RATIO_ONE,
                                 .cache_read = RATIO_ONE / 2,
                                 .audio = 16 * RATIO_ONE,
                                 .audio_completion = 2 * RATIO_ONE};

static void a_million_tokens_cost_their_list_price(void **state) {
    (void)state;
    struct usage in = {.prompt = 1000000}, out = {.completion = 1000000};
    assert_int_equal(price_cost(&gpt, RATIO_ONE, &in), 5 * QUOTA_PER_USD / 2); /* $2.50 */
    assert_int_equal(price_cost(&gpt, RATIO_ONE, &out), 10 * QUOTA_PER_USD);   /* $10 */
    struct usage spoken = {.completion = 1000000, .audio_out = 1000000};
    assert_int_equal(price_cost(&gpt, RATIO_ONE, &spoken), 80 * QUOTA_PER_USD);
}

static void a_half_is_rounded_up_once(void **state) {
    (void)state;
    struct usage two = {.prompt = 2}; /* 2 * 1.25 = 2.5 */
    assert_int_equal(price_cost(&gpt, RATIO_ONE, &two), 3);
    struct usage mixed = {.prompt = 2, .completion = 2, .cached = 1};
    /* (1 + 0.5 + 8) * 1.25 = 11.875 */
    assert_int_equal(price_cost(&gpt, RATIO_ONE, &mixed), 12);
}

static void a_priced_call_is_never_free_and_a_free_one_never_charged(void **state) {
    (void)state;
    struct price tiny = {.model = 1};
    struct usage one = {.prompt = 1}, none = {0};
    assert_int_equal(price_cost(&tiny, RATIO_ONE, &one), 1);
    assert_int_equal(price_cost(&tiny, RATIO_ONE, &none), 0);
    assert_int_equal(price_cost(&tiny, 0, &one), 0);
    struct price call = {.per_call = true, .call_quota = 20000};
    assert_int_equal(price_cost(&call, RATIO_ONE, &none), 20000);
    assert_int_equal(price_cost(&call, RATIO_ONE / 2, &none), 10000);
}

static void the_parts_of_a_bill_add_up(void **state) {
    (void)state;
    struct usage u = {.prompt = 1000, .cached = 400, .completion = 100, .tool_searches = 2};
    struct price p = gpt;
    p.search_quota = 5000;
    struct price_line l[PRICE_PART__MAX];
    size_t n = price_explain(&p, RATIO_ONE, &u, l);
    assert_int_equal(n, 4);
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += l[i].quota;
    assert_int_equal(sum, price_cost(&p, RATIO_ONE, &u));
    assert_int_equal(sum, 750 + 250 + 500 + 10000);
    assert_string_equal(price_part_name(l[3].part), "web_search");
}

static void check_ratio(const char *text, bool ok, ratio want) {
    ratio got = -1;
    if (price_ratio_parse(text, strlen(text), &got) != ok || (ok && got != want))
        fail_msg("%s gave %ld", text, got);
}

static void ratios_are_read_without_floating_point(void **state) {
    (void)state;
    check_ratio("1", true, RATIO_ONE);
    check_ratio("0.1", true, 100000000);
    check_ratio("1.25", true, 1250000000);
    check_ratio("000.5", true, 500000000);
    check_ratio("1.5e-06", true, 1500);
    check_ratio("3E2", true, 300 * RATIO_ONE);
    check_ratio("0", true, 0);
    check_ratio("0.0000000005", true, 1);
    check_ratio("0.00000000049999", true, 0);
    check_ratio("0.123456789499999999999", true, 123456789);
    check_ratio("9000000000", true, 9000000000 * RATIO_ONE);
    check_ratio("9000000001", false, 0);
    check_ratio("1e400", false, 0);
    check_ratio("1e-400", true, 0);
    check_ratio("", false, 0);
    check_ratio(".", false, 0);
    check_ratio("-1", false, 0);
    check_ratio("1.2.3", false, 0);
    check_ratio("1e", false, 0);
    check_ratio("0x10", false, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cost_equals_exact_fractions),
        cmocka_unit_test(a_million_tokens_cost_their_list_price),
        cmocka_unit_test(a_half_is_rounded_up_once),
        cmocka_unit_test(a_priced_call_is_never_free_and_a_free_one_never_charged),
        cmocka_unit_test(the_parts_of_a_bill_add_up),
        cmocka_unit_test(ratios_are_read_without_floating_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
