/* OpenAI's Responses API: one object, or the events that build it. */
#include "relay/sandbox_parts.h"

enum state { STATE_STARTED, STATE_DONE };

static const char *status(const struct sandbox_job *job, enum state s) {
    return s == STATE_STARTED ? "in_progress" : job->reply_short ? "incomplete" : "completed";
}

static void put_part(const struct sandbox_job *job, enum state s) {
    buf_puts(job->out, "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":");
    buf_json(job->out, s == STATE_DONE ? buf_view(&job->reply) : STR(""));
    buf_putc(job->out, '}');
}

static void put_item(const struct sandbox_job *job, enum state s) {
    if (job->tool.n) {
        buf_printf(job->out,
                   "{\"id\":\"fc_%s\",\"type\":\"function_call\",\"status\":\"%s\","
                   "\"call_id\":\"call_%s\",\"name\":",
                   job->id, status(job, s), job->id);
        buf_json(job->out, job->tool);
        buf_puts(job->out, ",\"arguments\":");
        buf_json(job->out, s == STATE_DONE ? buf_view(&job->arguments) : STR(""));
        buf_putc(job->out, '}');
        return;
    }
    buf_printf(job->out,
               "{\"id\":\"msg_%s\",\"type\":\"message\",\"status\":\"%s\","
               "\"role\":\"assistant\",\"content\":[",
               job->id, status(job, s));
    if (s == STATE_DONE)
        put_part(job, s);
    buf_puts(job->out, "]}");
}

static void put_usage(const struct sandbox_job *job, enum state s) {
    if (s == STATE_STARTED) {
        buf_puts(job->out, "null");
        return;
    }
    buf_printf(job->out,
               "{\"input_tokens\":%lld,\"input_tokens_details\":{\"cached_tokens\":0},"
               "\"output_tokens\":%lld,\"output_tokens_details\":{\"reasoning_tokens\":0},"
               "\"total_tokens\":%lld}",
               (long long)job->prompt_tokens, (long long)job->reply_tokens,
               (long long)(job->prompt_tokens + job->reply_tokens));
}

/* The client's own member, or `absent`. */
static void put_echo(const struct sandbox_job *job, const char *name, const char *absent) {
    const struct json *m = json_get(job->body, name);
    buf_printf(job->out, ",\"%s\":", name);
    if (m)
        json_write(job->out, m);
    else
        buf_puts(job->out, absent);
}

static void put_response(const struct sandbox_job *job, enum state s) {
    static const char *const echoed[][2] = {{"instructions", "null"},
                                            {"max_output_tokens", "null"},
                                            {"parallel_tool_calls", "true"},
                                            {"previous_response_id", "null"},
                                            {"store", "false"},
                                            {"temperature", "1.0"},
                                            {"tool_choice", "\"auto\""},
                                            {"tools", "[]"},
                                            {"top_p", "1.0"},
                                            {"truncation", "\"disabled\""},
                                            {"metadata", "{}"},
                                            {"reasoning", "{\"effort\":null,\"summary\":null}"},
                                            {"text", "{\"format\":{\"type\":\"text\"}}"}};
    bool cut = s == STATE_DONE && job->reply_short;
    buf_printf(job->out,
               "{\"id\":\"resp_%s\",\"object\":\"response\",\"created_at\":%d,\"status\":\"%s\","
               "\"background\":false,\"error\":null,\"incomplete_details\":%s,\"model\":",
               job->id, SANDBOX_CREATED, status(job, s),
               cut ? "{\"reason\":\"max_output_tokens\"}" : "null");
    buf_json(job->out, job->ask->model);
    for (size_t i = 0; i < ARRAY_LEN(echoed); i++)
        put_echo(job, echoed[i][0], echoed[i][1]);
    buf_puts(job->out, ",\"output\":[");
    if (s == STATE_DONE)
        put_item(job, s);
    buf_puts(job->out, "],\"usage\":");
    put_usage(job, s);
    buf_puts(job->out, ",\"user\":null}");
}

/* "event: response.NAME" up to the sequence number; more members and end_event follow. */
static void begin_event(const struct sandbox_job *job, int *sequence, const char *name) {
    buf_printf(job->out,
               "event: response.%s\ndata: {\"type\":\"response.%s\",\"sequence_number\":%d", name,
               name, (*sequence)++);
}

static void end_event(const struct sandbox_job *job) {
    buf_puts(job->out, "}\n\n");
}

static void whole_event(const struct sandbox_job *job, int *sequence, const char *name,
                        enum state s) {
    begin_event(job, sequence, name);
    buf_puts(job->out, ",\"response\":");
    put_response(job, s);
    end_event(job);
}

static void item_event(const struct sandbox_job *job, int *sequence, const char *name,
                       enum state s) {
    begin_event(job, sequence, name);
    buf_puts(job->out, ",\"output_index\":0,\"item\":");
    put_item(job, s);
    end_event(job);
}

/* Begins an event about the text part or the arguments of the one item. */
static void begin_inner(const struct sandbox_job *job, int *sequence, const char *name) {
    begin_event(job, sequence, name);
    buf_printf(job->out, ",\"item_id\":\"%s_%s\",\"output_index\":0%s", job->tool.n ? "fc" : "msg",
               job->id, job->tool.n ? "" : ",\"content_index\":0");
}

static void part_event(const struct sandbox_job *job, int *sequence, const char *name,
                       enum state s) {
    begin_inner(job, sequence, name);
    buf_puts(job->out, ",\"part\":");
    put_part(job, s);
    end_event(job);
}

static void stream_inner(const struct sandbox_job *job, int *sequence) {
    const struct buf *all = job->tool.n ? &job->arguments : &job->reply;
    const char *logprobs = job->tool.n ? "" : ",\"logprobs\":[]";
    struct str rest = buf_view(all), piece;
    while (sandbox_piece(&rest, &piece)) {
        begin_inner(job, sequence,
                    job->tool.n ? "function_call_arguments.delta" : "output_text.delta");
        buf_puts(job->out, ",\"delta\":");
        buf_json(job->out, piece);
        buf_puts(job->out, logprobs);
        end_event(job);
    }
    begin_inner(job, sequence, job->tool.n ? "function_call_arguments.done" : "output_text.done");
    buf_puts(job->out, job->tool.n ? ",\"arguments\":" : ",\"text\":");
    buf_json(job->out, buf_view(all));
    buf_puts(job->out, logprobs);
    end_event(job);
}

void sandbox_openai_responses(struct sandbox_job *job) {
    int sequence = 0;
    if (!job->ask->stream) {
        put_response(job, STATE_DONE);
        return;
    }
    job->answer->content_type = "text/event-stream";
    whole_event(job, &sequence, "created", STATE_STARTED);
    whole_event(job, &sequence, "in_progress", STATE_STARTED);
    item_event(job, &sequence, "output_item.added", STATE_STARTED);
    if (!job->tool.n)
        part_event(job, &sequence, "content_part.added", STATE_STARTED);
    stream_inner(job, &sequence);
    if (!job->tool.n)
        part_event(job, &sequence, "content_part.done", STATE_DONE);
    item_event(job, &sequence, "output_item.done", STATE_DONE);
    whole_event(job, &sequence, status(job, STATE_DONE), STATE_DONE);
}
