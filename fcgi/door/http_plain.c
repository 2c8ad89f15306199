/* Plain HTTP/1.1 is spoken here (RFC 9112): for a call to a provider in the same network, libcurl
 * takes as many instructions as all else that the gateway does for it, and for an event of a stream
 * as much memory. Sockets that are ready in the same round of the poller are read together
 * (door/ring.h). */
#include "door/http_parts.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define OUT_MAX (1u << 20)
#define READS_MAX 8 /* of a connection at a time, the others come then */

/* --- the request ----------------------------------------------------------------------------- */

/* Printable, and nothing that ends a URL or that libcurl would take for something else. */
static bool is_clear(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '#' || s.p[i] == '\\')
            return false;
    return true;
}

bool http_plain_target(const char *url, struct http_target *t) {
    struct str rest = str_c(url);
    if (!str_starts(rest, STR("http://")))
        return false;
    rest = str_from(rest, 7);
    size_t n = strcspn(rest.p, "/?#");
    t->authority = str_sub(rest, 0, n);
    t->path = n == rest.n ? STR("/") : str_from(rest, n);
    return n && t->path.p[0] == '/' && is_clear(rest) && strcspn(rest.p, "@%\"<>^`{|}") >= n &&
           str_find_str(t->path, STR("/.")) < 0;
}

static bool names(const char *line, const char *field) {
    return str_istarts(str_c(line), str_c(field));
}

static void put_line(struct buf *out, const char *line) {
    buf_puts(out, line);
    buf_puts(out, "\r\n");
}

static void put_head(struct http_call *c, const struct http_ask *ask, const struct http_target *t) {
    struct buf *out = &c->out;
    bool has_accept = false;
    struct str host = t->authority;
    if (str_ends(host, STR(":80")))
        host.n -= 3;
    buf_puts(out, ask->method);
    buf_putc(out, ' ');
    buf_str(out, t->path);
    buf_puts(out, " HTTP/1.1\r\nHost: ");
    buf_str(out, host);
    buf_puts(out, "\r\nAccept-Encoding: identity\r\n");
    for (const char *const *line = ask->headers; *line; line++) {
        struct str rest = str_c(*line), name;
        has_accept |= names(*line, "accept:");
        if (str_cut(&rest, ':', &name) && str_trim(rest).n) /* as libcurl does */
            put_line(out, *line);
    }
    if (!has_accept)
        put_line(out, "Accept: */*");
    if (strcmp(ask->method, "GET") != 0) {
        buf_puts(out, "Content-Length: ");
        buf_i64(out, (int64_t)ask->body.n);
        buf_puts(out, "\r\n");
        c->body = ask->body;
    }
    buf_puts(out, "\r\n");
}

void http_plain_start(struct http_call *c, const struct http_ask *ask,
                      const struct http_target *t) {
    c->out.max = OUT_MAX;
    buf_clear(&c->out);
    buf_str(&c->out, t->authority); /* first, and not sent: it outlives the URL */
    size_t n = c->out.n;
    c->body = STR("");
    put_head(c, ask, t);
    must(!c->out.failed); /* the caller's lines are limited */
    c->authority = str_of(c->out.p, n);
    http_conns_get(c);
}

static struct str head_of(const struct http_call *c) {
    return str_from(buf_view(&c->out), c->authority.n);
}

static size_t to_send(const struct http_call *c) {
    return c->mute ? 0 : head_of(c).n + c->body.n - c->sent;
}

bool http_plain_sent(const struct http_call *c) {
    return c->conn && !to_send(c);
}

