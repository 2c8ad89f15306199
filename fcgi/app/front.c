#include "app/app.h"
#include "app/inference.h"
#include "app/reply.h"
#include "app/request.h"
#include "app/routes.h"
#include "app/service.h"

#include "api/api.h"
#include "api/metrics.h"
#include "api/models.h"
#include "api/status.h"
#include "door/conf.h"
#include "door/crypt.h"
#include "door/db.h"
#include "relay/head.h"
#include "util/clock.h"
#include "util/counter.h"
#include "util/log.h"
#include "util/memory.h"
#include "util/wait.h"

#include <errno.h>
#include <stdlib.h>

/* --- small answers --------------------------------------------------------------------------- */

static void answer_text(struct exchange *x, int status, const char *text) {
    reply_send(&x->conn, &x->rq, status, STR("text/plain; charset=utf-8"), STR(""), str_c(text));
}

static void answer_ready(struct exchange *x, struct db *db) {
    struct fault f = {0};
    if (status_ready(db, &f) == OK)
        answer_text(x, 200, "ready\n");
    else
        reply_fault(&x->conn, &x->rq, &f, STR(""));
}

static bool is_loopback(struct str ip) {
    return str_starts(ip, STR("127.")) || str_eq(ip, STR("::1")) ||
           str_starts(ip, STR("::ffff:127."));
}

static void answer_metrics(struct exchange *x) {
    struct buf out AUTO(buf_free) = BUF(4u << 20);
    struct fault f = {0};
    wait_begins(); /* it is long */
    struct str token = str_c(app_conf()->metrics_token), sent = str_trim(x->rq.authorization);
    if (str_istarts(sent, STR("bearer ")))
        sent = str_trim(str_from(sent, 7));
    bool ok = token.n ? sent.n == token.n && crypt_equal(sent.p, token.p, token.n) : false;
    if (!ok && !(is_loopback(x->ip) && !x->rq.forwarded_for.n)) {
        fault_set(&f, ERR_UNAUTHORIZED, NULL);
        reply_fault(&x->conn, &x->rq, &f, STR(""));
        return;
    }
    metrics_text(&out);
    reply_send(&x->conn, &x->rq, 200, STR("text/plain; version=0.0.4; charset=utf-8"), STR(""),
               buf_view(&out));
}

/* What follows the route's path, percent-decoded; as it came when it is malformed. */
static struct str rest_of_path(struct exchange *x, const struct route *route) {
    struct str rest = str_from(x->rq.path, route->path.n);
    char *text = arena_alloc(&x->mem, rest.n + 1);
    ptrdiff_t n = str_url_decode(rest, text, rest.n + 1);
    return n < 0 ? rest : str_of(text, (size_t)n);
}

static void answer_models(struct app *a, struct db *db, struct exchange *x,
                          const struct route *route) {
    struct buf out AUTO(buf_free) = BUF(16u << 20);
    struct fault f = {0};
    int64_t pin;
    wait_begins(); /* lists may be long */
    x->dialect = dialect_of_request(&x->rq);
    enum err e = inference_admit(a, db, x, &pin, &f);
    if (!e)
        e = auth_scope(x->caller, SCOPE_MODELS_READ, &f);
    if (!e && route->kind == ROUTE_MODELS)
        e = models_list(&out, x->dialect, x->caller, x->catalog, &f);
    else if (!e)
        e = models_one(&out, x->dialect, rest_of_path(x, route), x->caller, x->catalog, &f);
    if (e && x->caller)
        auth_refused(a->auth, x->caller, e, x->ip);
    if (e)
        reply_fault(&x->conn, &x->rq, &f, STR(""));
    else
        reply_send(&x->conn, &x->rq, 200, STR("application/json"), STR(""), buf_view(&out));
}

/* --- management ------------------------------------------------------------------------------ */

