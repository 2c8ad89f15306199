/* However a stream is cut, the events are the same, and together they are the stream. */
#include "fuzz.h"

#include "relay/sse.h"

#define MAX_EVENT 64

static enum err write_down(void *ctx, const struct sse_event *ev) {
    struct buf *b = ctx;
    const struct str parts[] = {ev->event, ev->data, ev->raw};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        buf_i64(b, (int64_t)parts[i].n);
        buf_putc(b, ':');
        buf_str(b, parts[i]);
    }
    return OK;
}

static enum err gather(void *ctx, const struct sse_event *ev) {
    buf_str(ctx, ev->raw);
    return OK;
}

static enum err read_whole(struct str in, enum err (*on)(void *, const struct sse_event *),
                           struct buf *out) {
    struct sse s AUTO(sse_free);
    sse_init(&s, MAX_EVENT);
    enum err e = sse_feed(&s, in, on, out);
    return e ? e : sse_end(&s, on, out);
}

static enum err read_pieces(struct pieces cut, struct buf *out) {
    struct sse s AUTO(sse_free);
    struct str piece;
    sse_init(&s, MAX_EVENT);
    while (next_piece(&cut, &piece)) {
        enum err e = sse_feed(&s, piece, write_down, out);
        if (e)
            return e;
    }
    return sse_end(&s, write_down, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (n == 0)
        return 0;
    struct str in = str_of(p + 1, n - 1);
    struct buf a AUTO(buf_free) = BUF(64 << 20), b AUTO(buf_free) = BUF(64 << 20),
                 raw AUTO(buf_free) = BUF(64 << 20);
    enum err ea = read_whole(in, write_down, &a);
    enum err eb = read_pieces((struct pieces){in, p[0]}, &b);
    must(ea == eb && str_eq(buf_view(&a), buf_view(&b)));
    must(read_whole(in, gather, &raw) == ea);
    /* line ends may be added, a last half event may be left out */
    size_t common = raw.n < in.n ? raw.n : in.n;
    must(str_eq(str_sub(buf_view(&raw), 0, common), str_sub(in, 0, common)));
    must(raw.n <= in.n + 2);
    return 0;
}
