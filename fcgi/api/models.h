/* models.h - the bodies of GET /v1/models, /v1/models/:id and Gemini's, in the dialect of the
 * client: only what the key may use. Pure; any thread. */
#pragma once

#include "domain/catalog/catalog.h"
#include "util/err.h"

struct caller;

/* ERR_GROUP_NOT_ALLOWED when the key's group is not usable. */
must_use enum err models_list(struct buf *out, enum dialect d, const struct caller *who,
                              const struct catalog *c, struct fault *f);
/* name as in the path, percent-decoded; ERR_MODEL_NOT_FOUND when the list would not show it. */
must_use enum err models_one(struct buf *out, enum dialect d, struct str name,
                             const struct caller *who, const struct catalog *c, struct fault *f);
