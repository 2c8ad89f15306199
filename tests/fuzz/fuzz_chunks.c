/* However a chunked body is cut, its payload, its end and what lies behind are the same. */
#include "fuzz.h"

#include "door/http_chunks.h"

static enum http_chunks_got read_on(struct http_chunks *c, struct str *in, struct buf *out) {
    enum http_chunks_got got;
    struct str payload;
    while ((got = http_chunks_next(c, in, &payload)) == HTTP_CHUNKS_PAYLOAD) {
        must(payload.n > 0);
        buf_str(out, payload);
    }
    return got;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (n == 0)
        return 0;
    struct str whole = str_of(p + 1, n - 1), piece;
    struct pieces cut = {whole, p[0]};
    struct buf a AUTO(buf_free) = BUF(1 << 20), b AUTO(buf_free) = BUF(1 << 20);
    struct http_chunks one = {0}, many = {0};
    enum http_chunks_got ga = read_on(&one, &whole, &a), gb = HTTP_CHUNKS_MORE;
    size_t left = cut.rest.n;
    while (gb == HTTP_CHUNKS_MORE && next_piece(&cut, &piece)) {
        gb = read_on(&many, &piece, &b);
        left = cut.rest.n + piece.n;
    }
    must(ga == gb && str_eq(buf_view(&a), buf_view(&b)));
    must(left == whole.n && a.n <= n);
    must(ga != HTTP_CHUNKS_MORE || whole.n == 0);
    return 0;
}
