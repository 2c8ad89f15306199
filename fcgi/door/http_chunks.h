/* http_chunks.h - the chunked transfer coding (RFC 9112, 7.1), taken apart in whatever pieces it
 * comes. Nothing is copied: payload is handed out as views into the bytes that were given.
 *
 *   struct http_chunks c = {0};
 *   while ((got = http_chunks_next(&c, &in, &payload)) == HTTP_CHUNKS_PAYLOAD)
 *       use(payload);
 *
 * Any thread; a decoder belongs to one at a time.
 */
#pragma once

#include "util/str.h"

#define HTTP_CHUNK_LINE_MAX 16384    /* bytes of a size line with its extensions */
#define HTTP_CHUNK_TRAILER_MAX 65536 /* of all trailer lines */

struct http_chunks { /* all zero: before the first chunk */
    uint64_t left;   /* of the size being read, or of the chunk's payload */
    uint32_t line;   /* bytes of this size line, or of the trailer */
    uint8_t step;    /* enum in http_chunks.c */
    bool blank;      /* the trailer's line has had no byte */
};

enum http_chunks_got {
    HTTP_CHUNKS_PAYLOAD, /* a piece, not empty; more of *in may be left */
    HTTP_CHUNKS_MORE,    /* *in is used up */
    HTTP_CHUNKS_END,     /* the body is complete; what is left of *in lies behind it */
    HTTP_CHUNKS_BAD,     /* not the chunked coding, or beyond one of the limits */
};

/* Takes the next piece off *in. After END and BAD the answer stays the same. */
enum http_chunks_got http_chunks_next(struct http_chunks *c, struct str *in, struct str *payload);
