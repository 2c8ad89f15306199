/* http_parts.h - what the files of http.h share; for these only.
 *
 *   http.c          calls over TLS, which libcurl carries; what all calls have in common
 *   http_plain.c    calls over plain HTTP/1.1, whose messages are written and read here
 *   http_conns.c    their connections: libcurl makes them, they are kept and shared out here
 *   http_body.c     an answer's body as it comes from such a connection
 *   http_head.c     an answer's header lines, whoever read them
 *   http_sockets.c  libcurl's sockets on the poller
 */
#pragma once

#include "door/http.h"
#include "door/http_chunks.h"
#include "door/http_sockets.h"
#include "door/http_url.h"
#include "door/ring.h"
#include "door/zip.h"
#include "util/list.h"

#include <curl/curl.h>

#define N_ORIGINS 256
#define OWN_LINES 3
#define HTTP_READ 16384            /* bytes that one read of a socket takes */
#define HTTP_READ_ON (128u << 10)  /* and the next, when it was as much as that */
#define HTTP_REPEATS_MAX 3         /* of a call whose kept connection the provider had given up */
#define HTTP_IDLE_MAX_US 118000000 /* of a kept connection, as in libcurl */
#define HTTP_IDLE_HANDLES_MAX 1024

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

/* What CURLOPT_PRIVATE of a handle points to begins with this. */
struct http_handle {
    bool dials; /* it is part of a struct http_dial, not of a call */
};

/* An answer's body; see http_body.c. */
enum http_framing { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_UNTIL_CLOSE };
struct http_body {
    enum http_framing framing;
    uint64_t left; /* of HTTP_BODY_LENGTH */
    struct http_chunks chunks;
    struct zip_stream *zip; /* NULL: it is not compressed */
    struct buf ahead;       /* bytes that came while it was held, the first of them payload */
    size_t payload;         /* so many of them */
    bool held;              /* on_data answered HTTP_PAUSE */
};

struct http_call {
    struct http_handle handle;
    struct list node; /* in http.idle or .idle_plain when free; where it waits before it begins */
    struct list connecting; /* in http.connecting until it has a connection */
    int64_t connect_by_us;
    struct http *http;
    const struct http_events *events;
    void *ctx;
    struct http_head head;
    char content_type[128], request_id[128];
    struct buf fields;
    bool want_fields;
    size_t head_bytes, head_max;
    int repeats;
    bool private_ok, met_private, stream;
    bool head_done, refused, invalid, ended;

    /* what its head said of the body and the connection */
    bool chunked, zipped, closes;
    bool unreadable; /* lengths that contradict each other, or a coding that is not known */

    /* over plain HTTP; easy is NULL */
    struct http_conn *conn; /* NULL: not yet, or no more */
    struct http_dial *dial; /* that makes one for it */
    struct http_body in;
    struct buf line;      /* the beginning of a header line whose end has not come */
    bool in_head;         /* the status line has come */
    struct buf out;       /* the request but its body */
    struct str body;      /* the caller's */
    size_t sent;          /* bytes of both */
    bool mute;            /* the provider takes no more of them */
    struct str authority; /* in out: host and port */

    /* carried by libcurl */
    CURL *easy;
    struct origin *origin; /* NULL: none is kept for it */
    uint64_t origin_hash;  /* the slot may have become another's */
    struct http_url url;
    struct curl_slist lines[HTTP_LINES_MAX + OWN_LINES]; /* of the caller's text */
};

/* A connection of plain HTTP/1.1. It stays in epoll between two calls, so that it is seen when the
 * provider closes it. */
struct http_conn {
    struct watch watch;
    struct list node; /* in http_conns.idle, newest last */
    struct list age;  /* in http_conns.by_age while idle, oldest first */
    struct http *http;
    struct http_call *call; /* NULL: idle */
    uint64_t hash;          /* of the authority */
    int64_t idle_since_us;
    size_t ready; /* 1 + where in http_conns.ready it stands, 0 = not there */
    bool private_ok, used;
    size_t n;
    char authority[];
};

/* A handle of libcurl that makes such a connection. */
struct http_dial {
    struct http_handle handle;
    struct list node; /* in http_conns.spare when free */
    struct http *http;
    struct http_call *call;
    CURL *easy;
    struct http_url url;
};

