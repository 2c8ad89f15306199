/* libcurl resolves names and connects, as for all other calls; then the socket is taken from it and
 * its handle is free for the next connection. */
#include "door/http_parts.h"

#include "util/hash.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static size_t limit(const struct http *h) {
    return (size_t)h->conf.max_connections;
}

static uint64_t hash_of(const struct http_call *c) {
    return hash_bytes(c->authority.p, c->authority.n);
}

/* A connection to an address that is not public serves only who may go there. */
static bool serves(const struct http_conn *conn, const struct http_call *c) {
    return c->private_ok == conn->private_ok &&
           str_eq(c->authority, str_of(conn->authority, conn->n));
}

/* --- connections ----------------------------------------------------------------------------- */

static struct http_conn *conn_new(struct http_call *c, int fd) {
    struct http *h = c->http;
    struct http_conn *conn = base_zalloc(sizeof *conn + c->authority.n);
    conn->watch = (struct watch){.fn = http_plain_on_ready, .fd = fd};
    list_init(&conn->node);
    list_init(&conn->age);
    conn->http = h;
    conn->hash = hash_of(c);
    conn->private_ok = c->private_ok;
    conn->n = c->authority.n;
    memcpy(conn->authority, c->authority.p, conn->n);
    h->conns.n++;
    http_share_connections(h);
    return conn;
}

static void conn_free(struct http_conn *conn) {
    struct http *h = conn->http;
    list_remove(&conn->node);
    list_remove(&conn->age);
    if (conn->ready)
        h->conns.ready[conn->ready - 1] = NULL;
    poller_forget(&conn->watch);
    close(conn->watch.fd);
    poller_bury(h->poller, conn);
    h->conns.n--;
    http_share_connections(h);
}

static void attach(struct http_call *c, struct http_conn *conn) {
    list_remove(&conn->node);
    list_remove(&conn->age);
    conn->call = c;
    c->conn = conn;
    c->http->conns.n_busy++;
}

static void detach(struct http_conn *conn) {
    if (!conn->call)
        return;
    conn->call->conn = NULL;
    conn->call = NULL;
    conn->http->conns.n_busy--;
}

static struct http_conn *oldest(struct http *h) {
    struct list *first = h->conns.by_age.next;
    return list_empty(&h->conns.by_age) ? NULL : CONTAINER_OF(first, struct http_conn, age);
}

static void close_aged(struct http *h) {
    struct http_conn *conn;
    while ((conn = oldest(h)) && conn->idle_since_us + HTTP_IDLE_MAX_US < h->poller->now_us)
        conn_free(conn);
}

static struct http_conn *find_idle(struct http_call *c) {
    struct list *idle = &c->http->conns.idle[hash_of(c) % N_ORIGINS];
    for (struct list *n = idle->prev; n != idle; n = n->prev) {
        struct http_conn *conn = CONTAINER_OF(n, struct http_conn, node);
        if (serves(conn, c))
            return conn;
    }
    return NULL;
}

static bool begin_with(struct http_call *c, struct http_conn *conn) {
    attach(c, conn);
    if (http_plain_begin(c, conn))
        return true;
    detach(conn);
    conn_free(conn);
    return false;
}

/* --- dials ----------------------------------------------------------------------------------- */

static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *to) {
    struct http_dial *d = ctx;
    (void)purpose;
    return http_open_socket(d->call, to);
}

