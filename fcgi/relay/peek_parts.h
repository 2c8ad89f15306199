/* peek_parts.h - inside peek_json: the walk over a body, and what its members mean. */
#pragma once

#include "domain/billing/estimate.h"
#include "relay/peek.h"

enum member {
    MEMBER_NONE,
    MEMBER_MODEL,
    MEMBER_STREAM,
    MEMBER_STREAM_OPTIONS,
    MEMBER_INCLUDE_USAGE,
    MEMBER_LIMIT, /* + enum peek_limit */
    MEMBER_N = MEMBER_LIMIT + PEEK_LIMIT__MAX,
    MEMBER_BEST_OF,
    MEMBER_CANDIDATES,
    MEMBER_GENERATION_CONFIG,
    MEMBER_TEXT,     /* what the model reads is in its strings */
    MEMBER_INPUT,    /* the same in Responses... */
    MEMBER_CONTENTS, /* ...and in Gemini's requests */
    MEMBER_SCHEMA    /* member names are read too */
};

/* How a string inside of text counts. */
enum role { ROLE_TEXT, ROLE_MEDIA, ROLE_SILENT };

struct walk {
    const unsigned char *begin, *p, *end;
    struct peek *peek;
    struct fault *fault;
    struct estimate text;
    int64_t tokens;   /* beside those of the text */
    uint64_t objects; /* one bit a level, the innermost lowest: is it an object? */
    int depth;
    enum member top;    /* the body's member we are in */
    enum member member; /* whose value comes next */
    enum role role;     /* of the string that comes next */
    uint32_t seen;      /* members met, one bit each */
};

static inline bool in_text(const struct walk *w) {
    return w->top >= MEMBER_TEXT && w->top != MEMBER_SCHEMA;
}

enum literal { LITERAL_STRING, LITERAL_NUMBER, LITERAL_TRUE, LITERAL_FALSE, LITERAL_NULL };

/* Decides what the value of the member just named is for. */
enum err peek_meet(struct walk *w, struct str name);
/* The value of a member that is read (w->member below MEMBER_TEXT), when it is no array or object.
 */
enum err peek_take(struct walk *w, enum literal kind, struct span at, bool escaped);
enum err peek_wrong_type(const struct walk *w, enum member m, const char *wanted);
/* The text of a validated literal (without its quotes). False: longer than cap, or half a pair of
 * surrogates, which is no text. */
bool peek_decode(struct str literal, char *dst, size_t cap, size_t *n);
