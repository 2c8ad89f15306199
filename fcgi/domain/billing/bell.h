/* bell.h - waking the other workers of this host: a datagram socket per worker in run.dir.
 *
 * A ring carries nothing; it only says "look at the database now" to a ledger that would otherwise
 * look a moment later. A lost ring costs that moment.
 */
#pragma once

#include "util/base.h"

/* Binds DIR/ID.bell and returns its descriptor (readable when rung), -1 when it can not be made.
 * journal_close removes the file with the worker's others. */
int bell_open(const char *dir, int64_t worker);
/* Empties it. */
void bell_hear(int fd);
/* Rings every bell of dir but the own. Any thread. */
void bell_ring(const char *dir, int64_t own);
