/* request.h - the parameters of a FastCGI request, once, into struct request. */
#pragma once

#include "relay/exchange.h"

/* Copies what is needed into mem and splits REQUEST_URI; makes a request id when the client sent
 * none that is sane (1-64 of [A-Za-z0-9._-]). ERR_HEADERS_TOO_LARGE beyond max_header_bytes,
 * ERR_INTERNAL when the web server sends no REQUEST_METHOD or REQUEST_URI. Even then rq->id is
 * set, and what could be read is in rq. */
must_use enum err request_parse(const struct fcgi_conn *c, struct arena *mem,
                                int64_t max_header_bytes, struct request *rq, struct fault *f);
