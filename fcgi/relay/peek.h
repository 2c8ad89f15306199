/* peek.h - reads the few members of a request body the gateway needs, without a tree or a copy.
 *
 * One pass over the whole text, which is validated as JSON (RFC 8259) on the way: depth <= 64
 * (arrays and objects together), valid UTF-8. Only top-level members count. A duplicate of a
 * member that is read here is refused. Spans index the given text, so that splice.h can replace
 * them. Pure; any thread.
 */
#pragma once

#include "util/err.h"

#define PEEK_MAX_DEPTH 64

struct span { /* bytes [at, at + n) of the body; n == 0: absent */
    size_t at, n;
};

struct peek {
    struct str model;     /* decoded (escapes resolved) into model_text when it had escapes */
    struct span model_at; /* the string literal with its quotes */
    bool stream;
    struct span stream_at;                  /* the literal */
    bool has_stream_options, include_usage; /* as the client sent it */
    struct span stream_options_at;          /* the object literal */
    int64_t max_tokens; /* max_completion_tokens, max_output_tokens or max_tokens; -1 = absent */
    struct span max_tokens_at;
    int64_t n;          /* choices asked for, default 1 */
    size_t object_end;  /* offset of the closing brace: where members can be added */
    bool empty_object;  /* no members at all */
    int64_t text_bytes; /* bytes of string content in messages/prompt/input/system/contents...: for
                           the estimate */
    char model_text[256];
};

/* ERR_BODY_EMPTY, ERR_BODY_NOT_JSON (detail: what and at which byte), ERR_FIELD_TYPE and
 * ERR_FIELD_DUPLICATE (param: the member), ERR_FIELD_VALUE (model longer than 255 bytes). A missing
 * model is *not* an error here (p->model.n == 0). Gemini's generationConfig.maxOutputTokens is
 * read too. */
must_use enum err peek_json(struct str body, struct peek *p, struct fault *f);

/* The same for multipart/form-data: model, stream and n from their fields; model_at is the bare
 * value. content_type is the whole header value (boundary). ERR_BODY_CORRUPT when malformed. */
must_use enum err peek_multipart(struct str body, struct str content_type, struct peek *p,
                                 struct fault *f);

/* The edits a request needs before it goes to a provider. */
struct edits {
    struct str model;         /* "" = leave */
    bool force_include_usage; /* stream_options.include_usage = true */
    int64_t max_tokens;       /* > 0: replace (clamp) an existing limit or add it as max_tokens */
};
/* True when nothing would change: send the body as it is. */
bool splice_is_noop(const struct peek *p, const struct edits *e);
/* The edited body, appended to out. For multipart only `model` is edited. */
must_use enum err splice(struct str body, const struct peek *p, const struct edits *e,
                         bool multipart, struct buf *out);