static bool send_some(struct http_call *c) {
    struct str head = head_of(c);
    size_t of_head = c->sent < head.n ? c->sent : head.n, of_body = c->sent - of_head;
    struct iovec v[] = {
        {(void *)(uintptr_t)(head.p + of_head), head.n - of_head},
        {(void *)(uintptr_t)(c->body.p + of_body), c->body.n - of_body},
    };
    struct msghdr m = {.msg_iov = v, .msg_iovlen = ARRAY_LEN(v)};
    ssize_t n = sendmsg(c->conn->watch.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        c->sent += (size_t)n;
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

static void listen_on(struct http_call *c) {
    uint32_t in = c->in.held ? 0 : EPOLLIN, out = to_send(c) ? EPOLLOUT : 0;
    poller_watch(c->http->poller, &c->conn->watch, in | out);
}

bool http_plain_begin(struct http_call *c, struct http_conn *conn) {
    must(c->conn == conn);
    c->sent = 0;
    c->mute = c->in_head = false;
    buf_init(&c->line, c->head_max);
    if (!send_some(c))
        return false;
    listen_on(c);
    return true;
}

/* --- the answer ------------------------------------------------------------------------------ */

static bool is_status_line(struct str line) {
    return str_starts(line, STR("HTTP/1.1 ")) || str_starts(line, STR("HTTP/1.0 "));
}

static enum http_fed take_line(struct http_call *c, struct str line) {
    bool odd = memchr(line.p, '\0', line.n) || (!c->in_head && !is_status_line(line));
    if (odd) {
        c->invalid = true;
        return HTTP_FED_BAD;
    }
    c->in_head = str_trim(line).n > 0; /* after an interim answer comes another */
    if (http_on_header((char *)(uintptr_t)line.p, 1, line.n, c) != line.n)
        return HTTP_FED_STOP;
    return HTTP_FED;
}

static enum http_fed keep_line(struct http_call *c, struct str part) {
    buf_str(&c->line, part);
    if (!c->line.failed && c->head_bytes + c->line.n <= c->head_max)
        return HTTP_FED;
    c->invalid = true;
    return HTTP_FED_BAD;
}

static enum http_fed take_head(struct http_call *c, struct str *raw) {
    while (!c->head_done) {
        ptrdiff_t end = str_find(*raw, '\n');
        if (end < 0)
            return raw->n ? keep_line(c, *raw) : HTTP_FED;
        struct str line = str_sub(*raw, 0, (size_t)end + 1);
        *raw = str_from(*raw, line.n);
        struct buf begun AUTO(buf_free) = c->line;
        buf_init(&c->line, c->head_max);
        if (begun.n) {
            begun.max += line.n;
            buf_str(&begun, line);
            line = buf_view(&begun);
        }
        enum http_fed fed = take_line(c, line);
        if (fed != HTTP_FED)
            return fed;
    }
    return http_body_begin(c) ? HTTP_FED : HTTP_FED_BAD;
}

enum http_fed http_plain_feed(struct http_call *c, struct str raw) {
    if (!c->head_done) {
        enum http_fed fed = take_head(c, &raw);
        if (fed != HTTP_FED || !c->head_done)
            return fed;
    }
    return http_body_feed(c, raw);
}

static void finish(struct http_call *c) {
    if (c->closes || to_send(c) || c->mute)
        http_conns_close(c->conn);
    else
        http_conns_keep(c);
    http_end_call(c, CURLE_OK);
}

/* True when the call is still under way. */
static bool go_on(struct http_call *c, enum http_fed fed) {
    switch (fed) {
    case HTTP_FED:
    case HTTP_FED_HELD:
        listen_on(c);
        return true;
    case HTTP_FED_END:
        finish(c);
        break;
    case HTTP_FED_STOP:
        http_end_call(c, CURLE_WRITE_ERROR);
        break;
    case HTTP_FED_BAD:
        http_end_call(c, CURLE_RECV_ERROR);
        break;
    }
    return false;
}

/* A provider may close a kept connection just as a call goes out on it. */
static bool met_closing_connection(const struct http_call *c) {
    return c->conn->used && !c->head_bytes && !c->line.n && c->repeats < HTTP_REPEATS_MAX;
}

static void lost(struct http_call *c, CURLcode rc) {
    if (met_closing_connection(c)) {
        c->repeats++;
        http_conns_close(c->conn);
        http_conns_get(c);
        return;
    }
    if (c->head_done && c->in.framing == HTTP_BODY_UNTIL_CLOSE && rc == CURLE_PARTIAL_FILE) {
        bool whole = !c->in.zip || zip_stream_ended(c->in.zip);
        http_end_call(c, whole ? CURLE_OK : rc);
        return;
    }
    c->invalid |= !c->head_done && c->head_bytes;
    http_end_call(c, rc);
}

/* True when there may be more to read at once. */
static bool got(struct http_call *c, char *p, ssize_t n, size_t room) {
    if (n > 0)
        return go_on(c, http_plain_feed(c, str_of(p, (size_t)n))) && !c->in.held &&
               (size_t)n == room;
    if (n == 0)
        lost(c, CURLE_PARTIAL_FILE);
    else if (n != -EAGAIN && n != -EINTR)
        lost(c, CURLE_RECV_ERROR);
    return false;
}

static void read_on(struct http_call *c, char *to) {
    bool more = true;
    for (int i = 0; more && i < READS_MAX; i++) {
        ssize_t n = recv(c->conn->watch.fd, to, HTTP_READ_ON, MSG_DONTWAIT);
        more = got(c, to, n < 0 ? -errno : n, HTTP_READ_ON);
    }
}

static void leave(struct http_conn *conn) {
    if (conn->ready)
        conn->http->conns.ready[conn->ready - 1] = NULL;
    conn->ready = 0;
}

/* Who is over before, or by what another one got, has left. */
void http_plain_read_all(struct soon *s) {
    struct http_conns *p = CONTAINER_OF(s, struct http_conns, read);
    struct ring_op ops[RING_MAX];
    size_t n = 0;
    for (size_t i = 0; i < p->n_ready; i++) {
        struct http_conn *conn = p->ready[i];
        if (!conn)
            continue;
        ops[n] =
            (struct ring_op){.fd = conn->watch.fd, .p = p->scratch + n * HTTP_READ, .n = HTTP_READ};
        p->ready[n++] = conn;
        conn->ready = n;
    }
    p->n_ready = n;
    ring_read(p->ring, ops, n);
    for (size_t i = 0; i < n; i++) {
        struct http_conn *conn = p->ready[i];
        if (!conn)
            continue;
        struct http_call *c = conn->call;
        leave(conn);
        if (got(c, ops[i].p, ops[i].done, HTTP_READ))
            read_on(c, p->scratch + (size_t)RING_MAX * HTTP_READ);
    }
    p->n_ready = 0;
}

static void read_soon(struct http_conn *conn) {
    struct http_conns *p = &conn->http->conns;
    if (p->n_ready == RING_MAX)
        http_plain_read_all(&p->read);
    p->ready[p->n_ready++] = conn;
    conn->ready = p->n_ready;
    poller_soon(conn->http->poller, &p->read);
}

/* An idle one is closed by the provider, or talks out of turn. Who no longer listens may have an
 * answer nevertheless. */
void http_plain_on_ready(struct watch *w, uint32_t events) {
    struct http_conn *conn = CONTAINER_OF(w, struct http_conn, watch);
    struct http_call *c = conn->call;
    if (!c) {
        http_conns_close(conn);
        return;
    }
    if (events & EPOLLOUT && to_send(c)) {
        c->mute = !send_some(c);
        listen_on(c);
    }
    if (events & ~(uint32_t)EPOLLOUT && !c->in.held)
        read_soon(conn);
}

void http_plain_resume(struct http_call *c) {
    if (c->in.held)
        go_on(c, http_body_resume(c));
}

void http_plain_stop(struct http_call *c) {
    http_conns_forget(c);
    http_body_free(&c->in);
    buf_free(&c->line);
    c->body = STR("");
    if (c->out.cap > 4096)
        buf_free(&c->out);
}
