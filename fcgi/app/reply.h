/* reply.h - answers a front thread gives itself. They block, at most REPLY_TIMEOUT_MS. */
#pragma once

#include "relay/exchange.h"

#define REPLY_TIMEOUT_MS 30000

/* A whole answer; extra are further header lines, each with its CRLF. */
void reply_send(struct fcgi_conn *c, const struct request *rq, int status, struct str type,
                struct str extra, struct str body);
/* A fault in the shape of the path's dialect. */
void reply_fault(struct fcgi_conn *c, const struct request *rq, const struct fault *f,
                 struct str extra);
/* OPTIONS: what a browser may send from another origin. */
void reply_preflight(struct fcgi_conn *c, const struct request *rq);
