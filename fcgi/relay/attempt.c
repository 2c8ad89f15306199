#include "relay/relay.h"

#include "door/conf.h"
#include "relay/forward.h"
#include "relay/sandbox.h"
#include "util/clock.h"
#include "util/counter.h"
#include "util/log.h"

#include <sys/epoll.h>

#define MAX_HEADER_LINES FORWARD_LINES_MAX
#define URL_MAX 8192
#define MAX_KEYS_TRIED 3 /* of one channel for one request */

/* Names of failures as log lines and usage rows have them. */
static void note_failure(struct exchange *x, enum err e) {
    fault_set(&x->fault, e, NULL);
    LOG(LOG_EV_ATTEMPT_FAILED, log_str("request_id", x->rq.id),
        log_i("channel", x->step->channel->id), log_s("code", err_code(e)),
        log_i("status", x->upstream_status), log_i("attempt", x->attempts));
}

static void channel_failed(struct exchange *x) {
    if (x->service) /* it is no channel that another could stand in for */
        return;
    const struct conf *c = x->relay->conf();
    struct cooldown_rule rule = {c->cooldown_failures, c->cooldown_first, c->cooldown_max};
    if (!host_channel_failed(x->relay->host, x->step->channel->id, &rule, x->retry_after_ms))
        return;
    counter_add(COUNTER_COOLDOWNS, 1);
    LOG(LOG_EV_CHANNEL_COOLING, log_i("channel", x->step->channel->id),
        log_i("for_ms", host_channel_wait_ms(x->relay->host, x->step->channel->id)));
}

static unsigned attempt_result(const struct exchange *x, enum http_end end) {
    if (x->client_gone)
        return COUNTER_ATTEMPT_ABORTED;
    if (end == HTTP_UNREACHABLE || end == HTTP_PRIVATE)
        return COUNTER_ATTEMPT_UNREACHABLE;
    if (end == HTTP_CONNECT_TIMEOUT)
        return COUNTER_ATTEMPT_TIMEOUT;
    if (end != HTTP_DONE && x->mode != ANSWER_ERROR) /* an error tells what it is by its status */
        return COUNTER_ATTEMPT_BROKEN;
    if (x->upstream_status == 429)
        return COUNTER_ATTEMPT_RATE_LIMITED;
    if (x->upstream_status == 401 || x->upstream_status == 403)
        return COUNTER_ATTEMPT_CREDENTIAL;
    if (x->upstream_status >= 500)
        return COUNTER_ATTEMPT_SERVER;
    return x->upstream_status >= 400 ? COUNTER_ATTEMPT_CLIENT : COUNTER_ATTEMPT_OK;
}

static void channel_ok(struct exchange *x) {
    if (!x->service && host_channel_ok(x->relay->host, x->step->channel->id))
        LOG(LOG_EV_CHANNEL_BACK, log_i("channel", x->step->channel->id));
}

/* The channel's own trouble, which another channel may not have. */
static bool status_is_retryable(int status) {
    return status == 429 || status >= 500 || status == 401 || status == 403 || status == 408;
}

/* A channel's other keys may be good where one is refused or used up. */
static bool has_another_key(const struct exchange *x) {
    bool key_trouble =
        x->upstream_status == 401 || x->upstream_status == 403 || x->upstream_status == 429;
    size_t n = x->step ? x->step->channel->n_keys : 0;
    return key_trouble && x->keys_tried < (n < MAX_KEYS_TRIED ? n : MAX_KEYS_TRIED);
}

static struct str another_key(const struct exchange *x) {
    const struct channel *c = x->step->channel;
    for (size_t i = 0; i < c->n_keys; i++)
        if (c->keys[i].p == x->key.p)
            return c->keys[(i + 1) % c->n_keys];
    return c->keys[0];
}

