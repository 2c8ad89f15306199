/* peek.h - reads the few members of a request body the gateway needs, without a tree or a copy.
 *
 * One pass over the whole text, which is validated as JSON (RFC 8259) on the way: depth <= 64
 * (arrays and objects together), valid UTF-8. Only the members listed in peek.c are read; a
 * duplicate of one of those is refused, however its name is escaped. A null counts as absent. Spans
 * index the given text, so that splice can replace them. Pure; any thread.
 */
#pragma once

#include "util/err.h"

#define PEEK_MAX_DEPTH 64
/* Bounds of what a client may ask for (larger: ERR_FIELD_VALUE), so that products stay small. */
#define PEEK_MAX_TOKENS INT64_C(1000000000)
#define PEEK_MAX_N INT64_C(1024)
/* What an image, a file or a recording counts as, besides a token per KiB of its encoded bytes. */
#define PEEK_MEDIA_TOKENS 800

struct span { /* bytes [at, at + n) of the body; n == 0: absent */
    size_t at, n;
};

/* The members that limit an answer's length; of several the last one here decides. */
enum peek_limit {
    PEEK_LIMIT_MAX_TOKENS,
    PEEK_LIMIT_GENERATION,     /* Gemini: generationConfig.maxOutputTokens */
    PEEK_LIMIT_MAX_OUTPUT,     /* max_output_tokens (Responses) */
    PEEK_LIMIT_MAX_COMPLETION, /* max_completion_tokens */
    PEEK_LIMIT__MAX
};

struct peek {             /* not to be copied: model may point into model_text */
    struct str model;     /* decoded (escapes resolved) into model_text when it had escapes */
    struct span model_at; /* the string literal with its quotes */
    bool stream;
    struct span stream_at;                  /* the literal */
    bool has_stream_options, include_usage; /* as the client sent it */
    struct span stream_options_at;          /* the object literal (or null) */
    struct span include_usage_at;           /* the literal in it */
    int64_t max_tokens;                     /* the deciding limit; -1 = absent */
    struct span limit_at[PEEK_LIMIT__MAX];  /* the literals, null too */
    int64_t limit[PEEK_LIMIT__MAX];         /* -1 = absent or null */
    enum peek_limit limit_as;               /* the member this kind of body would name its limit */
    struct span generation_config_at;       /* the object literal (or null) */
    int64_t n;             /* choices asked for (n, best_of, candidateCount), default 1 */
    size_t object_end;     /* offset of the closing brace: where members can be added */
    bool empty_object;     /* no members at all */
    int64_t prompt_tokens; /* estimate of what the model will read: messages, tools, media */
    char model_text[256];
};

/* ERR_BODY_EMPTY, ERR_BODY_NOT_JSON (detail: what and at which byte), ERR_FIELD_TYPE (also for a
 * body that is JSON but no object) and ERR_FIELD_DUPLICATE (param: the member), ERR_FIELD_VALUE
 * (model longer than 255 bytes or no text, a number out of its bounds). A missing model is *not*
 * an error here (p->model.n == 0). */
must_use enum err peek_json(struct str body, struct peek *p, struct fault *f);

/* The same for multipart/form-data: model, stream and n from their fields, prompt_tokens from
 * prompt, input and files; model_at is the bare value. content_type is the whole header value
 * (boundary). ERR_BODY_CORRUPT when malformed. */
must_use enum err peek_multipart(struct str body, struct str content_type, struct peek *p,
                                 struct fault *f);

/* The edits a request needs before it goes to a provider. */
struct edits {
    struct str model;         /* "" = leave; never added where the client sent none */
    bool force_include_usage; /* stream_options.include_usage = true */
    int64_t max_tokens;       /* > 0: larger limits become this; when none is given, one is added
                                 (p->limit_as), so only for routes that know limits */
};
/* True when nothing would change: send the body as it is. */
bool splice_is_noop(const struct peek *p, const struct edits *e);
/* The edited body, appended to out; all other bytes stay as they are. For multipart only `model` is
 * edited. ERR_BODY_TOO_LARGE when it exceeds out->max. */
must_use enum err splice(struct str body, const struct peek *p, const struct edits *e,
                         bool multipart, struct buf *out);
