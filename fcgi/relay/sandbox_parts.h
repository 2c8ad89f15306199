/* sandbox_parts.h - what the sandbox_*.c files share; nobody else includes it.
 *
 * sandbox.c reads the request into a struct sandbox_job and decides what is said; one function a
 * route writes it in the route's words.
 */
#pragma once

#include "door/json.h"
#include "relay/sandbox.h"

#define SANDBOX_CREATED 1767225600 /* no clock: equal requests get equal answers */
#define SANDBOX_MAX_CHOICES 8

struct sandbox_job {
    const struct sandbox_ask *ask;
    struct sandbox_answer *answer;
    struct buf *out;         /* the answer's body */
    const struct json *body; /* NULL: no JSON, or too large to be read */
    char id[80];             /* request id, safe inside a JSON string */
    struct buf prompt;       /* text of the last user message */
    int64_t prompt_tokens;
    struct buf reply;
    int64_t reply_tokens, max_tokens;
    bool reply_short; /* the client's token limit ended it */
    struct str tool;  /* name of the tool to call, n == 0: none */
    struct buf arguments;
};

struct sandbox_route {
    const char *end; /* how the path ends */
    void (*answer)(struct sandbox_job *job);
    const char *texts; /* body member that holds the prompt */
};

int64_t sandbox_tokens(struct str text);
/* The text of a message's content: a string, or the text parts of an array, appended to out. */
void sandbox_text(struct buf *out, const struct json *content);
/* A JSON value that fits the schema, as small as can be. */
void sandbox_fit_schema(struct buf *out, const struct json *schema);
void sandbox_base64(struct buf *out, const void *p, size_t n);
/* The answer becomes the error that the dialect has for this status. */
void sandbox_refuse(struct sandbox_job *job, int status, struct str message);
/* Takes the next piece, about a word, off the text; false at its end. */
bool sandbox_piece(struct str *text, struct str *piece);
/* An integer member within [min, max], else `absent`. */
int64_t sandbox_int(const struct json *o, const char *name, int64_t min, int64_t max,
                    int64_t absent);
bool sandbox_is(const struct json *o, const char *name, const char *value);
/* A deterministic vector of length 1; values are scaled by 1e8. */
void sandbox_vector(struct str text, int32_t *out, size_t n);

void sandbox_openai_chat(struct sandbox_job *job);
void sandbox_openai_completions(struct sandbox_job *job);
void sandbox_openai_embeddings(struct sandbox_job *job);
void sandbox_openai_moderations(struct sandbox_job *job);
void sandbox_openai_rerank(struct sandbox_job *job);
void sandbox_openai_responses(struct sandbox_job *job);
void sandbox_openai_images(struct sandbox_job *job);
void sandbox_openai_speech(struct sandbox_job *job);
void sandbox_openai_transcript(struct sandbox_job *job);
void sandbox_anthropic_messages(struct sandbox_job *job);
void sandbox_anthropic_count(struct sandbox_job *job);
void sandbox_gemini_generate(struct sandbox_job *job);
void sandbox_gemini_stream(struct sandbox_job *job);
void sandbox_gemini_embed(struct sandbox_job *job);
void sandbox_gemini_embed_batch(struct sandbox_job *job);
void sandbox_gemini_count(struct sandbox_job *job);
