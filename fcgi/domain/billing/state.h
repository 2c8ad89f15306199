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
    struct lock ending;   /* one call at a time: */
    uint64_t last_seq;    /* of ended calls */
    struct usage_ids ids;
    _Atomic int64_t backlog;
    _Atomic int64_t good_until_ms; /* until then (clock_mono_ms) leases may be spent; 0 = never */
    _Atomic int64_t stop_at_ms;    /* 0 = running */
    _Atomic int64_t
        ask_again_ms; /* the database is away: one thread asks it then; 0 = it answers */
    int64_t started_ms;
};

struct hold {
    struct list node; /* in `written`, later in the ledger's batches */
    struct opened opened;
    struct lease *leases[SHARE_MAX];
    int64_t resets_at[SHARE_MAX];
    struct limit_seats seats;
    int64_t amount;
    struct bill bill;
};

/* Writes a worker's ended calls in one transaction, leaving out what it has written before. bills
 * are in the order of their seq. */
must_use enum err ledger_apply(struct db *db, struct usage_ids *ids, int64_t worker,
                               struct bill *const *bills, size_t n);

/* The ledger's duties beside writing: upkeep_tick with every turn of the ledger, upkeep_end when
 * the last call is written. */
struct upkeep {
    int64_t beat_ms, recall_ms, adopt_ms, idle_ms, tidy_ms, partition_ms;
    int64_t kept_months; /* what usage.keep_months was when partitions were last looked at */
    size_t n_leases;     /* when they were last looked at */
    bool joined, again;
};
/* rung: somebody rang the bell. */
void upkeep_tick(struct billing *b, struct db *db, struct upkeep *u, bool rung);
must_use enum err upkeep_end(struct billing *b, struct db *db);

#define LEDGER_ALIVE 1
#define LEDGER_LOST 2
#define LEDGER_ENDED 3