static bool on_head(void *ctx, const struct http_head *head) {
    struct exchange *x = ctx;
    x->head_mono_us = x->activity_mono_us = x->relay->poller->now_us;
    x->upstream_status = head->status;
    x->retry_after_ms = head->retry_after_ms;
    x->upstream_id = arena_str(&x->mem, head->request_id);
    if (!status_is_retryable(head->status))
        channel_ok(x);
    else if (!has_another_key(x))
        channel_failed(x);
    answer_head(x, head);
    attempt_arm(x); /* the silence allowed from now on may be shorter */
    return true;
}

static enum http_flow on_data(void *ctx, struct str p) {
    struct exchange *x = ctx;
    x->activity_mono_us = x->relay->poller->now_us;
    x->feeding = true;
    counter_add_at(COUNTER_BYTES, COUNTER_WAY_FROM_PROVIDER, 0, (int64_t)p.n);
    enum http_flow flow = answer_data(x, p);
    x->feeding = false;
    return flow;
}

static enum err err_of(enum http_end end) {
    switch (end) {
    case HTTP_PRIVATE:
        return ERR_UPSTREAM_PRIVATE;
    case HTTP_UNREACHABLE:
        return ERR_UPSTREAM_UNREACHABLE;
    case HTTP_CONNECT_TIMEOUT:
        return ERR_UPSTREAM_TIMEOUT;
    case HTTP_INVALID:
    case HTTP_REFUSED:
        return ERR_UPSTREAM_INVALID;
    case HTTP_BROKEN:
    case HTTP_DONE:
        break;
    }
    return ERR_UPSTREAM_BROKE;
}

static void on_end(void *ctx, enum http_end end) {
    struct exchange *x = ctx;
    x->call = NULL;
    counter_add_at(COUNTER_ATTEMPTS, attempt_result(x, end), 0, 1);
    if (x->client_gone && !(x->draining && end == HTTP_DONE && x->mode != ANSWER_ERROR)) {
        answer_end(x, END_CLIENT_LEFT);
    } else if (x->hard_stopped) {
        fault_set(&x->fault, ERR_USER_QUOTA, NULL);
        answer_broken(x, END_HARD_STOP);
    } else if (end == HTTP_DONE && x->mode != ANSWER_ERROR && answer_complete(x)) {
        return;
    } else if (x->mode == ANSWER_ERROR &&
               (x->client_gone || !status_is_retryable(x->upstream_status))) {
        answer_provider_error(x);
    } else if (x->committed) {
        note_failure(x, err_of(end));
        channel_failed(x);
        answer_broken(x, END_BROKEN);
    } else if (x->mode == ANSWER_ERROR) {
        note_failure(x, ERR_UPSTREAM_STATUS);
        attempt_next(x);
    } else {
        note_failure(x, err_of(end));
        channel_failed(x);
        attempt_next(x);
    }
}

static const struct http_events events = {on_head, on_data, on_end};

static enum dialect dialect_of(const struct exchange *x) {
    return x->dialect; /* a plan only holds channels that speak it */
}

struct lines {
    const char *line[MAX_HEADER_LINES + 1];
    size_t n;
    struct arena *mem;
};

static void put_line(void *ctx, const char *line) {
    struct lines *l = ctx;
    must(l->n < MAX_HEADER_LINES);
    l->line[l->n++] = arena_str(l->mem, str_c(line)).p;
}

