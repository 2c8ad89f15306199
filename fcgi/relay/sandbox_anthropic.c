#include "relay/sandbox_parts.h"

static const char *stop_reason(const struct sandbox_job *job) {
    return job->tool.n ? "tool_use" : job->reply_short ? "max_tokens" : "end_turn";
}

static void put_usage(const struct sandbox_job *job, int64_t output) {
    buf_printf(job->out,
               "\"usage\":{\"input_tokens\":%lld,\"cache_creation_input_tokens\":0,"
               "\"cache_read_input_tokens\":0,\"output_tokens\":%lld}",
               (long long)job->prompt_tokens, (long long)output);
}

static void put_head(const struct sandbox_job *job) {
    buf_printf(
        job->out,
        "{\"id\":\"msg_%s\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", job->id);
    buf_json(job->out, job->ask->model);
    buf_puts(job->out, ",\"content\":[");
}

/* A whole content block; with an empty text or input when `started` (its deltas follow). */
static void put_block(const struct sandbox_job *job, bool started) {
    if (!job->tool.n) {
        buf_puts(job->out, "{\"type\":\"text\",\"text\":");
        buf_json(job->out, started ? STR("") : buf_view(&job->reply));
        buf_putc(job->out, '}');
        return;
    }
    buf_printf(job->out, "{\"type\":\"tool_use\",\"id\":\"toolu_%s\",\"name\":", job->id);
    buf_json(job->out, job->tool);
    buf_puts(job->out, ",\"input\":");
    buf_str(job->out, started ? STR("{}") : buf_view(&job->arguments));
    buf_putc(job->out, '}');
}

static void put_deltas(const struct sandbox_job *job) {
    struct str rest = buf_view(job->tool.n ? &job->arguments : &job->reply), piece;
    while (sandbox_piece(&rest, &piece)) {
        buf_puts(job->out, "event: content_block_delta\n"
                           "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":");
        buf_puts(job->out, job->tool.n ? "{\"type\":\"input_json_delta\",\"partial_json\":"
                                       : "{\"type\":\"text_delta\",\"text\":");
        buf_json(job->out, piece);
        buf_puts(job->out, "}}\n\n");
    }
}

static void stream_message(struct sandbox_job *job) {
    job->answer->content_type = "text/event-stream";
    buf_puts(job->out, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":");
    put_head(job);
    buf_puts(job->out, "],\"stop_reason\":null,\"stop_sequence\":null,");
    put_usage(job, 1);
    buf_puts(job->out, "}}\n\nevent: content_block_start\n"
                       "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":");
    put_block(job, true);
    buf_puts(job->out, "}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n");
    put_deltas(job);
    buf_puts(job->out, "event: content_block_stop\n"
                       "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
                       "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":");
    buf_printf(job->out, "{\"stop_reason\":\"%s\",\"stop_sequence\":null},", stop_reason(job));
    put_usage(job, job->reply_tokens);
    buf_puts(job->out, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

void sandbox_anthropic_messages(struct sandbox_job *job) {
    if (job->ask->stream) {
        stream_message(job);
        return;
    }
    put_head(job);
    put_block(job, false);
    buf_printf(job->out, "],\"stop_reason\":\"%s\",\"stop_sequence\":null,", stop_reason(job));
    put_usage(job, job->reply_tokens);
    buf_putc(job->out, '}');
}

void sandbox_anthropic_count(struct sandbox_job *job) {
    buf_printf(job->out, "{\"input_tokens\":%lld}", (long long)job->prompt_tokens);
}
