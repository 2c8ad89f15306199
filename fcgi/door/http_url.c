#include "door/http_url.h"

#include <stdlib.h>
#include <string.h>

static void forget(struct http_url *u) {
    base_freep(&u->text);
}

void http_url_set(struct http_url *u, CURL *easy, const char *url) {
    if (u->text && strcmp(u->text, url) == 0)
        return;
    forget(u);
    u->parts = u->parts ? u->parts : curl_url();
    must(u->parts != NULL);
    bool known = curl_url_set(u->parts, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK;
    if (known) {
        size_t n = strlen(url) + 1;
        u->text = memcpy(base_alloc(n), url, n);
    } else {
        must(curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK);
    }
    must(curl_easy_setopt(easy, CURLOPT_CURLU, known ? u->parts : NULL) == CURLE_OK);
}

void http_url_free(struct http_url *u) {
    forget(u);
    curl_url_cleanup(u->parts);
    u->parts = NULL;
}
