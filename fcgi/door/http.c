#include "door/http.h"

#include "door/address.h"
#include "door/http_parts.h"
#include "util/hash.h"

#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

/* As a line of its own: from its option libcurl would format it twice. */
#define ACCEPT_ENCODING "Accept-Encoding: identity"
/* Bytes a handle reads at once: streams are many and bring little at a time, other answers come
 * whole. A handle keeps the size it began with, since libcurl refuses another while it has a
 * buffer, which it may have after a call over HTTP/2. */
#define STREAM_BUFFER 8192
#define WHOLE_BUFFER 32768
/* Until its SETTINGS have come, libcurl takes 100 for the limit of a connection and opens another
 * for each call beyond. */
#define UNSETTLED_STREAMS 64
#define SETTLE_US 100000
#define MAX_STREAMS 1000 /* of one HTTP/2 connection; the provider's own limit counts as well */
#define MAY_EXPECT (512 * 1024) /* libcurl asks before it sends bodies of 1 MiB and more */

void http_library_init(void) {
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

static void collect(struct http *h);
static void release_reached(struct http *h);

static void drive(struct http *h, curl_socket_t fd, int what) {
    int running;
    curl_multi_socket_action(h->multi, fd, what, &running);
    release_reached(h);
    collect(h);
}

static void on_ready(void *ctx, curl_socket_t fd, int what) {
    drive(ctx, fd, what);
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx) {
    struct http *h = ctx;
    (void)easy;
    http_sockets_wanted(&h->sockets, fd, what, socket_ctx);
    return 0;
}

static void on_timer(struct timer *t) {
    drive(CONTAINER_OF(t, struct http, timer), CURL_SOCKET_TIMEOUT, 0);
}

static int timer_wanted(CURLM *multi, long ms, void *ctx) {
    struct http *h = ctx;
    (void)multi;
    if (ms < 0)
        poller_timer_clear(h->poller, &h->timer);
    else
        poller_timer_set(h->poller, &h->timer, h->poller->now_us + ms * 1000);
    return 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx) {
    struct http_call *c = ctx;
    switch (c->events->on_data(c->ctx, str_of(p, size * n))) {
    case HTTP_TAKEN:
        return size * n;
    case HTTP_PAUSE:
        return CURL_WRITEFUNC_PAUSE;
    case HTTP_STOP:
        break;
    }
    c->refused = true;
    return CURL_WRITEFUNC_ERROR;
}

/* How long connecting may take is watched here, not by libcurl: its timers are a tree in which each
 * read of any stream would have to find its place. */
void http_await_connection(struct http_call *c) {
    struct http *h = c->http;
    if (!list_empty(&c->connecting))
        return;
    c->connect_by_us = h->poller->now_us + h->conf.connect_timeout_ms * 1000;
    list_push(&h->connecting, &c->connecting);
    if (!h->connect.at)
        poller_timer_set(h->poller, &h->connect, c->connect_by_us);
}

void http_connected(struct http_call *c) {
    list_remove(&c->connecting);
}

curl_socket_t http_open_socket(struct http_call *c, const struct curl_sockaddr *to) {
    if (!c->private_ok && address_is_private(&to->addr)) {
        c->met_private = true;
        return CURL_SOCKET_BAD;
    }
    http_await_connection(c); /* it may replace a kept one that was found dead */
    int fd = socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
    if (fd >= 0)
        http_sockets_opened(&c->http->sockets, fd);
    return fd;
}

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *to) {
    (void)purpose;
    return http_open_socket(ctx, to);
}

/* Inside libcurl, where no other call may be added. */
static int on_connected(void *ctx, char *ip, char *local_ip, int port, int local_port) {
    struct http_call *c = ctx;
    (void)ip, (void)local_ip, (void)port, (void)local_port;
    http_connected(c);
    if (c->origin && c->origin->scout == c) {
        c->origin->reached = true;
        c->http->any_reached = true;
    }
    return CURL_PREREQFUNC_OK;
}

