#include "unit.h"

#include "util/spare.h"

#include <stdlib.h>

#define MIB (1u << 20)

static void a_large_block_is_used_again(void **state) {
    (void)state;
    void *a = spare_take(MIB);
    spare_give(a);
    assert_true(spare_bytes() >= MIB);
    void *b = spare_take(MIB - 5000);
    assert_ptr_equal(a, b);
    assert_int_equal(spare_bytes(), 0);
    free(b); /* it is malloc's */
}

static void a_block_is_not_wasted_on_much_less_than_it_holds(void **state) {
    (void)state;
    void *a = spare_take(MIB);
    spare_give(a);
    void *b = spare_take(SPARE_BYTES_MIN);
    assert_ptr_not_equal(a, b);
    void *c = spare_take(2 * MIB);
    assert_ptr_not_equal(a, c);
    memset(c, 1, 2 * MIB);
    free(b);
    free(c);
    spare_free_all();
    assert_int_equal(spare_bytes(), 0);
}

static void what_is_kept_has_a_limit(void **state) {
    (void)state;
    void *small[SPARE_BLOCKS + 1];
    for (size_t i = 0; i < ARRAY_LEN(small); i++)
        small[i] = spare_take(SPARE_BYTES_MIN);
    for (size_t i = 0; i < ARRAY_LEN(small); i++)
        spare_give(small[i]);
    assert_in_range(spare_bytes(), SPARE_BLOCKS * SPARE_BYTES_MIN,
                    SPARE_BLOCKS * (SPARE_BYTES_MIN + 8192));
    spare_free_all();
    spare_give(spare_take(SPARE_BYTES_MAX + 1)); /* a single one that is too large */
    assert_int_equal(spare_bytes(), 0);
    void *large[SPARE_BLOCKS];
    for (size_t i = 0; i < SPARE_BLOCKS; i++)
        large[i] = spare_take(2 * MIB - 65536);
    for (size_t i = 0; i < SPARE_BLOCKS; i++)
        spare_give(large[i]);
    const size_t fit = SPARE_BYTES_MAX / (2 * MIB);
    assert_true(fit < SPARE_BLOCKS);
    assert_in_range(spare_bytes(), fit * (2 * MIB - 65536), SPARE_BYTES_MAX);
    spare_free_all();
}

static void small_blocks_are_left_to_malloc(void **state) {
    (void)state;
    spare_give(spare_take(1));
    spare_give(spare_take(SPARE_BYTES_MIN / 2));
    spare_give(NULL);
    assert_int_equal(spare_bytes(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_block_is_used_again),
        cmocka_unit_test(a_block_is_not_wasted_on_much_less_than_it_holds),
        cmocka_unit_test(what_is_kept_has_a_limit),
        cmocka_unit_test(small_blocks_are_left_to_malloc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
