/* fuzz.h - what the fuzz targets share: a check that stays in every build, and pieces.
 *
 * A target's first input byte seeds how the rest is cut into pieces, so that the fuzzer chooses the
 * cuts too. */
#pragma once

#include "util/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct pieces {
    struct str rest;
    uint32_t seed;
};

/* The next piece, 0 to 16 bytes; false when nothing is left. */
static inline bool next_piece(struct pieces *s, struct str *piece) {
    if (s->rest.n == 0)
        return false;
    s->seed = s->seed * 1103515245 + 12345;
    size_t n = s->seed >> 16 & 15;
    *piece = str_sub(s->rest, 0, n);
    s->rest = str_from(s->rest, n);
    return true;
}
