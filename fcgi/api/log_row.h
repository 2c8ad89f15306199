/* log_row.h - usage rows as the log API shows them, and the filters it takes. */
#pragma once

#include "api/api.h"
#include "door/queries.h"

/* What `total` counts to at most, and how deep a page number reaches; older rows are reached by
 * `before` (the reply's next_cursor) or by the time filters. */
#define LOG_COUNT_MAX 5000

/* The filters of the request's query: of every account for administrators (all = true), else of the
 * caller's own rows. *none: a name matches nothing, so no row does. */
must_use enum err log_filter(struct api_request *req, bool all, struct q_log_rows_in *out,
                             bool *none, struct fault *f);
/* No index serves the filters by model, group, type, channel, upstream id and a name that several
 * keys have: with them a list looks at so many rows at most, the newest that the other filters
 * leave. */
#define LOG_LOOK_MAX 10000
/* To be called before a filter is read with: raises q->from_s to what the list looks at. *floor_s:
 * the second at which older rows go on, as "S-0"; 0 = there are none. *none is set when the key is
 * not the account's. */
must_use enum err log_reach(struct db *db, struct q_log_rows_in *q, bool *none, int64_t *floor_s);

struct log_place {
    int64_t s, id;
};

/* The row at a place of the list (0 = the newest); ERR_DB_NO_ROW when it is shorter. */
must_use enum err log_seat(struct db *db, const struct q_log_rows_in *q, int64_t offset,
                           struct log_place *out);
/* How many rows the list has, up to LOG_COUNT_MAX. */
must_use enum err log_count(struct db *db, const struct q_log_rows_in *q, int64_t *n);
/* The rows of the list, newest first, q->count of them. */
must_use enum err log_read(struct db *db, const struct q_log_rows_in *q, q_log_rows_row *fn,
                           void *ctx);
/* One record; admin adds the channel's name. */
void log_row_json(const struct api_request *req, const struct q_log_rows *row, bool admin,
                  struct buf *out);
/* A fixed-point number of `unit` (a product of powers of 2 and 5) as an exact decimal. */
void log_decimal(struct buf *out, int64_t v, int64_t unit);