static void start_http(struct exchange *x, struct str body) {
    struct buf url AUTO(buf_free) = BUF(URL_MAX);
    struct lines l = {.mem = &x->mem};
    const struct plan_step *s = x->step;
    if (dialect_url(&url, dialect_of(x), s->channel->base_url, x->rq.path, x->rq.query, s->model) !=
        OK) {
        note_failure(x, ERR_UPSTREAM_INVALID);
        attempt_next(x);
        return;
    }
    struct str type = x->rq.content_type.n ? x->rq.content_type : STR("application/json");
    put_line(&l, arena_printf(&x->mem, "Content-Type: %.*s", STR_ARG(type)));
    put_line(&l, "User-Agent: tollgate");
    put_line(&l, x->peek.stream ? "Accept: text/event-stream" : "Accept: */*");
    if (x->rq.openai_beta.n)
        put_line(&l, arena_printf(&x->mem, "OpenAI-Beta: %.*s", STR_ARG(x->rq.openai_beta)));
    dialect_ops(dialect_of(x))
        ->credentials(put_line, &l, x->key, x->rq.anthropic_version, x->rq.anthropic_beta);
    counter_add_at(COUNTER_BYTES, COUNTER_WAY_TO_PROVIDER, 0, (int64_t)body.n);
    x->call = http_start(x->relay->http, &(struct http_ask){.method = "POST",
                                                            .url = url.p,
                                                            .headers = l.line,
                                                            .body = body,
                                                            .private_ok = s->channel->private_ok,
                                                            .stream = x->peek.stream,
                                                            .events = &events,
                                                            .ctx = x});
}

/* A call of a service goes out as it came, with the operator's credential in place of the key. */
static void start_service(struct exchange *x, struct str body) {
    struct buf url AUTO(buf_free) = BUF(URL_MAX);
    struct lines l = {.mem = &x->mem};
    if (forward_url(&url, x->step->channel->base_url, x->service_path, x->rq.query) != OK) {
        note_failure(x, ERR_UPSTREAM_INVALID);
        attempt_next(x);
        return;
    }
    forward_ask(x, put_line, &l);
    x->call =
        http_start(x->relay->http, &(struct http_ask){.method = arena_str(&x->mem, x->rq.method).p,
                                                      .url = url.p,
                                                      .headers = l.line,
                                                      .body = body,
                                                      .private_ok = x->step->channel->private_ok,
                                                      .want_fields = true,
                                                      .events = &events,
                                                      .ctx = x});
}

/* The built-in provider goes through the same callbacks as a real one. */
static void run_sandbox(struct exchange *x, struct str body) {
    struct sandbox_answer a AUTO(sandbox_answer_free) = {0};
    sandbox_answer(&(struct sandbox_ask){.dialect = x->dialect,
                                         .path = x->rq.path,
                                         .query = x->rq.query,

                                         .model = x->step->model,
                                         .body = body,
                                         .stream = x->peek.stream,
                                         .request_id = x->rq.id},
                   &a);
    struct http_head head = {.status = a.status,
                             .content_type = str_c(a.content_type),
                             .request_id = STR(""),
                             .content_length = -1};
    enum http_flow flow = on_head(x, &head) ? on_data(x, buf_view(&a.body)) : HTTP_STOP;
    on_end(x, flow != HTTP_TAKEN ? HTTP_REFUSED : a.cut ? HTTP_BROKEN : HTTP_DONE);
}

static void reset_answer(struct exchange *x) {
    x->mode = ANSWER_NONE;
    x->upstream_status = 0;
    x->retry_after_ms = 0;
    x->fault = (struct fault){0};
    buf_clear(&x->held);
    sse_free(&x->sse);
    scan_init(&x->scan, x->dialect);
}

/* Picks the next candidate that may be used now; NULL when there is none. */
static const struct plan_step *next_candidate(struct exchange *x, int64_t *wait_ms) {
    while (x->next_step < x->plan.n) {
        const struct plan_step *s = &x->plan.steps[x->next_step++];
        if (x->service || host_channel_ask(x->relay->host, s->channel->id) != HEALTH_COOLING)
            return s;
        int64_t ms = host_channel_wait_ms(x->relay->host, s->channel->id);
        if (!*wait_ms || ms < *wait_ms)
            *wait_ms = ms;
    }
    return NULL;
}

static void give_up(struct exchange *x, int64_t wait_ms) {
    if (x->mode == ANSWER_ERROR) {
        answer_provider_error(x);
        return;
    }
    if (!x->attempts) {
        fault_set(&x->fault, ERR_NO_CHANNEL, "%.*s", STR_ARG(x->peek.model));
        x->fault.retry_after_s = wait_ms / 1000 + 1;
    }
    answer_fault(x, END_UPSTREAM);
}

