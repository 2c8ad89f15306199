/* inference.h - what is checked, in contract order, before a proxied request may leave. */
#pragma once

#include "app/app.h"
#include "app/routes.h"

/* Key, address, account, scope: fills x->caller, x->catalog, x->ip and *pin. */
must_use enum err inference_admit(struct app *a, struct db *db, struct exchange *x, int64_t *pin,
                                  struct fault *f);
/* The whole body into x->body, inflated. */
must_use enum err inference_read_body(const struct conf *c, struct exchange *x, struct fault *f);
/* Body, model, price, hold and plan. On an error the hold (if any) has been given back. */
must_use enum err inference_prepare(struct app *a, struct db *db, struct exchange *x,
                                    const struct route *route, int64_t pin, struct fault *f);
