/* spare.h - large blocks that are used again: fresh pages cost a request of a megabyte as much as
 * reading it does.
 *
 * Blocks are malloc's: whoever has one may free() or realloc() it instead of giving it back. What
 * is kept is bounded by SPARE_BLOCKS and SPARE_BYTES_MAX for the whole process. Any thread.
 */
#pragma once

#include "util/buf.h"

#define SPARE_BLOCKS 16
#define SPARE_BYTES_MIN (256u << 10) /* smaller ones are left to malloc */
#define SPARE_BYTES_MAX (16u << 20)  /* of all that is kept, until the worker rests */

/* At least n bytes, not cleared; never NULL. */
void *spare_take(size_t n);
/* Keeps the block for the next spare_take, or frees it. NULL is fine. */
void spare_give(void *block);
/* The same with what b holds; b is empty then. */
void spare_give_buf(struct buf *b);
/* Bytes kept now. */
size_t spare_bytes(void);
/* Frees what is kept. */
void spare_free_all(void);
