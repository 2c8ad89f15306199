/* authn.h - who sent a management request, and may they use this route? Internal to api/. */
#pragma once

#include "api/api.h"
#include "domain/identity/caller.h"

/* Fills the lower part of req as the route's row asks. Credentials: access token or API
 * key in Authorization. ERR_UNAUTHORIZED, ERR_TOKEN_INVALID, ERR_KEY_*, ERR_USER_MISMATCH,
 * ERR_USER_DISABLED, ERR_ROLE_TOO_LOW, ERR_SCOPE_MISSING. */
must_use enum err authn(const struct api_route *route, struct api_request *req, struct fault *f);
/* What an API key may do on a route for `auth`: one that names no scopes manages
 * nothing, and reads its own usage and records. */
uint64_t authn_key_scopes(const struct caller *c, enum api_auth auth);
