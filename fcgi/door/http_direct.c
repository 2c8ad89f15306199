/* An event stream over plain HTTP/1.1 is read here, past libcurl, once its head has come: libcurl
 * takes a system call more a read, and touches as much memory as all else that an event needs. The
 * sockets that are ready in the same round of the poller are read together (door/ring.h).
 * libcurl connects, sends and reads the head; it is told to hand the chunks over as they are, and
 * is paused when the first have come. The call ends here too, after which libcurl cannot use the
 * connection again: such a call says "Connection: close", and the provider closes first, so that
 * no port of ours stays in TIME_WAIT. */
#include "door/http_parts.h"

#include <errno.h>

#define AHEAD_MAX (8u << 20) /* libcurl reads at most a hundred buffers on, a read here is less */

enum fed { FED, FED_HELD, FED_END, FED_STOP, FED_BAD };

void http_direct_begin(struct http_call *c) {
    struct http_direct *d = &c->direct;
    if (!c->stream || !c->plain || !c->chunked || c->encoded)
        return;
    *d = (struct http_direct){.ahead = BUF(AHEAD_MAX), .on = true};
    SET(c->easy, CURLOPT_HTTP_TRANSFER_DECODING, 0L);
}

/* What on_data did not take waits as it is, with what follows it. */
static enum fed hold(struct http_direct *d, struct str payload, struct str rest) {
    d->held = true;
    d->payload = payload.n;
    buf_str(&d->ahead, payload);
    buf_str(&d->ahead, rest);
    return d->ahead.failed ? FED_BAD : FED_HELD;
}

static enum fed deliver(struct http_call *c, struct str payload, struct str rest) {
    switch (c->events->on_data(c->ctx, payload)) {
    case HTTP_TAKEN:
        return FED;
    case HTTP_PAUSE:
        return hold(&c->direct, payload, rest);
    case HTTP_STOP:
        break;
    }
    c->refused = true;
    return FED_STOP;
}

static enum fed feed(struct http_call *c, struct str raw) {
    struct http_direct *d = &c->direct;
    struct str payload;
    if (d->held) {
        buf_str(&d->ahead, raw);
        return d->ahead.failed ? FED_BAD : FED_HELD;
    }
    for (;;) {
        enum fed fed;
        switch (http_chunks_next(&d->chunks, &raw, &payload)) {
        case HTTP_CHUNKS_PAYLOAD:
            fed = deliver(c, payload, raw);
            if (fed != FED)
                return fed;
            break;
        case HTTP_CHUNKS_MORE:
            return FED;
        case HTTP_CHUNKS_END:
            return FED_END;
        case HTTP_CHUNKS_BAD:
            return FED_BAD;
        }
    }
}

/* libcurl has no more to do for it than to wait. */
static bool may_take_over(const struct http_call *c) {
    return c->socket && http_sent(c, c->body_n);
}

static void take_over(struct http_call *c) {
    struct http_socket *s = c->socket; /* which libcurl forgets now */
    must(curl_easy_pause(c->easy, CURLPAUSE_ALL) == CURLE_OK);
    c->socket = s;
    c->direct.taken = true;
    http_sockets_lend(&c->http->sockets, s, c);
    if (c->direct.held)
        http_sockets_listen(s, false);
}

/* Until it is known where libcurl reads, only a client that is slower than the provider stops it.
 * An answer that is complete already is libcurl's to end. */
size_t http_direct_body(struct http_call *c, struct str raw) {
    size_t n = raw.n;
    switch (feed(c, raw)) {
    case FED:
        if (may_take_over(c))
            take_over(c);
        return n;
    case FED_HELD:
        if (may_take_over(c))
            take_over(c);
        else
            must(curl_easy_pause(c->easy, CURLPAUSE_RECV) == CURLE_OK);
        return n;
    case FED_END:
        return n;
    case FED_STOP:
    case FED_BAD:
        break;
    }
    return CURL_WRITEFUNC_ERROR;
}

static void go_on(struct http_call *c, enum fed fed) {
    struct http_socket *s = c->socket;
    switch (fed) {
    case FED:
    case FED_HELD:
        http_sockets_listen(s, fed == FED);
        return;
    case FED_END:
        http_sockets_linger(s);
        http_end_call(c, CURLE_OK);
        return;
    case FED_STOP:
        http_end_call(c, CURLE_WRITE_ERROR);
        return;
    case FED_BAD:
        http_end_call(c, CURLE_RECV_ERROR);
        return;
    }
}

static void got(struct http_call *c, char *p, ssize_t n) {
    if (n > 0)
        go_on(c, feed(c, str_of(p, (size_t)n)));
    else if (n == 0)
        http_end_call(c, CURLE_PARTIAL_FILE);
    else if (n != -EAGAIN && n != -EINTR)
        http_end_call(c, CURLE_RECV_ERROR);
}

static char *place(const struct http *h, size_t i) {
    return h->scratch + i * HTTP_DIRECT_READ;
}

static void leave(struct http_call *c) {
    if (c->direct.ready)
        c->http->ready[c->direct.ready - 1] = NULL;
    c->direct.ready = 0;
}

/* Who is over before, or by what another one got, has left. */
void http_direct_read_all(struct soon *s) {
    struct http *h = CONTAINER_OF(s, struct http, read);
    struct ring_op ops[RING_MAX];
    size_t n = 0;
    for (size_t i = 0; i < h->n_ready; i++) {
        struct http_call *c = h->ready[i];
        if (!c)
            continue;
        ops[n] = (struct ring_op){
            .fd = http_sockets_fd(c->socket), .p = place(h, n), .n = HTTP_DIRECT_READ};
        h->ready[n++] = c;
        c->direct.ready = n;
    }
    ring_read(h->ring, ops, n);
    for (size_t i = 0; i < n; i++) {
        struct http_call *c = h->ready[i];
        if (!c)
            continue;
        leave(c);
        got(c, ops[i].p, ops[i].done);
    }
    h->n_ready = 0;
}

void http_direct_ready(struct http_call *c) {
    struct http *h = c->http;
    if (h->n_ready == RING_MAX)
        http_direct_read_all(&h->read);
    h->ready[h->n_ready++] = c;
    c->direct.ready = h->n_ready;
    poller_soon(h->poller, &h->read);
}

bool http_direct_resume(struct http_call *c) {
    struct http_direct *d = &c->direct;
    if (!d->held)
        return false;
    struct buf ahead AUTO(buf_free) = d->ahead;
    struct str rest = str_from(buf_view(&ahead), d->payload);
    d->ahead = BUF(AHEAD_MAX);
    d->held = false;
    enum fed fed = deliver(c, str_sub(buf_view(&ahead), 0, d->payload), rest);
    if (fed == FED)
        fed = feed(c, rest);
    if (d->taken)
        go_on(c, fed);
    else if (fed == FED || fed == FED_END)
        return false;
    else if (fed != FED_HELD)
        http_end_call(c, fed == FED_STOP ? CURLE_WRITE_ERROR : CURLE_RECV_ERROR);
    return true;
}

void http_direct_stop(struct http_call *c) {
    struct http_direct *d = &c->direct;
    if (!d->on)
        return;
    if (d->taken)
        http_sockets_lend(&c->http->sockets, c->socket, NULL);
    leave(c);
    buf_free(&d->ahead);
    *d = (struct http_direct){0};
    SET(c->easy, CURLOPT_HTTP_TRANSFER_DECODING, 1L);
}
