#include "unit.h"

#include "domain/catalog/build.h"
#include "util/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static const struct str one_key = STR_INIT("k");

static struct group group_of(int64_t id, const char *name, int rank) {
    return (struct group){.id = id,
                          .name = str_c(name),
                          .description = STR("about"),
                          .ratio = RATIO_ONE * 2,
                          .auto_rank = rank};
}

static struct channel channel_of(int64_t id) {
    return (struct channel){.id = id,
                            .name = STR("c"),
                            .base_url = STR("https://p.example/v1//"),
                            .keys = &one_key,
                            .n_keys = 1,
                            .weight = 1,
                            .enabled = true};
}

static void what_was_added_is_found_by_its_exact_name(void **state) {
    (void)state;
    struct builder *b = builder_new();
    struct group g = group_of(3, "default", -1);
    assert_null(builder_group(b, &g));
    struct price price = {.id = 9, .model = RATIO_ONE};
    char name[] = "gpt-4o";
    struct model m = {.id = 4,
                      .name = str_c(name),
                      .owned_by = STR("openai"),
                      .display_name = STR("GPT-4o"),
                      .price = &price,
                      .default_max_tokens = 77};
    assert_null(builder_model(b, &m));
    price.id = 0; /* copied: the caller may change it */
    name[0] = 'x';
    struct channel ch = channel_of(8);
    assert_null(builder_channel(b, &ch));
    assert_null(builder_ability(b, 3, STR("gpt-4o"), 8));
    assert_null(builder_ability(b, 3, STR("named-by-the-channel-only"), 8));
    assert_null(builder_option(b, STR("system_name"), STR("Tollgate")));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);

    const struct model *found = catalog_model(c, STR("gpt-4o"));
    assert_non_null(found);
    assert_int_equal(found->price->id, 9);
    assert_int_equal(found->default_max_tokens, 77);
    assert_null(catalog_model(c, STR("GPT-4o")));
    assert_null(catalog_model(c, STR("gpt-4")));
    assert_null(catalog_model(c, STR("gpt-4o ")));
    assert_null(catalog_model(c, STR("gpt-4o\0")));
    const struct model *bare = catalog_model(c, STR("named-by-the-channel-only"));
    assert_non_null(bare);
    assert_null(bare->price);
    const struct group *group = catalog_group(c, STR("default"));
    assert_ptr_equal(group, catalog_group_by_id(c, 3));
    const struct ability *a = catalog_ability(c, group, STR("gpt-4o"));
    assert_int_equal(a->n, 1);
    assert_ptr_equal(a->channels[0], catalog_channel(c, 8));
    assert_str(a->channels[0]->base_url, "https://p.example/v1");
    assert_null(catalog_ability(c, group, STR("gpt-5")));
    assert_str(catalog_option(c, "system_name", STR("")), "Tollgate");
    const struct model *const *all;
    assert_int_equal(catalog_models(c, &all), 2);
    assert_str(all[0]->name, "gpt-4o");
}

static void bad_rows_are_left_out_and_the_rest_stays(void **state) {
    (void)state;
    struct builder *b = builder_new();
    struct group g = group_of(1, "default", -1);
    assert_null(builder_group(b, &g));
    assert_string_equal(builder_group(b, &g), "duplicate group");
    g = group_of(2, "auto", -1); /* the word means something else */
    assert_string_equal(builder_group(b, &g), "bad group name");
    g = group_of(2, "", -1);
    assert_string_equal(builder_group(b, &g), "bad group name");
    g = group_of(2, "free", -1);
    g.ratio = -1;
    assert_string_equal(builder_group(b, &g), "negative ratio");
    assert_string_equal(builder_ratio(b, 1, 7, RATIO_ONE), "unknown group");
    assert_string_equal(builder_ratio(b, 1, 1, -1), "negative ratio");
    struct model m = {.name = STR("m")};
    assert_null(builder_model(b, &m));
    assert_string_equal(builder_model(b, &m), "duplicate model");
    m = (struct model){.name = STR("n"), .price = &(struct price){.image = -1}};
    assert_string_equal(builder_model(b, &m), "negative number"); /* free money otherwise */
    m.name = STR("\xFF");
    assert_string_equal(builder_model(b, &m), "bad model name");
    struct channel ch = channel_of(5);
    ch.n_keys = 0;
    assert_string_equal(builder_channel(b, &ch), "no usable key");
    ch = channel_of(5);
    ch.base_url = STR("file:///etc/passwd");
    assert_string_equal(builder_channel(b, &ch), "base_url is not an http(s) address");
    ch = channel_of(0); /* the built-in one's id */
    assert_non_null(builder_channel(b, &ch));
    ch = channel_of(5);
    ch.type = (enum channel_type)99;
    assert_string_equal(builder_channel(b, &ch), "unknown channel type");
    ch.type = CHANNEL_SANDBOX;
    ch.base_url = STR("");
    assert_null(builder_channel(b, &ch));
    assert_string_equal(builder_ability(b, 1, STR("m"), 6), "unknown channel");
    assert_string_equal(builder_ability(b, 7, STR("m"), 5), "unknown group");
    assert_null(builder_ability(b, 1, STR("m"), 5));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    assert_int_equal(catalog_ability(c, catalog_group(c, STR("default")), STR("m"))->n, 1);
}

