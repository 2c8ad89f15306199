/* counter.h - what is counted, for /metrics: rows of counter.def.
 *
 *   counter_add(COUNTER_RETRIES, 1);
 *   counter_add_at(COUNTER_REQUESTS, COUNTER_ROUTE_CHAT, counter_status(200), 1);
 *   counter_observe(COUNTER_FIRST_BYTE, us);
 *
 * Each worker counts in a file of its own, RUN_DIR/metrics.N, mapped and locked for its lifetime,
 * so that any worker can answer a scrape for the whole host. The kernel drops the lock of a worker
 * that died; the next one that starts takes the file over and counts on from there (gauges start
 * at 0). So sums never go backwards while the run directory lives, and files do not pile up. A
 * file of another program version is emptied when it is taken over: sums start anew, as after a
 * reboot.
 *
 * Adding is one relaxed atomic addition, any thread. Before counter_open the counts are kept in
 * memory; opening takes them along.
 */
#pragma once

#include "util/err.h"

#define COUNTER_SET_NONE(V) V(NONE, ALL, "")
#define COUNTER_SET_ROUTE(V)             \
    V(ROUTE, CHAT, "chat")               \
    V(ROUTE, COMPLETIONS, "completions") \
    V(ROUTE, RESPONSES, "responses")     \
    V(ROUTE, EMBEDDINGS, "embeddings")   \
    V(ROUTE, MODERATIONS, "moderations") \
    V(ROUTE, RERANK, "rerank")           \
    V(ROUTE, IMAGES, "images")           \
    V(ROUTE, AUDIO, "audio")             \
    V(ROUTE, MESSAGES, "messages")       \
    V(ROUTE, GEMINI, "gemini")           \
    V(ROUTE, MODELS, "models")           \
    V(ROUTE, API, "api")                 \
    V(ROUTE, OTHER, "other")
#define COUNTER_SET_STATUS(V) \
    V(STATUS, 2XX, "2xx")     \
    V(STATUS, 3XX, "3xx")     \
    V(STATUS, 4XX, "4xx")     \
    V(STATUS, 5XX, "5xx")     \
    V(STATUS, GONE, "none")
#define COUNTER_SET_WAY(V)                 \
    V(WAY, FROM_CLIENT, "from_client")     \
    V(WAY, TO_CLIENT, "to_client")         \
    V(WAY, FROM_PROVIDER, "from_provider") \
    V(WAY, TO_PROVIDER, "to_provider")
#define COUNTER_SET_LOOKUP(V) \
    V(LOOKUP, HIT, "hit")     \
    V(LOOKUP, MISS, "miss")
#define COUNTER_SET_REFUSAL(V)           \
    V(REFUSAL, KEY, "key")               \
    V(REFUSAL, PERMISSION, "permission") \
    V(REFUSAL, REQUEST, "request")       \
    V(REFUSAL, RATE, "rate")             \
    V(REFUSAL, QUOTA, "quota")           \
    V(REFUSAL, CHANNEL, "no_channel")    \
    V(REFUSAL, OVERLOAD, "overload")
#define COUNTER_SET_ATTEMPT(V)               \
    V(ATTEMPT, OK, "ok")                     \
    V(ATTEMPT, UNREACHABLE, "unreachable")   \
    V(ATTEMPT, TIMEOUT, "timeout")           \
    V(ATTEMPT, RATE_LIMITED, "rate_limited") \
    V(ATTEMPT, CREDENTIAL, "credential")     \
    V(ATTEMPT, SERVER, "server_error")       \
    V(ATTEMPT, CLIENT, "client_error")       \
    V(ATTEMPT, BROKEN, "broken")             \
    V(ATTEMPT, ABORTED, "aborted")
#define COUNTER_SET_TOKEN(V)   \
    V(TOKEN, PROMPT, "prompt") \
    V(TOKEN, CACHED, "cached") \
    V(TOKEN, COMPLETION, "completion")
#define COUNTER_SET_DB(V) \
    V(DB, OK, "ok")       \
    V(DB, ERROR, "error")
/* All sets: the label's name on the wire, "" = no label. */
#define COUNTER_SETS(S)  \
    S(NONE, "")          \
    S(ROUTE, "route")    \
    S(STATUS, "status")  \
    S(WAY, "way")        \
    S(LOOKUP, "result")  \
    S(REFUSAL, "reason") \
    S(ATTEMPT, "result") \
    S(TOKEN, "kind")     \
    S(DB, "result")

#define COUNTER_ENUM_VALUE(set, name, text) COUNTER_##set##_##name,
#define COUNTER_ENUM_SET(set, label) \
    enum { COUNTER_SET_##set(COUNTER_ENUM_VALUE) COUNTER_##set##__MAX };
COUNTER_SETS(COUNTER_ENUM_SET)
#undef COUNTER_ENUM_SET
#undef COUNTER_ENUM_VALUE

enum counter {
#define COUNTER(name, text, a, b, help) COUNTER_##name,
#define GAUGE(name, text, a, b, help) COUNTER_##name,
#define HISTOGRAM(name, text, help) COUNTER_##name,
#include "util/counter.def"
#undef COUNTER
#undef GAUGE
#undef HISTOGRAM
    COUNTER__MAX
};

/* For series without labels, and gauges (n may be negative there). */
void counter_add(enum counter c, int64_t n);
/* a and b: values of the row's label sets, 0 where it has none. */
void counter_add_at(enum counter c, unsigned a, unsigned b, int64_t n);
/* Gauges. */
void counter_set(enum counter c, int64_t v);
/* Histograms. Negative durations count as 0. */
void counter_observe(enum counter c, int64_t us);
/* COUNTER_STATUS_… of an HTTP status; 0 = the client got none. */
unsigned counter_status(int http);

/* Moves the counts to RUN_DIR/metrics.N. Once, before threads. ERR_CONFIG names what failed; the
 * counts then stay in memory. */
must_use enum err counter_open(const char *run_dir, struct fault *f);
/* Gives the file up to the next worker; the counts go on in memory. */
void counter_close(void);

/* For showing: what a row consists of. Its slots are a * b values, the second label fastest; a
 * histogram has COUNTER_BUCKETS + 1 of counts, not cumulated, then the sum in microseconds. */
#define COUNTER_BUCKETS 19
extern const int64_t counter_bounds_us[COUNTER_BUCKETS];
enum counter_kind { COUNTER_KIND_COUNTER, COUNTER_KIND_GAUGE, COUNTER_KIND_HISTOGRAM };
struct counter_labels {
    const char *label; /* "" = none */
    const char *const *values;
    size_t n;
};
struct counter_row {
    const char *name, *help;
    enum counter_kind kind;
    const struct counter_labels *a, *b;
    size_t slot;
};
const struct counter_row *counter_row(enum counter c);

struct counter_page {
    int worker; /* N of its file, -1 = this process without a file */
    bool live;
    int64_t pid, started_s;
    const int64_t *slots;
    size_t n_slots;
};
/* Calls fn for each worker's page of the host, dead ones (whose gauges mean nothing) included. */
void counter_each_page(void (*fn)(void *ctx, const struct counter_page *page), void *ctx);