struct http_conns {
    struct list idle[N_ORIGINS], by_age;
    struct list waiting; /* calls: there are as many connections as there may be */
    struct list spare;   /* dials */
    size_t n_spare;
    size_t n, n_dials, n_busy;         /* connections; on their way; with a call */
    struct http_conn *ready[RING_MAX]; /* to be read; NULL: over meanwhile */
    size_t n_ready;
    struct soon read;
    struct ring *ring;
    char *scratch; /* HTTP_READ bytes for each of ready, then HTTP_READ_ON */
};

struct http {
    struct poller *poller;
    CURLM *multi;
    struct timer timer;
    struct timer settle;    /* origins reached lately are settled then */
    struct list connecting; /* calls without a connection yet, the first to be given up first */
    struct timer connect;   /* that one may have waited long enough */
    /* free calls; those of libcurl with their handles, [1] for streams. LIFO keeps memory warm */
    struct list idle[2], idle_plain;
    size_t n_idle, n_idle_plain;
    struct http_sockets sockets;
    bool any_reached;
    struct origin origins[N_ORIGINS];
    struct http_conns conns;
    struct http_conf conf;
};

/* How far an answer is: on its way, stopped by its client, complete, refused, or not HTTP. */
enum http_fed { HTTP_FED, HTTP_FED_HELD, HTTP_FED_END, HTTP_FED_STOP, HTTP_FED_BAD };

/* http.c */

/* The call is over: on_end is told what rc means, c is not to be used any more. */
void http_end_call(struct http_call *c, CURLcode rc);
/* From now on it has connect_timeout to get a connection; http_connected ends that. */
void http_await_connection(struct http_call *c);
void http_connected(struct http_call *c);
/* What all handles of libcurl have in common. */
void http_prepare(struct http *h, CURL *easy, struct http_handle *handle);
/* For CURLOPT_OPENSOCKETFUNCTION: CURL_SOCKET_BAD when the address is not public and c may not go
 * there. Judged after the name was resolved, so a name that changes its address gains nothing. */
curl_socket_t http_open_socket(struct http_call *c, const struct curl_sockaddr *to);
/* How many connections libcurl may have beside those of plain HTTP. */
void http_share_connections(struct http *h);

/* http_head.c: CURLOPT_HEADERFUNCTION, ctx is the call; also for lines that were read here. */
size_t http_on_header(char *p, size_t size, size_t n, void *ctx);

/* http_plain.c */

/* Views into a URL: host and port, path and query. */
struct http_target {
    struct str authority, path;
};
/* False: the URL is one that libcurl has to look at, for TLS or to make sense of it. */
must_use bool http_plain_target(const char *url, struct http_target *t);
/* Never calls back. */
void http_plain_start(struct http_call *c, const struct http_ask *ask, const struct http_target *t);
/* The connection is the call's: sends what it takes at once. False when it is of no use any more.
 */
must_use bool http_plain_begin(struct http_call *c, struct http_conn *conn);
/* What came next of the answer. */
must_use enum http_fed http_plain_feed(struct http_call *c, struct str raw);
void http_plain_stop(struct http_call *c);
void http_plain_resume(struct http_call *c);
bool http_plain_sent(const struct http_call *c);
void http_plain_on_ready(struct watch *w, uint32_t events);
void http_plain_read_all(struct soon *s);

/* http_conns.c */

void http_conns_init(struct http *h);
void http_conns_free(struct http *h);
/* Gets the call a connection, now or later; http_plain_begin is called then. */
void http_conns_get(struct http_call *c);
/* It does not want one any more. */
void http_conns_forget(struct http_call *c);
/* The call leaves its connection, which is kept for another. */
void http_conns_keep(struct http_call *c);
/* The call leaves its connection, which is closed; without a call for an idle one. */
void http_conns_close(struct http_conn *conn);
/* libcurl is done with the dial. */
void http_conns_dialed(struct http_dial *d, CURLcode rc);

/* http_body.c */

/* The head is complete and was taken: decides how the body comes. False: it can not be read. */
must_use bool http_body_begin(struct http_call *c);
/* Hands on what of raw is payload. */
must_use enum http_fed http_body_feed(struct http_call *c, struct str raw);
/* After HTTP_FED_HELD. */
must_use enum http_fed http_body_resume(struct http_call *c);
void http_body_free(struct http_body *b);
