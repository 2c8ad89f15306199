#include "app/service.h"

#include "app/inference.h"
#include "domain/routing/choose.h"

enum err service_find(struct app *a, struct db *db, struct exchange *x, struct fault *f) {
    enum err e = services_current(db, a->host, a->keys, &x->services);
    if (e != OK)
        return fault_set(f, e, NULL);
    x->service = services_match(x->services, x->rq.path, &x->service_path);
    if (!x->service)
        return ERR_URL_UNKNOWN; /* as the fault already says */
    x->endpoint = x->service->prefix;
    return OK;
}

/* One candidate, the service itself; there is nothing to try after it. */
static enum err make_plan(struct exchange *x, const struct group *g, struct fault *f) {
    const struct service *s = x->service;
    const struct channel *to = x->caller->test_mode ? &s->test : &s->live;
    if (!to->base_url.n)
        return fault_set(f, ERR_NO_CHANNEL, "%.*s (test)", STR_ARG(s->model.name));
    x->plan.steps[0] =
        (struct plan_step){.channel = to, .group = g, .key = STR(""), .model = s->model.name};
    x->plan.n = 1;
    return OK;
}

static enum err take_hold(struct app *a, struct db *db, struct exchange *x,
                          const struct choice *groups, struct fault *f) {
    const struct service *s = x->service;
    const struct group *g = groups->groups[0];
    x->model = &s->model;
    x->peek.model = s->model.name;
    return billing_hold(a->billing, db,
                        &(struct hold_ask){.caller = x->caller,
                                           .model = x->model,
                                           .price = &s->price,
                                           .group = g,
                                           .group_ratio = catalog_ratio(x->catalog, groups->own, g),
                                           .request_id = x->rq.id,
                                           .report = &x->limits},
                        &x->hold, f);
}

enum err service_prepare(struct app *a, struct db *db, struct exchange *x, struct fault *f) {
    struct choice groups;
    enum err e = service_check(x->service, x->caller->scopes, x->rq.method, x->service_path, f);
    if (e == OK)
        e = choose_groups(x->caller, x->catalog, &groups, f);
    if (e == OK)
        e = inference_read_body(app_conf(), x, f);
    if (e == OK)
        e = make_plan(x, groups.groups[0], f);
    if (e == OK)
        e = take_hold(a, db, x, &groups, f);
    if (e == OK)
        auth_touch(a->auth, x->caller, x->ip, x->service->model.name, x->rq.user_agent);
    return e;
}
