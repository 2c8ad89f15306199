#include "unit.h"

#include "domain/catalog/build.h"
#include "domain/routing/host.h"
#include "domain/routing/plan.h"
#include "util/clock.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[] = "/tmp/tollgate-plan-XXXXXX";
static struct host *host;
static const struct cooldown_rule rule = {.failures = 1, .first_ms = 60000, .max_ms = 60000};

/* splitmix64 with a fixed seed: the distributions below are the same on every run. */
static uint64_t seed;
static uint64_t fixed_random(void) {
    uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static const struct str one_key = STR_INIT("k");

static void add_channel(struct builder *b, int64_t id, int64_t priority, uint32_t weight) {
    struct channel c = {.id = id,
                        .name = STR("c"),
                        .base_url = STR("https://provider.example/"),
                        .keys = &one_key,
                        .n_keys = 1,
                        .priority = priority,
                        .weight = weight,
                        .enabled = true};
    assert_null(builder_channel(b, &c));
}

static void add_group(struct builder *b, int64_t id, const char *name) {
    struct group g = {
        .id = id, .name = str_c(name), .description = STR(""), .ratio = RATIO_ONE, .auto_rank = -1};
    assert_null(builder_group(b, &g));
}

static struct builder *two_groups(void) {
    struct builder *b = builder_new();
    add_group(b, 1, "default");
    add_group(b, 2, "vip");
    return b;
}

static struct plan_ask ask_of(const struct catalog *c, const struct group **groups) {
    groups[0] = catalog_group(c, STR("default"));
    groups[1] = catalog_group(c, STR("vip"));
    return (struct plan_ask){.catalog = c,
                             .host = host,
                             .groups = groups,
                             .n_groups = 2,
                             .model = STR("m"),
                             .random = fixed_random};
}

static void assert_ids(const struct plan *p, size_t n, const int64_t *ids) {
    assert_int_equal(p->n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(p->steps[i].channel->id, ids[i]);
}
#define ASSERT_IDS(p, ...) \
    assert_ids(p, sizeof((int64_t[]){__VA_ARGS__}) / 8, (int64_t[]){__VA_ARGS__})

static void higher_priority_goes_first_and_each_channel_once(void **state) {
    (void)state;
    struct builder *b = two_groups();
    static const int64_t priority[] = {0, 5, -3, 5, 100};
    for (int64_t i = 0; i < 5; i++) {
        add_channel(b, i + 1, priority[i], 1);
        assert_null(builder_ability(b, 1, STR("m"), i + 1));
        assert_null(builder_ability(b, 1, STR("m"), i + 1)); /* given twice: once in the plan */
    }
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    int second_first = 0;
    for (int i = 0; i < 1000; i++) {
        struct plan p;
        assert_int_equal(plan_make(&ask, &p, NULL), OK);
        assert_int_equal(p.n, 5);
        assert_int_equal(p.steps[0].channel->id, 5);
        assert_int_equal(p.steps[1].channel->id + p.steps[2].channel->id, 2 + 4);
        assert_int_equal(p.steps[3].channel->id, 1);
        assert_int_equal(p.steps[4].channel->id, 3);
        second_first += p.steps[1].channel->id == 2;
    }
    assert_in_range(second_first, 430, 570);
}

/* Who adds a provider beside a sandbox channel means the provider, also while it fails. */
static void a_sandbox_channel_serves_only_what_no_provider_serves(void **state) {
    (void)state;
    struct builder *b = two_groups();
    struct channel echo = {.id = 901,
                           .name = STR("sandbox"),
                           .base_url = STR(""),
                           .type = CHANNEL_SANDBOX,
                           .keys = &one_key,
                           .n_keys = 1,
                           .priority = 9,
                           .weight = 1,
                           .enabled = true};
    assert_null(builder_channel(b, &echo));
    add_channel(b, 902, 0, 1);
    for (int64_t id = 901; id <= 902; id++)
        assert_null(builder_ability(b, 1, STR("m"), id));
    assert_null(builder_ability(b, 1, STR("only-here"), 901));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    struct plan p;
    assert_int_equal(plan_make(&ask, &p, NULL), OK);
    ASSERT_IDS(&p, 902);
    host_channel_failed(host, 902, &rule, 0);
    assert_int_equal(plan_make(&ask, &p, NULL), OK);
    ASSERT_IDS(&p, 902);
    ask.pin_channel = 901;
    assert_int_equal(plan_make(&ask, &p, NULL), OK);
    ASSERT_IDS(&p, 901);
    ask.pin_channel = 0;
    ask.model = STR("only-here");
    assert_int_equal(plan_make(&ask, &p, NULL), OK);
    ASSERT_IDS(&p, 901);
}

static double chi_square(const int *seen, const double *want, size_t n) {
    double x = 0;
    for (size_t i = 0; i < n; i++)
        x += (seen[i] - want[i]) * (seen[i] - want[i]) / want[i];
    return x;
}

static void load_is_spread_by_weight(void **state) {
    (void)state;
    static const uint32_t weights[][5] = {
        {1, 1, 1, 1, 1}, {10, 20, 30, 40, 100}, {1, 1000, 5, 200, 50}, {0, 0, 0, 0, 0}};
    for (size_t w = 0; w < ARRAY_LEN(weights); w++) {
        struct builder *b = two_groups();
        double total = 0, want[5];
        for (int64_t i = 0; i < 5; i++) {
            add_channel(b, i + 1, 0, weights[w][i]);
            assert_null(builder_ability(b, 1, STR("m"), i + 1));
            total += weights[w][i];
        }
        struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
        const struct group *groups[2];
        struct plan_ask ask = ask_of(c, groups);
        const uint32_t rounds = 100000;
        int seen[5] = {0};
        for (uint32_t i = 0; i < rounds; i++) {
            struct plan p;
            assert_int_equal(plan_make(&ask, &p, NULL), OK);
            seen[p.steps[0].channel->id - 1]++;
        }
        for (int i = 0; i < 5; i++)
            want[i] = total > 0 ? rounds * weights[w][i] / total : rounds / 5.0;
        /* 4 degrees of freedom, p = 0.001 */
        assert_true(chi_square(seen, want, 5) < 18.47);
    }
}

static void the_second_choice_is_weighted_among_the_rest(void **state) {
    (void)state;
    struct builder *b = two_groups();
    static const uint32_t weights[] = {1, 2, 3};
    for (int64_t i = 0; i < 3; i++) {
        add_channel(b, i + 1, 0, weights[i]);
        assert_null(builder_ability(b, 1, STR("m"), i + 1));
    }
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    int seen[6] = {0};
    for (int i = 0; i < 60000; i++) {
        struct plan p;
        assert_int_equal(plan_make(&ask, &p, NULL), OK);
        int64_t first = p.steps[0].channel->id, second = p.steps[1].channel->id;
        seen[(first - 1) * 2 + (second > first ? second - 2 : second - 1)]++;
    }
    /* P(first) * P(second | first): 12 13 21 23 31 32, of 60 */
    static const double want[] = {4000, 6000, 5000, 15000, 10000, 20000};
    assert_true(chi_square(seen, want, 6) < 20.52); /* 5 degrees, p = 0.001 */
}

static void weight_zero_is_a_reserve(void **state) {
    (void)state;
    struct builder *b = two_groups();
    add_channel(b, 1, 0, 0);
    add_channel(b, 2, 0, 1);
    add_channel(b, 3, 0, 0);
    for (int64_t i = 1; i <= 3; i++)
        assert_null(builder_ability(b, 1, STR("m"), i));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    int one_second = 0;
    for (int i = 0; i < 1000; i++) {
        struct plan p;
        assert_int_equal(plan_make(&ask, &p, NULL), OK);
        assert_int_equal(p.n, 3);
        assert_int_equal(p.steps[0].channel->id, 2);
        one_second += p.steps[1].channel->id == 1;
    }
    assert_in_range(one_second, 430, 570);
}

static void cooling_channels_go_last_in_their_group(void **state) {
    (void)state;
    struct builder *b = two_groups();
    add_channel(b, 11, 9, 1);
    add_channel(b, 12, 5, 1);
    add_channel(b, 13, 1, 1);
    add_channel(b, 14, 1, 1);
    for (int64_t i = 11; i <= 13; i++)
        assert_null(builder_ability(b, 1, STR("m"), i));
    assert_null(builder_ability(b, 2, STR("m"), 14));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    host_channel_failed(host, 11, &rule, 0);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    ask.cross_group = true;
    struct plan p;
    assert_int_equal(plan_make(&ask, &p, NULL), OK);
    ASSERT_IDS(&p, 12, 13, 11, 14);
}

static void another_group_follows_only_when_asked(void **state) {
    (void)state;
    struct builder *b = two_groups();
    add_channel(b, 1, 1, 1);
    add_channel(b, 2, 0, 1);
    assert_null(builder_ability(b, 1, STR("m"), 1));
    assert_null(builder_ability(b, 2, STR("m"), 1)); /* the same channel again: tried once */
    assert_null(builder_ability(b, 2, STR("m"), 2));
    assert_null(builder_ability(b, 2, STR("only vip"), 2));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    struct plan p;
    assert_int_equal(plan_make(&ask, &p, NULL), OK);
    ASSERT_IDS(&p, 1);
    ask.cross_group = true;
    assert_int_equal(plan_make(&ask, &p, NULL), OK);
    ASSERT_IDS(&p, 1, 2);
    assert_string_equal(p.steps[0].group->name.p, "default");
    assert_string_equal(p.steps[1].group->name.p, "vip");
    ask.cross_group = false;
    ask.model = STR("only vip"); /* a group without the model is skipped */
    assert_int_equal(plan_make(&ask, &p, NULL), OK);
    ASSERT_IDS(&p, 2);
    assert_string_equal(p.steps[0].group->name.p, "vip");
}

static void a_pin_chooses_but_opens_nothing(void **state) {
    (void)state;
    struct builder *b = two_groups();
    for (int64_t i = 1; i <= 3; i++)
        add_channel(b, i, 0, 1);
    assert_null(builder_ability(b, 1, STR("m"), 1));
    assert_null(builder_ability(b, 2, STR("m"), 2));
    assert_null(builder_ability(b, 2, STR("other"), 3));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    struct plan p;
    ask.pin_channel = 2;
    assert_int_equal(plan_make(&ask, &p, NULL), OK);
    ASSERT_IDS(&p, 2);
    ask.pin_channel = 3; /* does not serve the model */
    assert_int_equal(plan_make(&ask, &p, NULL), ERR_NO_CHANNEL);
    ask.pin_channel = 2;
    ask.n_groups = 1; /* not in the caller's group */
    assert_int_equal(plan_make(&ask, &p, NULL), ERR_NO_CHANNEL);
}

static void test_keys_get_the_sandbox_and_nothing_else(void **state) {
    (void)state;
    struct builder *b = two_groups();
    add_channel(b, 1, 0, 1);
    assert_null(builder_ability(b, 1, STR("m"), 1));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    ask.test_mode = true;
    struct plan p;
    assert_int_equal(plan_make(&ask, &p, NULL), OK);
    assert_int_equal(p.n, 1);
    assert_ptr_equal(p.steps[0].channel, &catalog_sandbox);
    assert_int_equal(p.steps[0].channel->type, CHANNEL_SANDBOX);
    assert_str(p.steps[0].model, "m");
    ask.model = STR("nonsense");
    assert_int_equal(plan_make(&ask, &p, NULL), ERR_MODEL_NOT_FOUND);
}

static void unknown_models_and_unserved_ones_are_told_apart(void **state) {
    (void)state;
    struct builder *b = two_groups();
    struct channel off = {.id = 1,
                          .name = STR("off"),
                          .base_url = STR("http://127.0.0.1:1"),
                          .keys = &one_key,
                          .n_keys = 1,
                          .weight = 1,
                          .enabled = false};
    assert_null(builder_channel(b, &off));
    assert_null(builder_ability(b, 1, STR("m"), 1));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    struct plan p;
    struct fault f = {0};
    assert_int_equal(plan_make(&ask, &p, &f), ERR_NO_CHANNEL);
    assert_string_equal(f.detail, "m");
    ask.model = STR("M"); /* names are exact */
    assert_int_equal(plan_make(&ask, &p, &f), ERR_MODEL_NOT_FOUND);
}

static void mappings_are_followed_and_loops_end(void **state) {
    (void)state;
    static const struct model_map chain[] = {{STR_INIT("b"), STR_INIT("c")},
                                             {STR_INIT("m"), STR_INIT("b")}};
    static const struct model_map loop[] = {{STR_INIT("m"), STR_INIT("b")},
                                            {STR_INIT("b"), STR_INIT("m")}};
    struct builder *b = two_groups();
    struct channel ch = {.id = 1,
                         .name = STR("x"),
                         .base_url = STR("http://127.0.0.1:1"),
                         .keys = &one_key,
                         .n_keys = 1,
                         .priority = 2,
                         .enabled = true,
                         .mapping = chain,
                         .n_mapping = 2};
    assert_null(builder_channel(b, &ch));
    ch.id = 2;
    ch.priority = 1;
    ch.mapping = loop;
    assert_null(builder_channel(b, &ch));
    assert_null(builder_ability(b, 1, STR("m"), 1));
    assert_null(builder_ability(b, 1, STR("m"), 2));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    struct plan p;
    assert_int_equal(plan_make(&ask, &p, NULL), OK);
    assert_str(p.steps[0].model, "c");
    assert_int_equal(p.n, 2);
    assert_true(str_eqc(p.steps[1].model, "m") || str_eqc(p.steps[1].model, "b"));
}

static void the_keys_of_a_channel_take_turns(void **state) {
    (void)state;
    static const struct str keys[] = {STR_INIT("k0"), STR_INIT("k1"), STR_INIT("k2")};
    struct builder *b = two_groups();
    struct channel ch = {.id = 77,
                         .name = STR("x"),
                         .base_url = STR("http://127.0.0.1:1"),
                         .keys = keys,
                         .n_keys = 3,
                         .enabled = true};
    assert_null(builder_channel(b, &ch));
    assert_null(builder_ability(b, 1, STR("m"), 77));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    int seen[3] = {0};
    for (int i = 0; i < 300; i++) {
        struct plan p;
        assert_int_equal(plan_make(&ask, &p, NULL), OK);
        seen[p.steps[0].key.p[1] - '0']++;
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(seen[i], 100);
}

static void many_channels_fit_a_plan(void **state) {
    (void)state;
    struct builder *b = two_groups();
    for (int64_t i = 1; i <= 5000; i++) {
        add_channel(b, i, i / 10, (uint32_t)(i % 3));
        assert_null(builder_ability(b, 1, STR("m"), i));
    }
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    struct plan p;
    assert_int_equal(plan_make(&ask, &p, NULL), OK);
    assert_int_equal(p.n, PLAN_MAX_STEPS);
    assert_int_equal(p.steps[0].channel->id, 5000);
    for (size_t i = 1; i < p.n; i++) {
        assert_true(p.steps[i].channel->priority <= p.steps[i - 1].channel->priority);
        for (size_t k = 0; k < i; k++)
            assert_ptr_not_equal(p.steps[i].channel, p.steps[k].channel);
    }
}

static void the_own_random_source_spreads_too(void **state) {
    (void)state;
    struct builder *b = two_groups();
    for (int64_t i = 1; i <= 4; i++) {
        add_channel(b, i, 0, 1);
        assert_null(builder_ability(b, 1, STR("m"), i));
    }
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *groups[2];
    struct plan_ask ask = ask_of(c, groups);
    ask.random = NULL;
    int seen[4] = {0};
    for (int i = 0; i < 40000; i++) {
        struct plan p;
        assert_int_equal(plan_make(&ask, &p, NULL), OK);
        seen[p.steps[0].channel->id - 1]++;
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(seen[i], 9300, 10700); /* 8 standard deviations: the seed is not fixed */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(higher_priority_goes_first_and_each_channel_once),
        cmocka_unit_test(a_sandbox_channel_serves_only_what_no_provider_serves),
        cmocka_unit_test(load_is_spread_by_weight),
        cmocka_unit_test(the_second_choice_is_weighted_among_the_rest),
        cmocka_unit_test(weight_zero_is_a_reserve),
        cmocka_unit_test(cooling_channels_go_last_in_their_group),
        cmocka_unit_test(another_group_follows_only_when_asked),
        cmocka_unit_test(a_pin_chooses_but_opens_nothing),
        cmocka_unit_test(test_keys_get_the_sandbox_and_nothing_else),
        cmocka_unit_test(unknown_models_and_unserved_ones_are_told_apart),
        cmocka_unit_test(mappings_are_followed_and_loops_end),
        cmocka_unit_test(the_keys_of_a_channel_take_turns),
        cmocka_unit_test(many_channels_fit_a_plan),
        cmocka_unit_test(the_own_random_source_spreads_too),
    };
    if (!mkdtemp(dir) || host_open(dir, &host, NULL))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    host_close(&host);
    char path[100];
    static const char *const left[] = {"/shared", "/shared.lock"};
    for (size_t i = 0; i < ARRAY_LEN(left); i++) {
        snprintf(path, sizeof path, "%s%s", dir, left[i]);
        unlink(path);
    }
    rmdir(dir);
    return failed;
}