static void answer_api(struct app *a, struct db *db, struct exchange *x) {
    const struct conf *c = app_conf();
    const struct request *rq = &x->rq;
    struct fault f = {0};
    struct api_reply reply AUTO(api_reply_free) = {0};
    struct api_request q = {.method = rq->method,
                            .path = rq->path,
                            .query = rq->query,
                            .content_type = rq->content_type,
                            .idempotency_key = rq->idempotency_key,
                            .accept_language = rq->accept_language,
                            .user_agent = rq->user_agent,
                            .authorization = rq->authorization,
                            .cookie = rq->cookie,
                            .new_api_user = rq->new_api_user,
                            .origin = rq->origin,
                            .sec_fetch_site = rq->sec_fetch_site,
                            .github_key = rq->github_key,
                            .github_signature = rq->github_signature,
                            .ip = x->ip,
                            .request_id = rq->id,
                            .db = db,
                            .conf = c,
                            .host = a->host,
                            .keys = a->keys,
                            .auth = a->auth,
                            .billing = a->billing,
                            .catalog = x->catalog,
                            .mem = &x->mem};
    struct fcgi_body_rule rule = {c->limit_api_body, c->body_deadline, c->body_min_rate};
    enum err e = fcgi_read_body(&x->conn, rq->content_length, &rule, &x->body, &x->body_n);
    const struct api_route *route = NULL;
    wait_begins(); /* passwords take their time, and so does the database */
    api_reply_init(&reply);
    if (e) {
        fault_set(&f, e, "%lld", (long long)c->limit_api_body);
    } else {
        q.body = str_of(x->body, x->body_n);
        route = api_find(&q, &f);
    }
    api_call(route, &q, &reply, &f);
    reply_send(&x->conn, rq, reply.status,
               reply.content_type ? str_c(reply.content_type) : STR("application/json"),
               buf_view(&reply.headers), buf_view(&reply.body));
}

/* --- one request ----------------------------------------------------------------------------- */

/* Counts the exchange in; false when the worker is full. The loop counts it out. */
static bool count_in(struct app *a) {
    size_t n = __atomic_add_fetch(&a->relay.n_open, 1, __ATOMIC_RELAXED);
    if ((int64_t)n <= app_conf()->worker_max_exchanges)
        return true;
    __atomic_sub_fetch(&a->relay.n_open, 1, __ATOMIC_RELAXED);
    return false;
}

static unsigned refusal(enum err e) {
    switch (err_http(e)) {
    case 401:
        return COUNTER_REFUSAL_KEY;
    case 403:
        return COUNTER_REFUSAL_PERMISSION;
    case 429:
        return e == ERR_RATE_LIMIT ? COUNTER_REFUSAL_RATE : COUNTER_REFUSAL_QUOTA;
    case 503:
        return e == ERR_NO_CHANNEL ? COUNTER_REFUSAL_CHANNEL : COUNTER_REFUSAL_OVERLOAD;
    default:
        return COUNTER_REFUSAL_REQUEST;
    }
}

static void refuse(struct exchange *x, const struct fault *f) {
    struct buf extra AUTO(buf_free) = BUF(1024);
    head_rate_limits(&extra, &x->limits);
    counter_add_at(COUNTER_REFUSED, refusal(f->err), 0, 1);
    reply_fault(&x->conn, &x->rq, f, buf_view(&extra));
}

static enum err relay_request(struct app *a, struct db *db, struct exchange *x,
                              const struct route *route) {
    struct fault f = {0};
    int64_t pin = 0;
    if (!count_in(a)) {
        fault_set(&f, ERR_OVERLOADED, NULL);
        refuse(x, &f);
        return ERR_OVERLOADED;
    }
    enum err e = inference_admit(a, db, x, &pin, &f);
    if (!e)
        e = x->service ? service_prepare(a, db, x, &f)
                       : inference_prepare(a, db, x, route, pin, &f);
    if (!e) {
        fcgi_release(&x->conn);
        loop_hand_over(a, x);
        return OK;
    }
    __atomic_sub_fetch(&a->relay.n_open, 1, __ATOMIC_RELAXED);
    if (x->caller)
        auth_refused(a->auth, x->caller, e, x->ip);
    refuse(x, &f);
    return e;
}