static void start_transfer(struct http *h, struct http_call *c) {
    must(curl_multi_add_handle(h->multi, c->easy) == CURLM_OK);
    http_await_connection(c);
}

static void release(struct http *h, struct origin *o, size_t most) {
    o->scout = NULL;
    LIST_EACH_SAFE (n, next, &o->waiting) {
        if (!most--)
            return;
        list_remove(n);
        start_transfer(h, CONTAINER_OF(n, struct http_call, node));
    }
}

static void release_reached(struct http *h) {
    if (!h->any_reached)
        return;
    h->any_reached = false;
    for (struct origin *o = h->origins; o < h->origins + N_ORIGINS; o++)
        if (o->reached && o->scout) {
            release(h, o, UNSETTLED_STREAMS);
            poller_timer_set(h->poller, &h->settle, h->poller->now_us + SETTLE_US);
        }
}

static void on_settle(struct timer *t) {
    struct http *h = CONTAINER_OF(t, struct http, settle);
    for (struct origin *o = h->origins; o < h->origins + N_ORIGINS; o++)
        if (o->reached && !o->settled) {
            o->settled = true;
            release(h, o, SIZE_MAX);
        }
}

/* NULL: plain HTTP has nothing to share, and a slot that is in use is not another's. */
static struct origin *find_origin(struct http *h, const char *url, uint64_t *hash) {
    if (!str_starts(str_of(url, strlen(url)), STR("https://")))
        return NULL;
    size_t authority = sizeof "https://" - 1;
    *hash = hash_bytes(url, authority + strcspn(url + authority, "/?#"));
    struct origin *o = &h->origins[*hash % N_ORIGINS];
    if (o->hash == *hash)
        return o;
    if (o->scout || (o->reached && !o->settled))
        return NULL;
    o->hash = *hash;
    o->reached = o->settled = o->multiplexes = false;
    return o;
}

