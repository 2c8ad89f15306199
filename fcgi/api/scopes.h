/* scopes.h - names of scopes: the built-in ones and those of the operator's services. */
#pragma once

#include "api/api.h"

/* The scopes of a client's list; *unknown is a name in it that no scope has, .p NULL = none.
 * ERR_FIELD_TYPE when it is no array of strings. */
must_use enum err scopes_read(struct api_request *req, const struct json *list, uint64_t *scopes,
                              struct str *unknown, struct fault *f);
/* The name of a bit (in the arena or static); empty when nothing has it. */
must_use enum err scopes_name(struct api_request *req, int bit, struct str *name);
/* The bits of all services. */
must_use enum err scopes_of_services(struct api_request *req, uint64_t *mask);
