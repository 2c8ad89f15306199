#include "app/app.h"

#include "door/conf.h"
#include "util/counter.h"

#include <sys/epoll.h>

struct loop {
    struct app *app;
    struct poller poller;
    struct watch queue;
};

static void take_over(struct watch *w, uint32_t events) {
    struct loop *l = CONTAINER_OF(w, struct loop, queue);
    struct list fresh;
    (void)events;
    list_init(&fresh);
    queue_take(&l->app->to_loop, &fresh);
    LIST_EACH_SAFE (n, next, &fresh) {
        list_remove(n);
        relay_start(&l->app->relay, CONTAINER_OF(n, struct exchange, node));
    }
}

static struct http_conf http_settings(const struct conf *c) {
    return (struct http_conf){.connect_timeout_ms = c->upstream_connect_timeout,
                              .max_connections = c->upstream_max_connections,
                              .max_head_bytes = c->limit_response_headers,
                              .ca_file = c->upstream_ca_file};
}

void *loop_main(void *arg) {
    struct app *a = arg;
    struct loop l = {.app = a};
    const struct conf *conf = app_conf();
    struct http_conf settings = http_settings(conf);
    poller_init(&l.poller);
    a->relay.poller = &l.poller;
    a->relay.http = http_new(&l.poller, &settings);
    l.queue = (struct watch){.fn = take_over, .fd = queue_fd(&a->to_loop)};
    poller_watch(&l.poller, &l.queue, EPOLLIN);
    while (!queue_closed(&a->to_loop) || !list_empty(&a->relay.open) || queue_count(&a->to_loop)) {
        poller_run(&l.poller, 1000);
        counter_set(COUNTER_UPSTREAM_CONNECTIONS, (int64_t)http_connections(a->relay.http));
        if (conf != app_conf()) {
            conf = app_conf();
            settings = http_settings(conf);
            http_reconfigure(a->relay.http, &settings);
        }
        if (__atomic_load_n(&a->cut, __ATOMIC_ACQUIRE))
            relay_cut_all(&a->relay);
    }
    poller_watch(&l.poller, &l.queue, 0);
    http_free(&a->relay.http);
    poller_free(&l.poller);
    return NULL;
}