void http_prepare(struct http *h, CURL *e, struct http_handle *handle) {
    SET(e, CURLOPT_PRIVATE, handle);
    SET(e, CURLOPT_NOSIGNAL, 1L);
    SET(e, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(e, CURLOPT_FOLLOWLOCATION, 0L);
    SET(e, CURLOPT_PROXY, "");
    SET(e, CURLOPT_CLOSESOCKETFUNCTION, http_sockets_close);
    SET(e, CURLOPT_CLOSESOCKETDATA, &h->sockets);
    SET(e, CURLOPT_TCP_KEEPALIVE, 1L);
}

/* What is the same for every call; set once per handle. */
static void prepare(struct http_call *c) {
    CURL *e = c->easy;
    http_prepare(c->http, e, &c->handle);
    SET(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(e, CURLOPT_OPENSOCKETDATA, c);
    SET(e, CURLOPT_ACCEPT_ENCODING, "identity"); /* decodes what comes compressed nevertheless */
    SET(e, CURLOPT_BUFFERSIZE, c->stream ? (long)STREAM_BUFFER : (long)WHOLE_BUFFER);
    SET(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(e, CURLOPT_PREREQFUNCTION, on_connected);
    SET(e, CURLOPT_PREREQDATA, c);
    SET(e, CURLOPT_HEADERFUNCTION, http_on_header);
    SET(e, CURLOPT_HEADERDATA, c);
    SET(e, CURLOPT_WRITEFUNCTION, on_body);
    SET(e, CURLOPT_WRITEDATA, c);
    if (c->http->conf.ca_file[0])
        SET(e, CURLOPT_CAINFO, c->http->conf.ca_file);
}

static struct http_call *new_call(struct http *h) {
    struct http_call *c = base_zalloc(sizeof *c);
    list_init(&c->node);
    list_init(&c->connecting);
    c->http = h;
    return c;
}

static struct http_call *take_idle(struct list *idle, size_t *n) {
    if (list_empty(idle))
        return NULL;
    struct http_call *c = CONTAINER_OF(idle->prev, struct http_call, node);
    list_remove(&c->node);
    --*n;
    return c;
}

static struct http_call *take_handle(struct http *h, bool stream) {
    struct http_call *c = take_idle(&h->idle[stream], &h->n_idle);
    if (c)
        return c;
    c = new_call(h);
    c->stream = stream;
    c->easy = curl_easy_init();
    must(c->easy != NULL);
    prepare(c);
    return c;
}

static struct http_call *take_plain(struct http *h) {
    struct http_call *c = take_idle(&h->idle_plain, &h->n_idle_plain);
    return c ? c : new_call(h);
}

static void destroy(struct http_call *c) {
    if (c->easy)
        curl_easy_cleanup(c->easy);
    http_url_free(&c->url);
    buf_free(&c->out);
    free(c);
}

static void put_idle(struct http_call *c, struct list *idle, size_t *n) {
    if (*n >= HTTP_IDLE_HANDLES_MAX) {
        destroy(c);
        return;
    }
    list_push(idle, &c->node);
    ++*n;
}

static void give_back(struct http_call *c) {
    struct http *h = c->http;
    buf_free(&c->fields);
    c->ended = true;
    if (!c->easy) {
        put_idle(c, &h->idle_plain, &h->n_idle_plain);
        return;
    }
    SET(c->easy, CURLOPT_HTTPHEADER, NULL);
    SET(c->easy, CURLOPT_POSTFIELDS, NULL);
    put_idle(c, &h->idle[c->stream], &h->n_idle);
}

static void begin(struct http *h, struct http_call *c) {
    struct origin *o = c->origin;
    /* only where HTTP/2 was spoken: with a provider that speaks HTTP/1.1, libcurl 7.88 wakes those
     * who waited only when another transfer ends, and streams may last for hours */
    SET(c->easy, CURLOPT_PIPEWAIT, o && o->multiplexes ? 1L : 0L);
    if (o && !o->settled && (o->scout || o->reached)) {
        list_push(&o->waiting, &c->node);
        return;
    }
    if (o && !o->reached)
        o->scout = c;
    start_transfer(h, c);
}

static bool waits(const struct http_call *c) {
    return !list_empty(&c->node);
}

static void stop(struct http_call *c) {
    list_remove(&c->connecting);
    if (!c->easy) {
        http_plain_stop(c);
        return;
    }
    if (waits(c)) {
        list_remove(&c->node);
        return;
    }
    must(curl_multi_remove_handle(c->http->multi, c->easy) == CURLM_OK);
    if (c->origin && c->origin->scout == c)
        release(c->http, c->origin, SIZE_MAX);
}

/* libcurl only reads the list. */
static void put_lines(struct http_call *c, const struct http_ask *ask) {
    size_t n = 0;
    c->lines[n++].data = (char *)(uintptr_t)ACCEPT_ENCODING;
    if (ask->body.n >= MAY_EXPECT)
        c->lines[n++].data = (char *)(uintptr_t) "Expect:";
    for (const char *const *line = ask->headers; *line; line++) {
        must(n < ARRAY_LEN(c->lines));
        c->lines[n++].data = (char *)(uintptr_t)*line;
    }
    for (size_t i = 0; i < n; i++)
        c->lines[i].next = i + 1 < n ? &c->lines[i + 1] : NULL;
    SET(c->easy, CURLOPT_HTTPHEADER, c->lines);
}

static void reset(struct http_call *c, const struct http_ask *ask) {
    c->private_ok = ask->private_ok;
    c->met_private = false;
    c->events = ask->events;
    c->ctx = ask->ctx;
    c->head_bytes = 0;
    c->repeats = 0;
    c->head_max = (size_t)c->http->conf.max_head_bytes;
    c->want_fields = ask->want_fields;
    buf_init(&c->fields, c->head_max);
    c->head = (struct http_head){.content_length = -1};
    c->head_done = c->refused = c->invalid = c->ended = false;
}

static void start_by_libcurl(struct http_call *c, const struct http_ask *ask) {
    struct http *h = c->http;
    http_url_set(&c->url, c->easy, ask->url);
    put_lines(c, ask);
    if (strcmp(ask->method, "GET") == 0) {
        SET(c->easy, CURLOPT_HTTPGET, 1L);
        SET(c->easy, CURLOPT_CUSTOMREQUEST, NULL); /* the handle may have had another call */
    } else {
        SET(c->easy, CURLOPT_POST, 1L);
        SET(c->easy, CURLOPT_CUSTOMREQUEST, ask->method);
        SET(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)ask->body.n);
        SET(c->easy, CURLOPT_POSTFIELDS, ask->body.p ? ask->body.p : "");
    }
    c->origin = find_origin(h, ask->url, &c->origin_hash);
    begin(h, c);
}

struct http_call *http_start(struct http *h, const struct http_ask *ask) {
    struct http_target target;
    bool plain = http_plain_target(ask->url, &target);
    struct http_call *c = plain ? take_plain(h) : take_handle(h, ask->stream);
    reset(c, ask);
    if (plain)
        http_plain_start(c, ask, &target);
    else
        start_by_libcurl(c, ask);
    return c;
}

void http_cancel(struct http_call **call) {
    struct http_call *c = *call;
    *call = NULL;
    if (!c)
        return;
    must(!c->ended);
    stop(c);
    give_back(c);
}

static enum http_end end_of(const struct http_call *c, CURLcode rc) {
    if (c->refused)
        return HTTP_REFUSED;
    if (c->invalid)
        return HTTP_INVALID;
    if (rc == CURLE_OK)
        return c->head_done ? HTTP_DONE : HTTP_INVALID;
    if (c->head_done)
        return HTTP_BROKEN;
    if (c->met_private)
        return HTTP_PRIVATE;
    if (rc == CURLE_OPERATION_TIMEDOUT)
        return HTTP_CONNECT_TIMEOUT;
    if (rc == CURLE_WEIRD_SERVER_REPLY || rc == CURLE_UNSUPPORTED_PROTOCOL ||
        rc == CURLE_URL_MALFORMAT)
        return HTTP_INVALID;
    return HTTP_UNREACHABLE;
}

void http_end_call(struct http_call *c, CURLcode rc) {
    stop(c);
    enum http_end end = end_of(c, rc);
    const struct http_events *events = c->events;
    void *ctx = c->ctx;
    give_back(c);
    events->on_end(ctx, end);
}

static void on_connect_due(struct timer *t) {
    struct http *h = CONTAINER_OF(t, struct http, connect);
    while (!list_empty(&h->connecting)) {
        struct http_call *c = CONTAINER_OF(h->connecting.next, struct http_call, connecting);
        if (c->connect_by_us > h->poller->now_us) {
            poller_timer_set(h->poller, t, c->connect_by_us);
            return;
        }
        http_end_call(c, CURLE_OPERATION_TIMEDOUT);
    }
}

/* What on_data refuses in here, libcurl tells nobody later. */
void http_resume(struct http_call *c) {
    if (!c->easy) {
        http_plain_resume(c);
        return;
    }
    CURLcode rc = curl_easy_pause(c->easy, CURLPAUSE_CONT);
    if (rc != CURLE_OK)
        http_end_call(c, rc);
}

/* A provider may close a kept connection just as calls go out on it. libcurl tries another when it
 * was one of HTTP/1.1; of the calls that shared one of HTTP/2 it repeats only those that GOAWAY
 * names, and the first that sees a plain close. Which of these opened it says nothing then. */
static bool met_closing_connection(const struct http_call *c, CURLcode rc) {
    const struct origin *o = c->origin;
    bool shared = o && o->hash == c->origin_hash && o->multiplexes;
    long opened = 0;
    bool cut = rc == CURLE_HTTP2 || rc == CURLE_HTTP2_STREAM || rc == CURLE_SEND_ERROR ||
               rc == CURLE_RECV_ERROR || rc == CURLE_GOT_NOTHING || rc == CURLE_PARTIAL_FILE;
    return cut && !c->head_bytes && c->repeats < HTTP_REPEATS_MAX &&
           curl_easy_getinfo(c->easy, CURLINFO_NUM_CONNECTS, &opened) == CURLE_OK &&
           (shared || !opened);
}

static void call_done(struct http_call *c, CURLcode rc) {
    if (!met_closing_connection(c, rc)) {
        http_end_call(c, rc);
        return;
    }
    c->repeats++;
    stop(c);
    start_transfer(c->http, c);
}

static void collect(struct http *h) {
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(h->multi, &left))) {
        if (m->msg != CURLMSG_DONE)
            continue;
        char *private;
        must(curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private) == CURLE_OK);
        struct http_handle *handle = (struct http_handle *)(void *)private;
        if (handle->dials)
            http_conns_dialed(CONTAINER_OF(handle, struct http_dial, handle), m->data.result);
        else
            call_done(CONTAINER_OF(handle, struct http_call, handle), m->data.result);
    }
}

