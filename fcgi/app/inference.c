#include "app/inference.h"

#include "domain/identity/scope.h"
#include "domain/routing/choose.h"
#include "door/conf.h"
#include "door/zip.h"
#include "util/clock.h"
#include "util/counter.h"
#include "util/wait.h"

#include <stdlib.h>

/* --- key ------------------------------------------------------------------------------------ */

static struct str query_key(struct exchange *x) {
    struct str raw;
    if (!dialect_ops(x->dialect)->key_in_query || !str_query_get(x->rq.query, STR("key"), &raw))
        return STR("");
    char *text = arena_alloc(&x->mem, raw.n + 1);
    ptrdiff_t n = str_url_decode(raw, text, raw.n);
    return n < 0 ? STR("") : str_of(text, (size_t)n);
}

/* The dialect's own header wins, then Authorization, then whatever else holds a key. */
static struct str presented_key(struct exchange *x) {
    const struct request *rq = &x->rq;
    const struct str order[] = {dialect_ops(x->dialect)->key(rq),
                                request_bearer(rq),
                                rq->x_api_key,
                                rq->x_goog_api_key,
                                rq->api_key,
                                query_key(x)};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        struct str key = str_trim(order[i]);
        if (key.n)
            return key;
    }
    return STR("");
}

enum err inference_admit(struct app *a, struct db *db, struct exchange *x, int64_t *pin,
                         struct fault *f) {
    struct str key = presented_key(x);
    if (!key.n)
        return fault_set(f, ERR_KEY_MISSING, NULL);
    enum err e = auth_key(a->auth, db, key, &x->caller, pin, f);
    return e ? e : auth_use(x->caller, clock_unix_s(), x->ip, *pin, f);
}

/* --- body ----------------------------------------------------------------------------------- */

static enum err inflate_body(struct exchange *x, int64_t max, struct fault *f) {
    struct str coding = str_trim(x->rq.content_encoding);
    if (!coding.n || str_ieq(coding, STR("identity")) || !x->body_n)
        return OK;
    if (!str_ieq(coding, STR("gzip")) && !str_ieq(coding, STR("x-gzip")) &&
        !str_ieq(coding, STR("deflate")))
        return fault_set(f, ERR_BODY_ENCODING, "%.*s", STR_ARG(coding));
    struct buf plain AUTO(buf_free) = BUF((size_t)max);
    wait_begins(); /* a little may become much */
    enum err e = zip_inflate(str_of(x->body, x->body_n), &plain);
    if (e)
        return fault_set(f, e, "%lld", (long long)max);
    free(x->body);
    x->body_n = plain.n;
    x->body = buf_take(&plain);
    return OK;
}

enum err inference_read_body(const struct conf *c, struct exchange *x, struct fault *f) {
    struct fcgi_body_rule rule = {c->limit_body, c->body_deadline, c->body_min_rate};
    enum err e = x->rq.content_length > c->limit_body ? ERR_BODY_TOO_LARGE : OK;
    char *body = NULL;
    size_t n = 0;
    enum err read = fcgi_read_body(&x->conn, x->rq.content_length, &rule, &body, &n);
    if (e || read) {
        free(body);
        return fault_set(f, e ? e : read, "%lld", (long long)c->limit_body);
    }
    x->body = body;
    x->body_n = n;
    counter_add_at(COUNTER_BYTES, COUNTER_WAY_FROM_CLIENT, 0, (int64_t)n);
    return inflate_body(x, c->limit_body, f);
}

