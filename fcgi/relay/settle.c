#include "relay/relay.h"

#include "util/clock.h"
#include "util/counter.h"
#include "util/log.h"

/* Models answer 200 or fail; a service's 201 or 204 is its own. */
int settle_good_status(const struct exchange *x) {
    return x->service && x->upstream_status ? x->upstream_status : 200;
}

/* What was held back is read once more, for its text this time. */
void settle_count_text(struct exchange *x) {
    scan_init(&x->scan, x->dialect);
    scan_feed(&x->scan, buf_view(&x->held));
}

static ratio charged_ratio(const struct exchange *x) {
    const struct plan_step *s = x->step;
    if (!s)
        return RATIO_ONE;
    return catalog_ratio(x->catalog, catalog_group(x->catalog, x->caller->user_group), s->group);
}

/* Groups with hard_stop: what was delivered so far has used the hold up. */
bool settle_hold_is_used_up(const struct exchange *x) {
    if (!x->step->group->hard_stop || !x->hold || !x->model->price)
        return false;
    struct usage so_far = {.prompt = x->peek.prompt_tokens,
                           .completion = scan_text_tokens(&x->scan)};
    return !x->scan.terminal &&
           billing_cost(x->model->price, charged_ratio(x), &so_far) >= billing_held(x->hold);
}

/* A refusal that came as an answer, with status 200: it costs as little as any other. */
static bool is_bare_error(struct exchange *x) {
    bool error = x->told_error || x->scan.saw_error;
    if (!error || x->scan.usage.reported)
        return false;
    if (x->scan.textless)
        settle_count_text(x);
    return !x->scan.text_bytes;
}

/* Answers that are text, whose streams have a last word. */
bool settle_is_text(const struct exchange *x) {
    return x->family == COUNTER_ROUTE_CHAT || x->family == COUNTER_ROUTE_COMPLETIONS ||
           x->family == COUNTER_ROUTE_RESPONSES || x->family == COUNTER_ROUTE_MESSAGES ||
           x->family == COUNTER_ROUTE_GEMINI;
}

/* What is billed: the provider's word; where it has not spoken, was cut off before it could or says
 * that a question or its text was nothing, our estimate of what was sent and delivered. */
static void bill(struct exchange *x) {
    struct outcome *o = &x->outcome;
    struct usage *u = &x->scan.usage;
    bool doubtful = !x->complete || (settle_is_text(x) && !u->completion);
    if (x->scan.textless && (!u->reported || doubtful)) {
        settle_count_text(x);
        scan_finish(&x->scan);
    }
    int64_t delivered = scan_text_tokens(&x->scan);
    bool cut_off = !x->complete && !x->scan.terminal;
    o->usage = *u;
    o->usage.images = x->images;
    if (!u->reported) {
        o->usage_estimated = true;
        o->usage.prompt = x->peek.prompt_tokens;
        o->usage.completion = delivered;
        return;
    }
    if ((cut_off || !u->completion) && u->completion < delivered) {
        o->usage_estimated = true;
        o->usage.completion = delivered;
    }
    if (settle_is_text(x) && !u->prompt) {
        o->usage_estimated = true;
        o->usage.prompt = x->peek.prompt_tokens;
    }
}

static void count(const struct exchange *x) {
    const struct outcome *o = &x->outcome;
    counter_add_at(COUNTER_REQUESTS, x->family, counter_status(o->status), 1);
    counter_observe(COUNTER_DURATION, o->duration_us);
    if (o->first_byte_us)
        counter_observe(COUNTER_FIRST_BYTE, o->first_byte_us);
    if (x->attempts)
        counter_observe(COUNTER_OVERHEAD, x->first_attempt_mono_us - x->started_mono_us);
    if (x->client_gone)
        counter_add(COUNTER_CLIENT_LEFT, 1);
    if (o->end == END_BROKEN)
        counter_add(COUNTER_STREAMS_BROKEN, 1);
    if (!o->billable)
        return;
    counter_add_at(COUNTER_TOKENS, COUNTER_TOKEN_PROMPT, 0, o->usage.prompt);
    counter_add_at(COUNTER_TOKENS, COUNTER_TOKEN_CACHED, 0, o->usage.cached);
    counter_add_at(COUNTER_TOKENS, COUNTER_TOKEN_COMPLETION, 0, o->usage.completion);
    counter_add(COUNTER_QUOTA, o->cost);
    counter_add(COUNTER_ESTIMATED, o->usage_estimated);
}

void settle(struct exchange *x, enum end_reason end, int status) {
    struct outcome *o = &x->outcome;
    int64_t now = clock_mono_us();
    const struct plan_step *s = x->step;
    bool answered = x->mode == ANSWER_EVENTS || x->mode == ANSWER_WHOLE || x->mode == ANSWER_BYTES;
    answered &= settle_good_status(x) < 400;
    o->end = end;
    o->status = status;
    /* who leaves while the provider works pays the prompt, which the provider has read */
    bool left_early = x->prompt_read && x->mode == ANSWER_NONE;
    o->billable = !x->free_of_charge &&
                  (left_early || (answered && (end == END_OK || x->committed || x->client_gone) &&
                                  !is_bare_error(x)));
    if (o->billable && !x->service)
        bill(x);
    o->policy = s ? s->group->leave : LEAVE_CANCEL;
    o->price = x->model ? x->model->price : NULL;
    o->group_ratio = charged_ratio(x);
    o->request_id = x->rq.id;
    o->upstream_request_id = x->upstream_id;
    o->model = x->peek.model;
    o->upstream_model = s ? s->model : STR("");
    o->ip = x->ip;
    o->endpoint = x->endpoint;
    o->error_code = end == END_OK ? STR("") : str_c(err_code(x->fault.err));
    o->user_id = x->caller->user_id;
    o->key_id = x->caller->key_id;
    o->group_id = s ? s->group->id : 0;
    o->channel_id = s ? s->channel->id : 0;
    o->stream = x->peek.stream;
    o->test_mode = x->caller->test_mode;
    o->attempts = x->attempts;
    o->started_us = x->started_us;
    o->first_byte_us = x->first_byte_mono_us ? x->first_byte_mono_us - x->started_mono_us : 0;
    o->duration_us = now - x->started_mono_us;
    billing_settle(x->relay->billing, &x->hold, o);
    count(x);
    LOG(LOG_EV_REQUEST, log_str("request_id", x->rq.id), log_i("user", o->user_id),
        log_i("key", o->key_id), log_str("model", o->model), log_i("channel", o->channel_id),
        log_i("status", status), log_i("end", end), log_i("attempts", o->attempts),
        log_i("cost", o->cost), log_i("us", o->duration_us));
}
