/* log_row.h - usage rows as the log API shows them, and the filters it takes. */
#pragma once

#include "api/api.h"
#include "door/queries.h"

/* What `total` counts to at most, and how deep a page number reaches; older rows are reached by
 * `before` (the reply's next_cursor) or by the time filters. */
#define LOG_COUNT_MAX 10000

/* The filters of the request's query: of every account for administrators (all = true), else of the
 * caller's own rows. *none: a name matches nothing, so no row does. */
must_use enum err log_filter(struct api_request *req, bool all, struct q_log_rows_in *out,
                             bool *none, struct fault *f);
/* One record; admin adds the channel's name. */
void log_row_json(const struct api_request *req, const struct q_log_rows *row, bool admin,
                  struct buf *out);
/* A fixed-point number of `unit` (a product of powers of 2 and 5) as an exact decimal. */
void log_decimal(struct buf *out, int64_t v, int64_t unit);
