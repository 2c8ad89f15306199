/* zip.h - zlib: compressed bodies of requests and answers, and the CRC-32 in API keys. */
#pragma once

#include "util/err.h"

/* Inflates a gzip or zlib ("deflate", also raw) body into out, whose max is the cap of the plain
 * size. ERR_BODY_TOO_LARGE beyond it, ERR_BODY_CORRUPT for anything malformed or cut. */
must_use enum err zip_inflate(struct str packed, struct buf *out);

/* The same piece by piece. Belongs to one thread at a time. */
struct zip_stream;
struct zip_stream *zip_stream_new(void);
/* NULL is fine. */
void zip_stream_free(struct zip_stream **s);
/* Appends to out what packed brings. False for anything malformed, bytes behind the end, or more
 * than out's max. */
must_use bool zip_stream_feed(struct zip_stream *s, struct str packed, struct buf *out);
bool zip_stream_ended(const struct zip_stream *s);

uint32_t zip_crc32(struct str data);
