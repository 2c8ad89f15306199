#include "app/app.h"

#include "door/conf.h"
#include "util/counter.h"

#include <sys/epoll.h>

static void take_over(struct watch *w, uint32_t events) {
    struct app *a = CONTAINER_OF(w, struct app, arrivals);
    struct list fresh;
    (void)events;
    list_init(&fresh);
    queue_take(&a->to_loop, &fresh);
    LIST_EACH_SAFE (n, next, &fresh) {
        list_remove(n);
        relay_start(&a->relay, CONTAINER_OF(n, struct exchange, node));
    }
}

static struct http_conf http_settings(const struct conf *c) {
    return (struct http_conf){.connect_timeout_ms = c->upstream_connect_timeout,
                              .max_connections = c->upstream_max_connections,
                              .max_head_bytes = c->limit_response_headers,
                              .ca_file = c->upstream_ca_file};
}

static void knock(struct watch *w, uint32_t events) {
    (void)events;
    CONTAINER_OF(w, struct app, door)->knocked = true;
}

/* A call wakes the first of the workers that sleep, in the order in which they began to watch:
 * calls that come one after the other all find one worker's memory, its provider's connection and
 * the processor's caches warm. See EPOLLEXCLUSIVE in epoll_ctl(2). */
static void watch_door(struct app *a, bool on) {
    poller_watch(&a->poller, &a->door, on ? EPOLLIN | EPOLLEXCLUSIVE : 0u);
}

#define FEW_OPEN 4       /* exchanges of a worker: with more under way it lets others come first */
#define CALLS_IN_A_ROW 4 /* and does so after so many */

static void tend_door(struct app *a, bool accept) {
    bool many = __atomic_load_n(&a->relay.n_open, __ATOMIC_RELAXED) > FEW_OPEN;
    if (a->called && many && ++a->n_calls % CALLS_IN_A_ROW == 0)
        watch_door(a, false); /* and again, behind the others */
    watch_door(a, accept);
    a->knocked = a->called = false;
}

void loop_open(struct app *a) {
    struct http_conf settings = http_settings(app_conf());
    poller_init(&a->poller);
    a->relay.poller = &a->poller;
    a->relay.http = http_new(&a->poller, &settings);
    a->arrivals = (struct watch){.fn = take_over, .fd = queue_fd(&a->to_loop)};
    a->door = (struct watch){.fn = knock, .fd = a->listen_fd};
    poller_watch(&a->poller, &a->arrivals, EPOLLIN);
    poller_leave(&a->poller);
}

void loop_close(struct app *a) {
    poller_enter(&a->poller);
    watch_door(a, false);
    poller_watch(&a->poller, &a->arrivals, 0);
    http_free(&a->relay.http);
    poller_free(&a->poller);
}

void loop_hand_over(struct app *a, struct exchange *x) {
    if (!poller_try_enter(&a->poller)) {
        queue_put(&a->to_loop, &x->node);
        return;
    }
    relay_start(&a->relay, x);
    poller_run_due(&a->poller);
    poller_leave(&a->poller);
}

/* Who neither leads nor follows serves a call, and may hand it over yet. */
bool loop_goes_on(struct app *a) {
    return !__atomic_load_n(&a->stopping, __ATOMIC_ACQUIRE) ||
           __atomic_load_n(&a->n_followers, __ATOMIC_ACQUIRE) + 1 <
               __atomic_load_n(&a->n_fronts, __ATOMIC_ACQUIRE) ||
           !list_empty(&a->relay.open) || queue_count(&a->to_loop);
}

static void nap(void *app) {
    poller_nap(&((struct app *)app)->poller, PACE_NAP_US);
}

static void take_settings(struct app *a) {
    const struct conf *conf = app_conf();
    if (a->loop_conf == conf)
        return;
    struct http_conf settings = http_settings(conf);
    http_reconfigure(a->relay.http, &settings);
    a->loop_conf = conf;
}

bool loop_round(struct app *a, bool accept) {
    poller_enter(&a->poller);
    take_settings(a);
    if (!a->called) /* calls come before events */
        pace_keep(&a->relay.pace, nap, a);
    tend_door(a, accept);
    poller_run(&a->poller, 1000);
    if (a->poller.n_served == POLLER_MOST) { /* more are ready, and these may be behind them */
        a->knocked = accept;
        take_over(&a->arrivals, 0);
    }
    counter_set(COUNTER_UPSTREAM_CONNECTIONS, (int64_t)http_connections(a->relay.http));
    if (__atomic_load_n(&a->cut, __ATOMIC_ACQUIRE))
        relay_cut_all(&a->relay);
    bool knocked = a->knocked;
    poller_leave(&a->poller);
    return knocked;
}
