#include "domain/routing/plan.h"

#include "domain/routing/host.h"
#include "util/err.h"
#include "util/hash.h"

#include <stdatomic.h>

#define TURNS 1024

/* The candidates of one group, as bits over ability->channels. */
struct pool {
    const struct ability *ability;
    size_t n;
    uint64_t left[PLAN_MAX_CANDIDATES / 64];
};

static bool has(const struct pool *p, size_t i) {
    return p->left[i / 64] >> (i % 64) & 1;
}

static void flip(struct pool *p, size_t i) {
    p->left[i / 64] ^= UINT64_C(1) << (i % 64);
}

/* Spreading load needs no secrecy: the seeded hash of a counter is uniform and costs no system
 * call. */
static uint64_t own_random(void) {
    static _Atomic uint64_t draws;
    return hash_u64(atomic_fetch_add_explicit(&draws, 1, memory_order_relaxed));
}

/* Uniform below limit; the bias is under limit / 2^64. */
static uint64_t below(const struct plan_ask *ask, uint64_t limit) {
    uint64_t r = ask->random ? ask->random() : own_random();
    return r % limit;
}

/* The channel's keys take turns, all threads of the process together. */
static struct str next_key(const struct channel *c) {
    static _Atomic uint32_t turns[TURNS];
    if (c->n_keys == 1)
        return c->keys[0];
    _Atomic uint32_t *turn = &turns[(uint64_t)c->id % TURNS];
    return c->keys[atomic_fetch_add_explicit(turn, 1, memory_order_relaxed) % c->n_keys];
}

/* A mapping may lead to another one; as many steps as there are rows end every loop. */
static struct str mapped(const struct channel *c, struct str model) {
    for (size_t hop = 0; hop < c->n_mapping; hop++) {
        size_t i = 0;
        while (i < c->n_mapping && !str_eq(c->mapping[i].from, model))
            i++;
        if (i == c->n_mapping)
            break;
        model = c->mapping[i].to;
    }
    return model;
}

static void add_step(struct plan *out, const struct plan_ask *ask, const struct channel *c,
                     const struct group *g) {
    if (out->n < PLAN_MAX_STEPS)
        out->steps[out->n++] = (struct plan_step){
            .channel = c, .group = g, .key = next_key(c), .model = mapped(c, ask->model)};
}

static bool planned(const struct plan *p, const struct channel *c) {
    for (size_t i = 0; i < p->n; i++)
        if (p->steps[i].channel == c)
            return true;
    return false;
}

/* Index of the drawn one among those left in [from, to), which share a priority. */
static size_t draw(const struct plan_ask *ask, const struct pool *p, size_t from, size_t to) {
    uint64_t weights = 0, count = 0;
    for (size_t i = from; i < to; i++)
        if (has(p, i)) {
            weights += p->ability->channels[i]->weight;
            count++;
        }
    uint64_t at = count > 1 ? below(ask, weights ? weights : count) : 0;
    for (size_t i = from; i < to; i++) {
        if (!has(p, i))
            continue;
        uint64_t share = weights ? p->ability->channels[i]->weight : 1;
        if (at < share || count == 1)
            return i;
        at -= share;
    }
    must(false);
}

static size_t tier_end(const struct pool *p, size_t from) {
    size_t to = from;
    while (to < p->n && p->ability->channels[to]->priority == p->ability->channels[from]->priority)
        to++;
    return to;
}

static void take_all(const struct plan_ask *ask, struct pool *p, struct plan *out) {
    for (size_t from = 0, to; from < p->n; from = to) {
        to = tier_end(p, from);
        size_t left = 0;
        for (size_t i = from; i < to; i++)
            left += has(p, i);
        for (; left && out->n < PLAN_MAX_STEPS; left--) {
            size_t i = draw(ask, p, from, to);
            flip(p, i);
            add_step(out, ask, p->ability->channels[i], p->ability->group);
        }
    }
}

/* Its echo is for trying things out: where a provider serves the model it stands in for nobody. */
static bool echoes(const struct ability *a, const struct channel *c) {
    bool provider = false;
    for (size_t i = 0; i < a->n; i++)
        provider |= a->channels[i]->type != CHANNEL_SANDBOX;
    return provider && c->type == CHANNEL_SANDBOX;
}

static void plan_group(const struct plan_ask *ask, const struct ability *a, struct plan *out) {
    struct pool healthy = {.ability = a, .n = a->n}, cooling;
    if (a->n > PLAN_MAX_CANDIDATES)
        healthy.n = PLAN_MAX_CANDIDATES;
    cooling = healthy;
    for (size_t i = 0; i < healthy.n; i++) {
        const struct channel *c = a->channels[i];
        bool unwanted = ask->pin_channel > 0 ? c->id != ask->pin_channel : echoes(a, c);
        if (unwanted || planned(out, c))
            continue;
        bool cools = host_channel_peek(ask->host, c->id) == HEALTH_COOLING;
        flip(cools ? &cooling : &healthy, i);
    }
    take_all(ask, &healthy, out);
    take_all(ask, &cooling, out);
}

enum err plan_make(const struct plan_ask *ask, struct plan *out, struct fault *f) {
    out->n = 0;
    if (!catalog_model(ask->catalog, ask->model))
        return fault_set(f, ERR_MODEL_NOT_FOUND, "%.*s", STR_ARG(ask->model));
    if (ask->test_mode && ask->n_groups)
        add_step(out, ask, &catalog_sandbox, ask->groups[0]);
    for (size_t i = 0; !ask->test_mode && i < ask->n_groups; i++) {
        const struct ability *a = catalog_ability(ask->catalog, ask->groups[i], ask->model);
        if (a)
            plan_group(ask, a, out);
        if (a && out->n && !ask->cross_group)
            break;
    }
    return out->n ? OK : fault_set(f, ERR_NO_CHANNEL, "%.*s", STR_ARG(ask->model));
}
