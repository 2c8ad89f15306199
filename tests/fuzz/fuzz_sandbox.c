/* Whatever a client asks the sandbox, it answers, the same twice, and with JSON where it says so.
 */
#include "fuzz.h"

#include "relay/peek.h"
#include "relay/sandbox.h"

static const struct {
    enum dialect d;
    const char *path;
} routes[] = {
    {DIALECT_OPENAI, "/v1/chat/completions"},
    {DIALECT_OPENAI, "/v1/completions"},
    {DIALECT_OPENAI, "/v1/responses"},
    {DIALECT_OPENAI, "/v1/embeddings"},
    {DIALECT_OPENAI, "/v1/moderations"},
    {DIALECT_OPENAI, "/v1/rerank"},
    {DIALECT_OPENAI, "/v1/images/edits"},
    {DIALECT_OPENAI, "/v1/audio/transcriptions"},
    {DIALECT_ANTHROPIC, "/v1/messages"},
    {DIALECT_ANTHROPIC, "/v1/messages/count_tokens"},
    {DIALECT_GEMINI, "/v1beta/models/m:generateContent"},
    {DIALECT_GEMINI, "/v1beta/models/m:streamGenerateContent"},
    {DIALECT_GEMINI, "/v1beta/models/m:batchEmbedContents"},
    {DIALECT_GEMINI, "/v1beta/models/m:countTokens"},
};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    if (!n)
        return 0;
    size_t route = (p[0] >> 1) % ARRAY_LEN(routes);
    struct sandbox_ask ask = {.dialect = routes[route].d,
                              .path = str_c(routes[route].path),
                              .query = p[0] & 1 ? STR("alt=sse") : STR(""),
                              .model = STR("m"),
                              .body = str_of(p + 1, n - 1),
                              .stream = p[0] & 1,
                              .request_id = STR("req-1")};
    struct sandbox_answer a AUTO(sandbox_answer_free) = {0}, b AUTO(sandbox_answer_free) = {0};
    static struct peek peek;
    sandbox_answer(&ask, &a);
    sandbox_answer(&ask, &b);
    must(a.status == b.status && str_eq(buf_view(&a.body), buf_view(&b.body)));
    must(!a.body.failed && a.status >= 200 && a.status <= 599);
    bool object = str_starts(buf_view(&a.body), STR("{")) && !a.cut;
    if (object)
        must(peek_json(buf_view(&a.body), &peek, NULL) != ERR_BODY_NOT_JSON);
    return 0;
}
