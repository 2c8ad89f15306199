/* price.h - what a call costs, in quota units (500 000 = 1 USD), in exact integer arithmetic.
 *
 * The formula is New API's (a ratio of 1 is $2 per million input tokens = 1 quota per token):
 *
 *   base  = prompt - cached - cache writes - image - audio_in              (at least 0)
 *   in    = base + cached*cache_read + write_5m*cache_write + write_1h*cache_write_1h
 *           + image*image + audio_in*audio
 *   out   = (completion - audio_out)*completion + audio_out*audio*audio_completion
 *   quota = round_half_up(((in + out)*model + searches*search_quota) * group_ratio)
 *
 * A per-call price replaces (in + out)*model by call_quota, for each picture of an image call.
 * Nothing is rounded before the end. A cost that is not exactly 0 is at least 1, and at most
 * PRICE_MAX_QUOTA.
 */
#pragma once

#include "domain/billing/usage.h"

/* Decimal fixed point: RATIO_ONE is 1.0 (9 decimals). */
typedef int64_t ratio;
#define RATIO_ONE INT64_C(1000000000)
#define QUOTA_PER_USD INT64_C(500000)
/* Costs saturate here (2 billion USD), so that sums of many stay far from overflowing. */
#define PRICE_MAX_QUOTA INT64_C(1000000000000000)

struct price {
    int64_t id; /* row of price_versions: what a usage row refers to; 0 = no price */
    bool per_call;
    int64_t call_quota; /* with per_call: quota of one call or picture, times the group ratio */
    ratio model, completion, cache_read, cache_write, cache_write_1h, image, audio,
        audio_completion;
    int64_t search_quota; /* surcharge per provider-side web search */
};

enum price_part {
    PRICE_PART_INPUT,
    PRICE_PART_CACHED,
    PRICE_PART_WRITE_5M,
    PRICE_PART_WRITE_1H,
    PRICE_PART_IMAGE,
    PRICE_PART_AUDIO_IN,
    PRICE_PART_OUTPUT,
    PRICE_PART_AUDIO_OUT,
    PRICE_PART_CALL,
    PRICE_PART_SEARCH,
    PRICE_PART__MAX
};

/* One line of a bill: count * unit, where unit = ratio_a * ratio_b (fixed point each; for CALL and
 * SEARCH quota_each instead). `quota` is the part's own share times model and group ratio, rounded
 * down: the parts explain a cost, only price_cost decides it. */
struct price_line {
    enum price_part part;
    int64_t count;
    ratio ratio_a, ratio_b;
    int64_t quota_each;
    int64_t quota;
};

/* The cost of a call. Negative counts and ratios count as 0. Pure; any thread. */
int64_t price_cost(const struct price *p, ratio group_ratio, const struct usage *u);
/* The same call's parts that are not 0; returns how many lines were written. */
size_t price_explain(const struct price *p, ratio group_ratio, const struct usage *u,
                     struct price_line out[PRICE_PART__MAX]);
const char *price_part_name(enum price_part part);

/* The text's number times 10^places, rounded half up; as price_ratio_parse otherwise. */
must_use bool price_decimal_parse(const char *text, size_t n, int places, int64_t *out);
/* "1.25" -> RATIO_ONE*5/4. Decimal or exponent notation, no sign, at most 9 significant decimals
 * kept (more are rounded half up); false when malformed or above 9 billion. */
must_use bool price_ratio_parse(const char *text, size_t n, ratio *out);
