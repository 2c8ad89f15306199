/* http_sockets.h - libcurl's sockets on the poller; used by http.c only.
 *
 * Between two calls a connection's socket stays in epoll: taking it out and putting it back would
 * be two system calls a call. What libcurl opens by itself, to resolve names, it also closes
 * unseen, and is taken out.
 */
#pragma once

#include "util/poller.h"

#include <curl/curl.h>

struct http_socket;
struct http_sockets {
    struct poller *poller;
    CURLM *multi;
    void (*ready)(void *ctx, curl_socket_t fd, int what); /* CURL_CSELECT_... */
    void *ctx;
    size_t n_wanted;             /* sockets of running transfers */
    struct http_socket **opened; /* by descriptor */
    size_t n_opened;
};

/* For CURLMOPT_SOCKETFUNCTION and CURLOPT_CLOSESOCKETFUNCTION; ctx is the struct http_sockets. */
int http_sockets_wanted(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx);
int http_sockets_close(void *ctx, curl_socket_t fd);
/* A socket that libcurl will close with http_sockets_close. */
void http_sockets_opened(struct http_sockets *h, curl_socket_t fd);
void http_sockets_free(struct http_sockets *h);
