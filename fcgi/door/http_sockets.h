/* http_sockets.h - libcurl's sockets on the poller; used by http*.c only.
 *
 * Between two calls a connection's socket stays in epoll: taking it out and putting it back would
 * be two system calls a call. What libcurl opens by itself, to resolve names, it also closes
 * unseen, and is taken out.
 *
 * A socket may be lent to a call that reads it past libcurl. What libcurl closes then may linger
 * until the provider has closed its side.
 */
#pragma once

#include "util/list.h"
#include "util/poller.h"

#include <curl/curl.h>

#define HTTP_LINGER_MAX 256 /* connections at once */
#define HTTP_LINGER_S 2     /* at most, seen when the next begins to linger */

struct http_socket;
struct http_sockets {
    struct poller *poller;
    CURLM *multi;
    void (*ready)(void *ctx, curl_socket_t fd, int what); /* CURL_CSELECT_... */
    void *ctx;
    void (*direct)(void *call);  /* a lent socket may be read */
    size_t n_wanted;             /* sockets of running transfers */
    struct http_socket **opened; /* by descriptor */
    size_t n_opened;
    struct list lingering; /* the first to be closed comes first */
    size_t n_lingering;
};

void http_sockets_init(struct http_sockets *h, struct poller *p, CURLM *multi);
void http_sockets_free(struct http_sockets *h);
/* What CURLMOPT_SOCKETFUNCTION was told. */
void http_sockets_wanted(struct http_sockets *h, curl_socket_t fd, int what, void *socket_ctx);
/* For CURLOPT_CLOSESOCKETFUNCTION; ctx is the struct http_sockets. */
int http_sockets_close(void *ctx, curl_socket_t fd);
/* A socket that libcurl will close with http_sockets_close. */
void http_sockets_opened(struct http_sockets *h, curl_socket_t fd);
/* NULL: not one that was told of with http_sockets_opened. */
struct http_socket *http_sockets_find(const struct http_sockets *h, curl_socket_t fd);
curl_socket_t http_sockets_fd(const struct http_socket *s);
/* From now on `direct` is told when s is ready, not libcurl; NULL ends that. */
void http_sockets_lend(struct http_sockets *h, struct http_socket *s, void *call);
/* Whether anybody wants to know. */
void http_sockets_listen(struct http_socket *s, bool on);
/* s is to linger when libcurl closes it. */
void http_sockets_linger(struct http_socket *s);