static void start_attempt(struct exchange *x, int64_t now) {
    x->attempts++;
    if (x->attempts > 1)
        counter_add(COUNTER_RETRIES, 1);
    x->attempt_mono_us = x->activity_mono_us = now;
    if (x->attempts == 1)
        x->first_attempt_mono_us = now;
    reset_answer(x);
    attempt_arm(x); /* each attempt has its own time for the first byte */
    struct str body;
    if (exchange_edit_body(x, &body) != OK) {
        fault_set(&x->fault, ERR_INTERNAL, NULL);
        answer_fault(x, END_REFUSED);
    } else if (x->service) {
        start_service(x, body);
    } else if (x->step->channel->type == CHANNEL_SANDBOX) {
        run_sandbox(x, body);
    } else {
        start_http(x, body);
    }
}

void attempt_next(struct exchange *x) {
    const struct conf *c = x->relay->conf();
    int64_t wait_ms = 0, now = clock_mono_us();
    bool time_left = now - x->started_mono_us < c->upstream_total_timeout * 1000;
    bool may_try = time_left && x->attempts < c->upstream_max_attempts;
    if (may_try && has_another_key(x)) {
        x->key = another_key(x);
        x->keys_tried++;
    } else {
        const struct plan_step *step = may_try ? next_candidate(x, &wait_ms) : NULL;
        if (!step) {
            give_up(x, wait_ms);
            return;
        }
        x->step = step;
        x->key = step->key;
        x->keys_tried = 1;
    }
    start_attempt(x, now);
}

static void stop_call(struct exchange *x) {
    http_cancel(&x->call);
}

void attempt_client_gone(struct exchange *x) {
    if (x->client_gone)
        return;
    x->client_gone = true;
    answer_ungather(x);
    poller_watch(x->relay->poller, &x->peer, 0);
    LOG(LOG_EV_CLIENT_LEFT, log_str("request_id", x->rq.id), log_i("committed", x->committed));
    if (x->finished) {
        answer_end(x, END_CLIENT_LEFT);
        return;
    }
    const struct group *g = x->step ? x->step->group : NULL;
    if (g && g->leave == LEAVE_DRAIN && x->call) {
        x->draining = true;
        if (x->paused) {
            x->paused = false;
            http_resume(x->call);
        }
        return;
    }
    if (x->feeding) /* inside a callback of libcurl: it ends the call when we return */
        return;
    if (x->call) {
        counter_add_at(COUNTER_ATTEMPTS, COUNTER_ATTEMPT_ABORTED, 0, 1);
        x->prompt_read = http_sent(x->call, x->sent.n ? x->sent.n : x->body_n);
    }
    stop_call(x);
    answer_end(x, END_CLIENT_LEFT);
}

