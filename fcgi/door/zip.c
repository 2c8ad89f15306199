#include "door/zip.h"

#define ZLIB_CONST
#include <stdlib.h>
#include <zlib.h>

#define STREAM_STEP 16384 /* bytes of room for each piece */

static void end(z_stream *z) {
    inflateEnd(z);
}

static enum err inflate_as(struct str packed, int window_bits, struct buf *out) {
    z_stream z AUTO(end) = {0};
    if (inflateInit2(&z, window_bits) != Z_OK)
        return ERR_INTERNAL;
    must(packed.n <= UINT32_MAX);
    z.next_in = (const unsigned char *)packed.p;
    z.avail_in = (uInt)packed.n;
    for (;;) {
        size_t left = out->max - out->n, step = left < 65536 ? left : 65536;
        unsigned char over; /* one byte past the cap tells "exactly full" from "too large" */
        char *room = step ? buf_room(out, step) : (char *)&over;
        must(room != NULL);
        z.next_out = (unsigned char *)room;
        z.avail_out = step ? (uInt)step : 1;
        int rc = inflate(&z, Z_NO_FLUSH);
        size_t got = (step ? step : 1) - z.avail_out;
        if (!step && got)
            return ERR_BODY_TOO_LARGE;
        out->n += got;
        if (rc == Z_STREAM_END)
            return z.avail_in ? ERR_BODY_CORRUPT : OK;
        if (rc != Z_OK || (z.avail_in == 0 && z.avail_out > 0))
            return ERR_BODY_CORRUPT;
    }
}

enum err zip_inflate(struct str packed, struct buf *out) {
    enum err e = inflate_as(packed, 15 + 32, out); /* gzip or zlib by its header */
    if (e != ERR_BODY_CORRUPT || out->n)
        return e;
    return inflate_as(packed, -15, out); /* some clients send raw deflate */
}

struct zip_stream {
    z_stream z;
    unsigned char first[2]; /* which tell the format */
    size_t n_first;
    bool ended;
};

struct zip_stream *zip_stream_new(void) {
    struct zip_stream *s = base_zalloc(sizeof *s);
    must(inflateInit2(&s->z, 15 + 32) == Z_OK); /* gzip or zlib by its header */
    return s;
}

void zip_stream_free(struct zip_stream **s) {
    if (!*s)
        return;
    inflateEnd(&(*s)->z);
    base_freep(s);
}

/* RFC 1950, 2.2, and RFC 1952, 2.3.1. Some send deflate as it is (RFC 1951). */
static bool is_raw(const unsigned char first[2]) {
    bool zlib = (first[0] & 15) == 8 && (first[0] << 8 | first[1]) % 31 == 0;
    return !zlib && !(first[0] == 0x1f && first[1] == 0x8b);
}

static bool inflate_all(struct zip_stream *s, const unsigned char *p, size_t n, struct buf *out) {
    s->z.next_in = p;
    s->z.avail_in = (uInt)n;
    while (!s->ended) {
        size_t left = out->max - out->n, step = left < STREAM_STEP ? left : STREAM_STEP;
        unsigned char over; /* as above */
        char *room = step ? buf_room(out, step) : (char *)&over;
        must(room != NULL);
        s->z.next_out = (unsigned char *)room;
        s->z.avail_out = step ? (uInt)step : 1;
        int rc = inflate(&s->z, Z_NO_FLUSH);
        size_t got = (step ? step : 1) - s->z.avail_out;
        s->ended = rc == Z_STREAM_END;
        if ((rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR) || (!step && got))
            return false;
        out->n += got;
        if (!s->z.avail_in && s->z.avail_out)
            return true;
    }
    return s->z.avail_in == 0;
}

bool zip_stream_feed(struct zip_stream *s, struct str packed, struct buf *out) {
    const unsigned char *p = (const unsigned char *)packed.p;
    size_t n = packed.n;
    must(n <= UINT32_MAX);
    if (s->n_first < 2) {
        while (n && s->n_first < 2) {
            s->first[s->n_first++] = *p++;
            n--;
        }
        if (s->n_first < 2)
            return true;
        if (is_raw(s->first))
            must(inflateReset2(&s->z, -15) == Z_OK);
        if (!inflate_all(s, s->first, 2, out))
            return false;
    }
    return !n || inflate_all(s, p, n, out);
}

bool zip_stream_ended(const struct zip_stream *s) {
    return s->ended;
}

uint32_t zip_crc32(struct str data) {
    return (uint32_t)crc32_z(0, (const unsigned char *)data.p, data.n);
}
