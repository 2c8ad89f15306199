/* plain.h - how far the uneventful part of a text reaches, eight bytes a step; and the characters
 * of JSON strings.
 *
 * The parsers of this floor (peek, scan, sse) spend nearly all their time here. Pure.
 */
#pragma once

#include "util/base.h"
#include <string.h>

#define PLAIN_ONES UINT64_C(0x0101010101010101)
#define PLAIN_HIGH UINT64_C(0x8080808080808080)

/* The high bit of each byte of w that is zero; bytes above the first such one may be wrong, which
 * does not matter to who looks for the first. */
static inline uint64_t plain_zeros(uint64_t w) {
    return (w - PLAIN_ONES) & ~w & PLAIN_HIGH;
}

static inline uint64_t plain_load(const unsigned char *p) {
    uint64_t w;
    memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return w;
}

/* The first a or b of [p, end), or end. */
static inline const unsigned char *plain_until(const unsigned char *p, const unsigned char *end,
                                               unsigned char a, unsigned char b) {
    for (; end - p >= 8; p += 8) {
        uint64_t w = plain_load(p);
        uint64_t hit = plain_zeros(w ^ (PLAIN_ONES * a)) | plain_zeros(w ^ (PLAIN_ONES * b));
        if (hit)
            return p + (__builtin_ctzll(hit) >> 3);
    }
    while (p < end && *p != a && *p != b)
        p++;
    return p;
}

/* The first '"', '\\', control or non-ASCII byte of [p, end), or end. */
static inline const unsigned char *plain_ascii(const unsigned char *p, const unsigned char *end) {
    for (; end - p >= 8; p += 8) {
        uint64_t w = plain_load(p);
        uint64_t hit = plain_zeros(w ^ (PLAIN_ONES * '"')) | plain_zeros(w ^ (PLAIN_ONES * '\\')) |
                       (((w - PLAIN_ONES * 0x20) | w) & PLAIN_HIGH);
        if (hit)
            return p + (__builtin_ctzll(hit) >> 3);
    }
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* The end of the well-formed UTF-8 sequence that begins with the byte >= 0x80 at p, or NULL.
 * Table 3-7 of the Unicode standard. */
static inline const unsigned char *plain_utf8(const unsigned char *p, const unsigned char *end) {
    unsigned a = p[0], lo = 0x80, hi = 0xBF;
    ptrdiff_t n = a >= 0xF0 ? 4 : a >= 0xE0 ? 3 : 2;
    if (a < 0xC2 || a > 0xF4 || end - p < n)
        return NULL;
    if (a == 0xE0)
        lo = 0xA0;
    else if (a == 0xED)
        hi = 0x9F;
    else if (a == 0xF0)
        lo = 0x90;
    else if (a == 0xF4)
        hi = 0x8F;
    if (p[1] < lo || p[1] > hi || (n > 2 && (p[2] & 0xC0) != 0x80) ||
        (n > 3 && (p[3] & 0xC0) != 0x80))
        return NULL;
    return p + n;
}

/* Four hexadecimal digits, or -1. */
static inline int plain_hex4(const unsigned char *p) {
    int v = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i] | 0x20;
        int d = p[i] >= '0' && p[i] <= '9' ? p[i] - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (d < 0)
            return -1;
        v = v << 4 | d;
    }
    return v;
}

/* Encodes code (<= U+10FFFF) as UTF-8, surrogates too; returns the length. */
static inline size_t plain_put_utf8(uint32_t code, char out[static 4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3F));
        code >>= 6;
    }
    out[0] = (char)(lead[n] | code);
    return n;
}
