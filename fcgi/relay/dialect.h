/* dialect.h - what differs between OpenAI, Anthropic and Gemini, as one const struct each: nobody
 * else asks which dialect it is. Everything here is pure; any thread.
 */
#pragma once

#include "domain/billing/usage.h"
#include "domain/catalog/catalog.h"
#include "util/err.h"

struct json;
struct request;

struct model_entry { /* one model of a list */
    struct str name, owned_by, display_name;
    int64_t created_s;
};

struct dialect_ops {
    const char *name;
    enum channel_type channels; /* whose channels speak it, beside the sandbox's */

    /* --- requests --- */
    struct str prefix;      /* begins the paths that are its own; "" has all the others */
    struct str models_path; /* GET it for the list of models */
    /* True for a request on a path of several dialects that is meant for this one; may be NULL. */
    bool (*claims)(const struct request *rq);
    /* The key where this dialect's own clients put it, or "". */
    struct str (*key)(const struct request *rq);
    bool key_in_query;

    /* --- providers --- */
    /* A version in the base's path replaces the request's only as its last segment. */
    bool version_is_last;
    /* The path for a provider, with its name for the model; false when it could leave the base. */
    bool (*put_path)(struct buf *out, struct str path, struct str model);
    /* Header lines "Name: value" for a provider of this dialect; put() copies. version and beta
     * are the client's anthropic-version and anthropic-beta or "". A key, version or beta that
     * could not stand in a header is left out. */
    void (*credentials)(void (*put)(void *ctx, const char *line), void *ctx, struct str key,
                        struct str version, struct str beta);

    /* --- answers --- */
    /* Usage from the FIELD__MAX numbers of scan_parts.h, 0 = not given; `reported` is left to the
     * caller. */
    struct usage (*usage)(const int64_t *raw);
    bool usage_merges;            /* a later usage object completes the earlier one */
    bool streams_json;            /* a stream may also be an array that grows */
    const struct str *last_types; /* of events that end a stream, up to ""; may be NULL */
    /* The whole error body for a fault of ours. */
    void (*error)(struct buf *out, const struct fault *f, struct str request_id, enum lang lang);
    /* The whole error body for an HTTP status, in the words this dialect has for it. */
    void (*status_error)(struct buf *out, int status, struct str message, struct str request_id);
    /* The error object's own node when the tree is an error body of this dialect, else NULL. */
    const struct json *(*own_error)(const struct json *tree);
    /* One complete SSE event that tells a begun stream that it broke off; path is the client's. */
    void (*stream_error)(struct buf *out, const struct fault *f, struct str request_id,
                         struct str path);
    /* GET .../models and GET .../models/:id */
    void (*model_list)(struct buf *out, const struct model_entry *models, size_t n);
    void (*model_one)(struct buf *out, const struct model_entry *model);
};

const struct dialect_ops *dialect_ops(enum dialect d);
/* By the path alone. */
enum dialect dialect_of_path(struct str path);
/* As dialect_of_path, and what the request says where dialects share a path. */
enum dialect dialect_of_request(const struct request *rq);

/* A provider's error body as the client may see it: passed when it is JSON of dialect d, else its
 * message (or the bare status) in an error body of d. URLs, hosts, addresses and credentials are
 * masked; always valid JSON and UTF-8 of at most DIALECT_ERROR_MAX bytes. */
#define DIALECT_ERROR_MAX (64 * 1024)
void dialect_provider_error(struct buf *out, enum dialect d, int status, struct str body,
                            struct str request_id);

/* The provider's URL for a path of ours. OpenAI: base + path without its leading "/v1" when base
 * names a version ("/v1", "/api/paas/v4", "/v1beta/openai"); Anthropic and Gemini: when it ends
 * in one. Gemini: the model in the path is replaced by `model`. The client's query is kept
 * without its `key`. ERR_FIELD_VALUE when path could leave the base or the URL exceeds out->max. */
must_use enum err dialect_url(struct buf *out, enum dialect d, struct str base, struct str path,
                              struct str query, struct str model);
