#include "relay/sandbox_parts.h"

/* One GenerateContentResponse; finish NULL while more follow. */
static void put_response(const struct sandbox_job *job, struct str text, const char *finish) {
    int64_t answered = finish ? job->reply_tokens : sandbox_tokens(text);
    buf_puts(job->out, "{\"candidates\":[{\"content\":{\"parts\":[{");
    if (job->tool.n) {
        buf_puts(job->out, "\"functionCall\":{\"name\":");
        buf_json(job->out, job->tool);
        buf_puts(job->out, ",\"args\":");
        buf_str(job->out, buf_view(&job->arguments));
        buf_putc(job->out, '}');
    } else {
        buf_puts(job->out, "\"text\":");
        buf_json(job->out, text);
    }
    buf_puts(job->out, "}],\"role\":\"model\"},");
    if (finish)
        buf_printf(job->out, "\"finishReason\":\"%s\",", finish);
    buf_printf(job->out,
               "\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":%lld,"
               "\"candidatesTokenCount\":%lld,\"totalTokenCount\":%lld},\"modelVersion\":",
               (long long)job->prompt_tokens, (long long)answered,
               (long long)(job->prompt_tokens + answered));
    buf_json(job->out, job->ask->model);
    buf_printf(job->out, ",\"responseId\":\"%s\"}", job->id);
}

static const char *finish_reason(const struct sandbox_job *job) {
    return job->reply_short ? "MAX_TOKENS" : "STOP";
}

void sandbox_gemini_generate(struct sandbox_job *job) {
    put_response(job, buf_view(&job->reply), finish_reason(job));
}

/* Server-sent events when asked for, else one JSON array. */
void sandbox_gemini_stream(struct sandbox_job *job) {
    struct str alt = STR_NONE, rest = buf_view(&job->reply), piece = rest;
    bool sse = str_query_get(job->ask->query, STR("alt"), &alt) && str_eq(alt, STR("sse"));
    job->answer->content_type = sse ? "text/event-stream" : "application/json";
    if (!sse)
        buf_putc(job->out, '[');
    for (bool more = true; more;) {
        if (!job->tool.n)
            (void)sandbox_piece(&rest, &piece);
        more = !job->tool.n && rest.n;
        buf_puts(job->out, sse ? "data: " : "");
        put_response(job, piece, more ? NULL : finish_reason(job));
        buf_puts(job->out, sse ? "\r\n\r\n" : more ? "\n,\r\n" : "\n]");
    }
}

void sandbox_gemini_count(struct sandbox_job *job) {
    buf_printf(job->out,
               "{\"totalTokens\":%lld,\"promptTokensDetails\":"
               "[{\"modality\":\"TEXT\",\"tokenCount\":%lld}]}",
               (long long)job->prompt_tokens, (long long)job->prompt_tokens);
}
