/* dialect_parts.h - what the dialect_<name>.c files and forward.c share. */
#pragma once

#include "relay/dialect.h"

extern const struct dialect_ops dialect_openai, dialect_anthropic, dialect_gemini;

/* The fault's text as a JSON string. */
void dialect_put_text(struct buf *out, const struct fault *f, enum lang lang);
/* "?" and the client's query; its `key` only with_key. */
void dialect_put_query(struct buf *out, struct str query, bool with_key);
/* put("Name: value") unless value is empty or could not stand in a header. */
void dialect_put_header(void (*put)(void *ctx, const char *line), void *ctx, const char *name,
                        struct str value);