/* "models/NAME:action" of a Gemini path, percent-decoded into the peek. */
static enum err gemini_path(struct exchange *x, const struct route *route, struct fault *f) {
    struct str rest = str_from(x->rq.path, route->path.n), model;
    ptrdiff_t colon = str_find(rest, ':');
    struct str action = colon < 0 ? STR("") : str_from(rest, (size_t)colon + 1);
    static const char *const known[] = {"generateContent", "streamGenerateContent", "embedContent",
                                        "batchEmbedContents", "countTokens"};
    bool ok = false;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        ok |= str_eqc(action, known[i]);
    if (!ok)
        return fault_set(f, ERR_URL_UNKNOWN, "%.*s %.*s", STR_ARG(x->rq.method),
                         STR_ARG(x->rq.path));
    model = str_sub(rest, 0, (size_t)colon);
    ptrdiff_t n = str_url_decode(model, x->peek.model_text, sizeof x->peek.model_text);
    if (n < 0)
        return fault_field(f, ERR_FIELD_VALUE, "model", "model");
    x->peek.model = str_of(x->peek.model_text, (size_t)n);
    x->peek.stream = str_eqc(action, "streamGenerateContent");
    x->free_of_charge |= str_eqc(action, "countTokens");
    return OK;
}

static enum err peek_body(struct exchange *x, const struct route *route, struct fault *f) {
    struct str body = str_of(x->body, x->body_n);
    x->multipart = str_istarts(x->rq.content_type, STR("multipart/form-data"));
    if (x->multipart && !(route->flags & ROUTE_MULTIPART))
        return fault_set(f, ERR_BODY_TYPE, "multipart/form-data");
    enum err e = x->multipart ? peek_multipart(body, x->rq.content_type, &x->peek, f)
                              : peek_json(body, &x->peek, f);
    if (!e && route->flags & ROUTE_GEMINI)
        e = gemini_path(x, route, f);
    if (!e && !x->peek.model.n)
        e = fault_field(f, ERR_MODEL_MISSING, "model", NULL);
    /* the body is dropped as soon as it was sent; the name is needed until the end */
    x->peek.model = arena_str(&x->mem, x->peek.model);
    return e;
}

/* --- hold and plan -------------------------------------------------------------------------- */

static bool speaks(const struct channel *c, enum dialect d) {
    return c->type == CHANNEL_SANDBOX || c->type == dialect_ops(d)->channels;
}

static enum err make_plan(struct app *a, struct exchange *x, int64_t pin, const struct choice *g,
                          struct fault *f) {
    enum err e = plan_make(&(struct plan_ask){.catalog = x->catalog,
                                              .host = a->host,
                                              .groups = g->groups,
                                              .n_groups = g->n,
                                              .cross_group = x->caller->cross_group_retry,
                                              .model = x->peek.model,
                                              .pin_channel = pin,
                                              .test_mode = x->caller->test_mode},
                           &x->plan, f);
    size_t kept = 0;
    for (size_t i = 0; !e && i < x->plan.n; i++)
        if (speaks(x->plan.steps[i].channel, x->dialect))
            x->plan.steps[kept++] = x->plan.steps[i];
    x->plan.n = kept;
    return e || kept ? e : fault_set(f, ERR_NO_CHANNEL, "%.*s", STR_ARG(x->peek.model));
}

static ratio dearest(const struct exchange *x, const struct choice *g) {
    const struct group *own = g->own;
    ratio most = 0;
    for (size_t i = 0; i < g->n; i++) {
        ratio r = catalog_ratio(x->catalog, own, g->groups[i]);
        most = r > most ? r : most;
    }
    return most;
}

/* The first that serves the model is the first of the plan. */
static const struct group *first_group(const struct exchange *x, const struct choice *g) {
    for (size_t i = 0; i < g->n && g->n > 1; i++)
        if (catalog_ability(x->catalog, g->groups[i], x->peek.model))
            return g->groups[i];
    return g->n ? g->groups[0] : NULL;
}

/* Embeddings, images and speech know no limit, and a provider refuses what it does not know. */
static bool may_clamp(const struct exchange *x, const struct route *route, const struct group *g) {
    bool generates = !(route->flags & ROUTE_GEMINI) || x->peek.limit_as == PEEK_LIMIT_GENERATION;
    return g && g->clamp_max_tokens && route->flags & ROUTE_LENGTH && generates;
}

