#include "util/spare.h"

#include "util/lock.h"

#include <malloc.h>
#include <stdlib.h>

static struct {
    struct lock lock;
    void *block[SPARE_BLOCKS];
    size_t bytes;
} kept = {.lock = LOCK_INIT};

/* A block is not wasted on what needs less than half of it. */
static bool fits(void *block, size_t n) {
    size_t size = block ? malloc_usable_size(block) : 0;
    return size >= n && size / 2 <= n;
}

static void *find(size_t n) {
    LOCKED(&kept.lock);
    for (size_t i = 0; i < SPARE_BLOCKS; i++)
        if (fits(kept.block[i], n)) {
            void *block = kept.block[i];
            kept.block[i] = NULL;
            kept.bytes -= malloc_usable_size(block);
            return block;
        }
    return NULL;
}

void *spare_take(size_t n) {
    void *block = n >= SPARE_BYTES_MIN ? find(n) : NULL;
    return block ? block : base_alloc(n);
}

static bool keep(void *block) {
    size_t size = malloc_usable_size(block);
    if (size < SPARE_BYTES_MIN)
        return false;
    LOCKED(&kept.lock);
    for (size_t i = 0; i < SPARE_BLOCKS && size <= SPARE_BYTES_MAX - kept.bytes; i++)
        if (!kept.block[i]) {
            kept.block[i] = block;
            kept.bytes += size;
            return true;
        }
    return false;
}

void spare_give(void *block) {
    if (block && !keep(block))
        free(block);
}

void spare_give_buf(struct buf *b) {
    spare_give(b->p);
    *b = BUF(b->max);
}

size_t spare_bytes(void) {
    LOCKED(&kept.lock);
    return kept.bytes;
}

void spare_free_all(void) {
    LOCKED(&kept.lock);
    for (size_t i = 0; i < SPARE_BLOCKS; i++)
        base_freep(&kept.block[i]);
    kept.bytes = 0;
}
