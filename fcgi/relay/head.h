/* head.h - the header block of an answer, as the web server expects it from a FastCGI responder. */
#pragma once

#include "domain/billing/limits.h"
#include "util/buf.h"

struct head {
    int status;
    struct str content_type; /* "" = none */
    struct str request_id;
    struct str origin; /* of the request; "" = no CORS headers */
    bool no_store, event_stream;
    int64_t retry_after_s; /* > 0: sent */
};

/* Appends everything but the empty line. Values with control characters are left out. */
void head_write(struct buf *out, const struct head *h);
void head_line(struct buf *out, const char *name, struct str value);
void head_line_i64(struct buf *out, const char *name, int64_t value);
/* The six x-ratelimit-* lines, as far as there are limits. */
void head_rate_limits(struct buf *out, const struct limit_report *r);
/* The empty line. */
void head_end(struct buf *out);
/* "Too Many Requests" etc. */
const char *head_reason(int status);
