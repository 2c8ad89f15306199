/* Reading the list of usage rows: how long it is, where a place of it lies, how far it looks. Which
 * statement asks decides which index is read; see sql/queries/usage.sql. */
#include "api/log_row.h"

static bool of_all(const struct q_log_rows_in *q) {
    return q->any_user && q->any_key;
}

static bool is_served(const struct q_log_rows_in *q) {
    return q->any_id && q->any_type && q->any_group && q->any_channel && q->any_model &&
           q->any_request && q->any_upstream && q->any_key_name;
}

/* The filters of log_rows are those of `in`'s statement, with another number behind them. */
#define FILTER(in, q, member, value)                                             \
    do {                                                                         \
        static_assert(sizeof(in) == sizeof *(q), "the statements filter alike"); \
        memcpy(&(in), (q), sizeof(in));                                          \
        (in).member = (value);                                                   \
    } while (0)
#define PLACE(q) (q)->from_s, (q)->to_s, (q)->edge_s, (q)->edge_id

/* --- rows ----------------------------------------------------------------------------------- */

struct reading {
    q_log_rows_row *fn;
    void *ctx;
};

static enum err pass_row(void *ctx, const struct q_log_rows_any *row) {
    const struct reading *r = ctx;
    struct q_log_rows same;
    static_assert(sizeof same == sizeof *row, "the statements answer alike");
    memcpy(&same, row, sizeof same);
    return r->fn(r->ctx, &same);
}

enum err log_read(struct db *db, const struct q_log_rows_in *q, q_log_rows_row *fn, void *ctx) {
    if (!of_all(q))
        return q_log_rows(db, q, fn, ctx);
    struct reading r = {fn, ctx};
    struct q_log_rows_any_in in;
    FILTER(in, q, count, q->count);
    return q_log_rows_any(db, &in, pass_row, &r);
}

/* --- how many ------------------------------------------------------------------------------- */

static enum err count_filtered(struct db *db, const struct q_log_rows_in *q, int64_t *n) {
    enum err e;
    if (of_all(q)) {
        struct q_log_count_any_in in;
        struct q_log_count_any row = {0};
        FILTER(in, q, most, LOG_COUNT_MAX);
        e = q_log_count_any(db, &in, &row);
        *n = row.n;
    } else {
        struct q_log_count_in in;
        struct q_log_count row = {0};
        FILTER(in, q, most, LOG_COUNT_MAX);
        e = q_log_count(db, &in, &row);
        *n = row.n;
    }
    return e;
}

static enum err count_served(struct db *db, const struct q_log_rows_in *q, int64_t *n) {
    enum err e;
    if (of_all(q)) {
        struct q_log_count_all row = {0};
        e = q_log_count_all(db, &(struct q_log_count_all_in){PLACE(q), LOG_COUNT_MAX}, &row);
        *n = row.n;
    } else if (q->any_key) {
        struct q_log_count_user row = {0};
        e = q_log_count_user(db, &(struct q_log_count_user_in){PLACE(q), q->user, LOG_COUNT_MAX},
                             &row);
        *n = row.n;
    } else {
        struct q_log_count_key row = {0};
        e = q_log_count_key(db, &(struct q_log_count_key_in){PLACE(q), q->key, LOG_COUNT_MAX},
                            &row);
        *n = row.n;
    }
    if (e == ERR_DB_NO_ROW) { /* it would have gone on */
        *n = LOG_COUNT_MAX;
        return OK;
    }
    return e;
}

enum err log_count(struct db *db, const struct q_log_rows_in *q, int64_t *n) {
    return is_served(q) ? count_served(db, q, n) : count_filtered(db, q, n);
}

/* --- places --------------------------------------------------------------------------------- */

static enum err seat_filtered(struct db *db, const struct q_log_rows_in *q, int64_t offset,
                              struct log_place *out) {
    enum err e;
    if (of_all(q)) {
        struct q_log_seat_any_in in;
        struct q_log_seat_any row = {0};
        FILTER(in, q, offset, offset);
        e = q_log_seat_any(db, &in, &row);
        *out = (struct log_place){row.created_s, row.id};
    } else {
        struct q_log_seat_in in;
        struct q_log_seat row = {0};
        FILTER(in, q, offset, offset);
        e = q_log_seat(db, &in, &row);
        *out = (struct log_place){row.created_s, row.id};
    }
    return e;
}

static enum err seat_served(struct db *db, const struct q_log_rows_in *q, int64_t offset,
                            struct log_place *out) {
    enum err e;
    if (of_all(q)) {
        struct q_log_seat_all row = {0};
        e = q_log_seat_all(db, &(struct q_log_seat_all_in){PLACE(q), offset}, &row);
        *out = (struct log_place){row.created_s, row.id};
    } else if (q->any_key) {
        struct q_log_seat_user row = {0};
        e = q_log_seat_user(db, &(struct q_log_seat_user_in){PLACE(q), q->user, offset}, &row);
        *out = (struct log_place){row.created_s, row.id};
    } else {
        struct q_log_seat_key row = {0};
        e = q_log_seat_key(db, &(struct q_log_seat_key_in){PLACE(q), q->key, offset}, &row);
        *out = (struct log_place){row.created_s, row.id};
    }
    return e;
}

enum err log_seat(struct db *db, const struct q_log_rows_in *q, int64_t offset,
                  struct log_place *out) {
    return is_served(q) ? seat_served(db, q, offset, out) : seat_filtered(db, q, offset, out);
}

/* --- how far -------------------------------------------------------------------------------- */

/* All rows of a key are its owner's. */
static enum err drop_user(struct db *db, struct q_log_rows_in *q, bool *none) {
    struct q_log_key_owner row = {0};
    enum err e = q_log_key_owner(db, &(struct q_log_key_owner_in){q->key}, &row);
    *none |= e == ERR_DB_NO_ROW || row.user_id != q->user;
    q->any_user = true;
    return e == ERR_DB_NO_ROW ? OK : e;
}

enum err log_reach(struct db *db, struct q_log_rows_in *q, bool *none, int64_t *floor_s) {
    *floor_s = 0;
    enum err e = q->any_user || q->any_key ? OK : drop_user(db, q, none);
    if (e != OK || *none || is_served(q) || !q->any_request)
        return e;
    struct q_log_rows_in wide = *q;
    wide.any_type = wide.any_group = wide.any_channel = wide.any_model = true;
    wide.any_upstream = wide.any_key_name = true;
    struct log_place last;
    e = log_seat(db, &wide, LOG_LOOK_MAX - 1, &last);
    if (e == ERR_DB_NO_ROW)
        return OK;
    if (e == OK)
        *floor_s = q->from_s = last.s;
    return e;
}
