#include "relay/relay.h"

#include "door/conf.h"
#include "relay/forward.h"
#include "relay/head.h"
#include "util/clock.h"
#include "util/counter.h"
#include "util/log.h"
#include "util/spare.h"

#include <sys/epoll.h>

#define GATHER_MAX (32u << 10) /* bytes of one read that wait for each other */
#define WHOLE_MAX (1u << 20)   /* larger JSON answers pass through without x-tollgate-cost */
#define BATCH_KEEP (1u << 20)  /* scratch that is kept for the next event */

/* --- what the client gets ------------------------------------------------------------------ */

static void put_ms(struct buf *out, const char *name, int64_t us) {
    char text[32];
    struct buf b AUTO(buf_free) = BUF(sizeof text);
    buf_i64(&b, us / 1000);
    buf_putc(&b, '.');
    for (int64_t unit = 100; unit; unit /= 10)
        buf_putc(&b, (char)('0' + us % 1000 / unit % 10));
    head_line(out, name, buf_view(&b));
}

static bool is_stream(const struct exchange *x) {
    return x->mode == ANSWER_EVENTS ||
           (x->service && str_istarts(x->content_type, STR("text/event-stream")));
}

static void write_head(struct exchange *x, struct buf *out, int status, struct str type) {
    head_write(out, &(struct head){.status = status,
                                   .content_type = type,
                                   .request_id = x->rq.id,
                                   .origin = x->rq.origin,
                                   .event_stream = is_stream(x),
                                   .retry_after_s = x->mode == ANSWER_ERROR || x->retry_after_ms
                                                        ? (x->retry_after_ms + 999) / 1000
                                                        : fault_retry_after_s(&x->fault)});
    head_rate_limits(out, &x->limits);
    if (x->attempts)
        put_ms(out, "X-Tollgate-Overhead-Ms", x->first_attempt_mono_us - x->started_mono_us);
}

/* Puts the head before the first bytes, so that both leave in one write. */
static void commit(struct exchange *x, struct buf *out) {
    if (x->committed)
        return;
    x->committed = true;
    write_head(x, out, settle_good_status(x), x->content_type);
    buf_str(out, x->service_fields);
    head_end(out);
    if (x->call && http_sent(x->call, x->sent.n ? x->sent.n : x->body_n))
        exchange_drop_body(x);
}

static void watch_peer(struct exchange *x) {
    poller_watch(x->relay->poller, &x->peer,
                 EPOLLRDHUP | (fcgi_pending(&x->conn) ? (uint32_t)EPOLLOUT : 0u));
}

/* One read of the provider's connection may bring many events, each in a chunk of its own: they
 * leave in one write. False when the client is gone (and the exchange is not to be used any more,
 * unless draining). */
static bool deliver(struct exchange *x, struct str p) {
    if (x->draining || !p.n)
        return true;
    counter_add_at(COUNTER_BYTES, COUNTER_WAY_TO_CLIENT, 0, (int64_t)p.n);
    x->wrote_mono_us = x->relay->poller->now_us;
    if (p.n < GATHER_MAX && fcgi_queue(&x->conn, p) < GATHER_MAX) {
        poller_soon(x->relay->poller, &x->flush);
        return true;
    }
    if (!(p.n < GATHER_MAX ? fcgi_flush(&x->conn) : fcgi_send(&x->conn, p))) {
        attempt_client_gone(x);
        return x->draining;
    }
    watch_peer(x);
    return true;
}

/* --- the provider's answer ----------------------------------------------------------------- */

static bool is_json(struct str type) {
    struct str media = STR("");
    str_cut(&type, ';', &media);
    media = str_trim(media);
    return str_ieq(media, STR("application/json")) || str_ends(media, STR("+json"));
}

/* A block that is used again for an answer that is, or grows, large: fresh pages cost as much as
 * reading what goes into them. n: of the whole answer; not known (-1), or too large to be held, is
 * left to growing. */
static void hold_room(struct exchange *x, int64_t n) {
    if (n < SPARE_BYTES_MIN || n > WHOLE_MAX || (size_t)n < x->held.cap)
        return;
    struct buf old = x->held;
    buf_init(&x->held, old.max);
    buf_adopt(&x->held, spare_take(WHOLE_MAX + 1), WHOLE_MAX + 1);
    buf_str(&x->held, buf_view(&old));
    buf_free(&old);
}

