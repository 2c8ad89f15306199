/* base.h - what every file may use: attributes, assertions, cleanup helpers.
 *
 * must(cond)     asserts the impossible; stays in release builds, aborts with file and line.
 * AUTO(free_fn)  runs free_fn(&var) when the variable leaves its scope (return and break alike);
 *                initialise such a variable at its declaration.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define must_use __attribute__((warn_unused_result))
#define nonnull_all __attribute__((nonnull))
#define printf_like(fmt, first) __attribute__((format(printf, fmt, first)))
#define AUTO(fn) __attribute__((cleanup(fn)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define must(cond)                                       \
    do {                                                 \
        if (UNLIKELY(!(cond)))                           \
            base_must_failed(#cond, __FILE__, __LINE__); \
    } while (0)

/* Writes the failed condition to stderr and aborts. */
__attribute__((noreturn, cold)) void base_must_failed(const char *cond, const char *file, int line);

/* malloc/calloc/realloc that abort when the system is out of memory: everything sized by a client
 * is capped before it gets here, so a failure is the machine's, not a request's. */
void *base_alloc(size_t n) __attribute__((malloc, returns_nonnull));
void *base_zalloc(size_t n) __attribute__((malloc, returns_nonnull));
void *base_realloc(void *p, size_t n) __attribute__((returns_nonnull));
char *base_strdup(const char *s) __attribute__((malloc, returns_nonnull));

/* For AUTO(base_freep): frees *p (any pointer variable) and clears it. */
void base_freep(void *pp);
/* For AUTO(base_closep): closes *fd when >= 0 and sets it to -1. */
void base_closep(int *fd);
