#include "util/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *b, size_t max) {
    *b = BUF(max);
}

void buf_free(struct buf *b) {
    free(b->p);
    *b = BUF(b->max);
}

void buf_adopt(struct buf *b, void *block, size_t cap) {
    must(!b->n && cap);
    free(b->p);
    b->p = block;
    b->p[0] = '\0';
    b->cap = cap;
}

void buf_clear(struct buf *b) {
    b->n = 0;
    b->failed = false;
    if (b->p)
        b->p[0] = '\0';
}

void buf_drop(struct buf *b, size_t n) {
    must(n <= b->n);
    if (n == 0)
        return;
    memmove(b->p, b->p + n, b->n - n);
    b->n -= n;
    b->p[b->n] = '\0';
}

char *buf_room(struct buf *b, size_t n) {
    if (b->failed || n > b->max || b->n > b->max - n) {
        b->failed = true;
        return NULL;
    }
    size_t need = b->n + n + 1;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 128;
        if (cap > b->max + 1)
            cap = b->max + 1;
        if (cap < need)
            cap = need;
        b->p = base_realloc(b->p, cap);
        b->cap = cap;
    }
    b->p[b->n] = '\0';
    return b->p + b->n;
}

void buf_put(struct buf *b, const void *p, size_t n) {
    char *to = buf_room(b, n);
    if (!to)
        return;
    if (n)
        memcpy(to, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void buf_str(struct buf *b, struct str s) {
    buf_put(b, s.p, s.n);
}

void buf_puts(struct buf *b, const char *s) {
    buf_put(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c) {
    buf_put(b, &c, 1);
}

void buf_i64(struct buf *b, int64_t v) {
    char tmp[24];
    size_t i = sizeof tmp;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do {
        tmp[--i] = (char)('0' + u % 10);
        u /= 10;
    } while (u);
    if (v < 0)
        tmp[--i] = '-';
    buf_put(b, tmp + i, sizeof tmp - i);
}

void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    size_t n = str_vlen(fmt, ap);
    char *to = buf_room(b, n);
    if (to) {
        vsnprintf(to, n + 1, fmt, ap);
        b->n += n;
    }
    va_end(ap);
}

/* Puts the bytes that need no escape in one go; returns how many it took. */
static size_t plain_run(struct str s) {
    size_t i = 0;
    while (i < s.n) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == '"' || c == '\\' || c >= 0x80)
            break;
        i++;
    }
    return i;
}

static void put_escaped(struct buf *b, unsigned char c) {
    static const char names[] = "btnvfr";
    if (c == '"' || c == '\\') {
        char two[2] = {'\\', (char)c};
        buf_put(b, two, 2);
    } else if (c >= 8 && c <= 13 && c != 11) {
        char two[2] = {'\\', names[c - 8]};
        buf_put(b, two, 2);
    } else {
        buf_printf(b, "\\u%04x", c);
    }
}

void buf_json(struct buf *b, struct str s) {
    buf_putc(b, '"');
    while (s.n && !b->failed) {
        size_t run = plain_run(s);
        buf_put(b, s.p, run);
        s = str_from(s, run);
        if (!s.n)
            break;
        if ((unsigned char)s.p[0] < 0x80) {
            put_escaped(b, (unsigned char)s.p[0]);
            s = str_from(s, 1);
            continue;
        }
        size_t len = s.n < 4 ? s.n : 4;
        while (len > 1 &&
               !(str_utf8_ok(str_sub(s, 0, len)) && str_utf8_count(str_sub(s, 0, len)) == 1))
            len--;
        if (len == 1)
            buf_puts(b, "\xEF\xBF\xBD");
        else
            buf_put(b, s.p, len);
        s = str_from(s, len);
    }
    buf_putc(b, '"');
}

void buf_hex(struct buf *b, const void *p, size_t n) {
    static const char digits[] = "0123456789abcdef";
    const uint8_t *q = p;
    for (size_t i = 0; i < n; i++) {
        char two[2] = {digits[q[i] >> 4], digits[q[i] & 15]};
        buf_put(b, two, 2);
    }
}

void buf_url(struct buf *b, struct str s) {
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool keep = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                    c == '-' || c == '.' || c == '_' || c == '~';
        if (keep)
            buf_putc(b, c);
        else
            buf_printf(b, "%%%02X", (unsigned)(unsigned char)c);
    }
}

struct str buf_view(const struct buf *b) {
    return (struct str){b->p ? b->p : "", b->n};
}

char *buf_take(struct buf *b) {
    if (!b->p)
        buf_put(b, "", 0);
    char *p = b->p;
    *b = BUF(b->max);
    return p;
}