/* The longest answer, of all that were asked for together. */
static bool longest_answer(const struct exchange *x, int64_t *most) {
    bool tokens = x->family != COUNTER_ROUTE_EMBEDDINGS && x->family != COUNTER_ROUTE_MODERATIONS &&
                  x->family != COUNTER_ROUTE_RERANK;
    int64_t one = x->peek.max_tokens >= 0 ? x->peek.max_tokens : x->model->default_max_tokens;
    return !__builtin_mul_overflow(tokens ? one : 0, x->peek.n > 0 ? x->peek.n : 1, most);
}

static enum err take_hold(struct app *a, struct db *db, struct exchange *x,
                          const struct route *route, const struct choice *g, struct fault *f) {
    const struct model *m = x->model;
    if (x->free_of_charge)
        return OK;
    if (!m->price && !catalog_option_bool(x->catalog, "allow_unpriced_models", false))
        return fault_set(f, ERR_PRICE_MISSING, "%.*s", STR_ARG(m->name));
    int64_t most, n = x->peek.n > 0 ? x->peek.n : 1;
    if (!longest_answer(x, &most))
        return fault_field(f, ERR_FIELD_VALUE, "max_tokens", "max_tokens");
    x->images = x->family == COUNTER_ROUTE_IMAGES ? n : 0;
    const struct group *group = first_group(x, g);
    int64_t clamp_to = 0;
    enum err e =
        billing_hold(a->billing, db,
                     &(struct hold_ask){.caller = x->caller,
                                        .model = m,
                                        .price = m->price,
                                        .group = group,
                                        .clamp_to = may_clamp(x, route, group) ? &clamp_to : NULL,
                                        .group_ratio = dearest(x, g),
                                        .prompt_tokens = x->peek.prompt_tokens,
                                        .max_completion = most,
                                        .images = x->images,
                                        .request_id = x->rq.id,
                                        .report = &x->limits},
                     &x->hold, f);
    if (!e && clamp_to > 0) /* shared by the answers that were asked for */
        x->clamp_max_tokens = clamp_to > n ? clamp_to / n : 1;
    return e;
}

/* Nothing was called: the hold goes back, and a row tells why. */
static void give_hold_back(struct app *a, struct exchange *x, enum err e) {
    if (!x->hold)
        return;
    struct outcome o = {.end = END_REFUSED,
                        .status = err_http(e),
                        .error_code = str_c(err_code(e)),
                        .request_id = x->rq.id,
                        .upstream_request_id = STR(""),
                        .model = x->peek.model,
                        .upstream_model = STR(""),
                        .ip = x->ip,
                        .endpoint = x->endpoint,
                        .group_ratio = RATIO_ONE,
                        .user_id = x->caller->user_id,
                        .key_id = x->caller->key_id,
                        .test_mode = x->caller->test_mode,
                        .started_us = x->started_us};
    billing_settle(a->billing, &x->hold, &o);
}

enum err inference_prepare(struct app *a, struct db *db, struct exchange *x,
                           const struct route *route, int64_t pin, struct fault *f) {
    struct choice groups;
    x->free_of_charge = route->flags & ROUTE_FREE;
    x->stream_usage = route->flags & ROUTE_STREAM_USAGE;
    enum err e = auth_scope(x->caller, SCOPE_INFERENCE, f);
    if (!e)
        e = choose_groups(x->caller, x->catalog, &groups, f);
    if (!e)
        e = inference_read_body(app_conf(), x, f);
    if (!e)
        e = peek_body(x, route, f);
    if (!e)
        e = auth_model(x->caller, x->peek.model, f);
    if (e)
        return e;
    x->model = catalog_model(x->catalog, x->peek.model);
    if (!x->model)
        return fault_field(f, ERR_MODEL_NOT_FOUND, "model", "%.*s", STR_ARG(x->peek.model));
    e = take_hold(a, db, x, route, &groups, f);
    if (!e)
        e = make_plan(a, x, pin, &groups, f);
    if (e)
        give_hold_back(a, x, e);
    else
        auth_touch(a->auth, x->caller, x->ip, x->peek.model, x->rq.user_agent);
    return e;
}
