/* journal.h - an append-only file per worker: which calls were opened, which ended and how.
 *
 * Files in run.dir, ID = the worker's id in hex:
 *   ID.lock       held with flock as long as the worker lives; whoever gets the lock adopts
 *   ID.N.journal  segments, N counting up; a new one begins with copies of the calls under way,
 *                 so an older one is needed only until its ended calls are in the database
 *
 * Each record carries a CRC-32; a torn tail ends a segment. A record is in the page cache when it
 * was written, so it survives the death of the process; with `sync` a call is opened when its
 * record is on the disk, and the record of its end is there soon, so they survive the death of the
 * machine.
 */
#pragma once

#include "domain/billing/record.h"
#include "util/err.h"

struct journal;

struct journal_conf {
    const char *dir;
    int64_t worker_id;
    int64_t segment_bytes; /* a segment is closed when it is larger */
    int64_t max_bytes;     /* of all segments: beyond, no call is opened any more */
    bool sync;
};

must_use enum err journal_open(const struct journal_conf *conf, struct journal **out,
                               struct fault *f);
/* Closes and, with `done` (everything is in the database), deletes the files. */
void journal_close(struct journal **j, bool done);

/* Writes the opened call and lists it until journal_end. ERR_JOURNAL_FULL when it can not be kept:
 * then nothing is listed. Gives o its serial. Any thread; with `sync` it waits for the disk. */
must_use enum err journal_open_call(struct journal *j, struct opened *o);
/* Writes an ended call and takes its opening off the list. False when there was no room for it: it
 * must reach the database before it is forgotten. Any thread, in the order of bill->seq. */
must_use bool journal_end(struct journal *j, const struct bill *bill, struct opened *opened);
/* Ended calls up to seq are in the database: deletes segments nobody needs. Ledger thread. */
void journal_applied(struct journal *j, uint64_t seq);

/* A dead worker's journal, locked by us. */
struct dead_journal;
/* The next journal in dir without a living owner, other than `own`; NULL = none. */
struct dead_journal *journal_adopt(const char *dir, int64_t own);
int64_t journal_dead_worker(const struct dead_journal *d);
/* Reads it all: ended calls with seq > applied in order, then calls that were opened and never
 * ended. Pointers are valid until journal_dead_close. */
struct dead_calls {
    struct bill *ended;
    size_t n_ended;
    struct opened *open;
    size_t n_open;
    uint64_t last_seq; /* of all calls that ended, also those no file holds any more */
    bool torn;         /* a segment ended in the middle of a record */
};
must_use enum err journal_dead_read(struct dead_journal *d, uint64_t applied,
                                    struct dead_calls *out);
/* What can not be read is kept under another name for the operator, and never adopted. */
void journal_dead_set_aside(struct dead_journal *d);
/* With `done` deletes the files; else another attempt finds them. */
void journal_dead_close(struct dead_journal **d, bool done);
