/* journal_sync.h - the thread that writes a journal through to the disk (journal.sync).
 *
 * What is appended while the disk works shares its next write: a call waits for two of them at
 * most, however many others there are.
 */
#pragma once

#include "util/base.h"

struct journal_sync;

/* A descriptor of the file that holds what is not on the disk yet, which is closed afterwards, and
 * the number of the last append in it; -1: there is none. */
typedef int journal_sync_file(void *ctx, uint64_t *last);

struct journal_sync *journal_sync_start(journal_sync_file *file, void *ctx);
/* Ends when everything that was asked for was tried. */
void journal_sync_stop(struct journal_sync **s);
/* Append n shall be on the disk soon. Any thread; does not wait. */
void journal_sync_ask(struct journal_sync *s, uint64_t n);
/* Waits until it is. False: the disk did not take it. Any thread. */
must_use bool journal_sync_wait(struct journal_sync *s, uint64_t n);
