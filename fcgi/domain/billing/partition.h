/* partition.h - the months of usage_rows: made ahead, dropped when they are old.
 *
 * Both are changes of the table's definition that touch no row and wait at most a second for
 * statements that read the table; then they are tried again later. So inserts are never held up.
 */
#pragma once

#include "util/err.h"

struct db;

/* Makes the partitions of this month and the two after it; with keep_months > 0 drops those that
 * ended more than so many months ago. Hourly sums stay. *changed counts both (may be NULL). */
must_use enum err partition_keep(struct db *db, int64_t now_s, int64_t keep_months, int *changed);
