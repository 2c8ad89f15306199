/* status.h - what the site is and whether this worker can serve: GET /api/status and /readyz. */
#pragma once

#include "util/err.h"

struct catalog;
struct db;

/* The `data` of GET /api/status (started: unix seconds): the site's public options under the names
 * of the base contract. Options that are not in the table of status.c are never shown. */
void status_write(struct buf *out, const struct catalog *c, int64_t started);

/* OK, or why the worker cannot serve now: no catalogue yet, the database is away, its schema is
 * older than this program needs. */
must_use enum err status_ready(struct db *db, struct fault *f);
