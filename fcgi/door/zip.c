#include "door/zip.h"

#define ZLIB_CONST
#include <zlib.h>

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

uint32_t zip_crc32(struct str data) {
    return (uint32_t)crc32_z(0, (const unsigned char *)data.p, data.n);
}
