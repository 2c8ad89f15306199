/* OpenAI's images and audio. */
#include "relay/sandbox_parts.h"

#define MAX_IMAGES 10
#define IMAGE_TOKENS 16 /* of output, an image */
#define SAMPLES 800     /* a tenth of a second at 8 kHz */
#define FORM_HEAD 65536

/* A PNG of one pixel. */
#define PNG                                                                                    \
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mMwTpsJAAICATNoejH4AAAAAElFTkSu" \
    "QmCC"

/* The value of a short field of a multipart body, looked for near both ends of the body. */
static struct str form_field(struct str body, struct str name) {
    struct str ends[] = {str_sub(body, 0, FORM_HEAD),
                         str_from(body, body.n > FORM_HEAD ? body.n - FORM_HEAD : 0)};
    struct buf mark AUTO(buf_free) = BUF(128);
    buf_puts(&mark, "name=\"");
    buf_str(&mark, name);
    buf_puts(&mark, "\"\r\n\r\n");
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        ptrdiff_t at = str_find_str(ends[i], buf_view(&mark)), end;
        if (at < 0)
            continue;
        struct str value = str_from(ends[i], (size_t)at + mark.n);
        if ((end = str_find(value, '\r')) >= 0)
            return str_sub(value, 0, (size_t)end);
    }
    return STR_NONE;
}

/* From the JSON body or the form. */
static struct str field(const struct sandbox_job *job, const char *name) {
    const struct json *m = json_get(job->body, name);
    if (json_type_of(m) == JSON_STRING)
        return json_str(m);
    return job->body ? STR_NONE : form_field(job->ask->body, str_c(name));
}

static int64_t images(const struct sandbox_job *job) {
    int64_t n;
    if (job->body)
        return sandbox_int(job->body, "n", 1, MAX_IMAGES, 1);
    return str_i64(field(job, "n"), &n) && n >= 1 && n <= MAX_IMAGES ? n : 1;
}

void sandbox_openai_images(struct sandbox_job *job) {
    bool url = str_eq(field(job, "response_format"), STR("url"));
    int64_t n = images(job), in = job->prompt_tokens, out = n * IMAGE_TOKENS;
    buf_printf(job->out, "{\"created\":%d,\"data\":[", SANDBOX_CREATED);
    for (int64_t i = 0; i < n; i++)
        buf_printf(job->out, "%s{\"%s\":\"%s%s\"}", i ? "," : "", url ? "url" : "b64_json",
                   url ? "data:image/png;base64," : "", PNG);
    buf_printf(job->out,
               "],\"usage\":{\"input_tokens\":%lld,\"input_tokens_details\":{\"text_tokens\":%lld,"
               "\"image_tokens\":0},\"output_tokens\":%lld,\"total_tokens\":%lld}}",
               (long long)in, (long long)in, (long long)out, (long long)(in + out));
}

static void put_le(struct buf *out, uint32_t v, int bytes) {
    for (int i = 0; i < bytes; i++)
        buf_putc(out, (char)(v >> (8 * i) & 0xFF));
}

/* A tenth of a second of silence: WAV, 8 kHz, 8 bit, mono. */
void sandbox_openai_speech(struct sandbox_job *job) {
    job->answer->content_type = "audio/wav";
    buf_puts(job->out, "RIFF");
    put_le(job->out, 36 + SAMPLES, 4);
    buf_puts(job->out, "WAVEfmt ");
    put_le(job->out, 16, 4);
    put_le(job->out, 1, 2); /* PCM */
    put_le(job->out, 1, 2); /* channels */
    put_le(job->out, 8000, 4);
    put_le(job->out, 8000, 4);
    put_le(job->out, 1, 2);
    put_le(job->out, 8, 2);
    buf_puts(job->out, "data");
    put_le(job->out, SAMPLES, 4);
    for (int i = 0; i < SAMPLES; i++)
        buf_putc(job->out, (char)0x80);
}

#define TRANSCRIPT "Hello from the sandbox."

static void put_usage(struct sandbox_job *job) {
    int64_t out = sandbox_tokens(STR(TRANSCRIPT));
    buf_printf(job->out,
               "\"usage\":{\"type\":\"tokens\",\"input_tokens\":%lld,\"input_token_details\":"
               "{\"text_tokens\":0,\"audio_tokens\":%lld},\"output_tokens\":%lld,"
               "\"total_tokens\":%lld}",
               (long long)job->prompt_tokens, (long long)job->prompt_tokens, (long long)out,
               (long long)(job->prompt_tokens + out));
}

static void stream_transcript(struct sandbox_job *job) {
    struct str rest = STR(TRANSCRIPT), piece;
    job->answer->content_type = "text/event-stream";
    while (sandbox_piece(&rest, &piece)) {
        buf_puts(job->out, "data: {\"type\":\"transcript.text.delta\",\"delta\":");
        buf_json(job->out, piece);
        buf_puts(job->out, "}\n\n");
    }
    buf_puts(job->out, "data: {\"type\":\"transcript.text.done\",\"text\":\"" TRANSCRIPT "\",");
    put_usage(job);
    buf_puts(job->out, "}\n\ndata: [DONE]\n\n");
}

void sandbox_openai_transcript(struct sandbox_job *job) {
    struct str format = field(job, "response_format");
    if (job->ask->stream) {
        stream_transcript(job);
        return;
    }
    if (str_eq(format, STR("text"))) {
        job->answer->content_type = "text/plain; charset=utf-8";
        buf_puts(job->out, TRANSCRIPT "\n");
        return;
    }
    buf_puts(job->out, "{\"text\":\"" TRANSCRIPT "\",");
    if (str_eq(format, STR("verbose_json")))
        buf_puts(job->out, "\"task\":\"transcribe\",\"language\":\"english\",\"duration\":1.0,"
                           "\"segments\":[],");
    put_usage(job);
    buf_putc(job->out, '}');
}
