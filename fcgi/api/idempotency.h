/* idempotency.h - answers kept by Idempotency-Key. Internal to api/.
 *
 * The claim is the first statement of the transaction that does the work and the answer its last
 * one, so work and kept answer stand or fall together; a second request with the key waits for the
 * first one's transaction. Answers are sealed: one may show a new key.
 */
#pragma once

#include "api/api.h"

#define IDEMPOTENCY_KEY_MAX 190
#define IDEMPOTENCY_TTL_S 86400

/* ERR_CONFLICT when the key was used before. */
must_use enum err idempotency_claim(struct api_request *req);
must_use enum err idempotency_keep(struct api_request *req, const struct api_reply *reply);
/* The kept answer, or ERR_CONFLICT when it belongs to another request. */
must_use enum err idempotency_replay(struct api_request *req, struct api_reply *reply,
                                     struct fault *f);
