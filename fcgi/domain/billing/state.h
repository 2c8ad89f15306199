/* state.h - what billing.c, ledger.c and upkeep.c share; nobody else includes it. */
#pragma once

#include "domain/billing/billing.h"
#include "domain/billing/draw.h"
#include "domain/billing/journal.h"
#include "util/queue.h"

/* Numbers for usage rows. Ledger thread. */
struct usage_ids {
    int64_t next, left;
};

struct billing {
    const struct conf *(*conf)(void); /* in force: another one after each reload */
    char run_dir[512], host[256];
    struct leases leases;
    struct bank bank;
    struct journal *journal;
    struct limits *limits;
    int bell;
    struct queue written; /* of struct hold: in the journal, on their way to the database */
    uint64_t last_seq;    /* of ended calls; who writes them to the journal has it: */
    struct lock ending;   /* whoever settles, one at a time, */
    bool writes_apart;    /* or a thread, where each write goes through to the disk: */
    struct queue ended;   /* of struct hold: settled, on their way to it */
    pthread_t writer;
    struct usage_ids ids;
    _Atomic int64_t backlog;
    _Atomic int64_t good_until_ms; /* until then (clock_mono_ms) leases may be spent; 0 = never */
    _Atomic int64_t stop_at_ms;    /* 0 = running */
    _Atomic int64_t
        ask_again_ms; /* the database is away: one thread asks it then; 0 = it answers */
    int64_t started_ms;
};

struct hold {
    struct list node; /* in `ended` or `written`, later in the ledger's batches */
    struct opened opened;
    struct lease *leases[SHARE_MAX];
    int64_t resets_at[SHARE_MAX];
    struct limit_seats seats;
    int64_t amount;
    struct bill bill;
};

/* Ended calls go to the journal first, so that a database that hangs does not keep them in memory
 * only. Where that waits for the disk, a thread apart does it for many calls at once; else it is
 * done when writer_put returns, before the client has the answer's last byte. writer_stop waits for
 * the thread. */
void writer_start(struct billing *b, bool apart);
void writer_stop(struct billing *b);
/* Takes over h. Any thread. */
void writer_put(struct billing *b, struct hold *h);

/* Writes a worker's ended calls in one transaction, leaving out what it has written before. bills
 * are in the order of their seq. */
must_use enum err ledger_apply(struct db *db, struct usage_ids *ids, int64_t worker,
                               struct bill *const *bills, size_t n);

/* The ledger's duties beside writing: upkeep_tick with every turn of the ledger, upkeep_end when
 * the last call is written. */
struct upkeep {
    int64_t beat_ms, recall_ms, adopt_ms, idle_ms, tidy_ms, partition_ms;
    int64_t kept_months; /* what usage.keep_months was when partitions were last looked at */
    bool joined, again;
};
/* rung: somebody rang the bell. */
void upkeep_tick(struct billing *b, struct db *db, struct upkeep *u, bool rung);
must_use enum err upkeep_end(struct billing *b, struct db *db);

#define LEDGER_ALIVE 1
#define LEDGER_LOST 2
#define LEDGER_ENDED 3
