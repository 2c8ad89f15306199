#include "unit.h"

#include "domain/catalog/build.h"
#include "domain/identity/caller.h"
#include "domain/routing/choose.h"

static const struct str one_key = STR_INIT("k");

/* default: everybody's, auto second. vip: who is in it, auto first. staff: who is in it, not auto.
 * open: everybody's, not auto. Models: a (default, open), b (vip), c (staff), free (default, no
 * price). */
static struct catalog *site(bool unpriced) {
    static const struct group groups[] = {
        {.id = 1, .name = STR_INIT("default"), .selectable = true, .auto_rank = 2},
        {.id = 2, .name = STR_INIT("vip"), .auto_rank = 1},
        {.id = 3, .name = STR_INIT("staff"), .auto_rank = -1},
        {.id = 4, .name = STR_INIT("open"), .selectable = true, .auto_rank = -1},
    };
    static const struct {
        int64_t group;
        const char *model;
    } abilities[] = {{1, "a"}, {4, "a"}, {2, "b"}, {3, "c"}, {1, "free"}};
    struct builder *b = builder_new();
    if (unpriced)
        assert_null(builder_option(b, STR("allow_unpriced_models"), STR("true")));
    for (size_t i = 0; i < ARRAY_LEN(groups); i++)
        assert_null(builder_group(b, &groups[i]));
    struct price price = {.id = 1, .model = RATIO_ONE};
    static const char *const models[] = {"a", "b", "c", "unserved"};
    for (size_t i = 0; i < ARRAY_LEN(models); i++) {
        struct model m = {.id = (int64_t)i + 1, .name = str_c(models[i]), .price = &price};
        assert_null(builder_model(b, &m));
    }
    struct channel ch = {.id = 1,
                         .name = STR("c"),
                         .base_url = STR("https://p.example"),
                         .keys = &one_key,
                         .n_keys = 1,
                         .enabled = true};
    assert_null(builder_channel(b, &ch));
    for (size_t i = 0; i < ARRAY_LEN(abilities); i++)
        assert_null(builder_ability(b, abilities[i].group, str_c(abilities[i].model), 1));
    return builder_finish(&b);
}

static void a_key_gets_the_groups_its_owner_may_use(void **state) {
    (void)state;
    struct catalog *c AUTO(catalog_unref) = site(false);
    static const struct str vip_open[] = {STR_INIT("open"), STR_INIT("vip"), STR_INIT("open"),
                                          STR_INIT("gone")};
    static const struct str only_staff[] = {STR_INIT("staff")};
    static const struct {
        const char *user, *key;
        const struct str *list;
        size_t n;
        const char *want; /* first letters in order; "" = refused */
        const char *refused;
    } rows[] = {
        {"default", "", NULL, 0, "d", NULL},
        {"vip", "", NULL, 0, "v", NULL},
        {"default", "open", NULL, 0, "o", NULL},
        {"default", "default", NULL, 0, "d", NULL},
        {"vip", "vip", NULL, 0, "v", NULL},
        {"default", "vip", NULL, 0, "", "vip"}, /* not selectable, not own */
        {"default", "gone", NULL, 0, "", "gone"},
        {"gone", "", NULL, 0, "", "gone"}, /* the account's group was deleted */
        {"gone", "open", NULL, 0, "o", NULL},
        {"default", "Default", NULL, 0, "", "Default"},
        {"default", "auto", NULL, 0, "d", NULL},
        {"vip", "auto", NULL, 0, "vd", NULL},
        {"staff", "auto", NULL, 0, "d", NULL},
        {"vip", "auto", vip_open, 4, "ov", NULL},
        {"default", "auto", vip_open, 4, "o", NULL},
        {"default", "auto", only_staff, 1, "", "auto"},
        {"default", "", only_staff, 1, "d", NULL}, /* the list counts with auto only */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct caller who = {.user_group = str_c(rows[i].user),
                             .key_group = str_c(rows[i].key),
                             .auto_groups = rows[i].list,
                             .n_auto_groups = rows[i].n};
        struct choice got;
        struct fault f = {0};
        enum err e = choose_groups(&who, c, &got, &f);
        char letters[8] = "";
        for (size_t g = 0; g < got.n; g++)
            letters[g] = got.groups[g]->name.p[0];
        if (strcmp(letters, rows[i].want) != 0)
            fail_msg("row %zu: %s, not %s", i, letters, rows[i].want);
        assert_int_equal(e, rows[i].refused ? ERR_GROUP_NOT_ALLOWED : OK);
        if (rows[i].refused)
            assert_string_equal(f.detail, rows[i].refused);
    }
}

static void assert_models(const struct caller *who, const struct catalog *c, const char *want) {
    const struct model **list AUTO(base_freep) = NULL;
    size_t n;
    assert_int_equal(choose_models(who, c, &list, &n, NULL), OK);
    struct buf names AUTO(buf_free) = BUF(1000);
    for (size_t i = 0; i < n; i++) {
        buf_puts(&names, i ? " " : "");
        buf_str(&names, list[i]->name);
    }
    assert_str(buf_view(&names), want);
    const struct model *const *all;
    size_t total = catalog_models(c, &all), found = 0;
    for (size_t i = 0; i < total; i++) { /* one by one it is the same set */
        const struct model *m;
        enum err e = choose_model(who, c, all[i]->name, &m, NULL);
        assert_true(e == OK || e == ERR_MODEL_NOT_FOUND);
        found += e == OK;
    }
    assert_int_equal(found, n);
}

static void a_key_lists_only_what_it_can_call(void **state) {
    (void)state;
    struct catalog *c AUTO(catalog_unref) = site(false), *unpriced AUTO(catalog_unref) = site(true);
    struct caller who = {.user_group = STR("default")};
    assert_models(&who, c, "a");
    assert_models(&who, unpriced, "a free");
    who = (struct caller){.user_group = STR("vip"), .key_group = STR("auto")};
    assert_models(&who, c, "a b");
    static const struct str limits[] = {STR_INIT("b"), STR_INIT("x*")};
    who.model_limits_enabled = true;
    who.models = limits;
    who.n_models = 2;
    assert_models(&who, c, "b");
    who.models = NULL;
    who.n_models = 0;
    assert_models(&who, c, "");
    who = (struct caller){.user_group = STR("default"), .test_mode = true};
    assert_models(&who, c, "a b c unserved"); /* the sandbox answers for all of them */
    who.key_group = STR("vip");
    const struct model **list;
    size_t n;
    assert_int_equal(choose_models(&who, c, &list, &n, NULL), ERR_GROUP_NOT_ALLOWED);
    assert_null(list);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_gets_the_groups_its_owner_may_use),
        cmocka_unit_test(a_key_lists_only_what_it_can_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
