/* http_sockets.h - libcurl's sockets on the poller; used by http*.c only.
 *
 * Between two calls a connection's socket stays in epoll: taking it out and putting it back would
 * be two system calls a call. What libcurl opens by itself, to resolve names, it also closes
 * unseen, and is taken out.
 *
 * A socket that libcurl has connected may be taken from it: libcurl closes it then in vain.
 */
#pragma once

#include "util/list.h"
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

void http_sockets_init(struct http_sockets *h, struct poller *p, CURLM *multi);
void http_sockets_free(struct http_sockets *h);
/* What CURLMOPT_SOCKETFUNCTION was told. */
void http_sockets_wanted(struct http_sockets *h, curl_socket_t fd, int what, void *socket_ctx);
/* For CURLOPT_CLOSESOCKETFUNCTION; ctx is the struct http_sockets. */
int http_sockets_close(void *ctx, curl_socket_t fd);
/* A socket that libcurl will close with http_sockets_close. */
void http_sockets_opened(struct http_sockets *h, curl_socket_t fd);
/* One of those leaves the poller, and is the caller's to close. */
void http_sockets_take(struct http_sockets *h, curl_socket_t fd);