static struct http_dial *take_dial(struct http *h) {
    struct http_conns *p = &h->conns;
    if (!list_empty(&p->spare)) {
        struct http_dial *d = CONTAINER_OF(p->spare.prev, struct http_dial, node);
        list_remove(&d->node);
        p->n_spare--;
        return d;
    }
    struct http_dial *d = base_zalloc(sizeof *d);
    list_init(&d->node);
    d->handle.dials = true;
    d->http = h;
    d->easy = curl_easy_init();
    must(d->easy != NULL);
    http_prepare(h, d->easy, &d->handle);
    SET(d->easy, CURLOPT_CONNECT_ONLY, 1L);
    SET(d->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(d->easy, CURLOPT_OPENSOCKETDATA, d);
    return d;
}

static void dial_free(struct http_dial *d) {
    curl_easy_cleanup(d->easy);
    http_url_free(&d->url);
    free(d);
}

static void dial(struct http_call *c) {
    struct http *h = c->http;
    struct http_dial *d = take_dial(h);
    struct buf url AUTO(buf_free) = BUF(64u << 10);
    buf_puts(&url, "http://");
    buf_str(&url, c->authority);
    buf_putc(&url, '/');
    must(!url.failed);
    http_url_set(&d->url, d->easy, url.p);
    d->call = c;
    c->dial = d;
    h->conns.n_dials++;
    must(curl_multi_add_handle(h->multi, d->easy) == CURLM_OK);
}

/* Closes what it may have opened. */
static void dial_end(struct http_dial *d) {
    struct http *h = d->http;
    must(curl_multi_remove_handle(h->multi, d->easy) == CURLM_OK);
    d->call->dial = NULL;
    d->call = NULL;
    h->conns.n_dials--;
    if (h->conns.n_spare >= HTTP_IDLE_HANDLES_MAX) {
        dial_free(d);
        return;
    }
    list_push(&h->conns.spare, &d->node);
    h->conns.n_spare++;
}

static bool has_room(struct http *h) {
    return h->conns.n + h->conns.n_dials < limit(h);
}

/* A connection has been closed or given up. */
static void serve_waiting(struct http *h) {
    while (!list_empty(&h->conns.waiting) && has_room(h)) {
        struct list *n = h->conns.waiting.next;
        list_remove(n);
        dial(CONTAINER_OF(n, struct http_call, node));
    }
}

void http_conns_dialed(struct http_dial *d, CURLcode rc) {
    struct http *h = d->http;
    struct http_call *c = d->call;
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (rc == CURLE_OK &&
        (curl_easy_getinfo(d->easy, CURLINFO_ACTIVESOCKET, &fd) != CURLE_OK || fd < 0))
        rc = CURLE_COULDNT_CONNECT;
    if (rc == CURLE_OK)
        http_sockets_take(&h->sockets, fd);
    dial_end(d);
    if (rc != CURLE_OK) {
        http_end_call(c, rc);
        return;
    }
    http_connected(c);
    if (!begin_with(c, conn_new(c, fd)))
        http_end_call(c, CURLE_SEND_ERROR);
}

/* --- calls ----------------------------------------------------------------------------------- */

void http_conns_get(struct http_call *c) {
    struct http *h = c->http;
    struct http_conn *conn;
    close_aged(h);
    while ((conn = find_idle(c)))
        if (begin_with(c, conn))
            return;
    http_await_connection(c);
    if (!has_room(h) && (conn = oldest(h)))
        conn_free(conn);
    if (has_room(h))
        dial(c);
    else
        list_push(&h->conns.waiting, &c->node);
}

void http_conns_forget(struct http_call *c) {
    list_remove(&c->node);
    if (c->dial)
        dial_end(c->dial);
    if (c->conn)
        http_conns_close(c->conn);
    else
        serve_waiting(c->http);
}

void http_conns_close(struct http_conn *conn) {
    struct http *h = conn->http;
    detach(conn);
    conn_free(conn);
    serve_waiting(h);
}

/* Who waits gets it, or its place. */
static bool hand_on(struct http_conn *conn) {
    struct http *h = conn->http;
    if (list_empty(&h->conns.waiting))
        return false;
    LIST_EACH (n, &h->conns.waiting) {
        struct http_call *c = CONTAINER_OF(n, struct http_call, node);
        if (!serves(conn, c))
            continue;
        list_remove(n);
        http_connected(c);
        if (!begin_with(c, conn))
            http_conns_get(c);
        return true;
    }
    http_conns_close(conn);
    return true;
}

void http_conns_keep(struct http_call *c) {
    struct http *h = c->http;
    struct http_conn *conn = c->conn;
    detach(conn);
    conn->used = true;
    conn->idle_since_us = h->poller->now_us;
    if (hand_on(conn))
        return;
    list_push(&h->conns.idle[conn->hash % N_ORIGINS], &conn->node);
    list_push(&h->conns.by_age, &conn->age);
    poller_watch(h->poller, &conn->watch, EPOLLIN);
}

void http_conns_init(struct http *h) {
    struct http_conns *p = &h->conns;
    for (size_t i = 0; i < N_ORIGINS; i++)
        list_init(&p->idle[i]);
    list_init(&p->by_age);
    list_init(&p->waiting);
    list_init(&p->spare);
    p->ring = ring_new(false);
    p->scratch = base_alloc((size_t)RING_MAX * HTTP_READ + HTTP_READ_ON);
    poller_soon_init(&p->read, http_plain_read_all);
}

void http_conns_free(struct http *h) {
    struct http_conns *p = &h->conns;
    struct http_conn *conn;
    while ((conn = oldest(h)))
        conn_free(conn);
    LIST_EACH_SAFE (n, next, &p->spare)
        dial_free(CONTAINER_OF(n, struct http_dial, node));
    must(!p->n && !p->n_dials);
    poller_soon_clear(&p->read);
    ring_free(&p->ring);
    free(p->scratch);
}
