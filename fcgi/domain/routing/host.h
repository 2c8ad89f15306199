/* host.h - what the workers of one host share: a small file mapped by all of them.
 *
 * Generation counters (a key, user or the catalogue changed: cached copies with another number are
 * stale), the change ids that were already applied, channel health (cool-down with a half-open
 * probe) and the list of workers. All fields are atomics; there is no lock, so a killed worker
 * leaves nothing held. Any thread, also after fork.
 */
#pragma once

#include "util/err.h"

struct host;

/* Maps DIR/shared, making it (0600) when it is missing, damaged, of another version or from before
 * the last boot. Workers of another version go on with the file they have. ERR_CONFIG. */
must_use enum err host_open(const char *run_dir, struct host **out, struct fault *f);
/* Gives the worker slot back and unmaps. */
void host_close(struct host **h);

enum host_gen {
    HOST_GEN_KEY,
    HOST_GEN_USER,
    HOST_GEN_CATALOG,
    HOST_GEN_ACCESS_TOKEN,
    HOST_GEN__MAX
};
/* The current generation of an entity (a counter per hash slot of id; CATALOG has one). Read it
 * before the database, so that a change in between leaves the copy stale and not current. */
uint32_t host_gen(const struct host *h, enum host_gen kind, int64_t id);
void host_gen_bump(struct host *h, enum host_gen kind, int64_t id);
/* How often anything was bumped, of any entity. Who learns from the database of which entity a row
 * is compares it before and after: when it is the same, the generations read afterwards are those
 * from before. */
uint32_t host_gen_bumps(const struct host *h);
/* Everything cached on this host is stale. */
void host_gen_bump_all(struct host *h);

/* Rows of the change log whose generations were bumped on this host. Bump first, then mark: a
 * worker killed in between makes the bump happen twice, never not at all. The memory is finite; a
 * forgotten id is bumped again. */
bool host_change_applied(const struct host *h, int64_t change_id);
void host_change_mark(struct host *h, int64_t change_id);

struct cooldown_rule {
    int64_t failures, first_ms, max_ms;
};
#define HOST_RETRY_AFTER_MAX_MS (60 * 60 * 1000)
#define HOST_PROBE_MS (60 * 1000)

enum host_health { HEALTH_OK, HEALTH_COOLING, HEALTH_PROBE };
/* May a request use the channel now? HEALTH_PROBE: cool-down over and the caller is the one who
 * tries; it must report with host_channel_ok/failed (a probe unreported for HOST_PROBE_MS is given
 * anew). */
enum host_health host_channel_ask(struct host *h, int64_t channel_id);
/* The same without claiming the probe: for planning and display. */
enum host_health host_channel_peek(const struct host *h, int64_t channel_id);
/* A request got its answer. It ends a probe, but not a cool-down that a later failure began while
 * this request was on its way. True when this ended a cool-down. */
bool host_channel_ok(struct host *h, int64_t channel_id);
/* retry_after_ms > 0: the provider's own wish; the channel cools at once and at least that long (at
 * most HOST_RETRY_AFTER_MAX_MS). True when the channel starts to cool now. */
bool host_channel_failed(struct host *h, int64_t channel_id, const struct cooldown_rule *rule,
                         int64_t retry_after_ms);
/* ms until the cool-down ends, 0 when it is not cooling. */
int64_t host_channel_wait_ms(const struct host *h, int64_t channel_id);

#define HOST_MAX_WORKERS 256
/* A slot for this process (pid, start time), freed by host_close or taken over when the process is
 * gone. Returns its index, or -1 when all are taken. Once per process. */
int host_worker_join(struct host *h, int64_t worker_id);
void host_worker_beat(struct host *h, int slot);
