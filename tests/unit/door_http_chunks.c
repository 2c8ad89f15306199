/* If this failed, clients would get chunk sizes in their text, or less than the provider sent. */
#include "unit.h"

#include "door/http_chunks.h"
#include "util/buf.h"

/* Feeds in in pieces of so many bytes; what was payload ends up in *out, what was not used in
 * *rest. */
static enum http_chunks_got decode(struct str in, size_t piece, struct buf *out, size_t *rest) {
    struct http_chunks c = {0};
    enum http_chunks_got got = HTTP_CHUNKS_MORE;
    buf_clear(out);
    while (in.n && got == HTTP_CHUNKS_MORE) {
        struct str part = str_sub(in, 0, piece), payload;
        in = str_from(in, part.n);
        while ((got = http_chunks_next(&c, &part, &payload)) == HTTP_CHUNKS_PAYLOAD) {
            assert_true(payload.n > 0);
            buf_str(out, payload);
        }
        *rest = in.n + part.n;
    }
    return got;
}

static void payload_is_the_same_however_it_is_cut(void **state) {
    (void)state;
    struct str in =
        STR("5\r\nhello\r\n00B;name=\"v\"\r\n wonderful \r\n1 \r\n!\r\nA\r\n0123456789\r\n"
            "0\r\nDigest: x\r\nMore: y\r\n\r\nHTTP/1.1");
    struct buf out AUTO(buf_free) = BUF(1000);
    for (size_t piece = 1; piece <= in.n; piece++) {
        size_t rest = 0;
        assert_int_equal(decode(in, piece, &out, &rest), HTTP_CHUNKS_END);
        assert_str(buf_view(&out), "hello wonderful !0123456789");
        assert_int_equal(rest, sizeof "HTTP/1.1" - 1);
    }
}

static void what_is_not_chunked_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "5\nhello",
        "5\r\rhello",
        "5;a\nhello",
        "5x\r\n",
        "2\r\nabc\r\n",
        "2\r\nab\n",
        "2\r\nab\r\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "data: {}\n",
    };
    struct buf out AUTO(buf_free) = BUF(1000);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        size_t rest;
        assert_int_equal(decode(str_c(bad[i]), 100, &out, &rest), HTTP_CHUNKS_BAD);
        assert_int_equal(decode(str_c(bad[i]), 1, &out, &rest), HTTP_CHUNKS_BAD);
    }
}

static void what_breaks_off_is_not_the_end(void **state) {
    (void)state;
    struct str in = STR("5\r\nhello\r\n0\r\n\r\n");
    struct buf out AUTO(buf_free) = BUF(1000);
    for (size_t n = 1; n < in.n; n++) {
        size_t rest;
        assert_int_equal(decode(str_sub(in, 0, n), 100, &out, &rest), HTTP_CHUNKS_MORE);
    }
}

static void after_the_end_and_after_nonsense_nothing_more_is_taken(void **state) {
    (void)state;
    struct http_chunks c = {0};
    struct str in = STR("0\r\n\r\n5\r\nhello\r\n"), payload;
    assert_int_equal(http_chunks_next(&c, &in, &payload), HTTP_CHUNKS_END);
    assert_int_equal(http_chunks_next(&c, &in, &payload), HTTP_CHUNKS_END);
    assert_str(in, "5\r\nhello\r\n");
    c = (struct http_chunks){0};
    in = STR("?5\r\nhello\r\n");
    assert_int_equal(http_chunks_next(&c, &in, &payload), HTTP_CHUNKS_BAD);
    assert_int_equal(http_chunks_next(&c, &in, &payload), HTTP_CHUNKS_BAD);
}

/* A line of n bytes, its CRLF included, and then the end; trailers likewise. */
static enum http_chunks_got of_line(size_t n, const char *before, const char *after) {
    struct buf in AUTO(buf_free) = BUF(1 << 20), out AUTO(buf_free) = BUF(1000);
    size_t rest;
    buf_puts(&in, before);
    for (size_t i = 3; i < n; i++)
        buf_putc(&in, 'x');
    buf_puts(&in, "x\r\n");
    buf_puts(&in, after);
    return decode(buf_view(&in), 1000, &out, &rest);
}

static void lines_have_a_limit(void **state) {
    (void)state;
    const size_t line = HTTP_CHUNK_LINE_MAX, trailer = HTTP_CHUNK_TRAILER_MAX;
    /* "1;" and its extension up to the CR, then the LF */
    assert_int_equal(of_line(line + 1 - 2, "1;", "a\r\n0\r\n\r\n"), HTTP_CHUNKS_END);
    assert_int_equal(of_line(line + 2 - 2, "1;", "a\r\n0\r\n\r\n"), HTTP_CHUNKS_BAD);
    assert_int_equal(of_line(trailer - 2, "0\r\n", "\r\n"), HTTP_CHUNKS_END);
    assert_int_equal(of_line(trailer + 1, "0\r\n", "\r\n"), HTTP_CHUNKS_BAD);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payload_is_the_same_however_it_is_cut),
        cmocka_unit_test(what_is_not_chunked_is_refused),
        cmocka_unit_test(what_breaks_off_is_not_the_end),
        cmocka_unit_test(after_the_end_and_after_nonsense_nothing_more_is_taken),
        cmocka_unit_test(lines_have_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