void answer_head(struct exchange *x, const struct http_head *head) {
    x->content_type = arena_str(&x->mem, head->content_type);
    if (x->service) {
        struct buf fields AUTO(buf_free) = BUF(64u << 10);
        forward_answer(x, head->fields, &fields);
        x->service_fields = arena_str(&x->mem, buf_view(&fields));
        x->mode = ANSWER_BYTES; /* whatever it means, its clients know */
    } else if (head->status < 200 || head->status > 299) {
        x->mode = ANSWER_ERROR;
    } else if (str_istarts(head->content_type, STR("text/event-stream"))) {
        x->mode = ANSWER_EVENTS;
        sse_init(&x->sse, (size_t)x->relay->conf()->limit_sse_event);
    } else if (is_json(head->content_type)) {
        x->mode = ANSWER_WHOLE;
        x->scan.textless = true;
        hold_room(x, head->content_length);
    } else {
        x->mode = ANSWER_BYTES;
    }
}

/* The usage-only chunk that we asked for and the client did not. */
static bool is_hidden(const struct exchange *x) {
    return x->stream_usage && x->scan.saw_usage_only && !x->peek.include_usage;
}

static enum err on_event(void *ctx, const struct sse_event *ev) {
    struct exchange *x = ctx;
    struct buf *batch = &x->relay->batch;
    if (ev->data.n)
        scan_event(&x->scan, ev->data);
    x->told_error |= x->scan.saw_error;
    if (ev->data.n && is_hidden(x))
        return OK;
    commit(x, batch);
    buf_str(batch, ev->raw);
    return batch->failed ? ERR_UPSTREAM_INVALID : OK;
}

static enum http_flow take_events(struct exchange *x, struct str p) {
    struct buf *batch = &x->relay->batch;
    buf_clear(batch);
    enum err e = sse_feed(&x->sse, p, on_event, x);
    bool delivered = deliver(x, buf_view(batch)); /* what came before a bad event, too */
    if (batch->cap > BATCH_KEEP)
        buf_free(batch);
    if (e || !delivered)
        return HTTP_STOP;
    x->hard_stopped = settle_hold_is_used_up(x);
    return x->hard_stopped ? HTTP_STOP : HTTP_TAKEN;
}

static enum http_flow take_bytes(struct exchange *x, struct str p) {
    if (x->committed)
        return deliver(x, p) ? HTTP_TAKEN : HTTP_STOP;
    struct buf *batch = &x->relay->batch;
    buf_clear(batch);
    commit(x, batch);
    buf_str(batch, buf_view(&x->held));
    buf_free(&x->held);
    buf_str(batch, p);
    return deliver(x, buf_view(batch)) ? HTTP_TAKEN : HTTP_STOP;
}

/* Its text is counted when it is needed: a provider that answers in JSON nearly always says how
 * much that was. A stream in JSON does not wait for its end. */
static enum http_flow take_whole(struct exchange *x, struct str p) {
    bool grows = x->peek.stream && dialect_ops(x->dialect)->streams_json;
    bool hold = !x->committed && !grows && x->held.n + p.n <= WHOLE_MAX;
    if (!hold && x->scan.textless)
        settle_count_text(x);
    scan_feed(&x->scan, p);
    if (!hold)
        return take_bytes(x, p);
    hold_room(x, (int64_t)(x->held.n + p.n));
    buf_str(&x->held, p);
    return HTTP_TAKEN;
}

/* An error past its limit is not read on: it may never end. */
static enum http_flow take_error(struct exchange *x, struct str p) {
    size_t limit = (size_t)x->relay->conf()->limit_error_body;
    size_t room = x->held.n < limit ? limit - x->held.n : 0;
    buf_str(&x->held, str_sub(p, 0, room));
    return p.n <= room ? HTTP_TAKEN : HTTP_STOP;
}

enum http_flow answer_data(struct exchange *x, struct str p) {
    if (x->client_gone && !x->draining)
        return HTTP_STOP;
    if (fcgi_pending(&x->conn) && !x->draining) { /* the client is slower than the provider */
        x->paused = true;
        return HTTP_PAUSE;
    }
    if (!x->first_byte_mono_us && x->mode != ANSWER_ERROR)
        x->first_byte_mono_us = clock_mono_us();
    switch (x->mode) {
    case ANSWER_EVENTS:
        return take_events(x, p);
    case ANSWER_WHOLE:
        return take_whole(x, p);
    case ANSWER_BYTES:
        return take_bytes(x, p);
    case ANSWER_ERROR:
        return take_error(x, p);
    case ANSWER_NONE:
        break;
    }
    return HTTP_STOP;
}

