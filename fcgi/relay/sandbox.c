#include "relay/dialect.h"
#include "relay/sandbox_parts.h"

#define MAX_PARSED (1024 * 1024)
#define MAX_ECHO (16 * 1024)
#define MAX_WORDS 5000
#define MAX_BODY (64 * 1024 * 1024)

/* The longer of two that end alike comes first. */
static const struct sandbox_route openai[] = {
    {"/chat/completions", sandbox_openai_chat, "messages"},
    {"/completions", sandbox_openai_completions, "prompt"},
    {"/responses", sandbox_openai_responses, "input"},
    {"/embeddings", sandbox_openai_embeddings, "input"},
    {"/moderations", sandbox_openai_moderations, "input"},
    {"/rerank", sandbox_openai_rerank, "query"},
    {"/images/generations", sandbox_openai_images, "prompt"},
    {"/images/edits", sandbox_openai_images, "prompt"},
    {"/images/variations", sandbox_openai_images, "prompt"},
    {"/audio/speech", sandbox_openai_speech, "input"},
    {"/audio/transcriptions", sandbox_openai_transcript, "prompt"},
    {"/audio/translations", sandbox_openai_transcript, "prompt"},
    {NULL, NULL, NULL},
};
static const struct sandbox_route anthropic[] = {
    {"/messages/count_tokens", sandbox_anthropic_count, "messages"},
    {"/messages", sandbox_anthropic_messages, "messages"},
    {NULL, NULL, NULL},
};
static const struct sandbox_route gemini[] = {
    {":generateContent", sandbox_gemini_generate, "contents"},
    {":streamGenerateContent", sandbox_gemini_stream, "contents"},
    {":embedContent", sandbox_gemini_embed, "content"},
    {":batchEmbedContents", sandbox_gemini_embed_batch, "requests"},
    {":countTokens", sandbox_gemini_count, "contents"},
    {NULL, NULL, NULL},
};
static const struct sandbox_route *const routes[] = {
    [DIALECT_OPENAI] = openai,
    [DIALECT_ANTHROPIC] = anthropic,
    [DIALECT_GEMINI] = gemini,
};
static_assert(ARRAY_LEN(routes) == DIALECT__MAX, "a dialect has no row");

static void job_free(struct sandbox_job *job) {
    buf_free(&job->prompt);
    buf_free(&job->reply);
    buf_free(&job->arguments);
}

static bool is_role(const struct json *message, const char *role) {
    return sandbox_is(message, "role", role);
}

/* A message's text under whichever name its dialect has for it. */
static const struct json *content_of(const struct json *message) {
    static const char *const names[] = {"content", "parts", "text"};
    const struct json *at = message;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (json_get(at, names[i]))
            at = json_get(at, names[i]);
    return at;
}

static void count_prompt(struct sandbox_job *job, const struct json *content) {
    struct buf text AUTO(buf_free) = BUF(MAX_PARSED);
    sandbox_text(&text, content);
    if (text.n)
        job->prompt_tokens += sandbox_tokens(buf_view(&text));
}

/* True when the last message of the conversation is the user's. */
static bool read_prompt(struct sandbox_job *job, const char *texts) {
    const struct json *list = json_get(job->body, texts), *last = list;
    bool user_last = true;
    count_prompt(job, content_of(json_get(job->body, "system")));
    count_prompt(job, json_get(job->body, "instructions"));
    count_prompt(job, content_of(json_get(job->body, "systemInstruction")));
    for (size_t i = 0; i < json_length(list); i++) {
        const struct json *m = json_at(list, i);
        count_prompt(job, content_of(m));
        user_last = is_role(m, "user") || !json_get(m, "role");
        user_last = user_last && !sandbox_is(m, "type", "function_call_output");
        if (user_last || last == list)
            last = m;
    }
    if (json_type_of(list) != JSON_ARRAY)
        count_prompt(job, content_of(list));
    sandbox_text(&job->prompt, content_of(last));
    return user_last;
}

static bool has_directive(const struct sandbox_job *job, struct str name) {
    return str_find_str(buf_view(&job->prompt), name) >= 0;
}

