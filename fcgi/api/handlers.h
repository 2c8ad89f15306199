/* handlers.h - the handlers that routes.def names. */
#pragma once

#include "api/api.h"

#define API_ROUTE(method, path, handler, auth, scope) api_handler handler;
#include "api/routes.def"
#undef API_ROUTE
