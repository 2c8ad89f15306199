#include "domain/billing/rerate.h"

#include "domain/billing/price.h"
#include "door/queries.h"
#include "util/hash.h"

#include <stdlib.h>

#define ROWS_AT_ONCE 5000

struct rerating {
    struct map sums; /* of struct rerate_sum, by account */
    int64_t last_id, rows;
};

static uint64_t hash_sum(const void *value) {
    const struct rerate_sum *s = value;
    return hash_u64((uint64_t)s->user_id);
}

static bool is_sum(const void *value, const void *key) {
    const struct rerate_sum *s = value;
    const int64_t *id = key;
    return s->user_id == *id;
}

static struct rerate_sum *sum_of(struct rerating *r, int64_t user) {
    struct rerate_sum *s = map_get(&r->sums, hash_u64((uint64_t)user), &user);
    if (!s) {
        s = base_zalloc(sizeof *s);
        s->user_id = user;
        map_put(&r->sums, s);
    }
    return s;
}

static enum err on_row(void *ctx, const struct q_rerate_rows *w) {
    struct rerating *r = ctx;
    const struct usage u = {.prompt = w->prompt,
                            .completion = w->completion,
                            .cached = w->cached,
                            .cache_write_5m = w->cache_write_5m,
                            .cache_write_1h = w->cache_write_1h,
                            .image_in = w->image_in,
                            .audio_in = w->audio_in,
                            .audio_out = w->audio_out,
                            .tool_searches = w->searches,
                            .images = w->images};
    const struct price own = {w->price_id,    w->per_call,         w->call_quota,
                              w->model_ratio, w->completion_ratio, w->cache_read,
                              w->cache_write, w->cache_write_long, w->image,
                              w->audio,       w->audio_completion, w->search_quota};
    const struct price now = {w->now_id,          w->now_per_call,         w->now_call_quota,
                              w->now_model_ratio, w->now_completion_ratio, w->now_cache_read,
                              w->now_cache_write, w->now_cache_write_long, w->now_image,
                              w->now_audio,       w->now_audio_completion, w->now_search_quota};
    struct rerate_sum *s = sum_of(r, w->user_id);
    s->calls++;
    s->charged += w->cost;
    s->recomputed += own.id ? price_cost(&own, w->group_ratio, &u) : w->cost;
    s->today += now.id ? price_cost(&now, w->group_ratio, &u) : w->cost;
    r->last_id = w->id;
    r->rows++;
    return OK;
}

static int by_user(const void *a, const void *b) {
    const struct rerate_sum *const *x = a, *const *y = b;
    return (*x)->user_id < (*y)->user_id ? -1 : (*x)->user_id > (*y)->user_id;
}

static void tell_all(struct rerating *r, void (*tell)(void *ctx, const struct rerate_sum *sum),
                     void *ctx) {
    size_t n = 0, at = 0;
    struct rerate_sum **list AUTO(base_freep) = base_alloc((r->sums.count + 1) * sizeof(void *));
    for (struct rerate_sum *s; (s = map_next(&r->sums, &at));)
        list[n++] = s;
    qsort(list, n, sizeof(void *), by_user);
    for (size_t i = 0; i < n; i++)
        tell(ctx, list[i]);
}

enum err rerate_run(struct db *db, int64_t since_s, int64_t until_s,
                    void (*tell)(void *ctx, const struct rerate_sum *sum), void *ctx) {
    struct rerating r = {.last_id = 0};
    map_init(&r.sums, hash_sum, is_sum);
    enum err e;
    do {
        r.rows = 0;
        e = q_rerate_rows(db, &(struct q_rerate_rows_in){r.last_id, since_s, until_s, ROWS_AT_ONCE},
                          on_row, &r);
    } while (!e && r.rows == ROWS_AT_ONCE);
    if (!e)
        tell_all(&r, tell, ctx);
    size_t at = 0;
    for (void *s; (s = map_next(&r.sums, &at));)
        free(s);
    map_free(&r.sums);
    return e;
}
