#include "domain/billing/price.h"

__extension__ typedef unsigned __int128 u128;

/* Products of a token count and up to four ratios need 63 * 5 bits; sums of ten of them 4 more.
 * 384 bits hold every input exactly, so that one rounding at the very end is the only one. */
#define LIMBS 6
struct wide {
    size_t n;          /* limbs in use, the others are not set: most products need two or three */
    uint64_t w[LIMBS]; /* little endian */
};

static struct wide wide_of(u128 v) {
    return (struct wide){.n = v >> 64 ? 2 : 1, .w = {(uint64_t)v, (uint64_t)(v >> 64)}};
}

static int64_t not_negative(int64_t v) {
    return v > 0 ? v : 0;
}

static void push_limb(struct wide *x, uint64_t limb) {
    if (!limb)
        return;
    must(x->n < LIMBS);
    x->w[x->n++] = limb;
}

static void multiply(struct wide *x, int64_t by) {
    uint64_t factor = (uint64_t)not_negative(by), carry = 0;
    for (size_t i = 0; i < x->n; i++) {
        u128 t = (u128)x->w[i] * factor + carry;
        x->w[i] = (uint64_t)t;
        carry = (uint64_t)(t >> 64);
    }
    push_limb(x, carry);
}

static void add(struct wide *x, const struct wide *y) {
    uint64_t carry = 0;
    while (x->n < y->n)
        x->w[x->n++] = 0;
    for (size_t i = 0; i < x->n; i++) {
        u128 t = (u128)x->w[i] + (i < y->n ? y->w[i] : 0) + carry;
        x->w[i] = (uint64_t)t;
        carry = (uint64_t)(t >> 64);
    }
    push_limb(x, carry);
}

static void divide(struct wide *x, uint64_t by) {
    u128 rest = 0;
    while (x->n && !x->w[x->n - 1])
        x->n--;
    for (size_t i = x->n; i-- > 0;) {
        u128 t = rest << 64 | x->w[i];
        x->w[i] = (uint64_t)(t / by);
        rest = t % by;
    }
}

static bool is_zero(const struct wide *x) {
    uint64_t any = 0;
    for (size_t i = 0; i < x->n; i++)
        any |= x->w[i];
    return any == 0;
}

static int64_t saturated(const struct wide *x) {
    for (size_t i = 1; i < x->n; i++)
        if (x->w[i])
            return PRICE_MAX_QUOTA;
    uint64_t least = x->n ? x->w[0] : 0;
    return least > (uint64_t)PRICE_MAX_QUOTA ? PRICE_MAX_QUOTA : (int64_t)least;
}

static int64_t less(int64_t from, int64_t part) {
    return from > part ? from - not_negative(part) : 0;
}

static size_t token_lines(const struct price *p, const struct usage *u, struct price_line *l) {
    int64_t base = not_negative(u->prompt);
    base = less(base, u->cached);
    base = less(base, u->cache_write_5m);
    base = less(base, u->cache_write_1h);
    base = less(base, u->image_in);
    base = less(base, u->audio_in);
    int64_t text_out = less(not_negative(u->completion), u->audio_out);
    const ratio one = RATIO_ONE;
    const struct price_line all[] = {
        {PRICE_PART_INPUT, base, one, one, 0, 0},
        {PRICE_PART_CACHED, u->cached, p->cache_read, one, 0, 0},
        {PRICE_PART_WRITE_5M, u->cache_write_5m, p->cache_write, one, 0, 0},
        {PRICE_PART_WRITE_1H, u->cache_write_1h, p->cache_write_1h, one, 0, 0},
        {PRICE_PART_IMAGE, u->image_in, p->image, one, 0, 0},
        {PRICE_PART_AUDIO_IN, u->audio_in, p->audio, one, 0, 0},
        {PRICE_PART_OUTPUT, text_out, p->completion, one, 0, 0},
        {PRICE_PART_AUDIO_OUT, u->audio_out, p->audio, p->audio_completion, 0, 0},
    };
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i].count > 0)
            l[n++] = all[i];
    return n;
}

static size_t lines_of(const struct price *p, const struct usage *u, struct price_line *l) {
    size_t n = 0;
    if (p->per_call)
        l[n++] = (struct price_line){
            PRICE_PART_CALL, u->images > 1 ? u->images : 1, RATIO_ONE, RATIO_ONE, p->call_quota, 0};
    else
        n = token_lines(p, u, l);
    if (u->tool_searches > 0)
        l[n++] = (struct price_line){PRICE_PART_SEARCH, u->tool_searches, RATIO_ONE,
                                     RATIO_ONE,         p->search_quota,  0};
    return n;
}

/* A line's exact worth, scaled by RATIO_ONE to the fourth. */
static struct wide worth(const struct price *p, ratio group, const struct price_line *l) {
    struct wide x = wide_of((u128)not_negative(l->count));
    multiply(&x, l->ratio_a);
    multiply(&x, l->ratio_b);
    if (l->part == PRICE_PART_CALL || l->part == PRICE_PART_SEARCH) {
        multiply(&x, l->quota_each);
        multiply(&x, RATIO_ONE);
    } else {
        multiply(&x, p->model);
    }
    multiply(&x, group);
    return x;
}

static void unscale(struct wide *x) {
    for (int i = 0; i < 4; i++)
        divide(x, (uint64_t)RATIO_ONE);
}

int64_t price_cost(const struct price *p, ratio group_ratio, const struct usage *u) {
    struct price_line lines[PRICE_PART__MAX];
    size_t n = lines_of(p, u, lines);
    struct wide sum = wide_of(0);
    for (size_t i = 0; i < n; i++) {
        struct wide x = worth(p, group_ratio, &lines[i]);
        add(&sum, &x);
    }
    if (is_zero(&sum))
        return 0;
    const struct wide half = wide_of((u128)RATIO_ONE * RATIO_ONE * RATIO_ONE * (RATIO_ONE / 2));
    add(&sum, &half);
    unscale(&sum);
    int64_t quota = saturated(&sum);
    return quota > 0 ? quota : 1;
}

size_t price_explain(const struct price *p, ratio group_ratio, const struct usage *u,
                     struct price_line out[PRICE_PART__MAX]) {
    size_t n = lines_of(p, u, out);
    for (size_t i = 0; i < n; i++) {
        struct wide x = worth(p, group_ratio, &out[i]);
        unscale(&x);
        out[i].quota = saturated(&x);
    }
    return n;
}

const char *price_part_name(enum price_part part) {
    static const char *const names[] = {
        [PRICE_PART_INPUT] = "input",
        [PRICE_PART_CACHED] = "cached_input",
        [PRICE_PART_WRITE_5M] = "cache_write_5m",
        [PRICE_PART_WRITE_1H] = "cache_write_1h",
        [PRICE_PART_IMAGE] = "image_input",
        [PRICE_PART_AUDIO_IN] = "audio_input",
        [PRICE_PART_OUTPUT] = "output",
        [PRICE_PART_AUDIO_OUT] = "audio_output",
        [PRICE_PART_CALL] = "call",
        [PRICE_PART_SEARCH] = "web_search",
    };
    static_assert(ARRAY_LEN(names) == PRICE_PART__MAX, "a part without a name");
    return names[part];
}
