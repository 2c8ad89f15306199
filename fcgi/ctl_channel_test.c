#include "ctl.h"

#include "domain/admin/shelf.h"
#include "door/http.h"
#include "relay/dialect.h"
#include "util/clock.h"

#include <stdio.h>

#define PATIENCE_MS 30000
#define HEADERS_MAX 8

/* One question to a provider: what models does it have? The cheapest that needs a good key. */
struct probe {
    bool private_ok;
    char *headers[HEADERS_MAX + 1];
    size_t n_headers;
    int status;
    bool ended;
    enum http_end end;
};

static void put_header(void *ctx, const char *line) {
    struct probe *p = ctx;
    if (p->n_headers < HEADERS_MAX)
        p->headers[p->n_headers++] = base_strdup(line);
}

static void drop_headers(struct probe *p) {
    for (size_t i = 0; i < p->n_headers; i++) {
        explicit_bzero(p->headers[i], strlen(p->headers[i]));
        base_freep(&p->headers[i]);
    }
    p->n_headers = 0;
}

static bool on_head(void *ctx, const struct http_head *head) {
    struct probe *p = ctx;
    p->status = head->status;
    return true;
}

static enum http_flow on_data(void *ctx, struct str data) {
    (void)ctx;
    (void)data;
    return HTTP_TAKEN;
}

static void on_end(void *ctx, enum http_end end) {
    struct probe *p = ctx;
    p->ended = true;
    p->end = end;
}

static void ask(struct ctl *c, struct probe *p, const char *url) {
    static const struct http_events events = {on_head, on_data, on_end};
    const struct conf *k = &c->conf;
    struct http_conf conf = {.connect_timeout_ms = k->upstream_connect_timeout,
                             .max_connections = 1,
                             .max_head_bytes = k->limit_response_headers,
                             .ca_file = k->upstream_ca_file};
    struct poller poller;
    int64_t until = clock_mono_ms() + PATIENCE_MS;
    poller_init(&poller);
    struct http *http = http_new(&poller, &conf);
    struct http_ask question = {.method = "GET",
                                .url = url,
                                .headers = (const char *const *)p->headers,
                                .private_ok = p->private_ok,
                                .events = &events,
                                .ctx = p};
    struct http_call *call = http_start(http, &question);
    while (!p->ended && clock_mono_ms() < until)
        poller_run(&poller, 100);
    if (!p->ended)
        http_cancel(&call);
    http_free(&http);
    poller_free(&poller);
}

static const char *told(const struct probe *p) {
    if (!p->ended)
        return "no answer in time";
    switch (p->end) {
    case HTTP_DONE:
        return p->status >= 200 && p->status < 300    ? "ok"
               : p->status == 401 || p->status == 403 ? "the key is refused"
                                                      : "unexpected status";
    case HTTP_PRIVATE:
        return "a private address (see --private)";
    case HTTP_UNREACHABLE:
        return "cannot be reached";
    case HTTP_CONNECT_TIMEOUT:
        return "no connection in time";
    case HTTP_BROKEN:
        return "the answer broke off";
    case HTTP_INVALID:
    case HTTP_REFUSED:
        break;
    }
    return "the answer is not HTTP";
}

static void test_key(struct ctl *c, const struct channel *ch, enum dialect d, const char *url,
                     size_t i) {
    struct probe p AUTO(drop_headers) = {.private_ok = ch->private_ok};
    struct str key = ch->keys[i];
    size_t number = i + 1;
    dialect_ops(d)->credentials(put_header, &p, key, STR_NONE, STR_NONE);
    int64_t from = clock_mono_ms();
    ask(c, &p, url);
    const char *said = told(&p);
    bool ok = strcmp(said, "ok") == 0;
    c->negative |= !ok;
    ctl_row(c, cell_i("key", (int64_t)number), cell_b("ok", ok), cell_i("status", p.status),
            cell_i("ms", clock_mono_ms() - from), cell_s("result", str_c(said)));
}

static enum err test_keys(struct ctl *c, const struct channel *ch) {
    struct buf url AUTO(buf_free) = BUF(8192);
    if (ch->type == CHANNEL_SANDBOX) {
        ctl_row(c, cell_i("key", 0), cell_b("ok", true), cell_i("status", 200), cell_i("ms", 0),
                cell_s("result", STR("built in")));
        return OK;
    }
    enum dialect d = 0;
    while (dialect_ops(d)->channels != ch->type)
        d++;
    if (dialect_url(&url, d, ch->base_url, dialect_ops(d)->models_path, STR_NONE, STR_NONE) != OK)
        return fault_set(&c->fault, ERR_ABSENT, "usable base URL");
    http_library_init();
    for (size_t i = 0; i < ch->n_keys; i++)
        test_key(c, ch, d, url.p, i);
    return OK;
}

CTL_HANDLER(ctl_channel_test) {
    struct catalog *catalog AUTO(catalog_unref) = NULL;
    int64_t id;
    enum err e = ctl_options(c, a, NULL, 0, 1, 1);
    if (!e)
        e = ctl_keys(c);
    if (!e)
        e = ctl_db(c);
    if (!e)
        e = channel_find(c->db, str_c(a->v[0]), &id, &c->fault);
    if (!e)
        e = catalog_load(c->db, c->keys, &catalog, &c->fault);
    if (e)
        return e;
    const struct channel *ch = catalog_channel(catalog, id);
    if (!ch)
        return fault_set(&c->fault, ERR_ABSENT, "channel '%s' that makes sense", a->v[0]);
    return test_keys(c, ch);
}
