/* limits.h - requests per minute, tokens per minute and concurrency, counted together by all
 * workers of a host in a small mapped file (DIR/limits).
 *
 * The minute slides in steps of five seconds: whenever one looks, no 60 seconds held more than the
 * limit. Hosts that share one database divide each limit evenly (limits_share), so their sum never
 * exceeds it. A killed worker leaves nothing behind: the file's mutexes are robust, and its seats
 * are given up by whoever adopts its journal. Any thread.
 */
#pragma once

#include "util/err.h"

struct limits;

enum limit_kind { LIMIT_KEY = 1, LIMIT_GROUP };

struct limit_rule { /* 0 = no limit */
    enum limit_kind kind;
    int64_t id, sub_id; /* LIMIT_GROUP: a user (sub_id) of a group (id) */
    int64_t rpm, tpm, concurrency;
};

#define LIMIT_RULES_MAX 4

/* For the six x-ratelimit-* headers: the tightest of the rules, requests and tokens each. limit 0:
 * there is none. */
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
void limits_close(struct limits **l);
/* This host is number `rank` (from 0) of `hosts`. */
void limits_share(struct limits *l, int rank, int hosts);

/* Counts one request of `tokens` (estimated, prompt and answer) against every rule, or against
 * none: ERR_RATE_LIMIT names the rule and sets retry_after_s. */
must_use enum err limits_take(struct limits *l, const struct limit_rule *rules, size_t n,
                              int64_t tokens, struct limit_seats *seats,
                              struct limit_report *report, struct fault *f);
/* The call ended and used `tokens`; < 0: it was not made, nothing counts. */
void limits_give(struct limits *l, const struct limit_seats *seats, int64_t tokens);
/* A worker of this host died: its seats are free. */
void limits_worker_died(struct limits *l, int64_t worker);
