/* http_url.h - a URL that libcurl has taken apart: the next call of a handle goes to the same place
 * nearly always, and taking it apart and together again is a tenth of what libcurl does for a call.
 *
 * Belongs to one handle, and must outlive it.
 */
#pragma once

#include "util/base.h"

#include <curl/curl.h>

struct http_url { /* all zero: none yet */
    CURLU *parts;
    char *text;
};

/* Makes the handle's next call go to url. What libcurl can not read, it refuses when the call
 * begins. */
void http_url_set(struct http_url *u, CURL *easy, const char *url);
void http_url_free(struct http_url *u);
