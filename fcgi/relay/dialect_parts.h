/* dialect_parts.h - what the dialect_<name>.c files, dialect_url.c and forward.c share. */
#pragma once

#include "relay/dialect.h"

extern const struct dialect_ops dialect_openai, dialect_anthropic, dialect_gemini;

/* The fault's text as a JSON string. */
void dialect_put_text(struct buf *out, const struct fault *f, enum lang lang);
/* The models as JSON, with commas between. */
void dialect_put_models(struct buf *out, const struct model_entry *models, size_t n,
                        void (*put)(struct buf *out, const struct model_entry *model));
/* Letters and digits alone, at least one. */
bool dialect_is_word(struct str s);
/* No segment of it leads elsewhere, and none is empty: our own routes are so. */
bool dialect_path_is_plain(struct str path);
/* put_path of those that name the model in the body. */
bool dialect_put_plain_path(struct buf *out, struct str path, struct str model);
/* "?" and the client's query; its `key` only with_key. */
void dialect_put_query(struct buf *out, struct str query, bool with_key);
/* put("Name: value") unless value is empty or could not stand in a header. */
void dialect_put_header(void (*put)(void *ctx, const char *line), void *ctx, const char *name,
                        struct str value);
