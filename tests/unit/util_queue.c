#include "unit.h"

#include "util/arena.h"
#include "util/queue.h"

#include <poll.h>
#include <pthread.h>

#define ITEMS 20000
#define PRODUCERS 2

struct item {
    struct list node;
    int producer;
    int64_t number; /* written by the producer, read by the taker */
};

struct producer {
    struct queue *q;
    struct item *items;
    int id;
};

static void *produce(void *arg) {
    struct producer *p = arg;
    for (int64_t i = 0; i < ITEMS; i++) {
        p->items[i] = (struct item){.producer = p->id, .number = i};
        queue_put(p->q, &p->items[i].node);
    }
    return NULL;
}

static bool wait_for(struct queue *q, int timeout_ms) {
    struct pollfd fd = {.fd = queue_fd(q), .events = POLLIN};
    return poll(&fd, 1, timeout_ms) == 1;
}

/* Takes until all expected items came; each producer's must come in its own order. */
static void take_all(struct queue *q, int64_t expected) {
    int64_t next[PRODUCERS] = {0}, taken = 0;
    while (taken < expected) {
        struct list got;
        list_init(&got);
        assert_true(wait_for(q, 10000)); /* a lost wake-up would sleep for ever */
        taken += (int64_t)queue_take(q, &got);
        LIST_EACH_SAFE (node, after, &got) {
            const struct item *x = CONTAINER_OF(node, struct item, node);
            assert_int_equal(x->number, next[x->producer]++);
            list_remove(node);
        }
    }
    assert_int_equal(taken, expected);
}

static void two_producers_lose_nothing_and_keep_their_order(void **state) {
    (void)state;
    static struct item items[PRODUCERS][ITEMS];
    struct queue q;
    struct producer p[PRODUCERS];
    pthread_t threads[PRODUCERS];
    queue_init(&q);
    for (int i = 0; i < PRODUCERS; i++) {
        p[i] = (struct producer){.q = &q, .items = items[i], .id = i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &p[i]), 0);
    }
    take_all(&q, (int64_t)PRODUCERS * ITEMS);
    for (int i = 0; i < PRODUCERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(queue_count(&q), 0);
    queue_free(&q);
}

static void what_waits_is_added_behind_what_was_taken_before(void **state) {
    (void)state;
    struct queue q;
    struct list a, b, got;
    queue_init(&q);
    list_init(&got);
    queue_put(&q, &a);
    assert_int_equal(queue_take(&q, &got), 1);
    queue_put(&q, &b);
    assert_int_equal(queue_take(&q, &got), 1);
    assert_int_equal(queue_take(&q, &got), 0);
    assert_ptr_equal(got.next, &a);
    assert_ptr_equal(a.next, &b);
    assert_ptr_equal(b.next, &got);
    queue_free(&q);
}

static void the_taker_sleeps_until_there_is_a_reason(void **state) {
    (void)state;
    struct queue q;
    struct list a, got;
    queue_init(&q);
    list_init(&got);
    assert_false(wait_for(&q, 0));
    queue_wake(&q);
    assert_true(wait_for(&q, 0));
    assert_int_equal(queue_take(&q, &got), 0);
    assert_false(wait_for(&q, 0));
    queue_put(&q, &a);
    assert_true(wait_for(&q, 0));
    assert_int_equal(queue_take(&q, &got), 1);
    assert_false(wait_for(&q, 0));
    queue_free(&q);
}

static void an_attended_queue_wakes_nobody_until_its_end(void **state) {
    (void)state;
    struct queue q;
    struct list a, b, got;
    queue_init(&q);
    list_init(&got);
    assert_false(queue_attend(&q, true));
    queue_put(&q, &a);
    assert_false(wait_for(&q, 0));
    assert_int_equal(queue_take(&q, &got), 1);
    queue_put(&q, &b);
    assert_true(queue_attend(&q, false)); /* what was put unnoticed is told of */
    assert_int_equal(queue_take(&q, &got), 1);
    queue_put(&q, &a);
    assert_true(wait_for(&q, 0));
    assert_int_equal(queue_take(&q, &got), 1);
    assert_false(queue_attend(&q, true));
    queue_wake(&q);
    assert_true(wait_for(&q, 0));
    queue_free(&q);
}

static void arena_memory_is_zeroed_aligned_and_apart(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 15, 16, 17, 100, 4096, 3, 70000, 1, 0, 64};
    char *p[ARRAY_LEN(sizes)];
    for (size_t chunk = 0; chunk <= 4096; chunk += 512) {
        struct arena a AUTO(arena_free);
        arena_init(&a, chunk);
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            p[i] = arena_alloc(&a, sizes[i]);
            assert_int_equal((uintptr_t)p[i] % 16, 0);
            for (size_t k = 0; k < sizes[i]; k++)
                assert_int_equal(p[i][k], 0);
            memset(p[i], (int)i + 1, sizes[i]);
        }
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            for (size_t k = 0; k < sizes[i]; k++)
                assert_int_equal(p[i][k], (int)i + 1);
    }
}

static void arena_texts_end_with_nul(void **state) {
    (void)state;
    struct arena a AUTO(arena_free);
    arena_init(&a, 16);
    struct str s = arena_str(&a, STR("a\0b")), none = arena_str(&a, STR_NONE);
    assert_int_equal(s.n, 3);
    assert_memory_equal(s.p, "a\0b", 4);
    assert_int_equal(none.n, 0);
    assert_string_equal(none.p, "");
    assert_string_equal(arena_printf(&a, "%d-%s", 7, "long enough for another chunk"),
                        "7-long enough for another chunk");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_producers_lose_nothing_and_keep_their_order),
        cmocka_unit_test(what_waits_is_added_behind_what_was_taken_before),
        cmocka_unit_test(the_taker_sleeps_until_there_is_a_reason),
        cmocka_unit_test(an_attended_queue_wakes_nobody_until_its_end),
        cmocka_unit_test(arena_memory_is_zeroed_aligned_and_apart),
        cmocka_unit_test(arena_texts_end_with_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
