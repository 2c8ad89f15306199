/* GET /api/log/stat, /api/data/ and theirs of one account: sums, from the hourly ones. Calls of
 * test keys are counted apart, with test_mode=true. */
#include "api/handlers.h"
#include "api/log_row.h"

#include "util/clock.h"

#include <inttypes.h>

#define HOUR INT64_C(3600)
#define DAY (24 * HOUR)
#define SPAN_MAX (31 * DAY)

static enum err read_test_mode(struct api_request *req, bool *out, struct fault *f) {
    struct str text;
    enum err e = api_query(req, "test_mode", &text, f);
    *out = str_eqc(text, "true");
    if (e == OK && text.n && !*out && !str_eqc(text, "false"))
        return fault_field(f, ERR_FIELD_VALUE, "test_mode", "test_mode");
    return e;
}

/* --- stat ----------------------------------------------------------------------------------- */

/* What rows and hours are both asked by. */
#define FILTER(q, test, from, before)                                                       \
    .from_s = (from), .before_s = (before), .test_mode = (test), .any_user = (q)->any_user, \
    .user_id = (q)->user, .any_key = (q)->any_key, .key_id = (q)->key,                      \
    .any_group = (q)->any_group, .group_id = (q)->group, .any_model = (q)->any_model,       \
    .model = (q)->model, .any_key_name = (q)->any_key_name, .key_name = (q)->key_name

static struct q_log_sum_rows_in rows_of(const struct q_log_rows_in *q, bool test, int64_t from,
                                        int64_t before) {
    return (struct q_log_sum_rows_in){FILTER(q, test, from, before), .any_channel = q->any_channel,
                                      .channel_id = q->channel};
}

static enum err add_rows(struct db *db, const struct q_log_rows_in *q, bool test, int64_t from,
                         int64_t before, int64_t *cost) {
    if (from >= before)
        return OK;
    struct q_log_sum_rows_in in = rows_of(q, test, from, before);
    struct q_log_sum_rows row;
    enum err e = q_log_sum_rows(db, &in, &row);
    if (e == OK)
        *cost += row.cost;
    return e;
}

static enum err add_hours(struct db *db, const struct q_log_rows_in *q, bool test, int64_t from,
                          int64_t before, int64_t *cost) {
    struct q_log_sum_hours_in in = {FILTER(q, test, from, before)};
    struct q_log_sum_hours row;
    enum err e = q_log_sum_hours(db, &in, &row);
    if (e == OK)
        *cost += row.cost;
    return e;
}

struct summing {
    const struct q_log_rows_in *q;
    bool test;
    int64_t from, before, cost;
};

/* Hours carry no channel: with that filter only rows can be asked, and a month of them at most. */
static enum err sum_costs(struct db *db, void *ctx) {
    struct summing *s = ctx;
    s->cost = 0;
    if (s->from >= s->before) /* and near the largest number, whose next hour there is none */
        return OK;
    int64_t first = (s->from + HOUR - 1) / HOUR * HOUR, last = s->before / HOUR * HOUR;
    if (!s->q->any_channel || first >= last)
        return add_rows(db, s->q, s->test, s->from, s->before, &s->cost);
    enum err e = add_hours(db, s->q, s->test, first, last, &s->cost);
    if (e == OK)
        e = add_rows(db, s->q, s->test, s->from, first, &s->cost);
    return e == OK ? add_rows(db, s->q, s->test, last, s->before, &s->cost) : e;
}

static enum err stat(struct api_request *req, struct api_reply *reply, bool admin,
                     struct fault *f) {
    struct q_log_rows_in q;
    struct q_log_sum_rows minute = {0};
    struct summing s = {.q = &q};
    bool none;
    enum err e = log_filter(req, admin, &q, &none, f);
    if (e == OK)
        e = read_test_mode(req, &s.test, f);
    if (e != OK)
        return e;
    int64_t now = clock_unix_s();
    s.from = q.from_s;
    s.before = q.to_s < now + DAY ? q.to_s + 1 : now + DAY; /* clocks of hosts differ a little */
    if (!q.any_channel && s.before - s.from > SPAN_MAX)
        return fault_set(f, ERR_TIME_SPAN, NULL);
    if (!none) {
        struct q_log_sum_rows_in last = rows_of(&q, s.test, now - 60, INT64_MAX);
        e = db_snapshot(req->db, sum_costs, &s);
        if (e == OK)
            e = q_log_sum_rows(req->db, &last, &minute);
    }
    buf_printf(api_data(reply), "{\"quota\":%" PRId64 ",\"rpm\":%" PRId64 ",\"tpm\":%" PRId64 "}",
               s.cost, minute.calls, minute.tokens);
    api_data_end(reply);
    return e;
}