static void on_peer(struct watch *w, uint32_t ev) {
    struct exchange *x = CONTAINER_OF(w, struct exchange, peer);
    if (ev & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        attempt_client_gone(x);
    else if (ev & EPOLLOUT)
        answer_writable(x);
}

/* A timeout of the provider: the next candidate when nothing went out, else the answer is broken.
 * An error whose text does not end is taken as it came. */
static void timed_out(struct exchange *x) {
    stop_call(x);
    if (x->mode == ANSWER_ERROR) {
        on_end(x, HTTP_DONE);
        return;
    }
    counter_add_at(COUNTER_ATTEMPTS, COUNTER_ATTEMPT_TIMEOUT, 0, 1);
    note_failure(x, ERR_UPSTREAM_TIMEOUT);
    channel_failed(x);
    if (x->client_gone)
        answer_end(x, END_CLIENT_LEFT);
    else if (x->committed)
        answer_broken(x, END_TIMEOUT);
    else
        attempt_next(x);
}

/* Whether its client is still there matters to a call that takes longer; a look costs the others
 * two system calls' worth. */
#define WATCH_PEER_US 20000

struct due {
    int64_t total, silence, ping, watch_peer;
};

/* An error's text is worth a short wait: who is told it could be served by another channel. */
static int64_t error_due_us(const struct exchange *x, const struct conf *c) {
    int64_t whole = x->head_mono_us + c->upstream_error_body_timeout * 1000;
    int64_t silent = x->activity_mono_us + c->upstream_idle_timeout * 1000;
    return whole < silent ? whole : silent;
}

static struct due due_times(const struct exchange *x, const struct conf *c) {
    struct due d = {.ping = INT64_MAX, .watch_peer = INT64_MAX};
    if (!x->peer.events && !x->client_gone)
        d.watch_peer = x->started_mono_us + WATCH_PEER_US;
    d.total = x->started_mono_us + c->upstream_total_timeout * 1000;
    if (x->finished || x->paused) /* it is the client's turn, who takes what was written */
        d.silence = x->wrote_mono_us + c->upstream_idle_timeout * 1000;
    else if (x->mode == ANSWER_NONE)
        d.silence = x->attempt_mono_us + c->upstream_first_byte_timeout * 1000;
    else if (x->mode == ANSWER_ERROR)
        d.silence = error_due_us(x, c);
    else
        d.silence = x->activity_mono_us + c->upstream_idle_timeout * 1000;
    if (x->mode == ANSWER_EVENTS && !x->finished && !x->draining && !fcgi_pending(&x->conn))
        d.ping = (x->committed ? x->wrote_mono_us : x->activity_mono_us) +
                 c->stream_ping_interval * 1000;
    return d;
}

void attempt_arm(struct exchange *x) {
    struct due d = due_times(x, x->relay->conf());
    int64_t at = d.total;
    const int64_t others[] = {d.silence, d.ping, d.watch_peer};
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        at = others[i] < at ? others[i] : at;
    poller_timer_set(x->relay->poller, &x->timer, at);
}

static void on_timer(struct timer *t) {
    struct exchange *x = CONTAINER_OF(t, struct exchange, timer);
    struct due d = due_times(x, x->relay->conf());
    int64_t now = x->relay->poller->now_us;
    if (now >= d.total || now >= d.silence) {
        if (x->finished || x->paused) { /* the client does not take its answer */
            stop_call(x);
            x->client_gone = true;
            answer_end(x, END_CLIENT_LEFT);
        } else {
            timed_out(x);
        }
        return;
    }
    if (now >= d.watch_peer)
        poller_watch(x->relay->poller, &x->peer, EPOLLRDHUP);
    if (now >= d.ping)
        answer_ping(x);
    if (!x->closed)
        attempt_arm(x);
}

void relay_init(struct relay *r) {
    list_init(&r->open);
    r->ring = ring_new(false);
    poller_soon_init(&r->write, answer_write_all);
    buf_init(&r->batch, 66u << 20); /* the largest limit.sse_event, a head, a read */
}

void relay_free(struct relay *r) {
    must(list_empty(&r->open));
    ring_free(&r->ring);
    buf_free(&r->batch);
}

void relay_start(struct relay *r, struct exchange *x) {
    x->relay = r;
    list_push(&r->open, &x->node);
    counter_add(COUNTER_IN_FLIGHT, 1);
    x->peer = (struct watch){.fn = on_peer, .fd = x->conn.fd};
    x->timer.fn = on_timer;
    poller_soon_init(&x->flush, answer_flush);
    attempt_next(x);
}

void relay_cut_all(struct relay *r) {
    LIST_EACH_SAFE (n, next, &r->open) {
        struct exchange *x = CONTAINER_OF(n, struct exchange, node);
        stop_call(x);
        fault_set(&x->fault, ERR_STOPPING, NULL);
        if (x->finished)
            answer_end(x, END_CUT);
        else if (x->committed)
            answer_broken(x, END_CUT);
        else
            answer_fault(x, END_CUT);
    }
}
