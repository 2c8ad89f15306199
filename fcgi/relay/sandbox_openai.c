#include "relay/sandbox_parts.h"

static const char *finish_reason(const struct sandbox_job *job) {
    return job->tool.n ? "tool_calls" : job->reply_short ? "length" : "stop";
}

static int64_t choices(const struct sandbox_job *job) {
    return sandbox_int(job->body, "n", 1, SANDBOX_MAX_CHOICES, 1);
}

static void put_usage(const struct sandbox_job *job) {
    int64_t completion = job->reply_tokens * choices(job);
    buf_printf(job->out,
               "\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,"
               "\"total_tokens\":%lld,\"prompt_tokens_details\":{\"cached_tokens\":0},"
               "\"completion_tokens_details\":{\"reasoning_tokens\":0}}",
               (long long)job->prompt_tokens, (long long)completion,
               (long long)(job->prompt_tokens + completion));
}

/* Up to the choices. */
static void put_head(const struct sandbox_job *job, const char *prefix, const char *object) {
    buf_printf(job->out, "{\"id\":\"%s-%s\",\"object\":\"%s\",\"created\":%d,\"model\":", prefix,
               job->id, object, SANDBOX_CREATED);
    buf_json(job->out, job->ask->model);
    buf_puts(job->out, ",\"system_fingerprint\":\"fp_sandbox\",\"choices\":[");
}

static void put_tool_call(const struct sandbox_job *job, struct str arguments) {
    buf_printf(job->out,
               "\"id\":\"call_%s\",\"type\":\"function\",\"function\":{\"name\":", job->id);
    buf_json(job->out, job->tool);
    buf_puts(job->out, ",\"arguments\":");
    buf_json(job->out, arguments);
    buf_putc(job->out, '}');
}

static void put_message(const struct sandbox_job *job) {
    buf_puts(job->out, "{\"role\":\"assistant\",\"content\":");
    if (job->tool.n) {
        buf_puts(job->out, "null,\"refusal\":null,\"tool_calls\":[{");
        put_tool_call(job, buf_view(&job->arguments));
        buf_puts(job->out, "}]}");
        return;
    }
    buf_json(job->out, buf_view(&job->reply));
    buf_puts(job->out, ",\"refusal\":null,\"annotations\":[]}");
}

static bool include_usage(const struct sandbox_job *job) {
    const struct json *m = json_get(json_get(job->body, "stream_options"), "include_usage");
    return json_type_of(m) == JSON_BOOL && json_bool(m);
}

/* A chunk is begin, the delta object, end. */
static void begin_chunk(const struct sandbox_job *job, int64_t index) {
    buf_puts(job->out, "data: ");
    put_head(job, "chatcmpl", "chat.completion.chunk");
    buf_printf(job->out, "{\"index\":%lld,\"delta\":", (long long)index);
}

static void end_chunk(const struct sandbox_job *job, const char *finish) {
    buf_puts(job->out, ",\"logprobs\":null,\"finish_reason\":");
    if (finish)
        buf_printf(job->out, "\"%s\"", finish);
    else
        buf_puts(job->out, "null");
    buf_printf(job->out, "}]%s}\n\n", include_usage(job) ? ",\"usage\":null" : "");
}

static void stream_tool(const struct sandbox_job *job, int64_t index) {
    struct str rest = buf_view(&job->arguments), piece;
    begin_chunk(job, index);
    buf_puts(job->out, "{\"tool_calls\":[{\"index\":0,");
    put_tool_call(job, STR(""));
    buf_puts(job->out, "}]}");
    end_chunk(job, NULL);
    while (sandbox_piece(&rest, &piece)) {
        begin_chunk(job, index);
        buf_puts(job->out, "{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":");
        buf_json(job->out, piece);
        buf_puts(job->out, "}}]}");
        end_chunk(job, NULL);
    }
}

static void stream_text(const struct sandbox_job *job, int64_t index) {
    struct str rest = buf_view(&job->reply), piece;
    while (sandbox_piece(&rest, &piece)) {
        begin_chunk(job, index);
        buf_puts(job->out, "{\"content\":");
        buf_json(job->out, piece);
        buf_putc(job->out, '}');
        end_chunk(job, NULL);
    }
}

static void end_stream(struct sandbox_job *job, const char *prefix, const char *object) {
    if (include_usage(job)) {
        buf_puts(job->out, "data: ");
        put_head(job, prefix, object);
        buf_puts(job->out, "],");
        put_usage(job);
        buf_puts(job->out, "}\n\n");
    }
    buf_puts(job->out, "data: [DONE]\n\n");
}

static void stream_chat(struct sandbox_job *job) {
    job->answer->content_type = "text/event-stream";
    for (int64_t i = 0; i < choices(job); i++) {
        begin_chunk(job, i);
        buf_printf(job->out, "{\"role\":\"assistant\",\"content\":%s}",
                   job->tool.n ? "null" : "\"\"");
        end_chunk(job, NULL);
        if (job->tool.n)
            stream_tool(job, i);
        else
            stream_text(job, i);
        begin_chunk(job, i);
        buf_puts(job->out, "{}");
        end_chunk(job, finish_reason(job));
    }
    end_stream(job, "chatcmpl", "chat.completion.chunk");
}

void sandbox_openai_chat(struct sandbox_job *job) {
    if (job->ask->stream) {
        stream_chat(job);
        return;
    }
    put_head(job, "chatcmpl", "chat.completion");
    for (int64_t i = 0; i < choices(job); i++) {
        buf_printf(job->out, "%s{\"index\":%lld,\"message\":", i ? "," : "", (long long)i);
        put_message(job);
        buf_printf(job->out, ",\"logprobs\":null,\"finish_reason\":\"%s\"}", finish_reason(job));
    }
    buf_puts(job->out, "],");
    put_usage(job);
    buf_putc(job->out, '}');
}

static void put_text_choice(const struct sandbox_job *job, int64_t index, struct str text,
                            const char *finish) {
    buf_puts(job->out, "{\"text\":");
    buf_json(job->out, text);
    buf_printf(job->out, ",\"index\":%lld,\"logprobs\":null,\"finish_reason\":", (long long)index);
    if (finish)
        buf_printf(job->out, "\"%s\"}", finish);
    else
        buf_puts(job->out, "null}");
}

static void stream_completion(struct sandbox_job *job) {
    job->answer->content_type = "text/event-stream";
    for (int64_t i = 0; i < choices(job); i++) {
        struct str rest = buf_view(&job->reply), piece;
        while (sandbox_piece(&rest, &piece)) {
            buf_puts(job->out, "data: ");
            put_head(job, "cmpl", "text_completion");
            put_text_choice(job, i, piece, rest.n ? NULL : finish_reason(job));
            buf_printf(job->out, "]%s}\n\n", include_usage(job) ? ",\"usage\":null" : "");
        }
    }
    end_stream(job, "cmpl", "text_completion");
}

void sandbox_openai_completions(struct sandbox_job *job) {
    job->tool = STR_NONE;
    if (job->ask->stream) {
        stream_completion(job);
        return;
    }
    put_head(job, "cmpl", "text_completion");
    for (int64_t i = 0; i < choices(job); i++) {
        if (i)
            buf_putc(job->out, ',');
        put_text_choice(job, i, buf_view(&job->reply), finish_reason(job));
    }
    buf_puts(job->out, "],");
    put_usage(job);
    buf_putc(job->out, '}');
}