/* True when the loop has taken the exchange over. */
static bool serve(struct app *a, struct db *db, struct exchange *x) {
    const struct conf *c = app_conf();
    const struct route *route = NULL;
    struct fault f = {0};
    enum err e = request_parse(&x->conn, &x->mem, c->limit_headers, &x->rq, &f);
    x->ip = settings_client_ip(x->rq.remote_ip, x->rq.forwarded_for, &x->mem);
    x->dialect = dialect_of_path(x->rq.path);
    x->endpoint = x->rq.path;
    x->family = COUNTER_ROUTE_OTHER;
    x->catalog = catalog_current();
    if (!e && str_eq(x->rq.method, STR("OPTIONS"))) {
        reply_preflight(&x->conn, &x->rq);
        return false;
    }
    if (!e)
        e = route_find(x->rq.method, x->rq.path, &route, &f);
    if (e == ERR_URL_UNKNOWN && (e = service_find(a, db, x, &f)) == OK)
        return relay_request(a, db, x, NULL) == OK;
    if (e) {
        reply_fault(&x->conn, &x->rq, &f, STR(""));
        return false;
    }
    x->family = route->family;
    switch (route->kind) {
    case ROUTE_RELAY:
        x->endpoint = route->path;
        return relay_request(a, db, x, route) == OK;
    case ROUTE_MODELS:
    case ROUTE_MODEL:
        answer_models(a, db, x, route);
        break;
    case ROUTE_REALTIME:
        fault_set(&f, ERR_WEBSOCKET, NULL);
        reply_fault(&x->conn, &x->rq, &f, STR(""));
        break;
    case ROUTE_HEALTH:
        answer_text(x, 200, "ok\n");
        break;
    case ROUTE_READY:
        answer_ready(x, db);
        break;
    case ROUTE_METRICS:
        answer_metrics(x);
        break;
    case ROUTE_API:
        answer_api(a, db, x);
        break;
    }
    return false;
}

/* One front leads: it runs the loop and serves calls until it has to wait for something, which lets
 * another lead (leader and followers). Most calls need not wait: one thread does all of them, from
 * accepting to the last byte, and finds all it needs in the processor's caches. */
struct front {
    struct app *app;
    bool leads, in_loop;
    unsigned n_calls; /* to be accepted before the loop's next round */
};

#define EVENTS_A_CALL 16 /* so many events of a round are worth a call: both shall go on */

static void let_lead(void *ctx) {
    struct front *f = ctx;
    if (!f->leads || f->in_loop)
        return;
    f->leads = false;
    f->n_calls = 0;
    must(sem_post(&f->app->lead) == 0);
}

/* The leader accepts nothing while nobody could follow, and waits for the last to come when the
 * worker stops: it is told. */
static void want_lead(struct front *f) {
    struct app *a = f->app;
    if (f->leads)
        return;
    if (!__atomic_fetch_add(&a->n_followers, 1, __ATOMIC_ACQ_REL) ||
        __atomic_load_n(&a->stopping, __ATOMIC_ACQUIRE))
        queue_wake(&a->to_loop);
    while (!f->leads) {
        f->leads = sem_wait(&a->lead) == 0;
        must(f->leads || errno == EINTR);
    }
    __atomic_fetch_sub(&a->n_followers, 1, __ATOMIC_ACQ_REL);
}

static bool knocked(struct front *f) {
    struct app *a = f->app;
    bool accept = !__atomic_load_n(&a->stopping, __ATOMIC_ACQUIRE) &&
                  __atomic_load_n(&a->n_followers, __ATOMIC_ACQUIRE) > 0;
    f->in_loop = true;
    bool knocked = loop_round(a, accept);
    f->in_loop = false;
    return knocked;
}

/* False when the worker stops. */
static bool next_call(struct front *f, struct exchange *x) {
    for (;;) {
        want_lead(f);
        if (!loop_goes_on(f->app))
            return false;
        if (!f->n_calls && knocked(f))
            f->n_calls = 1 + (unsigned)f->app->poller.n_served / EVENTS_A_CALL;
        while (f->leads && f->n_calls) {
            f->n_calls--;
            if (fcgi_accept(f->app->listen_fd, &x->conn)) {
                if (f->leads) /* it may have had to wait */
                    f->app->called = true;
                return true;
            }
            f->n_calls = 0;
        }
    }
}

/* The next leader ends as well. */
static void end(struct front *f) {
    __atomic_fetch_sub(&f->app->n_fronts, 1, __ATOMIC_ACQ_REL);
    let_lead(f);
    wait_hear(NULL, NULL);
}

void *front_main(void *arg) {
    struct app *a = arg;
    struct front me = {.app = a};
    memory_thread_init();
    struct db *db AUTO(db_free) = app_db_new();
    wait_hear(let_lead, &me);
    for (;;) {
        struct exchange *x = exchange_new();
        if (!next_call(&me, x)) {
            free(x);
            end(&me);
            return NULL;
        }
        x->started_us = clock_unix_us();
        x->started_mono_us = clock_mono_us();
        if (serve(a, db, x))
            continue;
        counter_add_at(COUNTER_REQUESTS, x->family, counter_status(x->conn.status), 1);
        struct exchange *done = x;
        exchange_free(&done);
        free(x);
    }
}