enum err log_self_stat(struct api_request *req, struct api_reply *reply, struct fault *f) {
    return stat(req, reply, false, f);
}

enum err log_all_stat(struct api_request *req, struct api_reply *reply, struct fault *f) {
    return stat(req, reply, true, f);
}

/* --- data ----------------------------------------------------------------------------------- */

struct data {
    struct buf *out;
    int64_t user_id; /* 0: of everybody */
    struct str user_name;
    bool any, test;
    int64_t bucket, from, before;
};

static void put_point(struct data *d, int64_t user_id, struct str user, struct str model,
                      const int64_t v[4]) {
    if (d->any)
        buf_putc(d->out, ',');
    d->any = true;
    buf_printf(d->out,
               "{\"created_at\":%" PRId64 ",\"count\":%" PRId64 ",\"token_used\":%" PRId64
               ",\"quota\":%" PRId64 ",\"user_id\":%" PRId64 ",\"username\":",
               v[0], v[1], v[2], v[3], user_id);
    buf_json(d->out, user);
    buf_puts(d->out, ",\"model_name\":");
    buf_json(d->out, model);
    buf_putc(d->out, '}');
}

static enum err put_model(void *ctx, const struct q_data_by_model *r) {
    struct data *d = ctx;
    put_point(d, d->user_id, d->user_name, r->model,
              (int64_t[]){r->created_s, r->calls, r->tokens, r->cost});
    return OK;
}

static enum err put_user(void *ctx, const struct q_data_by_user *r) {
    put_point(ctx, r->user_id, r->username, STR(""),
              (int64_t[]){r->created_s, r->calls, r->tokens, r->cost});
    return OK;
}

/* Times are widened to whole hours; without them it is the last day. */
static enum err read_data(struct api_request *req, const struct q_log_rows_in *q, struct data *d,
                          struct fault *f) {
    struct str step;
    enum err e = api_query(req, "default_time", &step, f);
    if (e == OK)
        e = read_test_mode(req, &d->test, f);
    if (e != OK)
        return e;
    d->bucket = str_eqc(step, "week") ? 7 * DAY : str_eqc(step, "day") ? DAY : HOUR;
    if (step.n && d->bucket == HOUR && !str_eqc(step, "hour"))
        return fault_field(f, ERR_FIELD_VALUE, "default_time", "default_time");
    int64_t now = clock_unix_s();
    int64_t to = q->to_s < now + DAY ? q->to_s : now;
    d->from = (q->from_s ? q->from_s : to - DAY) / HOUR * HOUR;
    d->before = (to / HOUR + 1) * HOUR;
    if (to - d->from > SPAN_MAX + HOUR)
        return fault_set(f, ERR_TIME_SPAN, NULL);
    return OK;
}

static enum err by_model(struct api_request *req, struct api_reply *reply, bool admin,
                         struct fault *f) {
    struct q_log_rows_in q;
    struct data d = {0};
    bool none;
    enum err e = log_filter(req, admin, &q, &none, f);
    if (e == OK)
        e = read_data(req, &q, &d, f);
    if (e == OK && admin && q.user)
        e = api_query(req, "username", &d.user_name, f);
    if (e != OK)
        return e;
    d.user_id = q.user;
    if (!admin)
        d.user_name = req->user_name;
    d.out = api_data(reply);
    buf_putc(d.out, '[');
    if (!none)
        e = q_data_by_model(
            req->db,
            &(struct q_data_by_model_in){d.bucket, d.from, d.before, d.test, q.any_user, q.user},
            put_model, &d);
    buf_putc(d.out, ']');
    api_data_end(reply);
    return e;
}

enum err data_self(struct api_request *req, struct api_reply *reply, struct fault *f) {
    return by_model(req, reply, false, f);
}

enum err data_all(struct api_request *req, struct api_reply *reply, struct fault *f) {
    return by_model(req, reply, true, f);
}

enum err data_users(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct q_log_rows_in q;
    struct data d = {0};
    bool none;
    enum err e = log_filter(req, true, &q, &none, f);
    if (e == OK)
        e = read_data(req, &q, &d, f);
    if (e != OK)
        return e;
    d.out = api_data(reply);
    buf_putc(d.out, '[');
    e = q_data_by_user(req->db, &(struct q_data_by_user_in){d.bucket, d.from, d.before, d.test},
                       put_user, &d);
    buf_putc(d.out, ']');
    api_data_end(reply);
    return e;
}
