#include "util/memory.h"

#include "util/clock.h"
#include "util/spare.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* A call's memory is taken by a front and given back by the loop or the ledger: an arena a thread
 * would only spread it, and the end of any but the first is never given back. glibc would raise
 * both limits by itself until a large batch's memory stays for good. */
#define ARENAS 1
#define KEPT_BYTES (512 * 1024)
/* Free at the heap's end, until memory_give_back(): given back at once, it would be taken again by
 * the next calls, each page with a fault. */
#define KEPT_END_BYTES (4 * 1024 * 1024)
/* What glibc keeps of freed small blocks for each thread */
#define CACHED_FIRST 24
#define CACHED_STEP 16
#define CACHED_SIZES 64
#define CACHED_EACH 7
#define REST_MS 2000
#define BUSY_MS 60000

static struct {
    long faults; /* when all was given back last */
    int64_t at_ms;
} given;

void memory_init(void) {
    mallopt(M_ARENA_MAX, ARENAS);
    mallopt(M_MMAP_THRESHOLD, KEPT_BYTES);
    mallopt(M_TRIM_THRESHOLD, KEPT_END_BYTES);
}

/* A thread's cache of small blocks fills over hundreds of thousands of calls, seldom sizes last,
 * and never empties. Blocks that lie side by side share their pages; those that calls have left
 * hold a page each. */
void memory_thread_init(void) {
    void *block[CACHED_SIZES][CACHED_EACH];
    for (size_t i = 0; i < CACHED_SIZES; i++)
        for (size_t k = 0; k < CACHED_EACH; k++)
            block[i][k] = base_alloc(CACHED_FIRST + i * CACHED_STEP);
    for (size_t i = 0; i < CACHED_SIZES; i++)
        for (size_t k = 0; k < CACHED_EACH; k++)
            free(block[i][k]);
}

/* Each page that came was a fault. What malloc says is free has partly been given back already. */
static long count_faults(void) {
    struct rusage u;
    must(getrusage(RUSAGE_SELF, &u) == 0);
    return u.ru_minflt;
}

bool memory_due(bool busy) {
    bool rested = clock_mono_ms() - given.at_ms >= (busy ? BUSY_MS : REST_MS);
    return rested && (count_faults() - given.faults) * sysconf(_SC_PAGESIZE) >= KEPT_BYTES;
}

void memory_give_back(bool busy) {
    if (!busy)
        spare_free_all();
    malloc_trim(0);
    given.at_ms = clock_mono_ms();
    if (!busy)
        given.faults = count_faults();
}
