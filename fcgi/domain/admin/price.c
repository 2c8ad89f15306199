#include "domain/admin/shelf.h"

__extension__ typedef unsigned __int128 u128;

#define USD_PER_RATIO 2 /* a ratio of 1 is 2 USD for a million tokens */

bool quota_from_usd(int64_t usd, int64_t *quota) {
    if (usd < 0)
        return false;
    u128 v = (u128)(uint64_t)usd * (u128)QUOTA_PER_USD;
    if (v % (u128)RATIO_ONE || v / (u128)RATIO_ONE > (u128)PRICE_MAX_QUOTA)
        return false;
    *quota = (int64_t)(v / (u128)RATIO_ONE);
    return true;
}

/* What a price is to the one it is a part of, half up; absent: `without`. */
static bool relate(int64_t usd, int64_t base, ratio without, ratio *out) {
    *out = without;
    if (usd < 0)
        return true;
    if (base <= 0)
        return usd == 0;
    u128 v = ((u128)(uint64_t)usd * (u128)RATIO_ONE + (u128)base / 2) / (u128)base;
    if (v > (u128)INT64_MAX)
        return false;
    *out = (ratio)v;
    return true;
}

static bool names_tokens(const struct price_usd *u) {
    return u->input >= 0 || u->output >= 0 || u->cached >= 0 || u->cache_write >= 0 ||
           u->cache_write_1h >= 0 || u->image >= 0 || u->audio >= 0 || u->audio_output >= 0;
}

static enum err each_call(const struct price_usd *u, struct price *p, struct fault *f) {
    if (names_tokens(u))
        return fault_field(f, ERR_FIELD_VALUE, "price", "a price is by call or by token, not both");
    p->per_call = true;
    if (!quota_from_usd(u->per_call, &p->call_quota))
        return fault_field(f, ERR_FIELD_VALUE, "price",
                           "a call's price must be a whole number of quota units (0.000002 USD)");
    return OK;
}

enum err price_from_usd(const struct price_usd *u, struct price *out, struct fault *f) {
    struct price p = {0};
    p.completion = p.cache_read = p.cache_write = p.cache_write_1h = RATIO_ONE;
    p.image = p.audio = p.audio_completion = RATIO_ONE;
    if (u->search >= 0 && !quota_from_usd(u->search, &p.search_quota))
        return fault_field(f, ERR_FIELD_VALUE, "price",
                           "a search's price must be a whole number of quota units (0.000002 USD)");
    if (u->per_call >= 0) {
        enum err e = each_call(u, &p, f);
        *out = p;
        return e;
    }
    if (u->input < 0)
        return fault_field(f, ERR_FIELD_VALUE, "price", "there is no input price");
    p.model = u->input / USD_PER_RATIO + u->input % USD_PER_RATIO;
    int64_t audio = u->audio >= 0 ? u->audio : u->input;
    if (!relate(u->output, u->input, RATIO_ONE, &p.completion) ||
        !relate(u->cached, u->input, RATIO_ONE, &p.cache_read) ||
        !relate(u->cache_write, u->input, RATIO_ONE, &p.cache_write) ||
        !relate(u->cache_write_1h, u->input, p.cache_write, &p.cache_write_1h) ||
        !relate(u->image, u->input, RATIO_ONE, &p.image) ||
        !relate(u->audio, u->input, RATIO_ONE, &p.audio) ||
        !relate(u->audio_output, audio, RATIO_ONE, &p.audio_completion))
        return fault_field(f, ERR_FIELD_VALUE, "price",
                           "the input price must be above 0 when others are");
    *out = p;
    return OK;
}
