/* http_parts.h - what http.c, http_head.c and http_direct.c share; for these only. */
#pragma once

#include "door/http.h"
#include "door/http_chunks.h"
#include "door/http_sockets.h"
#include "door/http_url.h"
#include "door/ring.h"
#include "util/list.h"

#include <curl/curl.h>

#define N_ORIGINS 256
#define OWN_LINES 3
#define HTTP_DIRECT_READ 16384 /* bytes that one read of a socket takes */

#define SET(easy, option, value) must(curl_easy_setopt(easy, option, value) == CURLE_OK)

/* A provider's scheme, host and port. Until the first connection to it stands, the other calls wait
 * in here: libcurl would open a connection for each, not knowing that one of HTTP/2 carries all. */
struct origin {
    uint64_t hash;
    struct http_call *scout; /* on its way to the first connection */
    struct list waiting;
    bool reached; /* a connection stands */
    bool settled; /* and has had time to tell how many streams it may carry */
    bool multiplexes;
};

/* The body of an answer that is taken apart here; see http_direct.c. */
struct http_direct {
    struct http_chunks chunks;
    struct buf ahead; /* bytes that came while it was held, the first of them payload */
    size_t payload;   /* so many of them */
    bool on;          /* libcurl hands the body over as it comes */
    bool taken;       /* the socket is read here, libcurl's transfer is paused */
    bool held;        /* on_data answered HTTP_PAUSE */
    size_t ready;     /* 1 + where in http.ready it stands, 0 = not there */
};

struct http_call {
    struct list node;       /* in http.idle when free, in origin.waiting before it begins */
    struct list connecting; /* in http.connecting until it has a connection */
    int64_t connect_by_us;
    struct http *http;
    struct origin *origin; /* NULL: none is kept for it */
    uint64_t origin_hash;  /* the slot may have become another's */
    CURL *easy;
    struct http_url url;
    struct http_socket *socket; /* that libcurl reads its answer from, once it does */
    struct curl_slist lines[HTTP_LINES_MAX + OWN_LINES]; /* of the caller's text */
    const struct http_events *events;
    void *ctx;
    struct http_head head;
    char content_type[128], request_id[128];
    struct buf fields;
    bool want_fields;
    size_t head_bytes, head_max, body_n;
    int repeats;
    bool private_ok, met_private, stream;
    bool plain;            /* no TLS: what the socket brings is the answer itself */
    bool chunked, encoded; /* what its head said of the body */
    bool head_done, got_data, refused, invalid, ended;
    struct http_direct direct;
};

struct http {
    struct poller *poller;
    CURLM *multi;
    struct timer timer;
    struct timer settle;    /* origins reached lately are settled then */
    struct list connecting; /* calls without a connection yet, the first to be given up first */
    struct timer connect;   /* that one may have waited long enough */
    struct list idle[2]; /* handles ready for use, [1] for streams; LIFO keeps their memory warm */
    size_t n_idle;
    struct http_sockets sockets;
    bool any_reached;
    struct origin origins[N_ORIGINS];
    struct http_call *ready[RING_MAX]; /* their sockets are to be read; NULL: over meanwhile */
    size_t n_ready;
    struct soon read;
    struct ring *ring;
    char *scratch; /* HTTP_DIRECT_READ bytes for each of ready */
    struct http_conf conf;
};

/* http.c: the call is over: on_end is told what rc means, c is not to be used any more. */
void http_end_call(struct http_call *c, CURLcode rc);

/* http_head.c: CURLOPT_HEADERFUNCTION, ctx is the call. */
size_t http_on_header(char *p, size_t size, size_t n, void *ctx);

/* http_direct.c */

/* The head is complete and was taken: decides how the body comes. */
void http_direct_begin(struct http_call *c);
/* What libcurl read of a body that comes as it is; answers for CURLOPT_WRITEFUNCTION. */
size_t http_direct_body(struct http_call *c, struct str raw);
/* The socket of a call that was taken is ready: it is read with the others of the poller's round.
 */
void http_direct_ready(struct http_call *c);
void http_direct_read_all(struct soon *s);
/* After HTTP_PAUSE. False: libcurl has the transfer. c may be over afterwards. */
must_use bool http_direct_resume(struct http_call *c);
/* Before the handle leaves libcurl. */
void http_direct_stop(struct http_call *c);