/* The socket was tried; `waited` bytes had not been taken before. */
static void wrote(struct exchange *x, size_t waited) {
    watch_peer(x);
    size_t waits = fcgi_pending(&x->conn);
    if (waits < waited || !waits)
        x->wrote_mono_us = x->relay->poller->now_us;
    if (waits)
        return;
    if (waited)
        attempt_arm(x); /* there is room for pings again */
    if (x->finished) {
        answer_end(x, END_OK);
    } else if (x->paused) {
        x->paused = false;
        x->activity_mono_us = x->relay->poller->now_us;
        http_resume(x->call);
    }
}

void answer_writable(struct exchange *x) {
    size_t waited = fcgi_pending(&x->conn);
    if (fcgi_flush(&x->conn))
        wrote(x, waited);
    else
        attempt_client_gone(x);
}

void answer_ungather(struct exchange *x) {
    poller_soon_clear(&x->flush);
    if (x->gathered)
        x->relay->gathered[x->gathered - 1] = NULL;
    x->gathered = 0;
}

/* What it writes may be the last of what a paused transfer waits for. */
void answer_write_all(struct soon *s) {
    struct relay *r = CONTAINER_OF(s, struct relay, write);
    struct exchange *all[RING_MAX];
    struct ring_op ops[RING_MAX];
    size_t waited[RING_MAX], n = 0;
    for (size_t i = 0; i < r->n_gathered; i++) {
        struct exchange *x = r->gathered[i];
        if (!x)
            continue;
        if (x->mode == ANSWER_EVENTS)
            pace_wrote(&r->pace, x->conn.fd);
        x->gathered = 0;
        waited[n] = fcgi_pending(&x->conn);
        ops[n] = fcgi_to_write(&x->conn);
        all[n++] = x;
    }
    r->n_gathered = 0;
    ring_write(r->ring, ops, n);
    for (size_t i = 0; i < n; i++)
        if (fcgi_wrote(&all[i]->conn, ops[i].done))
            wrote(all[i], waited[i]);
        else
            attempt_client_gone(all[i]);
}

void answer_flush(struct soon *s) {
    struct exchange *x = CONTAINER_OF(s, struct exchange, flush);
    struct relay *r = x->relay;
    if (r->n_gathered == RING_MAX)
        answer_write_all(&r->write);
    r->gathered[r->n_gathered++] = x;
    x->gathered = r->n_gathered;
    poller_soon(r->poller, &r->write);
}

void answer_ping(struct exchange *x) {
    struct buf *batch = &x->relay->batch;
    buf_clear(batch);
    commit(x, batch);
    buf_puts(batch, ": ping\n\n");
    x->wrote_mono_us = x->relay->poller->now_us;
    (void)deliver(x, buf_view(batch));
}

/* --- the end ------------------------------------------------------------------------------- */

static void release(struct exchange *x) {
    struct relay *r = x->relay;
    must(!x->closed);
    x->closed = true;
    poller_timer_clear(r->poller, &x->timer);
    answer_ungather(x);
    poller_forget(&x->peer); /* closed by exchange_free */
    list_remove(&x->node);
    __atomic_sub_fetch(&r->n_open, 1, __ATOMIC_RELAXED);
    counter_add(COUNTER_IN_FLIGHT, -1);
    struct exchange *gone = x;
    exchange_free(&gone);
    poller_bury(r->poller, x);
}

static void begin_finish(struct exchange *x, size_t n_last) {
    x->finished = true;
    answer_ungather(x); /* the last write takes it along */
    exchange_drop_body(x);
    counter_add_at(COUNTER_BYTES, COUNTER_WAY_TO_CLIENT, 0, (int64_t)n_last);
}

/* The exchange lives on while its last bytes wait. */
static void end_finish(struct exchange *x, bool sent) {
    if (!sent || !fcgi_pending(&x->conn)) {
        release(x);
        return;
    }
    x->wrote_mono_us = x->relay->poller->now_us;
    watch_peer(x);
    attempt_arm(x);
}

/* Sends the last bytes with the end record. */
static void finish(struct exchange *x, struct str last) {
    begin_finish(x, last.n);
    end_finish(x, !x->client_gone && fcgi_send_end(&x->conn, last));
}

static void finish_with_held(struct exchange *x) {
    begin_finish(x, x->held.n);
    end_finish(x, !x->client_gone && fcgi_send_end_taking(&x->conn, &x->held));
}

void answer_end(struct exchange *x, enum end_reason end) {
    if (!x->finished)
        settle(x, end, x->committed ? settle_good_status(x) : 0);
    release(x);
}

/* The event that tells a begun stream that it broke off. */
static void put_broken(struct exchange *x, struct buf *out) {
    if (!x->fault.err)
        fault_set(&x->fault, ERR_UPSTREAM_BROKE, NULL);
    dialect_ops(x->dialect)->stream_error(out, &x->fault, x->rq.id, x->rq.path);
}