/* The number after "sandbox:NAME=", or `absent`. */
static int64_t directive(const struct sandbox_job *job, struct str name, int64_t absent) {
    ptrdiff_t at = str_find_str(buf_view(&job->prompt), name);
    if (at < 0)
        return absent;
    struct str digits = str_from(buf_view(&job->prompt), (size_t)at + name.n);
    size_t n = 0;
    while (n < digits.n && digits.p[n] >= '0' && digits.p[n] <= '9')
        n++;
    int64_t v;
    return str_i64(str_sub(digits, 0, n), &v) ? v : absent;
}

static const struct json *first_of(const struct json *o, const char *a, const char *b,
                                   const char *c) {
    const struct json *found = json_get(o, a);
    if (!found && b)
        found = json_get(o, b);
    return found || !c ? found : json_get(o, c);
}

/* The schema the client wants the text to follow; *any is set when any JSON will do. */
static const struct json *wanted_schema(const struct json *body, bool *any) {
    const struct json *format = json_get(body, "response_format");
    const struct json *config = json_get(body, "generationConfig");
    if (!format)
        format = json_get(json_get(body, "text"), "format");
    *any = sandbox_is(format, "type", "json_object") ||
           sandbox_is(config, "responseMimeType", "application/json");
    if (sandbox_is(format, "type", "json_schema"))
        return first_of(json_get(format, "json_schema") ? json_get(format, "json_schema") : format,
                        "schema", NULL, NULL);
    return first_of(config, "responseSchema", "responseJsonSchema", NULL);
}

static void put_words(struct buf *out, int64_t n) {
    static const char *const words[] = {"the",  "toll", "gate", "opens", "once",  "a",
                                        "call", "is",   "paid", "and",   "counts"};
    for (int64_t i = 0; i < n; i++) {
        if (i)
            buf_putc(out, ' ');
        buf_puts(out, words[(size_t)i % ARRAY_LEN(words)]);
    }
}

static void say(struct sandbox_job *job) {
    struct str prompt = str_trim(buf_view(&job->prompt));
    int64_t words = directive(job, STR("sandbox:words="), 0);
    bool any;
    const struct json *schema = wanted_schema(job->body, &any);
    if (schema) {
        sandbox_fit_schema(&job->reply, schema);
    } else if (any) {
        buf_puts(&job->reply, "{\"reply\":");
        buf_json(&job->reply, str_sub(prompt, 0, MAX_ECHO));
        buf_putc(&job->reply, '}');
    } else if (words > 0) {
        put_words(&job->reply, words < MAX_WORDS ? words : MAX_WORDS);
    } else if (prompt.n) {
        struct str echo = str_sub(prompt, 0, MAX_ECHO);
        while (!str_utf8_ok(echo))
            echo.n--;
        buf_puts(&job->reply, "You said: ");
        buf_str(&job->reply, echo);
    } else {
        buf_puts(&job->reply, "Hello from the sandbox.");
    }
}

/* Ends the reply where the client's own limit does, between two pieces. */
static void shorten(struct sandbox_job *job) {
    static const char *const names[] = {"max_completion_tokens", "max_output_tokens", "max_tokens"};
    int64_t max = sandbox_int(json_get(job->body, "generationConfig"), "maxOutputTokens", 1,
                              INT32_MAX, INT32_MAX);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        max = sandbox_int(job->body, names[i], 1, max, max);
    job->max_tokens = max;
    struct str all = buf_view(&job->reply), rest = all, piece;
    job->reply_tokens = sandbox_tokens(all);
    if (job->reply_tokens <= max)
        return;
    size_t kept = 0;
    int64_t tokens = 0;
    while (sandbox_piece(&rest, &piece) && tokens + sandbox_tokens(piece) <= max) {
        tokens += sandbox_tokens(piece);
        kept += piece.n;
    }
    job->reply.n = kept;
    job->reply.p[kept] = '\0';
    job->reply_tokens = tokens ? tokens : 1;
    job->reply_short = true;
}

/* The i-th tool's declaration, under whichever member its dialect keeps it. */
static const struct json *declaration(const struct json *tools, size_t i) {
    const struct json *tool = json_at(tools, i), *function = json_get(tool, "function");
    return function ? function : tool;
}

