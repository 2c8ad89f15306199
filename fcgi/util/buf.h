/* buf.h - a growing byte buffer, born with a maximum.
 *
 * Every put is a no-op once one has failed (maximum reached): put many, ask b->failed once.
 * The bytes are always NUL-terminated, so b->p is a C string when it holds none itself.
 *
 *   struct buf b AUTO(buf_free) = BUF(64 * 1024);
 *   buf_puts(&b, "{\"name\":"); buf_json(&b, name); buf_putc(&b, '}');
 */
#pragma once

#include "util/str.h"

struct buf {
    char *p;
    size_t n, cap, max;
    bool failed;
};

#define BUF(limit) ((struct buf){.max = (limit)})

void buf_init(struct buf *b, size_t max);
/* Frees the bytes; the buffer may be used again with the same maximum. */
void buf_free(struct buf *b);
/* Empties, keeps the memory, forgets a failure. */
void buf_clear(struct buf *b);
/* Removes the first n bytes. */
void buf_drop(struct buf *b, size_t n);

/* Room for n more bytes at the end (then add to b->n), or NULL (failed). */
char *buf_room(struct buf *b, size_t n);
void buf_put(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_puts(struct buf *b, const char *s);
void buf_putc(struct buf *b, char c);
void buf_i64(struct buf *b, int64_t v);
void buf_printf(struct buf *b, const char *fmt, ...) printf_like(2, 3);
/* s as a JSON string with its quotes; ill-formed UTF-8 becomes U+FFFD. */
void buf_json(struct buf *b, struct str s);
/* Bytes as lower-case hex. */
void buf_hex(struct buf *b, const void *p, size_t n);
/* s percent-encoded (RFC 3986 unreserved kept). */
void buf_url(struct buf *b, struct str s);

/* b, which is empty, uses this block of malloc's, cap bytes long. */
void buf_adopt(struct buf *b, void *block, size_t cap);

struct str buf_view(const struct buf *b);
/* Hands the malloc'ed, NUL-terminated bytes to the caller and leaves b empty. */
char *buf_take(struct buf *b);
