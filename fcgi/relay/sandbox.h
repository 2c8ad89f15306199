/* sandbox.h - the built-in provider: deterministic answers without a network, usage counted.
 *
 * It answers like OpenAI (chat, completions, embeddings, responses, moderations, rerank, images,
 * audio), Anthropic (messages, count_tokens) and Gemini (generateContent, streamGenerateContent,
 * embedContent, batchEmbedContents, countTokens), stream and not. The text echoes the last user
 * message; a request with tools whose last user message contains "call the tool" (or whose tool
 * choice demands one) gets a tool call for the first or named tool, with arguments built from its
 * schema's required members. Directives in the last user message make failures testable:
 * "sandbox:status=429", "sandbox:words=50", "sandbox:tool", "sandbox:cut"; see docs/sandbox.md.
 * Pure; any thread.
 */
#pragma once

#include "domain/catalog/catalog.h"
#include "util/err.h"

struct sandbox_ask {
    enum dialect dialect;
    struct str path, query, content_type; /* as the client sent them */
    struct str model;
    struct str body;
    bool stream;           /* not needed for Gemini: its path tells */
    struct str request_id; /* ids in the answer derive from it */
};

struct sandbox_answer {
    int status;
    const char *content_type;
    struct buf body; /* for a stream: the whole event stream; the loop cuts it into events */
    bool cut;        /* the provider "broke off": body ends half way */
};

/* Fills *out; free it with sandbox_answer_free. */
void sandbox_answer(const struct sandbox_ask *ask, struct sandbox_answer *out);
void sandbox_answer_free(struct sandbox_answer *a);
