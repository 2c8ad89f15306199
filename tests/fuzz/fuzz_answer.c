/* However an answer over plain HTTP is cut, its status, its body and whether it is complete are the
 * same. */
#include "fuzz.h"

#include "door/http_parts.h"

struct seen {
    int status;
    struct buf body;
};

static bool on_head(void *ctx, const struct http_head *head) {
    ((struct seen *)ctx)->status = head->status;
    must(head->status >= 200);
    return true;
}

static enum http_flow on_data(void *ctx, struct str p) {
    must(p.n > 0);
    buf_str(&((struct seen *)ctx)->body, p);
    return HTTP_TAKEN;
}

static const struct http_events events = {.on_head = on_head, .on_data = on_data};

static bool failed(enum http_fed fed) {
    return fed == HTTP_FED_STOP || fed == HTTP_FED_BAD;
}

/* cut: NULL to read it in one go. */
static enum http_fed read_all(struct str whole, struct pieces *cut, struct seen *seen) {
    struct http_call c = {.events = &events, .ctx = seen, .head_max = 1024, .want_fields = true};
    enum http_fed fed = HTTP_FED;
    struct str piece;
    buf_init(&c.line, c.head_max);
    buf_init(&c.fields, c.head_max);
    if (!cut)
        fed = http_plain_feed(&c, whole);
    while (cut && fed == HTTP_FED && next_piece(cut, &piece))
        fed = http_plain_feed(&c, piece);
    http_body_free(&c.in);
    buf_free(&c.line);
    buf_free(&c.fields);
    return fed;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (n == 0)
        return 0;
    struct str whole = str_of(p + 1, n - 1);
    struct pieces many = {whole, p[0]};
    struct seen a = {.body = BUF(64 << 20)}, b = {.body = BUF(64 << 20)};
    enum http_fed fa = read_all(whole, NULL, &a), fb = read_all(whole, &many, &b);
    must(failed(fa) == failed(fb));
    if (!failed(fa))
        must(fa == fb && a.status == b.status && str_eq(buf_view(&a.body), buf_view(&b.body)));
    buf_free(&a.body);
    buf_free(&b.body);
    return 0;
}
