/* journal_file.h - names, locks and framing of journal files; used by journal.c and adopt.c only.
 */
#pragma once

#include "util/buf.h"

#define JOURNAL_PATH_MAX 600
#define JOURNAL_FRAME 12 /* bytes before a record's payload; all zero: nothing was written here */

enum journal_kind { JOURNAL_OPENED = 1, JOURNAL_ENDED = 2 };

void journal_file_segment(char path[JOURNAL_PATH_MAX], const char *dir, int64_t worker,
                          uint64_t number);
/* Creates and locks the lock file so that nobody ever sees it unlocked; -1 on failure. */
int journal_file_lock_new(const char *dir, int64_t worker);
/* Locks an existing one when its owner is gone; -1 otherwise. */
int journal_file_lock_dead(const char *dir, int64_t worker);
/* Deletes the segments, then the lock file. */
void journal_file_remove(const char *dir, int64_t worker);
/* Calls fn for every lock file in dir; stops when it returns true. */
bool journal_file_workers(const char *dir, bool (*fn)(void *ctx, int64_t worker), void *ctx);
/* Segment numbers of a worker, ascending; base_alloc'ed. */
size_t journal_file_segments(const char *dir, int64_t worker, uint64_t **out);

/* last_seq: of all calls that ended before the segment began. */
void journal_file_header(struct buf *out, int64_t worker, uint64_t last_seq);
/* A record's frame: begin, append the payload, end with what begin returned. */
size_t journal_file_begin(struct buf *out, enum journal_kind kind);
void journal_file_end(struct buf *out, size_t at);
/* Takes the next record off *rest. 1 = a record, 0 = clean end, -1 = torn or foreign. */
int journal_file_next(struct str *rest, enum journal_kind *kind, struct str *payload);
/* Checks the header and takes it off. */
must_use bool journal_file_check(struct str *rest, int64_t worker, uint64_t *last_seq);
/* Renames the lock file to .bad: nobody adopts it any more. */
void journal_file_set_aside(const char *dir, int64_t worker);
