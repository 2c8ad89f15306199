#include "door/http_sockets.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct http_socket {
    struct watch watch;
    struct http_sockets *all;
    bool wanted, taken;
};

static void on_socket_ready(struct watch *w, uint32_t events) {
    struct http_socket *s = CONTAINER_OF(w, struct http_socket, watch);
    struct http_sockets *h = s->all;
    int what = 0;
    if (!s->wanted) { /* closed by the provider: libcurl looks before it uses it again */
        poller_watch(h->poller, w, 0);
        return;
    }
    if (events & EPOLLIN)
        what |= CURL_CSELECT_IN;
    if (events & EPOLLOUT)
        what |= CURL_CSELECT_OUT;
    if (events & (EPOLLERR | EPOLLHUP))
        what |= CURL_CSELECT_ERR;
    h->ready(h->ctx, w->fd, what);
}

static struct http_socket *find(const struct http_sockets *h, curl_socket_t fd) {
    return (size_t)fd < h->n_opened ? h->opened[fd] : NULL;
}

static struct http_socket *new_socket(struct http_sockets *h, curl_socket_t fd) {
    struct http_socket *s = base_zalloc(sizeof *s);
    s->all = h;
    s->watch = (struct watch){.fn = on_socket_ready, .fd = fd};
    return s;
}

/* libcurl closes by itself, and tells nobody, what it gave up while it was connecting. */
static void closed_untold(const struct http_sockets *h, struct http_socket *s) {
    if (!s || s->wanted)
        return;
    poller_forget(&s->watch);
    poller_bury(h->poller, s);
}

void http_sockets_opened(struct http_sockets *h, curl_socket_t fd) {
    size_t at = (size_t)fd;
    if (at >= h->n_opened) {
        size_t n = at * 2 + 64;
        h->opened = base_realloc(h->opened, n * sizeof *h->opened);
        memset(h->opened + h->n_opened, 0, (n - h->n_opened) * sizeof *h->opened);
        h->n_opened = n;
    }
    closed_untold(h, h->opened[at]);
    h->opened[at] = new_socket(h, fd);
}

int http_sockets_close(void *ctx, curl_socket_t fd) {
    struct http_sockets *h = ctx;
    struct http_socket *s = find(h, fd);
    bool taken = s && s->taken;
    if (s) {
        h->opened[fd] = NULL;
        poller_forget(&s->watch);
        poller_bury(h->poller, s);
    }
    return taken ? 0 : close(fd);
}

static void unwanted(struct http_sockets *h, struct http_socket *s) {
    s->wanted = false;
    h->n_wanted--;
    if (s == find(h, s->watch.fd))
        return;
    poller_watch(h->poller, &s->watch, 0);
    poller_bury(h->poller, s);
}

void http_sockets_wanted(struct http_sockets *h, curl_socket_t fd, int what, void *socket_ctx) {
    struct http_socket *s = socket_ctx;
    if (what == CURL_POLL_REMOVE) {
        if (s)
            unwanted(h, s);
        return;
    }
    if (!s) {
        s = find(h, fd);
        s = s ? s : new_socket(h, fd);
        s->wanted = true;
        h->n_wanted++;
        curl_multi_assign(h->multi, fd, s);
    }
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    poller_watch(h->poller, &s->watch, events);
}

void http_sockets_take(struct http_sockets *h, curl_socket_t fd) {
    struct http_socket *s = find(h, fd);
    must(s != NULL);
    poller_watch(h->poller, &s->watch, 0);
    s->taken = true;
}

void http_sockets_init(struct http_sockets *h, struct poller *p, CURLM *multi) {
    *h = (struct http_sockets){.poller = p, .multi = multi};
}

void http_sockets_free(struct http_sockets *h) {
    for (size_t i = 0; i < h->n_opened; i++)
        closed_untold(h, h->opened[i]);
    free(h->opened);
}
