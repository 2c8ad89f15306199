/* zone.h - when a day, a week or a month begins in somebody's time zone.
 *
 * Reads the system's time zone files (TZif, /usr/share/zoneinfo, or $TZDIR) itself: the C library
 * knows one zone per process. Daylight saving is right at both ends: a day may have 23 or 25 hours,
 * and one that begins inside a gap begins at the gap's end. Zones are loaded once and kept; any
 * thread.
 */
#pragma once

#include "util/str.h"

struct zone; /* immutable */

/* "Europe/Berlin", "UTC"; "" is UTC. NULL when there is no such zone. Never freed. */
const struct zone *zone_get(struct str name);
/* Seconds east of Greenwich at a moment (unix seconds). */
int64_t zone_offset(const struct zone *z, int64_t at);
/* The year and month (1..12) in UTC. */
void zone_month(int64_t at, int *year, int *month);
/* The window ('d' day, 'w' week from Monday, 'm' month) that `at` lies in: [*start, *end). */
void zone_window(const struct zone *z, char window, int64_t at, int64_t *start, int64_t *end);
