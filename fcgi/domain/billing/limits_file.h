/* limits_file.h - DIR/limits, the memory that all workers of a host map to count limits in; for
 * limits.c alone.
 *
 * Mutexes are robust: a worker that is killed inside leaves a count that is off by one call, and
 * nothing else. All times are clock_mono_ms.
 */
#pragma once

#include "domain/billing/limits.h"

#include <pthread.h>

#define LIMITS_BOOT 40
#define LIMITS_WORKERS 64
#define LIMITS_STRIPES 2048
#define LIMITS_WAYS 16
#define LIMITS_BUCKETS 13 /* a minute and the step that is only partly over */

struct bucket {
    int32_t number; /* of the five seconds since boot; another number: empty */
    int32_t requests;
    int64_t tokens;
};

struct slot {
    uint64_t tag; /* enum limit_kind, 0 = empty */
    int64_t id, sub_id;
    int64_t used_ms;
    int64_t dry_ms;           /* until then other hosts have nothing to give */
    struct limit_part share;  /* what this host may use */
    struct limit_part limit;  /* the whole, when the share was drawn */
    struct limit_part others; /* what other hosts had then */
    uint32_t epoch;           /* of the file, when the share was drawn */
    uint16_t mover;           /* 1 + index of the worker that is moving the share, 0 = nobody */
    bool asking;              /* and waits for other hosts */
    struct bucket buckets[LIMITS_BUCKETS];
    uint16_t seats[LIMITS_WORKERS];
};

struct stripe {
    pthread_mutex_t mutex;
    struct slot slots[LIMITS_WAYS];
};

struct limits_file {
    uint64_t magic, size;
    uint64_t seed;          /* the hash must be the same in all workers */
    char boot[LIMITS_BOOT]; /* which start of the machine the times are of */
    int64_t host_id;
    pthread_mutex_t mutex;
    int64_t workers[LIMITS_WORKERS]; /* 0 = free */
    int64_t valid_ms;                /* until then other hosts leave our shares alone */
    int64_t answer_ms;               /* when somebody is to look what other hosts want */
    _Atomic uint32_t epoch;          /* another number: shares of before are not ours any more */
    struct stripe stripes[LIMITS_STRIPES];
};

/* NULL: it can not be made or mapped. */
struct limits_file *limits_file_map(const char *path);
void limits_file_unmap(struct limits_file **f);

pthread_mutex_t *limits_mutex_taken(pthread_mutex_t *m);
void limits_mutex_drop(pthread_mutex_t **m);
#define HELD(m) \
    pthread_mutex_t *held_ AUTO(limits_mutex_drop) __attribute__((unused)) = limits_mutex_taken(m)
