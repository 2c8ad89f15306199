/* arena.h - memory that lives as long as one request: allocate freely, free once.
 * Not thread safe; it moves with its owner from thread to thread. */
#pragma once

#include "util/str.h"

struct arena_chunk;
struct arena {
    struct arena_chunk *head;
    size_t chunk; /* size of the next chunk, bytes */
};

/* chunk = size of the first chunk in bytes; later ones are at least that. */
void arena_init(struct arena *a, size_t chunk);
void arena_free(struct arena *a);
/* Zeroed, 16-byte aligned; aborts on out-of-memory, so cap n before. */
void *arena_alloc(struct arena *a, size_t n) __attribute__((returns_nonnull));
/* A NUL-terminated copy. */
struct str arena_str(struct arena *a, struct str s);
char *arena_printf(struct arena *a, const char *fmt, ...) printf_like(2, 3);
#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))
