/* limits.h - requests per minute, tokens per minute and concurrency, counted together by all
 * workers of a host in a small mapped file (DIR/limits).
 *
 * The minute slides in steps of five seconds: whenever one looks, no 60 seconds held more than the
 * limit. Hosts that share one database have a share of each limit (share.h): limits_take counts up
 * to the share and says when it is too small. A share goes down to what is counted, never below, so
 * the sum of all hosts exceeds the limit in no minute, whatever moves in it. A killed worker leaves
 * nothing behind: the file's mutexes are robust, and its seats are given up by whoever adopts its
 * journal. Any thread.
 */
#pragma once

#include "util/err.h"

struct limits;

enum limit_kind { LIMIT_KEY = 1, LIMIT_GROUP, LIMIT_USER };

struct limit_rule { /* 0 = no limit */
    enum limit_kind kind;
    int64_t id, sub_id; /* LIMIT_GROUP: a user (sub_id) of a group (id); LIMIT_USER: all his keys */
    int64_t rpm, tpm, concurrency;
};

#define LIMIT_RULES_MAX 4

/* One number for each thing that is limited. */
enum limit_what { LIMIT_REQUESTS, LIMIT_TOKENS, LIMIT_SEATS, LIMIT_WHATS };
struct limit_part {
    int64_t of[LIMIT_WHATS];
};

/* For the six x-ratelimit-* headers: the tightest of the rules, requests and tokens each. limit 0:
 * there is none. What other hosts hold does not count as remaining. */
struct limit_report {
    struct limit_view {
        int64_t limit, remaining, reset_ms;
    } requests, tokens;
};

/* What a call took, to be given back once. */
struct limit_seats {
    struct limit_seat {
        uint64_t tag;
        int64_t id, sub_id;
        int64_t bucket; /* the five seconds it was counted in */
    } seat[LIMIT_RULES_MAX];
    uint32_t n;
    int64_t tokens;
};

/* worker: the id the dead are known by (journal.h). ERR_INTERNAL when the file can not be mapped or
 * 64 workers are there already. */
must_use enum err limits_open(const char *run_dir, int64_t worker, struct limits **out,
                              struct fault *f);
/* The last worker of the host gives up its shares. */
void limits_close(struct limits **l);
void limits_worker_died(struct limits *l, int64_t worker);

/* Counts one request of `tokens` (estimated, prompt and answer) against every rule, or against
 * none: ERR_RATE_LIMIT names the rule and sets retry_after_s. *lacking: the rule when the limit
 * itself is not used up here and other hosts may have some, else NULL. */
must_use enum err limits_take(struct limits *l, const struct limit_rule *rules, size_t n,
                              int64_t tokens, struct limit_seats *seats,
                              struct limit_report *report, const struct limit_rule **lacking,
                              struct fault *f);
/* The call ended and used `tokens`; < 0: it was not made, nothing counts. */
void limits_give(struct limits *l, const struct limit_seats *seats, int64_t tokens);

/* --- shares: for share.c -------------------------------------------------------------------- */

/* Of the host, for ever. */
int64_t limits_host(const struct limits *l);
/* The database knew at asked_ms that this host lives, and leaves its shares alone for valid_ms.
 * When that had run out before, every share is down to what is counted. */
void limits_alive(struct limits *l, int64_t asked_ms, int64_t valid_ms);
/* True for one worker of the host every period_ms. */
bool limits_answer_due(struct limits *l, int64_t period_ms);

/* Who moves a share is alone with it on this host until limits_moved. */
enum move { MOVE_MINE, MOVE_BUSY, MOVE_ASKING /* busy, and waits for other hosts */ };
must_use enum move limits_move(struct limits *l, const struct limit_rule *r);
/* The share is moved, or not. share, others: what they are now; NULL: as before. dry_ms: so long it
 * is no use to ask. */
void limits_moved(struct limits *l, const struct limit_rule *r, const struct limit_part *share,
                  const struct limit_part *others, int64_t dry_ms);
void limits_asking(struct limits *l, const struct limit_rule *r);
/* The share, and what it must be for one more call of `tokens`. */
void limits_need(struct limits *l, const struct limit_rule *r, int64_t tokens,
                 struct limit_part *share, struct limit_part *need);
/* Brings the share down to what is counted. */
struct limit_part limits_strip(struct limits *l, const struct limit_rule *r);
/* At most a few threads of the process wait for other hosts: a flood of refused calls must not keep
 * all of them. */
bool limits_may_wait(struct limits *l);
void limits_waited(struct limits *l);
