#include "domain/billing/lease.h"
#include "unit.h"
#include "util/clock.h"

#include <pthread.h>
#include <stdatomic.h>

static struct leases leases;
static const struct allow_id account = {ALLOW_USER, 1, 0};

static int setup(void **state) {
    (void)state;
    leases_init(&leases);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    leases_free(&leases);
    return 0;
}

static enum take take(struct lease *l, int64_t need, int64_t *mine) {
    return lease_take(l, need, clock_mono_ms() + 2000, mine);
}

static void what_is_available_is_held_without_a_draw(void **state) {
    (void)state;
    struct lease *l = lease_pin(&leases, &account);
    int64_t mine = 0;
    assert_int_equal(take(l, 5, &mine), TAKE_DRAW);
    lease_drawn(l, 5, mine, 20);
    assert_int_equal(l->avail, 15);
    assert_int_equal(take(l, 15, &mine), TAKE_OK);
    assert_int_equal(l->held, 20);
    lease_settle(l, 15, 4);
    assert_int_equal(l->avail, 11);
    assert_int_equal(l->unflushed, 4);
    lease_unpin(l);
}

static void a_call_that_cost_more_than_it_held_leaves_a_debt(void **state) {
    (void)state;
    struct lease *l = lease_pin(&leases, &account);
    int64_t mine = 0;
    assert_int_equal(take(l, 5, &mine), TAKE_DRAW);
    lease_drawn(l, 5, mine, 5);
    lease_settle(l, 5, 8);
    assert_int_equal(l->avail, -3);
    assert_int_equal(take(l, 2, &mine), TAKE_DRAW);
    assert_int_equal(mine, -3); /* the next draw brings 5 */
    lease_undrawn(l, mine);
    lease_unpin(l);
}

static void a_failed_draw_gives_back_what_was_at_hand(void **state) {
    (void)state;
    struct lease *l = lease_pin(&leases, &account);
    int64_t mine = 0, amount = 0;
    assert_int_equal(take(l, 1, &mine), TAKE_DRAW);
    lease_drawn(l, 1, mine, 4);
    assert_int_equal(take(l, 9, &mine), TAKE_DRAW);
    assert_int_equal(mine, 3);
    assert_int_equal(lease_strip(l, &amount), STRIP_BUSY);
    lease_waits(l);
    assert_int_equal(lease_strip(l, &amount), STRIP_WAITING);
    lease_undrawn(l, mine);
    assert_int_equal(lease_strip(l, &amount), STRIP_OK);
    assert_int_equal(amount, 3);
    lease_undrawn(l, 0);
    lease_unpin(l);
}

static void a_lease_in_use_or_in_debt_is_never_forgotten(void **state) {
    (void)state;
    struct lease *l = lease_pin(&leases, &account);
    leases_sweep(&leases, INT64_MAX);
    assert_ptr_equal(lease_pin(&leases, &account), l);
    lease_unpin(l);
    lease_settle(l, 0, 3); /* a debt */
    lease_unpin(l);
    leases_sweep(&leases, INT64_MAX);
    assert_ptr_equal(lease_pin(&leases, &account), l);
    lease_unpin(l);
}

static void a_lease_whose_spending_was_not_moved_is_not_forgotten(void **state) {
    (void)state;
    struct lease *l = lease_pin(&leases, &account);
    int64_t mine = 0;
    assert_int_equal(take(l, 10, &mine), TAKE_DRAW);
    lease_drawn(l, 10, mine, 10);
    lease_settle(l, 10, 10);
    lease_flushed(l, 10);
    l->folded_ms = l->used_ms - 1;
    lease_unpin(l);
    leases_sweep(&leases, INT64_MAX);
    assert_ptr_equal(lease_pin(&leases, &account), l);
    l->folded_ms = l->used_ms;
    lease_unpin(l);
    leases_sweep(&leases, INT64_MAX);
    l = lease_pin(&leases, &account);
    assert_int_equal(l->draw, 0);
    lease_unpin(l);
}

static void a_fenced_worker_owes_what_it_holds(void **state) {
    (void)state;
    struct lease *l = lease_pin(&leases, &account);
    int64_t mine = 0;
    assert_int_equal(take(l, 10, &mine), TAKE_DRAW);
    lease_drawn(l, 10, mine, 100);
    lease_settle(l, 4, 4);
    leases_fenced(&leases);
    assert_int_equal(l->avail, -6 - 4);
    lease_unpin(l);
}

/* The database of this test: an amount that draws take from. */
static _Atomic int64_t bank;
static _Atomic int64_t spent;

static void *spend(void *arg) {
    int64_t need = 1 + (int64_t)(uintptr_t)arg % 5;
    struct lease *l = lease_pin(&leases, &account);
    for (;;) {
        int64_t mine = 0;
        enum take t = take(l, need, &mine);
        assert_int_not_equal(t, TAKE_TIMEOUT);
        if (t == TAKE_DRAW) {
            int64_t want = need - mine, left = bank;
            while (left >= want && !atomic_compare_exchange_weak(&bank, &left, left - want))
                ;
            if (left < want) {
                lease_undrawn(l, mine);
                break;
            }
            lease_drawn(l, need, mine, want);
        }
        lease_settle(l, need, need);
        spent += need;
    }
    lease_unpin(l);
    return NULL;
}

static void many_threads_spend_it_all_and_not_a_unit_more(void **state) {
    (void)state;
    pthread_t threads[16];
    bank = 100000;
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, spend, (void *)(uintptr_t)i), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    struct lease *l = lease_pin(&leases, &account);
    assert_int_equal(spent + bank + l->avail, 100000);
    assert_true(bank + l->avail < 5);
    assert_int_equal(l->held, 0);
    lease_unpin(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_available_is_held_without_a_draw, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_that_cost_more_than_it_held_leaves_a_debt, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_failed_draw_gives_back_what_was_at_hand, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lease_in_use_or_in_debt_is_never_forgotten, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_lease_whose_spending_was_not_moved_is_not_forgotten,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_fenced_worker_owes_what_it_holds, setup, teardown),
        cmocka_unit_test_setup_teardown(many_threads_spend_it_all_and_not_a_unit_more, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
