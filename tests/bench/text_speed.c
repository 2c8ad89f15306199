/* text_speed - how fast the text machinery is: MB/s of each parser on bodies as they really come.
 *
 *   make tests/bench/text_speed && tests/bench/text_speed
 */
#include "domain/billing/estimate.h"
#include "relay/peek.h"
#include "relay/scan.h"
#include "relay/sse.h"
#include "util/clock.h"

#include <stdio.h>

#define BODY ((size_t)1 << 20)
#define RUN_US 400000

static const char english[] =
    "The quick brown fox jumps over the lazy dog, and then it sits down to read a long report "
    "about "
    "the state of the river. Nobody had expected the water to rise that early in the year; ";
static const char chinese[] = "\xE4\xBB\x8A\xE5\xA4\xA9\xE7\x9A\x84\xE5\xA4\xA9\xE6\xB0\x94\xE5\xBE"
                              "\x88\xE5\xA5\xBD\xEF\xBC\x8C\xE6\x88\x91\xE4\xBB\xAC\xE5\x8E\xBB";
static const char code[] = "for (int i = 0; i < n; i++) {\\n    sum += \\\"x\\\"[i];\\n}\\n";

struct work {
    const char *name;
    void (*run)(struct str text);
    void (*fill)(struct buf *out);
};

static void fill_chat(struct buf *out, const char *text) {
    buf_puts(out, "{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[");
    while (out->n < BODY) {
        buf_puts(out, "{\"role\":\"user\",\"content\":\"");
        for (int i = 0; i < 8; i++)
            buf_puts(out, text);
        buf_puts(out, "\"},");
    }
    buf_puts(out, "{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":100}");
}

static void fill_english(struct buf *out) {
    fill_chat(out, english);
}

static void fill_chinese(struct buf *out) {
    fill_chat(out, chinese);
}

static void fill_code(struct buf *out) {
    fill_chat(out, code);
}

static void fill_image(struct buf *out) {
    buf_puts(out, "{\"model\":\"m\",\"messages\":[{\"content\":[{\"image_url\":{\"url\":\"data:");
    while (out->n < BODY)
        buf_puts(out, "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4");
    buf_puts(out, "\"}}]}]}");
}

static void fill_plain(struct buf *out) {
    while (out->n < BODY)
        buf_puts(out, english);
}

static void fill_han(struct buf *out) {
    while (out->n < BODY)
        buf_puts(out, chinese);
}

static void fill_stream(struct buf *out) {
    while (out->n < BODY)
        buf_puts(out, "data: {\"id\":\"chatcmpl-9x8y7z6w5v4u3t2s1r\",\"object\":"
                      "\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-4o-2024-11-"
                      "20\",\"system_fingerprint\":\"fp_0123456789\",\"choices\":[{\"index\":0,"
                      "\"delta\":{\"content\":\" river\"},\"logprobs\":null,\"finish_reason\":null}"
                      "],\"usage\":null}\n\n");
}

static void fill_embeddings(struct buf *out) {
    buf_puts(out, "{\"object\":\"list\",\"data\":[{\"embedding\":[0.1");
    while (out->n < BODY)
        buf_puts(out, ",-0.006929283495992422,0.0023064255");
    buf_puts(out, "]}],\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}");
}

static void fill_answer(struct buf *out) {
    buf_puts(out, "{\"choices\":[{\"message\":{\"content\":\"");
    while (out->n < BODY)
        buf_puts(out, english);
    buf_puts(out, "\"}}],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":8}}");
}

static void run_peek(struct str text) {
    struct peek k;
    must(peek_json(text, &k, NULL) == OK && k.prompt_tokens > 0);
}

static void run_estimate(struct str text) {
    must(estimate_tokens(text) > 0);
}

static void run_scan(struct str text) {
    struct scan s;
    scan_init(&s, DIALECT_OPENAI);
    for (size_t i = 0; i < text.n; i += 16384)
        scan_feed(&s, str_sub(text, i, 16384));
    scan_finish(&s);
    must(s.usage.prompt == 8);
}

static enum err count_event(void *ctx, const struct sse_event *ev) {
    must(ev->data.n > 0);
    ++*(size_t *)ctx;
    return OK;
}

static enum err scan_one(void *ctx, const struct sse_event *ev) {
    scan_event(ctx, ev->data);
    return OK;
}

static void feed_pieces(struct str text, size_t piece,
                        enum err (*on)(void *ctx, const struct sse_event *ev), void *ctx) {
    struct sse s AUTO(sse_free);
    sse_init(&s, 65536);
    for (size_t i = 0; i < text.n; i += piece)
        must(sse_feed(&s, str_sub(text, i, piece), on, ctx) == OK);
    must(sse_end(&s, on, ctx) == OK);
}

static void run_sse(struct str text) {
    size_t n = 0;
    feed_pieces(text, 16384, count_event, &n);
    must(n > 1000);
}

static void run_sse_bytes(struct str text) {
    size_t n = 0;
    feed_pieces(text, 1, count_event, &n);
    must(n > 1000);
}

static void run_sse_scan(struct str text) {
    struct scan s;
    scan_init(&s, DIALECT_OPENAI);
    feed_pieces(text, 16384, scan_one, &s);
    must(s.text_bytes > 1000);
}

static const struct work works[] = {
    {"peek: chat, English", run_peek, fill_english},
    {"peek: chat, Chinese", run_peek, fill_chinese},
    {"peek: chat, code", run_peek, fill_code},
    {"peek: image", run_peek, fill_image},
    {"estimate: English", run_estimate, fill_plain},
    {"estimate: Chinese", run_estimate, fill_han},
    {"scan: one long answer", run_scan, fill_answer},
    {"scan: embeddings", run_scan, fill_embeddings},
    {"sse: stream, 16 KiB pieces", run_sse, fill_stream},
    {"sse: stream, single bytes", run_sse_bytes, fill_stream},
    {"sse + scan: stream", run_sse_scan, fill_stream},
};

int main(void) {
    for (size_t i = 0; i < ARRAY_LEN(works); i++) {
        struct buf text AUTO(buf_free) = BUF(2 * BODY);
        works[i].fill(&text);
        int64_t from = clock_mono_us(), spent = 0, runs = 0;
        while (spent < RUN_US) {
            works[i].run(buf_view(&text));
            runs++;
            spent = clock_mono_us() - from;
        }
        printf("%-28s %6.0f MB/s\n", works[i].name, (double)runs * (double)text.n / (double)spent);
    }
    return 0;
}
