/* str.h - a borrowed view of bytes (never owns, may hold NUL) and what one asks of it.
 *
 *   struct str line = STR("a,b"), item;
 *   while (str_cut(&line, ',', &item)) ...
 */
#pragma once

#include "util/base.h"
#include <stdarg.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(lit) ((struct str){"" lit, sizeof(lit) - 1})
/* The same as a static initialiser. */
#define STR_INIT(lit) \
    { "" lit, sizeof(lit) - 1 }
#define STR_NONE ((struct str){NULL, 0})
/* For printf("%.*s", STR_ARG(s)). */
#define STR_ARG(s) (int)(s).n, (s).p ? (s).p : ""

/* A view of a NUL-terminated string; NULL gives an empty view. */
struct str str_c(const char *s);
struct str str_of(const void *p, size_t n);

bool str_eq(struct str a, struct str b);
/* ASCII case-insensitive. */
bool str_ieq(struct str a, struct str b);
bool str_eqc(struct str a, const char *b);
bool str_starts(struct str s, struct str prefix);
bool str_istarts(struct str s, struct str prefix);
bool str_ends(struct str s, struct str suffix);
/* Lexicographic, like strcmp. */
int str_cmp(struct str a, struct str b);

/* Index of the first c / needle, or -1. */
ptrdiff_t str_find(struct str s, char c);
ptrdiff_t str_find_str(struct str s, struct str needle);

struct str str_sub(struct str s, size_t from, size_t n);
struct str str_from(struct str s, size_t from);
/* Without blanks (space, tab, CR, LF) at both ends. */
struct str str_trim(struct str s);
/* Takes the part before sep off *rest; false when *rest is used up (rest->p becomes NULL). */
bool str_cut(struct str *rest, char sep, struct str *part);

/* Strict decimal: optional '-', digits only, whole string, within range. False otherwise. */
must_use bool str_i64(struct str s, int64_t *out);
must_use bool str_u64(struct str s, uint64_t *out);
must_use bool str_hex(struct str s, uint8_t *out, size_t n);

/* True when s is well-formed UTF-8 (RFC 3629: no overlongs, no surrogates, <= U+10FFFF). */
bool str_utf8_ok(struct str s);
/* Code points of a well-formed UTF-8 string. */
size_t str_utf8_count(struct str s);

/* Copies into dst (cap bytes with the NUL); false and dst empty when it does not fit. */
must_use bool str_copy(struct str s, char *dst, size_t cap);
/* A malloc'ed NUL-terminated copy; free() it. */
char *str_dup(struct str s);

/* Percent-decodes (and '+' as blank) into dst; returns the length, or -1 when malformed/too long.
 */
ptrdiff_t str_url_decode(struct str s, char *dst, size_t cap);
/* The raw (still encoded) value of name in a query string; false when absent. */
bool str_query_get(struct str query, struct str name, struct str *value);

/* The length of what vsnprintf would write; ap can be used again. */
size_t str_vlen(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
