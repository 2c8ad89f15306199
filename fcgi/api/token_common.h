/* token_common.h - what several handlers of /api/token need. Internal to api/. */
#pragma once

#include "api/api.h"
#include "domain/audit/audit.h"

#define TOKEN_BATCH_MAX 100

/* The audit event with who and where filled in. */
struct audit_event token_actor(struct api_request *req);
/* {"ids":[...]}: ascending, each once. */
must_use enum err token_ids_read(struct api_request *req, int64_t ids[TOKEN_BATCH_MAX], size_t *n,
                                 struct fault *f);
