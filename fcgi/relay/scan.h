/* scan.h - finds usage (and a few facts more) in a provider's answer while its bytes pass by.
 *
 * An incremental JSON scanner: any split, no tree, no allocation, depth-limited. It never judges
 * the answer: malformed JSON only means that nothing more is found. Rules: the last usage object
 * wins, never summed; for Anthropic the fields of message_start and message_delta are merged, the
 * last value of a field winning; a zero, or an all-zero usage, counts as missing. What is looked
 * for, and where, is the table scan.def. One thread.
 */
#pragma once

#include "domain/billing/estimate.h"
#include "domain/billing/usage.h"
#include "domain/catalog/catalog.h"
#include "util/str.h"

#define SCAN_MAX_DEPTH 64

struct scan {
    enum dialect dialect;
    struct usage usage;   /* normalised; usage.reported tells whether anything was found */
    bool saw_usage_only;  /* this document has usage and an empty list of choices */
    bool saw_error;       /* this document has a top-level "error" or is an error event */
    bool terminal;        /* a terminal event was seen: [DONE], message_stop, response.completed /
                             .incomplete / .failed, a finishReason */
    bool finished;        /* a choice has told why it ends (OpenAI's finish_reason) */
    bool textless;        /* set by the caller: text is not counted */
    int64_t text_bytes;   /* bytes of delivered text (delta content, parts text, output_text...) */
    struct estimate text; /* the same in tokens: scan_text_tokens */
    char id[96];          /* the answer's own id, "" = none seen */
    unsigned char state[512]; /* the scanner's own; a static_assert in scan.c checks the size */
};

void scan_init(struct scan *s, enum dialect d);
/* A new document begins (one SSE event's data, or a whole non-stream body). */
void scan_begin(struct scan *s);
void scan_feed(struct scan *s, struct str p);
void scan_finish(struct scan *s);
/* One SSE event's data: begin + feed + finish, and the "[DONE]" text. */
void scan_event(struct scan *s, struct str data);
/* Estimated tokens of the text delivered so far, for answers that break off. */
int64_t scan_text_tokens(const struct scan *s);
