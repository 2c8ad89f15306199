/* partition.h - the months of usage_rows: made ahead, dropped when they are old.
 *
 * Both are changes of the table's definition that touch no row and wait for nobody: a statement
 * that waits for readers holds up the inserts behind it. While somebody reads for long they fail
 * with ERR_DB_CONFLICT, after a fifth of a second of trying, and are tried again later.
 */
#pragma once

#include "util/err.h"

struct db;

/* Makes the partitions of this month and the two after it; with keep_months > 0 drops those that
 * ended more than so many months ago. Hourly sums stay. *changed counts both (may be NULL). */
must_use enum err partition_keep(struct db *db, int64_t now_s, int64_t keep_months, int *changed);
