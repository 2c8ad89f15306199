/* If this failed, a call would go out on a connection that a firewall between has forgotten, or
 * each call would connect anew. */
#include "unit.h"

#include "door/http_parts.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct site {
    struct poller poller;
    struct http *http;
    int listener;
    char url[64];
    enum http_end end;
    bool ended;
};

static bool on_head(void *ctx, const struct http_head *head) {
    (void)ctx;
    return head->status == 200;
}

static enum http_flow on_data(void *ctx, struct str p) {
    (void)ctx, (void)p;
    return HTTP_TAKEN;
}

static void on_end(void *ctx, enum http_end end) {
    struct site *s = ctx;
    s->end = end;
    s->ended = true;
}

static const struct http_events events = {on_head, on_data, on_end};

static void open_site(struct site *s) {
    struct http_conf conf = {
        .connect_timeout_ms = 5000, .max_connections = 4, .max_head_bytes = 8192, .ca_file = ""};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    *s = (struct site){.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};
    assert_int_equal(bind(s->listener, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(s->listener, 8), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&at, &n), 0);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d/v1", ntohs(at.sin_port));
    http_library_init();
    poller_init(&s->poller);
    s->http = http_new(&s->poller, &conf);
}

static void close_site(struct site *s) {
    http_free(&s->http);
    poller_free(&s->poller);
    close(s->listener);
}

/* Sends a call and answers it on `fd`, or on the connection it opens (fd -1); returns which. */
static int call(struct site *s, int fd) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    static const char *const none[] = {NULL};
    char request[1024];
    s->ended = false;
    http_start(s->http, &(struct http_ask){.method = "POST",
                                           .url = s->url,
                                           .headers = none,
                                           .body = STR("{}"),
                                           .private_ok = true,
                                           .events = &events,
                                           .ctx = s});
    for (int i = 0; i < 500 && !s->ended; i++) {
        if (fd < 0)
            fd = accept(s->listener, NULL, NULL);
        if (fd >= 0 && recv(fd, request, sizeof request, MSG_DONTWAIT) > 0)
            assert_int_equal(send(fd, answer, sizeof answer - 1, 0), sizeof answer - 1);
        poller_run(&s->poller, 10);
    }
    assert_true(s->ended);
    assert_int_equal(s->end, HTTP_DONE);
    return fd;
}

static void a_connection_is_used_again_for_118_s_and_not_a_microsecond_longer(void **state) {
    (void)state;
    struct site s;
    open_site(&s);
    int first = call(&s, -1);
    assert_int_equal(call(&s, first), first);
    struct http_conn *kept = CONTAINER_OF(s.http->conns.by_age.next, struct http_conn, age);
    kept->idle_since_us = s.poller.now_us - HTTP_IDLE_MAX_US;
    assert_int_equal(call(&s, first), first);
    assert_int_equal(s.http->conns.n, 1);
    kept->idle_since_us = s.poller.now_us - HTTP_IDLE_MAX_US - 1;
    int second = call(&s, -1);
    assert_int_not_equal(second, first);
    char c;
    assert_int_equal(recv(first, &c, 1, 0), 0); /* the old one is closed */
    assert_int_equal(s.http->conns.n, 1);
    close(first);
    close(second);
    close_site(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_is_used_again_for_118_s_and_not_a_microsecond_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
