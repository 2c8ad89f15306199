/* forward.h - what of a service's call and of its answer is passed on. Pure; any thread. */
#pragma once

#include "relay/exchange.h"

/* base + path + query, the query with nothing left out. ERR_FIELD_VALUE when the path could leave
 * the base, or the URL exceeds out->max. */
must_use enum err forward_url(struct buf *out, struct str base, struct str path, struct str query);
/* The lines "Name: value" for x->service: the client's own headers that are safe to pass, the
 * request's id, the account, the operator's credential. put() copies. At most
 * FORWARD_LINES_MAX. */
#define FORWARD_LINES_MAX 16
void forward_ask(struct exchange *x, void (*put)(void *ctx, const char *line), void *ctx);
/* The answer's header lines that the client gets, with their CRLF; a Location inside the base
 * becomes one of ours. `fields`: raw lines. */
void forward_answer(const struct exchange *x, struct str fields, struct buf *out);
