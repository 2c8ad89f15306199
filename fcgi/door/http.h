/* http.h - all transfers to providers of one process, on one poller. libcurl's multi interface
 * resolves, connects and speaks TLS and HTTP/2; plain HTTP/1.1 is spoken here, over connections
 * that libcurl makes (http_parts.h tells which file does what).
 *
 * Everything here belongs to the thread that has the poller's turn. A call reports through its
 * http_events; after on_end it is gone. Connections, DNS, TLS sessions and HTTP/2 streams are
 * shared by all calls.
 */
#pragma once

#include "util/buf.h"
#include "util/err.h"
#include "util/poller.h"

struct http;
struct http_call;

struct http_head { /* of the final (not 1xx) answer; views valid during on_head */
    int status;
    struct str content_type, request_id;
    struct str fields;      /* the header lines as they came, when they were asked for */
    int64_t retry_after_ms; /* 0 = none; delta-seconds or HTTP-date */
    int64_t content_length; /* -1 = unknown */
};

enum http_end {
    HTTP_DONE,
    HTTP_PRIVATE,     /* the name leads to an address that is not public, and private_ok is off */
    HTTP_UNREACHABLE, /* resolve, connect, TLS, or closed before the first answer byte */
    HTTP_CONNECT_TIMEOUT,
    HTTP_BROKEN,  /* the answer stopped before its end */
    HTTP_INVALID, /* not HTTP, or header block too large */
    HTTP_REFUSED, /* a callback said so */
};

struct http_events {
    /* Once per call. False ends the call with HTTP_REFUSED. */
    bool (*on_head)(void *ctx, const struct http_head *head);
    enum http_flow { HTTP_TAKEN, HTTP_PAUSE, HTTP_STOP } (*on_data)(void *ctx, struct str p);
    void (*on_end)(void *ctx, enum http_end end);
};

struct http_conf {
    int64_t connect_timeout_ms, max_connections, max_head_bytes;
    const char *ca_file; /* "" = the system's */
};

#define HTTP_LINES_MAX 20
struct http_ask {
    const char *method; /* "GET", "POST", "PUT", "PATCH", "DELETE"; copied */
    const char *url;
    const char *const *headers; /* NULL-terminated "Name: value" lines, at most HTTP_LINES_MAX; the
                                 * text must stay valid until on_end */
    bool want_fields;
    bool stream;     /* little at a time is expected, and many such calls at once */
    struct str body; /* must stay valid until on_end */
    bool private_ok; /* may connect to addresses that are not public (address.h) */
    const struct http_events *events;
    void *ctx;
};

/* Once in main before threads. */
void http_library_init(void);
struct http *http_new(struct poller *p, const struct http_conf *conf);
void http_free(struct http **h);
/* Applies to calls started from now on. */
void http_reconfigure(struct http *h, const struct http_conf *conf);
/* Never calls back before it returns. */
struct http_call *http_start(struct http *h, const struct http_ask *ask);
/* After HTTP_PAUSE: the same data is handed over again (on_data may run inside, and on_end when it
 * answers HTTP_STOP: c is not to be used any more). */
void http_resume(struct http_call *c);
/* Ends the call without on_end and closes its connection (HTTP/1.1) or stream (HTTP/2). Allowed
 * inside on_head and on_data only by returning false / HTTP_STOP instead. */
void http_cancel(struct http_call **c);
/* True when all body_n bytes of the request body are on their way and will not be read again. */
bool http_sent(const struct http_call *c, size_t body_n);
/* Open connections, for /metrics. */
size_t http_connections(const struct http *h);