static void ratios_of_a_pair_win_over_the_groups_own(void **state) {
    (void)state;
    struct builder *b = builder_new();
    struct group one = group_of(1, "one", 2), two = group_of(2, "two", 0),
                 three = group_of(3, "three", -1);
    assert_null(builder_group(b, &one));
    assert_null(builder_group(b, &two));
    assert_null(builder_group(b, &three));
    assert_null(builder_ratio(b, 1, 2, RATIO_ONE / 2));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    const struct group *g1 = catalog_group_by_id(c, 1), *g2 = catalog_group_by_id(c, 2);
    assert_int_equal(catalog_ratio(c, g1, g2), RATIO_ONE / 2);
    assert_int_equal(catalog_ratio(c, g2, g1), RATIO_ONE * 2);
    assert_int_equal(catalog_ratio(c, g2, g2), RATIO_ONE * 2);
    const struct group *const *list;
    assert_int_equal(catalog_auto_groups(c, &list), 2);
    assert_ptr_equal(list[0], g2);
    assert_ptr_equal(list[1], g1);
}

static void options_are_typed_when_asked(void **state) {
    (void)state;
    static const char *const rows[][2] = {{"yes", "true"}, {"no", "0"}, {"n", "42"}, {"odd", "4x"}};
    struct builder *b = builder_new();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_null(builder_option(b, str_c(rows[i][0]), str_c(rows[i][1])));
    struct catalog *c AUTO(catalog_unref) = builder_finish(&b);
    assert_true(catalog_option_bool(c, "yes", false));
    assert_false(catalog_option_bool(c, "no", true));
    assert_true(catalog_option_bool(c, "odd", true));
    assert_int_equal(catalog_option_int(c, "n", 7), 42);
    assert_int_equal(catalog_option_int(c, "odd", 7), 7);
    assert_int_equal(catalog_option_int(c, "absent", 7), 7);
    assert_str(catalog_option(c, "absent", STR("x")), "x");
}

static struct catalog *numbered(int64_t n) {
    struct builder *b = builder_new();
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)n);
    assert_null(builder_option(b, STR("a"), str_c(text)));
    assert_null(builder_option(b, STR("b"), str_c(text)));
    return builder_finish(&b);
}

static atomic_bool stop;

static void *read_on(void *arg) {
    int64_t *reads = arg, last = 0;
    while (!atomic_load(&stop)) {
        struct catalog *c AUTO(catalog_unref) = catalog_current();
        int64_t a = catalog_option_int(c, "a", -1), b = catalog_option_int(c, "b", -2);
        if (a != b || a < last)
            *reads = INT64_MIN; /* half a snapshot, or an older one than before */
        last = a;
        (*reads)++;
    }
    return NULL;
}

static void readers_see_whole_snapshots_while_it_is_replaced(void **state) {
    (void)state;
    catalog_publish(numbered(0));
    pthread_t t[3];
    int64_t reads[3] = {0};
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, read_on, &reads[i]), 0);
    for (int64_t n = 1; n < 300; n++)
        catalog_publish(numbered(n));
    atomic_store(&stop, true);
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        pthread_join(t[i], NULL);
        assert_true(reads[i] >= 0);
    }
    struct catalog *kept AUTO(catalog_unref) = catalog_current();
    catalog_publish(NULL);
    assert_null(catalog_current());
    assert_int_equal(catalog_option_int(kept, "a", -1), 299); /* mine as long as I hold it */
}

#define MODELS 10000
#define GROUPS 50
#define CHANNELS 500

static struct catalog *big(void) {
    struct builder *b = builder_new();
    char name[32];
    for (int64_t i = 1; i <= GROUPS; i++) {
        snprintf(name, sizeof name, "group-%lld", (long long)i);
        struct group g = group_of(i, name, -1);
        assert_null(builder_group(b, &g));
    }
    for (int64_t i = 1; i <= CHANNELS; i++) {
        struct channel ch = channel_of(i);
        assert_null(builder_channel(b, &ch));
    }
    for (int64_t i = 0; i < MODELS; i++) {
        snprintf(name, sizeof name, "model-with-a-name-%lld", (long long)i);
        struct model m = {.id = i + 1, .name = str_c(name)};
        assert_null(builder_model(b, &m));
        for (int64_t g = 1; g <= GROUPS; g++)
            assert_null(builder_ability(b, g, str_c(name), 1 + (i + g) % CHANNELS));
    }
    return builder_finish(&b);
}

static void a_big_catalogue_is_built_and_searched_fast(void **state) {
    (void)state;
    int64_t start = clock_mono_us();
    struct catalog *c AUTO(catalog_unref) = big();
    int64_t built = clock_mono_us() - start;
    const struct model *const *all;
    size_t n = catalog_models(c, &all);
    assert_int_equal(n, MODELS);
    size_t rounds = 500000, found = 0;
    start = clock_mono_us();
    for (size_t i = 0; i < rounds; i++) {
        const struct group *g = catalog_group_by_id(c, (int64_t)(i % GROUPS) + 1);
        found += catalog_ability(c, g, all[i * 7919 % MODELS]->name) != NULL;
    }
    int64_t looked = clock_mono_us() - start;
    assert_int_equal(found, rounds);
    print_message("%d abilities built in %lld ms; a look-up in cold memory %lld ns\n",
                  MODELS * GROUPS, (long long)built / 1000,
                  (long long)(looked * 1000) / (long long)rounds);
    assert_true(built < 20000000); /* sanitizers and a busy machine: only the order is held */
    assert_true(looked < 20000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_found_by_its_exact_name),
        cmocka_unit_test(bad_rows_are_left_out_and_the_rest_stays),
        cmocka_unit_test(ratios_of_a_pair_win_over_the_groups_own),
        cmocka_unit_test(options_are_typed_when_asked),
        cmocka_unit_test(readers_see_whole_snapshots_while_it_is_replaced),
        cmocka_unit_test(a_big_catalogue_is_built_and_searched_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