void http_share_connections(struct http *h) {
    int64_t left = h->conf.max_connections - (int64_t)h->conns.n;
    curl_multi_setopt(h->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, left > 1 ? (long)left : 1L);
}

void http_reconfigure(struct http *h, const struct http_conf *conf) {
    const char *ca = h->conf.ca_file; /* handles keep the file they were made with */
    h->conf = *conf;
    h->conf.ca_file = ca;
    http_share_connections(h);
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)conf->max_connections);
}

struct http *http_new(struct poller *p, const struct http_conf *conf) {
    struct http *h = base_zalloc(sizeof *h);
    h->poller = p;
    h->conf = *conf;
    http_conns_init(h);
    h->timer.fn = on_timer;
    h->settle.fn = on_settle;
    h->connect.fn = on_connect_due;
    list_init(&h->connecting);
    list_init(&h->idle[0]);
    list_init(&h->idle[1]);
    list_init(&h->idle_plain);
    for (size_t i = 0; i < N_ORIGINS; i++)
        list_init(&h->origins[i].waiting);
    h->multi = curl_multi_init();
    must(h->multi != NULL);
    http_sockets_init(&h->sockets, p, h->multi);
    h->sockets.ready = on_ready;
    h->sockets.ctx = h;
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    curl_multi_setopt(h->multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)MAX_STREAMS);
    http_reconfigure(h, conf);
    return h;
}

void http_free(struct http **hp) {
    struct http *h = *hp;
    *hp = NULL;
    if (!h)
        return;
    http_conns_free(h);
    struct list *idle[] = {&h->idle[0], &h->idle[1], &h->idle_plain};
    for (size_t i = 0; i < ARRAY_LEN(idle); i++)
        LIST_EACH_SAFE (n, next, idle[i]) {
            list_remove(n);
            destroy(CONTAINER_OF(n, struct http_call, node));
        }
    must(curl_multi_cleanup(h->multi) == CURLM_OK);
    poller_timer_clear(h->poller, &h->timer);
    poller_timer_clear(h->poller, &h->settle);
    poller_timer_clear(h->poller, &h->connect);
    http_sockets_free(&h->sockets);
    free(h);
}

bool http_sent(const struct http_call *c, size_t body_n) {
    curl_off_t sent = 0;
    if (!c->easy)
        return http_plain_sent(c);
    return !waits(c) && curl_easy_getinfo(c->easy, CURLINFO_SIZE_UPLOAD_T, &sent) == CURLE_OK &&
           (size_t)sent >= body_n;
}

size_t http_connections(const struct http *h) {
    return h->sockets.n_wanted + h->conns.n_busy;
}
