/* dialect.h - what differs between OpenAI, Anthropic and Gemini, as one const struct each.
 *
 * Adding a dialect: a row in enum dialect (domain/catalog), a file dialect_<name>.c, a row in the
 * table of dialect.c.
 */
#pragma once

#include "domain/catalog/catalog.h"
#include "util/err.h"

struct model_entry { /* one model of a list */
    struct str name, owned_by, display_name;
    int64_t created_s;
};

struct dialect_ops {
    const char *name;
    /* The whole error body for a fault of ours. */
    void (*error)(struct buf *out, const struct fault *f, struct str request_id, enum lang lang);
    /* A provider's error body as the client may see it: passed when it is JSON of this dialect,
     * else wrapped; URLs and keys masked; at most limit bytes. */
    void (*provider_error)(struct buf *out, int status, struct str body, struct str request_id);
    /* One complete SSE event that tells a begun stream that it broke off. */
    void (*stream_error)(struct buf *out, const struct fault *f, struct str request_id);
    /* GET .../models and GET .../models/:id */
    void (*model_list)(struct buf *out, const struct model_entry *models, size_t n);
    void (*model_one)(struct buf *out, const struct model_entry *model);
    /* Header lines "Name: value" for a provider of this dialect; put() copies. forwarded_version
     * is the client's anthropic-version (and -beta) or "". */
    void (*credentials)(void (*put)(void *ctx, const char *line), void *ctx, struct str key,
                        struct str version, struct str beta);
};

const struct dialect_ops *dialect_ops(enum dialect d);

/* The provider's URL for a path of ours. OpenAI: base + path without its leading "/v1" when base
 * already ends in a version segment; Gemini: the model in the path is replaced by `model`; the
 * client's query is kept without its `key`. ERR_FIELD_VALUE when it exceeds out->max. */
must_use enum err dialect_url(struct buf *out, enum dialect d, struct str base, struct str path,
                              struct str query, struct str model);
