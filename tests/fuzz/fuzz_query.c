/* A query's value lies in the query, decoding fits its buffer, and undoes encoding. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct str query = str_of(p, n), value;
    char out[256];
    if (str_query_get(query, STR("key"), &value) && value.n)
        must(value.p >= query.p && value.p + value.n <= query.p + query.n);
    ptrdiff_t len = str_url_decode(query, out, sizeof out);
    must(len >= -1 && len <= (ptrdiff_t)sizeof out && len <= (ptrdiff_t)n);
    struct buf encoded AUTO(buf_free) = BUF(3 * sizeof out), pair AUTO(buf_free) = BUF(1000);
    struct str text = str_sub(query, 0, sizeof out);
    buf_url(&encoded, text);
    must(str_url_decode(buf_view(&encoded), out, sizeof out) == (ptrdiff_t)text.n);
    must(str_eq(str_of(out, text.n), text));
    buf_puts(&pair, "a=1&key=");
    buf_str(&pair, buf_view(&encoded));
    must(str_query_get(buf_view(&pair), STR("key"), &value));
    must(str_eq(value, buf_view(&encoded)));
    return 0;
}