static void complete_whole(struct exchange *x) {
    struct buf *out = &x->relay->batch;
    buf_clear(out);
    scan_finish(&x->scan);
    settle(x, x->draining ? END_CLIENT_LEFT : END_OK, settle_good_status(x));
    write_head(x, out, settle_good_status(x), x->content_type);
    if (x->outcome.billable)
        head_line_i64(out, "X-Tollgate-Cost", x->outcome.cost);
    head_line_i64(out, "Content-Length", (int64_t)x->held.n);
    head_end(out);
    if (x->held.n >= GATHER_MAX) { /* too much to copy */
        fcgi_queue(&x->conn, buf_view(out));
        finish_with_held(x);
        return;
    }
    buf_str(out, buf_view(&x->held));
    finish(x, buf_view(out));
}

/* A text stream has a last word; a provider that died behind a proxy may end without one. Some
 * never send "[DONE]": there the reason for which an answer ends has to do. */
static bool ended_early(const struct exchange *x) {
    return x->mode == ANSWER_EVENTS && settle_is_text(x) && !x->scan.terminal && !x->scan.finished;
}

bool answer_complete(struct exchange *x) {
    struct buf *out = &x->relay->batch;
    if (x->mode == ANSWER_WHOLE && !x->committed) {
        x->complete = true;
        complete_whole(x);
        return true;
    }
    buf_clear(out);
    if (x->mode == ANSWER_WHOLE)
        scan_finish(&x->scan);
    if (x->mode == ANSWER_EVENTS && sse_end(&x->sse, on_event, x) != OK) {
        answer_broken(x, END_BROKEN);
        return true;
    }
    if (!x->committed && !x->client_gone && !x->scan.usage.reported && ended_early(x))
        return false;
    if (!x->committed)
        commit(x, out);
    if (ended_early(x)) {
        fault_set(&x->fault, ERR_UPSTREAM_BROKE, NULL);
        settle(x, END_BROKEN, 200);
        if (!x->told_error)
            put_broken(x, out);
        finish(x, buf_view(out));
        return true;
    }
    x->complete = true;
    enum end_reason end = x->draining ? END_CLIENT_LEFT : END_OK;
    if (settle_good_status(x) >= 400) {
        fault_set(&x->fault, ERR_UPSTREAM_STATUS, NULL);
        end = END_UPSTREAM;
    }
    settle(x, end, settle_good_status(x));
    finish(x, buf_view(out));
    return true;
}

void answer_broken(struct exchange *x, enum end_reason end) {
    settle(x, end, settle_good_status(x));
    if (x->mode != ANSWER_EVENTS || x->client_gone) {
        bool told = fcgi_flush(&x->conn);
        (void)told;
        release(x); /* closing without an end makes the web server cut the client off */
        return;
    }
    struct buf *out = &x->relay->batch;
    buf_clear(out);
    commit(x, out); /* a stream may be stopped before its first event is whole */
    put_broken(x, out);
    finish(x, buf_view(out));
}

static void answer_body(struct exchange *x, int status, struct str type, struct str body,
                        enum end_reason end) {
    struct buf out AUTO(buf_free) = BUF(1u << 20);
    settle(x, end, status);
    write_head(x, &out, status, type);
    head_line_i64(&out, "Content-Length", (int64_t)body.n);
    head_end(&out);
    buf_str(&out, body);
    finish(x, buf_view(&out));
}

void answer_fault(struct exchange *x, enum end_reason end) {
    struct buf body AUTO(buf_free) = BUF(64u << 10);
    dialect_ops(x->dialect)->error(&body, &x->fault, x->rq.id, err_lang(x->rq.accept_language));
    x->mode = ANSWER_NONE;
    answer_body(x, err_http(x->fault.err), STR("application/json"), buf_view(&body), end);
}

void answer_provider_error(struct exchange *x) {
    if (x->upstream_status < 400) { /* a redirect is not followed: it would carry the key away */
        fault_set(&x->fault, ERR_UPSTREAM_INVALID, NULL);
        answer_fault(x, END_UPSTREAM);
        return;
    }
    struct buf body AUTO(buf_free) = BUF(256u << 10);
    dialect_provider_error(&body, x->dialect, x->upstream_status, buf_view(&x->held), x->rq.id);
    if (!x->fault.err)
        fault_set(&x->fault, ERR_UPSTREAM_STATUS, NULL);
    answer_body(x, x->upstream_status, STR("application/json"), buf_view(&body), END_UPSTREAM);
}
