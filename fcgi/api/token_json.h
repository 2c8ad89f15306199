/* token_json.h - an API key as the `token` object of the wire contract. */
#pragma once

#include "api/api.h"
#include "domain/identity/key_store.h"

/* Appends the object. */
must_use enum err token_json(struct api_request *req, const struct key_view *k, struct buf *out);
/* Appends the names of a mask's scopes as an array. */
must_use enum err scopes_json(struct api_request *req, uint64_t scopes, struct buf *out);
