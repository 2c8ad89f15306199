/* sse.h - cuts a stream of bytes into server-sent events, whatever pieces they come in.
 *
 * Events are handed over with their raw bytes (including the blank line that ends them), so they
 * can be passed on unchanged, and with their data and event fields. LF, CRLF and CR line ends, a
 * leading BOM, comments and multi-line data as in the WHATWG HTML standard, 9.2.6.
 *
 * An event that lies in one piece is not copied; the incomplete rest of a piece is. A CR that ends
 * a piece may be the first half of a CRLF, so such an event waits for the next byte. One thread.
 */
#pragma once

#include "util/buf.h"
#include "util/err.h"

struct sse_event {
    struct str raw;   /* all bytes of the event, ready to be passed on */
    struct str event; /* "event:" field, "" when absent */
    struct str data;  /* "data:" lines joined by LF; "" for a comment-only block */
};

struct sse {
    struct buf pending; /* an incomplete event; its max is the largest event accepted */
    struct buf joined;  /* data of a multi-line event */
    bool started;       /* the first event was handed over: no BOM any more */
    bool in_line;       /* the last line has bytes */
    bool after_cr;      /* the last byte was a CR... */
    bool cr_was_blank;  /* ...of an empty line */
};

void sse_init(struct sse *s, size_t max_event);
void sse_free(struct sse *s);
/* Calls on_event for each event that p completes; the views are valid during the call. Stops and
 * returns what on_event returned when that is not OK; ERR_UPSTREAM_INVALID when an event exceeds
 * the maximum. After an error only sse_free is left. */
must_use enum err sse_feed(struct sse *s, struct str p,
                           enum err (*on_event)(void *ctx, const struct sse_event *ev), void *ctx);
/* What is left without its blank line at the end of the stream (providers forget it): handed over
 * as a last event when it holds a complete data line (ended, or "[DONE]"), with the missing line
 * ends added to raw; nothing otherwise. */
must_use enum err sse_end(struct sse *s,
                          enum err (*on_event)(void *ctx, const struct sse_event *ev), void *ctx);
