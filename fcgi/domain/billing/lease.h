/* lease.h - the part of every allowance this process may spend without asking the database.
 *
 * An allowance is anything countable that pays for calls: a user's balance, a user's sandbox
 * balance, a key's quota, one period of a key's budget. A lease is this process's share of one:
 *
 *   database's leases.amount = avail + held + unflushed      (nobody is between two steps)
 *
 * avail may be negative: a call that cost more than it held. It is paid by the next draw or return.
 *
 *   switch (lease_take(l, need, deadline, &mine)) {
 *   case TAKE_OK:      held now; lease_settle or lease_cancel ends it
 *   case TAKE_DRAW:    this thread must draw `need - mine` and then call lease_drawn or
 * lease_undrawn case TAKE_TIMEOUT: somebody else's draw took too long
 *   }
 *
 * Any thread; a shard's mutex is held for a few instructions and never across I/O. Only one thread
 * draws on a lease at a time; it takes all that is available with it, so two calls can not starve
 * each other with halves.
 */
#pragma once

#include "util/hash.h"
#include "util/list.h"
#include "util/lock.h"

enum allow_kind {
    ALLOW_USER = 1,
    ALLOW_SANDBOX = 2,
    ALLOW_KEY = 3,
    ALLOW_BUDGET = 4,
    ALLOW_OWNER_BUDGET = 5
};

/* Allowances are always locked in the order of this struct: user before key, ids ascending. */
struct allow_id {
    int64_t kind, id;
    int64_t period; /* unix seconds at which a budget's window began, else 0 */
};

struct lease_shard;
struct lease {
    struct allow_id id;
    struct lease_shard *shard;
    int64_t avail, held;
    int64_t unflushed; /* settled here, not yet in the database */
    int64_t pending; /* the drawer's: number of a transaction whose outcome is unknown, 0 = none */
    int64_t pending_give; /* the drawer's: what is available again when that one failed */
    int64_t burnt, burn_per_s, burn_since_ms;
    int64_t used_ms, folded_ms;
    int pins;
    bool drawing, waiting;
    uint64_t draw;        /* number of the current or last draw */
    uint64_t refused;     /* the last draw that the allowance could not pay */
    int64_t refused_need; /* and what it wanted */
};

#define LEASE_SHARDS 64
struct lease_shard {
    struct lock lock;
    pthread_cond_t drawn;
    struct map map;
};
struct leases {
    struct lease_shard shards[LEASE_SHARDS];
};

void leases_init(struct leases *ls);
void leases_free(struct leases *ls);

/* The lease of an allowance, made empty when there is none. It stays at its address until the last
 * pin is gone and leases_sweep finds it empty. */
struct lease *lease_pin(struct leases *ls, const struct allow_id *id);
void lease_unpin(struct lease *l);

enum take { TAKE_OK, TAKE_DRAW, TAKE_REFUSED, TAKE_TIMEOUT };
/* deadline_ms: of clock_mono_ms. */
must_use enum take lease_take(struct lease *l, int64_t need, int64_t deadline_ms, int64_t *mine);
/* `drawn` came from the database on top of `mine`: need is held now, the rest is available. */
void lease_drawn(struct lease *l, int64_t need, int64_t mine, int64_t drawn);
/* Nothing came: `mine` is available again. */
void lease_undrawn(struct lease *l, int64_t mine);
/* The allowance can not pay: the same, and whoever waits for as much or more is refused, too, if it
 * came before this draw began. */
void lease_refused(struct lease *l, int64_t need, int64_t mine);
/* How much more than the need a draw should bring: half a minute of the recent burn, at least 16
 * calls like this one. */
int64_t lease_cushion(struct lease *l, int64_t need);

/* A held call ended: cost is spent, the rest is available. cost may exceed held. */
void lease_settle(struct lease *l, int64_t held, int64_t cost);
void lease_cancel(struct lease *l, int64_t held);
/* The ledger wrote `cost` of what was settled. */
void lease_flushed(struct lease *l, int64_t cost);

/* The drawer has nothing of the allowance at hand and waits for other workers. */
void lease_waits(struct lease *l);
/* Takes all that is available out of the lease, to be given back to the database. STRIP_OK makes
 * the caller the drawer, who ends it with lease_undrawn (what did not get back). */
enum strip { STRIP_OK, STRIP_BUSY, STRIP_WAITING };
must_use enum strip lease_strip(struct lease *l, int64_t *amount);
/* The database took the lease away (this worker was thought dead): what is held or unflushed is now
 * a debt. Ledger thread. */
void leases_fenced(struct leases *ls);

/* Calls fn with every lease that fn_wants says, pinned and unlocked. The wants callback runs under
 * the shard's lock and must only look. */
void leases_each(struct leases *ls, bool (*wants)(const struct lease *l, void *ctx),
                 void (*fn)(struct lease *l, void *ctx), void *ctx);
/* Forgets leases that hold nothing, were not used since `before_ms` and whose spending was moved.
 */
void leases_sweep(struct leases *ls, int64_t before_ms);

int allow_cmp(const struct allow_id *a, const struct allow_id *b);
