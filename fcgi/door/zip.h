/* zip.h - zlib: compressed request bodies, and the CRC-32 in API keys. */
#pragma once

#include "util/err.h"

/* Inflates a gzip or zlib ("deflate", also raw) body into out, whose max is the cap of the plain
 * size. ERR_BODY_TOO_LARGE beyond it, ERR_BODY_CORRUPT for anything malformed or cut. */
must_use enum err zip_inflate(struct str packed, struct buf *out);
uint32_t zip_crc32(struct str data);
