/* Embeddings, moderations and rerank: what takes texts and answers with numbers. */
#include "relay/sandbox_parts.h"

#define DEFAULT_DIMENSIONS 16
#define MAX_DIMENSIONS 3072
#define MAX_INPUTS 256
#define MAX_INPUT_TEXT (1024 * 1024)

/* The i-th input's text; token arrays count as the text they are written with. */
static void input_text(struct buf *out, const struct json *input) {
    if (json_type_of(input) == JSON_STRING)
        buf_str(out, json_str(input));
    else if (json_type_of(json_get(input, "text")) == JSON_STRING)
        buf_str(out, json_str(json_get(input, "text")));
    else
        json_write(out, input);
}

/* A list of inputs, unless it is one text or one array of tokens. */
static bool is_batch(const struct json *input) {
    return json_length(input) && json_type_of(json_at(input, 0)) != JSON_INT;
}

static void put_values(struct buf *out, const int32_t *v, size_t n) {
    buf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        int32_t size = v[i] < 0 ? -v[i] : v[i];
        buf_printf(out, "%s%s%d.%08d", i ? "," : "", v[i] < 0 ? "-" : "", size / 100000000,
                   size % 100000000);
    }
    buf_putc(out, ']');
}

static void put_base64(struct buf *out, const int32_t *v, size_t n) {
    struct buf bytes AUTO(buf_free) = BUF(MAX_DIMENSIONS * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        float f = (float)v[i] / 1e8F;
        buf_put(&bytes, &f, sizeof f);
    }
    buf_putc(out, '"');
    sandbox_base64(out, bytes.p, bytes.n);
    buf_putc(out, '"');
}

/* Adds the input's tokens to the job's and puts its vector. */
static void put_vector(struct sandbox_job *job, const struct json *input, size_t dimensions,
                       bool base64) {
    struct buf text AUTO(buf_free) = BUF(MAX_INPUT_TEXT);
    int32_t v[MAX_DIMENSIONS];
    input_text(&text, input);
    job->prompt_tokens += sandbox_tokens(buf_view(&text));
    sandbox_vector(buf_view(&text), v, dimensions);
    (base64 ? put_base64 : put_values)(job->out, v, dimensions);
}

static void put_embedding(struct sandbox_job *job, const struct json *input, size_t i) {
    size_t n = (size_t)sandbox_int(job->body, "dimensions", 1, MAX_DIMENSIONS, DEFAULT_DIMENSIONS);
    buf_printf(job->out, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "",
               i);
    put_vector(job, input, n, sandbox_is(job->body, "encoding_format", "base64"));
    buf_putc(job->out, '}');
}

void sandbox_openai_embeddings(struct sandbox_job *job) {
    const struct json *input = json_get(job->body, "input");
    bool batch = is_batch(input);
    if (batch && json_length(input) > MAX_INPUTS) {
        sandbox_refuse(job, 400, STR("The sandbox embeds at most 256 inputs at once."));
        return;
    }
    job->prompt_tokens = 0;
    buf_puts(job->out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < (batch ? json_length(input) : 1); i++)
        put_embedding(job, batch ? json_at(input, i) : input, i);
    buf_puts(job->out, "],\"model\":");
    buf_json(job->out, job->ask->model);
    buf_printf(job->out, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}}",
               (long long)job->prompt_tokens, (long long)job->prompt_tokens);
}

static void put_gemini_values(struct sandbox_job *job, const struct json *request) {
    size_t n =
        (size_t)sandbox_int(request, "outputDimensionality", 1, MAX_DIMENSIONS, DEFAULT_DIMENSIONS);
    struct buf text AUTO(buf_free) = BUF(MAX_INPUT_TEXT);
    int32_t v[MAX_DIMENSIONS];
    sandbox_text(&text, json_get(json_get(request, "content"), "parts"));
    sandbox_vector(buf_view(&text), v, n);
    buf_puts(job->out, "{\"values\":");
    put_values(job->out, v, n);
    buf_putc(job->out, '}');
}

void sandbox_gemini_embed(struct sandbox_job *job) {
    buf_puts(job->out, "{\"embedding\":");
    put_gemini_values(job, job->body);
    buf_putc(job->out, '}');
}