static void choose_tool(struct sandbox_job *job, bool user_last) {
    const struct json *tools = json_get(job->body, "tools");
    const struct json *choice = json_get(job->body, "tool_choice");
    const struct json *config =
        json_get(json_get(job->body, "toolConfig"), "functionCallingConfig");
    const struct json *named = first_of(choice, "function", NULL, NULL);
    named = json_get(named ? named : choice, "name");
    if (json_length(tools) && json_get(json_at(tools, 0), "functionDeclarations"))
        tools = json_get(json_at(tools, 0), "functionDeclarations");
    bool demanded =
        named || sandbox_is(config, "mode", "ANY") || sandbox_is(choice, "type", "any") ||
        (json_type_of(choice) == JSON_STRING && str_eq(json_str(choice), STR("required")));
    bool asked =
        has_directive(job, STR("call the tool")) || has_directive(job, STR("sandbox:tool"));
    if (!user_last || !job->prompt.n || (!demanded && !asked))
        return;
    for (size_t i = 0; i < json_length(tools) && !job->tool.n; i++) {
        const struct json *d = declaration(tools, i), *name = json_get(d, "name");
        bool fits = json_type_of(named) != JSON_STRING ||
                    (json_type_of(name) == JSON_STRING && str_eq(json_str(name), json_str(named)));
        if (json_type_of(name) != JSON_STRING || !fits)
            continue;
        const struct json *schema =
            first_of(d, "parameters", "input_schema", "parametersJsonSchema");
        job->tool = json_str(name);
        if (schema)
            sandbox_fit_schema(&job->arguments, schema);
        if (!job->arguments.n || job->arguments.p[0] != '{') {
            buf_clear(&job->arguments);
            buf_puts(&job->arguments, "{}");
        }
        job->reply_tokens = sandbox_tokens(buf_view(&job->arguments)) + 1;
        if (job->reply_tokens > job->max_tokens) /* what a client limits is never charged beyond */
            job->reply_tokens = job->max_tokens;
        job->reply_short = false;
    }
}

static void copy_id(struct str id, char *to, size_t cap) {
    size_t n = 0;
    for (size_t i = 0; i < id.n && n + 1 < cap; i++) {
        char c = id.p[i];
        bool safe = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                    c == '-' || c == '_';
        if (safe)
            to[n++] = c;
    }
    to[n] = '\0';
}

static void run(struct sandbox_job *job) {
    const struct sandbox_route *r = routes[job->ask->dialect];
    while (r->end && !str_ends(job->ask->path, str_c(r->end)))
        r++;
    if (!r->end) {
        sandbox_refuse(job, 404, STR("The sandbox has no such endpoint."));
        return;
    }
    bool user_last = read_prompt(job, r->texts);
    if (!job->body)
        job->prompt_tokens = (int64_t)(job->ask->body.n / 4);
    if (!job->prompt_tokens)
        job->prompt_tokens = 1;
    int64_t status = directive(job, STR("sandbox:status="), 200);
    if (status >= 400 && status <= 599) {
        sandbox_refuse(job, (int)status, STR("The sandbox fails, as it was told to."));
        return;
    }
    say(job);
    shorten(job);
    choose_tool(job, user_last);
    r->answer(job);
    job->answer->cut = has_directive(job, STR("sandbox:cut"));
}

void sandbox_answer(const struct sandbox_ask *ask, struct sandbox_answer *out) {
    must(ask->dialect < DIALECT__MAX);
    *out = (struct sandbox_answer){200, "application/json", BUF(MAX_BODY), false};
    struct json *tree AUTO(json_free) = NULL;
    bool form = str_istarts(ask->content_type, STR("multipart/"));
    if (!form && ask->body.n <= MAX_PARSED && json_parse(ask->body, &tree, NULL) != OK)
        tree = NULL; /* deeper or odder than json_parse takes: answered like a large one */
    struct sandbox_job job AUTO(job_free) = {.ask = ask,
                                             .answer = out,
                                             .out = &out->body,
                                             .body = tree,
                                             .prompt = BUF(MAX_PARSED),
                                             .reply = BUF(MAX_PARSED),
                                             .arguments = BUF(MAX_PARSED)};
    copy_id(ask->request_id, job.id, sizeof job.id);
    run(&job);
    if (out->body.failed)
        sandbox_refuse(&job, 500, STR("The sandbox's answer got too long."));
    if (out->cut)
        out->body.n /= 2;
}

void sandbox_answer_free(struct sandbox_answer *a) {
    buf_free(&a->body);
}

void sandbox_refuse(struct sandbox_job *job, int status, struct str message) {
    buf_clear(job->out);
    job->answer->status = status;
    job->answer->content_type = "application/json";
    dialect_ops(job->ask->dialect)->status_error(job->out, status, message, job->ask->request_id);
}
