#include "unit.h"

#include "door/zip.h"

#include <zlib.h>

static size_t pack(const char *text, size_t n, int window_bits, unsigned char *out, size_t cap) {
    z_stream z = {0};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    unsigned char copy[4096];
    memcpy(copy, text, n);
    z.next_in = copy;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return cap - z.avail_out;
}

static void every_wrapping_is_inflated(void **state) {
    (void)state;
    static const int bits[] = {31, 15, -15};
    for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
        unsigned char packed[256];
        size_t n = pack("hello hello hello", 17, bits[i], packed, sizeof packed);
        struct buf out AUTO(buf_free) = BUF(17);
        assert_int_equal(zip_inflate(str_of(packed, n), &out), OK);
        assert_str(buf_view(&out), "hello hello hello");
    }
}

static void a_bomb_stops_at_the_cap(void **state) {
    (void)state;
    static char zeros[4000];
    unsigned char packed[256];
    size_t n = pack(zeros, sizeof zeros, 31, packed, sizeof packed);
    struct buf out AUTO(buf_free) = BUF(sizeof zeros - 1);
    assert_int_equal(zip_inflate(str_of(packed, n), &out), ERR_BODY_TOO_LARGE);
}

static void cut_or_changed_bodies_are_refused(void **state) {
    (void)state;
    unsigned char packed[256];
    size_t n = pack("hello hello hello", 17, 31, packed, sizeof packed);
    struct buf out AUTO(buf_free) = BUF(1000);
    assert_int_equal(zip_inflate(str_of(packed, n - 3), &out), ERR_BODY_CORRUPT);
    buf_clear(&out);
    packed[n - 6] ^= 1;
    assert_int_equal(zip_inflate(str_of(packed, n), &out), ERR_BODY_CORRUPT);
    buf_clear(&out);
    assert_int_equal(zip_inflate(STR(""), &out), ERR_BODY_CORRUPT);
}

static bool feed(struct zip_stream *z, struct str packed, size_t piece, struct buf *out) {
    for (size_t at = 0; at < packed.n; at += piece)
        if (!zip_stream_feed(z, str_sub(packed, at, piece), out))
            return false;
    return true;
}

static void a_stream_is_inflated_in_whatever_pieces_it_comes(void **state) {
    (void)state;
    static const int bits[] = {31, 15, -15};
    for (size_t i = 0; i < ARRAY_LEN(bits); i++)
        for (size_t piece = 1; piece < 40; piece++) {
            unsigned char packed[256];
            size_t n = pack("hello hello hello", 17, bits[i], packed, sizeof packed);
            struct buf out AUTO(buf_free) = BUF(17);
            struct zip_stream *z AUTO(zip_stream_free) = zip_stream_new();
            assert_true(feed(z, str_of(packed, n - 1), piece, &out));
            assert_true(bits[i] < 0 || !zip_stream_ended(z));
            assert_true(feed(z, str_of(packed + n - 1, 1), piece, &out));
            assert_true(zip_stream_ended(z));
            assert_str(buf_view(&out), "hello hello hello");
            assert_false(zip_stream_feed(z, STR("x"), &out));
        }
}

static void a_stream_that_is_no_such_thing_or_too_large_is_refused(void **state) {
    (void)state;
    static char zeros[4000];
    unsigned char packed[256];
    size_t n = pack(zeros, sizeof zeros, 31, packed, sizeof packed);
    for (size_t max = sizeof zeros - 1; max <= sizeof zeros; max++) {
        struct buf out AUTO(buf_free) = BUF(max);
        struct zip_stream *z AUTO(zip_stream_free) = zip_stream_new();
        assert_int_equal(zip_stream_feed(z, str_of(packed, n), &out), max == sizeof zeros);
    }
    struct buf out AUTO(buf_free) = BUF(1000);
    struct zip_stream *z AUTO(zip_stream_free) = zip_stream_new();
    assert_false(zip_stream_feed(z, STR("no such thing"), &out));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wrapping_is_inflated),
        cmocka_unit_test(a_bomb_stops_at_the_cap),
        cmocka_unit_test(cut_or_changed_bodies_are_refused),
        cmocka_unit_test(a_stream_is_inflated_in_whatever_pieces_it_comes),
        cmocka_unit_test(a_stream_that_is_no_such_thing_or_too_large_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