void sandbox_gemini_embed_batch(struct sandbox_job *job) {
    const struct json *requests = json_get(job->body, "requests");
    if (json_length(requests) > MAX_INPUTS) {
        sandbox_refuse(job, 400, STR("The sandbox embeds at most 256 inputs at once."));
        return;
    }
    buf_puts(job->out, "{\"embeddings\":[");
    for (size_t i = 0; i < json_length(requests); i++) {
        if (i)
            buf_putc(job->out, ',');
        put_gemini_values(job, json_at(requests, i));
    }
    buf_puts(job->out, "]}");
}

/* name:value for every category of OpenAI's moderation. */
static void put_categories(struct buf *out, const char *value) {
    static const char *const names[] = {"harassment",
                                        "harassment/threatening",
                                        "hate",
                                        "hate/threatening",
                                        "illicit",
                                        "illicit/violent",
                                        "self-harm",
                                        "self-harm/instructions",
                                        "self-harm/intent",
                                        "sexual",
                                        "sexual/minors",
                                        "violence",
                                        "violence/graphic"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        buf_printf(out, "%s\"%s\":%s", i ? "," : "", names[i], value);
}

void sandbox_openai_moderations(struct sandbox_job *job) {
    const struct json *input = json_get(job->body, "input");
    bool texts = json_length(input) && json_type_of(json_at(input, 0)) == JSON_STRING;
    size_t n = texts ? json_length(input) : 1;
    buf_printf(job->out, "{\"id\":\"modr-%s\",\"model\":", job->id);
    buf_json(job->out, job->ask->model);
    buf_puts(job->out, ",\"results\":[");
    for (size_t i = 0; i < n && i < MAX_INPUTS; i++) {
        buf_printf(job->out, "%s{\"flagged\":false,\"categories\":{", i ? "," : "");
        put_categories(job->out, "false");
        buf_puts(job->out, "},\"category_scores\":{");
        put_categories(job->out, "0.0001");
        buf_puts(job->out, "},\"category_applied_input_types\":{");
        put_categories(job->out, "[\"text\"]");
        buf_puts(job->out, "}}");
    }
    buf_puts(job->out, "]}");
}

/* How many of the query's words the document holds, of 100. */
static int score(struct str query, struct str document) {
    int words = 0, found = 0;
    for (struct str word; str_cut(&query, ' ', &word);) {
        words += word.n > 0;
        found += word.n > 0 && str_find_str(document, word) >= 0;
    }
    return words ? found * 100 / words : 0;
}

static void put_ranked(struct sandbox_job *job, const struct json *document, size_t index,
                       int percent) {
    const struct json *give = json_get(job->body, "return_documents");
    buf_printf(job->out, "{\"index\":%zu,\"relevance_score\":%d.%02d", index, percent / 100,
               percent % 100);
    if (json_type_of(give) == JSON_BOOL && json_bool(give)) {
        struct buf text AUTO(buf_free) = BUF(MAX_INPUT_TEXT);
        input_text(&text, document);
        buf_puts(job->out, ",\"document\":{\"text\":");
        buf_json(job->out, buf_view(&text));
        buf_putc(job->out, '}');
    }
    buf_putc(job->out, '}');
}

void sandbox_openai_rerank(struct sandbox_job *job) {
    const struct json *documents = json_get(job->body, "documents");
    size_t n = json_length(documents), put = 0;
    int scores[MAX_INPUTS];
    if (n > MAX_INPUTS) {
        sandbox_refuse(job, 400, STR("The sandbox ranks at most 256 documents at once."));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct buf text AUTO(buf_free) = BUF(MAX_INPUT_TEXT);
        input_text(&text, json_at(documents, i));
        job->prompt_tokens += sandbox_tokens(buf_view(&text));
        scores[i] = score(str_sub(buf_view(&job->prompt), 0, 1024), buf_view(&text));
    }
    size_t top = (size_t)sandbox_int(job->body, "top_n", 1, (int64_t)n, (int64_t)n);
    buf_printf(job->out, "{\"id\":\"rerank-%s\",\"model\":", job->id);
    buf_json(job->out, job->ask->model);
    buf_puts(job->out, ",\"results\":[");
    for (int percent = 100; percent >= 0; percent--)
        for (size_t i = 0; i < n && put < top; i++) {
            if (scores[i] != percent)
                continue;
            if (put++)
                buf_putc(job->out, ',');
            put_ranked(job, json_at(documents, i), i, percent);
        }
    buf_printf(job->out, "],\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}}",
               (long long)job->prompt_tokens, (long long)job->prompt_tokens);
}
