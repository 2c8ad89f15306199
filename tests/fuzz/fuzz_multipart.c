/* The first line is the Content-Type, the rest the body: a replaced model is what is read next, all
 * else stays. */
#include "fuzz.h"

#include "relay/peek.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct str body = str_of(p, n), type;
    struct peek k, after;
    struct fault f = {0};
    if (n == 0 || !str_cut(&body, '\n', &type) || !body.p)
        return 0;
    enum err e = peek_multipart(body, type, &k, &f);
    must(e == OK || f.err == e);
    if (e)
        return 0;
    must(k.model_at.at <= body.n && k.model_at.n <= body.n - k.model_at.at);
    must(k.prompt_tokens >= 0);
    struct edits edits = {.model = STR("qqq-1")};
    struct buf out AUTO(buf_free) = BUF(1 << 20);
    must(splice(body, &k, &edits, true, &out) == OK);
    must(peek_multipart(buf_view(&out), type, &after, NULL) == OK);
    must(str_eq(after.model, k.model_at.n ? edits.model : k.model));
    must(after.stream == k.stream && after.n == k.n && after.prompt_tokens == k.prompt_tokens);
    return 0;
}
