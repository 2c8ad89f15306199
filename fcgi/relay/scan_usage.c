#include "relay/scan_parts.h"

static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static struct usage openai_usage(const int64_t *raw) {
    struct usage u = {
        .prompt = raw[FIELD_PROMPT],
        .completion = raw[FIELD_COMPLETION],
        .cached = raw[FIELD_CACHED],
        .image_in = raw[FIELD_IMAGE_IN],
        .audio_in = raw[FIELD_AUDIO_IN],
        .audio_out = raw[FIELD_AUDIO_OUT],
        .reasoning = raw[FIELD_REASONING],
    };
    int64_t rest = raw[FIELD_TOTAL] - u.prompt - u.completion;
    if (u.prompt == 0 && rest > 0)
        u.prompt = rest; /* rerankers give the total alone */
    else if (rest > 0 && rest == u.reasoning)
        u.completion += rest; /* xAI counts reasoning beside the completion */
    return u;
}

static struct usage anthropic_usage(const int64_t *raw) {
    int64_t long_lived = raw[FIELD_WRITTEN_1H];
    int64_t written = larger(raw[FIELD_WRITTEN], raw[FIELD_WRITTEN_5M] + long_lived);
    return (struct usage){
        .prompt = raw[FIELD_PROMPT] + raw[FIELD_CACHED] + written,
        .completion = raw[FIELD_COMPLETION],
        .cached = raw[FIELD_CACHED],
        .cache_write_5m = written - long_lived,
        .cache_write_1h = long_lived,
        .tool_searches = raw[FIELD_SEARCHES],
    };
}

static struct usage gemini_usage(const int64_t *raw) {
    return (struct usage){
        .prompt = raw[FIELD_PROMPT] + raw[FIELD_TOOL_PROMPT],
        .completion = raw[FIELD_COMPLETION] + raw[FIELD_REASONING],
        .cached = raw[FIELD_CACHED],
        .image_in = raw[FIELD_IMAGE_IN],
        .audio_in = raw[FIELD_AUDIO_IN],
        .audio_out = raw[FIELD_AUDIO_OUT],
        .reasoning = raw[FIELD_REASONING],
    };
}

struct usage scan_normalise(enum dialect d, const int64_t *raw) {
    static struct usage (*const normalise[DIALECT__MAX])(const int64_t *raw) = {
        [DIALECT_OPENAI] = openai_usage,
        [DIALECT_ANTHROPIC] = anthropic_usage,
        [DIALECT_GEMINI] = gemini_usage,
    };
    struct usage u = normalise[d](raw);
    u.reported = u.prompt || u.completion;
    return u;
}
