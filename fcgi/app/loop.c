#include "app/app.h"

#include "door/conf.h"
#include "util/counter.h"
#include "util/memory.h"

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

void loop_open(struct app *a) {
    struct http_conf settings = http_settings(app_conf());
    poller_init(&a->poller);
    a->relay.poller = &a->poller;
    a->relay.http = http_new(&a->poller, &settings);
    a->arrivals = (struct watch){.fn = take_over, .fd = queue_fd(&a->to_loop)};
    poller_watch(&a->poller, &a->arrivals, EPOLLIN);
    poller_leave(&a->poller);
}

bool loop_hand_over(struct app *a, struct exchange *x) {
    if (!poller_try_enter(&a->poller))
        return queue_put(&a->to_loop, &x->node);
    relay_start(&a->relay, x);
    poller_run_due(&a->poller);
    poller_leave(&a->poller);
    return true;
}

static bool has_work(struct app *a) {
    return !queue_closed(&a->to_loop) || !list_empty(&a->relay.open) || queue_count(&a->to_loop);
}

static void nap(void *app) {
    poller_nap(&((struct app *)app)->poller, PACE_NAP_US);
}

void *loop_main(void *arg) {
    struct app *a = arg;
    const struct conf *conf = NULL;
    memory_thread_init();
    poller_enter(&a->poller);
    while (has_work(a)) {
        pace_keep(&a->relay.pace, nap, a);
        poller_run(&a->poller, 1000);
        counter_set(COUNTER_UPSTREAM_CONNECTIONS, (int64_t)http_connections(a->relay.http));
        if (conf != app_conf()) {
            conf = app_conf();
            struct http_conf settings = http_settings(conf);
            http_reconfigure(a->relay.http, &settings);
        }
        if (__atomic_load_n(&a->cut, __ATOMIC_ACQUIRE))
            relay_cut_all(&a->relay);
    }
    poller_watch(&a->poller, &a->arrivals, 0);
    http_free(&a->relay.http);
    poller_free(&a->poller);
    return NULL;
}
