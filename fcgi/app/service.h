/* service.h - calls of the operator's services: what is checked before one may leave. */
#pragma once

#include "app/app.h"

/* True when a service owns the path; sets x->service. */
bool service_find(struct app *a, struct db *db, struct exchange *x);
/* After inference_admit: scope, body, hold and plan. */
must_use enum err service_prepare(struct app *a, struct db *db, struct exchange *x,
                                  struct fault *f);
