/* service.h - calls of the operator's services: what is checked before one may leave. */
#pragma once

#include "app/app.h"

/* Sets x->service when one owns the path; else ERR_URL_UNKNOWN and f as it was. */
must_use enum err service_find(struct app *a, struct db *db, struct exchange *x, struct fault *f);
/* After inference_admit: scope, body, hold and plan. */
must_use enum err service_prepare(struct app *a, struct db *db, struct exchange *x,
                                  struct fault *f);
