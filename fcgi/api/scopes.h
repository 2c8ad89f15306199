/* scopes.h - names of scopes: the built-in ones and those of the operator's services. */
#pragma once

#include "api/api.h"

/* The bit of a name; 0 when there is no such scope. */
must_use enum err scopes_find(struct api_request *req, struct str name, uint64_t *bit);
/* The name of a bit (in the arena or static); empty when nothing has it. */
must_use enum err scopes_name(struct api_request *req, int bit, struct str *name);
/* The bits of all services. */
must_use enum err scopes_of_services(struct api_request *req, uint64_t *mask);
