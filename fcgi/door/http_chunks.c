#include "door/http_chunks.h"

enum step {
    STEP_SIZE,      /* the first digit */
    STEP_DIGITS,    /* more of them */
    STEP_EXTENSION, /* behind the size, passed over */
    STEP_SIZE_LF,
    STEP_PAYLOAD,
    STEP_CR,
    STEP_LF,
    STEP_TRAILER,
    STEP_END,
    STEP_BAD,
};

#define SIZE_LIMIT (UINT64_MAX >> 8) /* one more digit still fits */

static int digit_of(unsigned char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum step after_size(unsigned char c) {
    if (c == '\r')
        return STEP_SIZE_LF;
    return c == ';' || c == ' ' || c == '\t' ? STEP_EXTENSION : STEP_BAD;
}

static enum step read_digit(struct http_chunks *c, unsigned char byte) {
    int digit = digit_of(byte);
    if (digit < 0)
        return c->step == STEP_SIZE ? STEP_BAD : after_size(byte);
    if (c->left > SIZE_LIMIT)
        return STEP_BAD;
    c->left = c->left * 16 + (unsigned)digit;
    return STEP_DIGITS;
}

static enum step begin_chunk(struct http_chunks *c) {
    c->line = 0;
    c->blank = true;
    return c->left ? STEP_PAYLOAD : STEP_TRAILER;
}

/* The trailer's fields mean nothing to us; an empty line ends it. */
static enum step read_trailer(struct http_chunks *c, unsigned char byte) {
    if (byte == '\n') {
        if (c->blank)
            return STEP_END;
        c->blank = true;
    } else if (byte != '\r') {
        c->blank = false;
    }
    return c->line > HTTP_CHUNK_TRAILER_MAX ? STEP_BAD : STEP_TRAILER;
}

static enum step read_byte(struct http_chunks *c, unsigned char byte) {
    c->line++;
    switch ((enum step)c->step) {
    case STEP_SIZE:
    case STEP_DIGITS:
        return c->line > HTTP_CHUNK_LINE_MAX ? STEP_BAD : read_digit(c, byte);
    case STEP_EXTENSION:
        if (c->line > HTTP_CHUNK_LINE_MAX || byte == '\n')
            return STEP_BAD;
        return byte == '\r' ? STEP_SIZE_LF : STEP_EXTENSION;
    case STEP_SIZE_LF:
        return byte == '\n' ? begin_chunk(c) : STEP_BAD;
    case STEP_CR:
        return byte == '\r' ? STEP_LF : STEP_BAD;
    case STEP_LF:
        c->line = 0;
        return byte == '\n' ? STEP_SIZE : STEP_BAD;
    case STEP_TRAILER:
        return read_trailer(c, byte);
    case STEP_PAYLOAD:
    case STEP_END:
    case STEP_BAD:
        break;
    }
    return (enum step)c->step;
}

enum http_chunks_got http_chunks_next(struct http_chunks *c, struct str *in, struct str *payload) {
    while (in->n && c->step != STEP_END && c->step != STEP_BAD) {
        if (c->step == STEP_PAYLOAD) {
            size_t n = in->n < c->left ? in->n : (size_t)c->left;
            *payload = str_sub(*in, 0, n);
            *in = str_from(*in, n);
            c->left -= n;
            c->step = c->left ? STEP_PAYLOAD : STEP_CR;
            return HTTP_CHUNKS_PAYLOAD;
        }
        unsigned char byte = (unsigned char)in->p[0];
        *in = str_from(*in, 1);
        c->step = (uint8_t)read_byte(c, byte);
    }
    if (c->step == STEP_BAD)
        return HTTP_CHUNKS_BAD;
    return c->step == STEP_END ? HTTP_CHUNKS_END : HTTP_CHUNKS_MORE;
}
