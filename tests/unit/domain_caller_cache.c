#include "unit.h"

#include "domain/identity/caller_cache.h"

#include <string.h>

/* Hashes of keys are spread evenly; these are, too, and i is still in them. */
static void hash_of(uint32_t i, uint8_t out[32]) {
    uint64_t x = i * UINT64_C(0x9e3779b97f4a7c15);
    for (size_t k = 0; k < 32; k++) {
        x ^= x >> 29;
        x *= UINT64_C(0xbf58476d1ce4e5b9);
        out[k] = (uint8_t)(x >> 56);
    }
    memcpy(out + 28, &i, sizeof i);
}

static void put_key(struct caller_cache *c, uint32_t i) {
    uint8_t hash[32];
    struct held *h = base_zalloc(sizeof *h);
    h->refs = 1;
    h->caller.key_id = i;
    hash_of(i, hash);
    caller_cache_put(c, hash, h);
    held_unref(&h);
}

static enum cached look(struct caller_cache *c, uint32_t i, int64_t now_ms) {
    uint8_t hash[32];
    struct held *h AUTO(held_unref) = NULL;
    hash_of(i, hash);
    enum cached found = caller_cache_get(c, hash, now_ms, &h);
    if (found == CACHED_KEY)
        assert_int_equal(h->caller.key_id, i);
    return found;
}

static void forget(struct caller_cache *c, uint32_t i, int64_t now_ms) {
    uint8_t hash[32];
    hash_of(i, hash);
    caller_cache_put_unknown(c, hash, now_ms);
}

static void memory_stays_within_its_bound(void **state) {
    (void)state;
    struct caller_cache *c AUTO(caller_cache_free) = caller_cache_new(3000);
    for (uint32_t i = 0; i < 100000; i++)
        put_key(c, i);
    size_t kept = 0;
    for (uint32_t i = 0; i < 100000; i++)
        kept += look(c, i, 0) == CACHED_KEY;
    assert_in_range(kept, 2000, 3072);
}

static void a_key_in_use_outlives_a_flood_of_others(void **state) {
    (void)state;
    struct caller_cache *c AUTO(caller_cache_free) = caller_cache_new(400);
    put_key(c, 1);
    for (uint32_t i = 2; i < 5000; i++) {
        put_key(c, i);
        assert_int_equal(look(c, 1, 0), CACHED_KEY);
    }
}

static void made_up_keys_push_no_real_one_out(void **state) {
    (void)state;
    struct caller_cache *c AUTO(caller_cache_free) = caller_cache_new(1000);
    put_key(c, 7);
    for (uint32_t i = 1000; i < 50000; i++)
        forget(c, i, 0);
    assert_int_equal(look(c, 7, 0), CACHED_KEY);
}

static void an_unknown_key_is_asked_for_again_after_two_seconds(void **state) {
    (void)state;
    struct caller_cache *c AUTO(caller_cache_free) = caller_cache_new(1000);
    assert_int_equal(look(c, 3, 0), CACHED_NOT);
    forget(c, 3, 1000);
    assert_int_equal(look(c, 3, 2999), CACHED_UNKNOWN);
    assert_int_equal(look(c, 3, 3000), CACHED_NOT);
    put_key(c, 3);
    assert_int_equal(look(c, 3, 3000), CACHED_KEY);
    forget(c, 3, 4000);
    assert_int_equal(look(c, 3, 4001), CACHED_UNKNOWN);
}

static void a_picture_in_use_outlives_its_slot(void **state) {
    (void)state;
    uint8_t hash[32];
    struct held *h AUTO(held_unref) = NULL;
    struct caller_cache *c = caller_cache_new(1);
    put_key(c, 9);
    hash_of(9, hash);
    assert_int_equal(caller_cache_get(c, hash, 0, &h), CACHED_KEY);
    caller_cache_free(&c);
    assert_int_equal(h->caller.key_id, 9);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_stays_within_its_bound),
        cmocka_unit_test(a_key_in_use_outlives_a_flood_of_others),
        cmocka_unit_test(made_up_keys_push_no_real_one_out),
        cmocka_unit_test(an_unknown_key_is_asked_for_again_after_two_seconds),
        cmocka_unit_test(a_picture_in_use_outlives_its_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
