#include "door/http_parts.h"

#define AHEAD_MAX (8u << 20) /* a read brings far less */
#define ZIPPED_STEP \
    4096 /* bytes that are inflated at once; they become 1,032 times as many at most */

static bool has_body(const struct http_call *c) {
    return c->head.status != 204 && c->head.status != 304;
}

bool http_body_begin(struct http_call *c) {
    struct http_body *b = &c->in;
    *b = (struct http_body){.ahead = BUF(AHEAD_MAX)};
    if (c->unreadable)
        return false;
    if (!has_body(c)) {
        b->framing = HTTP_BODY_NONE;
    } else if (c->chunked) {
        b->framing = HTTP_BODY_CHUNKED;
    } else if (c->head.content_length >= 0) {
        b->framing = HTTP_BODY_LENGTH;
        b->left = (uint64_t)c->head.content_length;
    } else {
        b->framing = HTTP_BODY_UNTIL_CLOSE;
    }
    if (c->zipped && b->framing != HTTP_BODY_NONE)
        b->zip = zip_stream_new();
    return true;
}

void http_body_free(struct http_body *b) {
    zip_stream_free(&b->zip);
    buf_free(&b->ahead);
    *b = (struct http_body){0};
}

static enum http_chunks_got next_of_length(struct http_body *b, struct str *raw,
                                           struct str *payload) {
    if (!b->left)
        return HTTP_CHUNKS_END;
    if (!raw->n)
        return HTTP_CHUNKS_MORE;
    size_t n = raw->n < b->left ? raw->n : (size_t)b->left;
    *payload = str_sub(*raw, 0, n);
    *raw = str_from(*raw, n);
    b->left -= n;
    return HTTP_CHUNKS_PAYLOAD;
}

static enum http_chunks_got next(struct http_body *b, struct str *raw, struct str *payload) {
    switch (b->framing) {
    case HTTP_BODY_CHUNKED:
        return http_chunks_next(&b->chunks, raw, payload);
    case HTTP_BODY_LENGTH:
        return next_of_length(b, raw, payload);
    case HTTP_BODY_UNTIL_CLOSE:
        *payload = *raw;
        *raw = str_from(*raw, raw->n);
        return payload->n ? HTTP_CHUNKS_PAYLOAD : HTTP_CHUNKS_MORE;
    case HTTP_BODY_NONE:
        break;
    }
    return HTTP_CHUNKS_END;
}

/* What on_data did not take waits as it is, with what follows it. */
static enum http_fed hold(struct http_body *b, struct str payload, struct str rest) {
    b->held = true;
    b->payload = payload.n;
    buf_str(&b->ahead, payload);
    buf_str(&b->ahead, rest);
    return b->ahead.failed ? HTTP_FED_BAD : HTTP_FED_HELD;
}

static enum http_fed deliver(struct http_call *c, struct str payload, struct str rest) {
    switch (c->events->on_data(c->ctx, payload)) {
    case HTTP_TAKEN:
        return HTTP_FED;
    case HTTP_PAUSE:
        return hold(&c->in, payload, rest);
    case HTTP_STOP:
        break;
    }
    c->refused = true;
    return HTTP_FED_STOP;
}

static enum http_fed unzip(struct http_call *c, struct str packed, struct str rest) {
    struct buf plain AUTO(buf_free) = BUF(AHEAD_MAX);
    if (!zip_stream_feed(c->in.zip, packed, &plain))
        return HTTP_FED_BAD;
    return plain.n ? deliver(c, buf_view(&plain), rest) : HTTP_FED;
}

enum http_fed http_body_feed(struct http_call *c, struct str raw) {
    struct http_body *b = &c->in;
    struct str payload;
    if (b->held) {
        buf_str(&b->ahead, raw);
        return b->ahead.failed ? HTTP_FED_BAD : HTTP_FED_HELD;
    }
    for (;;) {
        enum http_fed fed = HTTP_FED;
        struct str part = b->zip ? str_sub(raw, 0, ZIPPED_STEP) : raw;
        size_t n = part.n;
        enum http_chunks_got got = next(b, &part, &payload);
        raw = str_from(raw, n - part.n);
        switch (got) {
        case HTTP_CHUNKS_PAYLOAD:
            fed = b->zip ? unzip(c, payload, raw) : deliver(c, payload, raw);
            if (fed != HTTP_FED)
                return fed;
            break;
        case HTTP_CHUNKS_MORE:
            if (!raw.n)
                return HTTP_FED;
            break;
        case HTTP_CHUNKS_END:
            c->closes |= raw.n > 0; /* it says more than it was asked */
            return b->zip && !zip_stream_ended(b->zip) ? HTTP_FED_BAD : HTTP_FED_END;
        case HTTP_CHUNKS_BAD:
            return HTTP_FED_BAD;
        }
    }
}

/* The bytes are copied once more when the client is slower again: only of a slow one. */
enum http_fed http_body_resume(struct http_call *c) {
    struct http_body *b = &c->in;
    struct buf ahead AUTO(buf_free) = b->ahead;
    struct str after = str_from(buf_view(&ahead), b->payload);
    b->ahead = BUF(AHEAD_MAX);
    b->held = false;
    enum http_fed fed = deliver(c, str_sub(buf_view(&ahead), 0, b->payload), after);
    if (fed == HTTP_FED)
        fed = http_body_feed(c, after);
    return fed;
}
