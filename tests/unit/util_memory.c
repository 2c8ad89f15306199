#include "unit.h"

#include "util/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define BLOCKS 4096
#define BLOCK 4000

static long anon_kib(void) {
    char line[256];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %ld", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}

static long count_faults(void) {
    struct rusage u;
    assert_int_equal(getrusage(RUSAGE_SELF, &u), 0);
    return u.ru_minflt;
}

/* The malloc of a sanitizer keeps what is freed, to see who still uses it: nothing to test. */
static bool is_glibc(void) {
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    return false;
#elif defined __has_feature
    return !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer);
#else
    return true;
#endif
}

static void what_a_burst_took_is_given_back_though_a_block_behind_it_stays(void **state) {
    (void)state;
    static void *block[BLOCKS];
    long before = anon_kib();
    assert_true(before > 0);
    for (size_t i = 0; i < BLOCKS; i++)
        block[i] = memset(base_alloc(BLOCK), 1, BLOCK);
    void *stays = base_alloc(BLOCK);
    for (size_t i = 0; i < BLOCKS; i++)
        free(block[i]);
    assert_true(anon_kib() - before > BLOCKS * BLOCK / 1024 / 2); /* malloc alone does not */
    assert_true(memory_due(false));
    memory_give_back(false);
    assert_true(anon_kib() - before < BLOCKS * BLOCK / 1024 / 8);
    assert_false(memory_due(false)); /* it has just been done */
    free(stays);
}

static void what_a_thread_begins_with_needs_no_more_pages_later(void **state) {
    (void)state;
    memory_thread_init();
    memory_give_back(false);
    long before = count_faults();
    for (size_t n = 24; n <= 1032; n += 16)
        free(base_alloc(n));
    assert_int_equal(count_faults(), before);
}

int main(void) {
    if (!is_glibc())
        return 0;
    memory_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_burst_took_is_given_back_though_a_block_behind_it_stays),
        cmocka_unit_test(what_a_thread_begins_with_needs_no_more_pages_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
