/* price.h - what a call costs, in quota units (500 000 = 1 USD), in exact integer arithmetic.
 *
 * Formula: New API's (a ratio of 1 is $2 per million input tokens = 1 quota per token):
 *   base = prompt - cached - cache writes - image [- audio]
 *   in   = base + cached*cache_read + write5m*cache_write + write1h*cache_write_1h + image*image +
 * audio*audio out  = (completion - audio_out) + audio_out*audio_completion quota =
 * round_half_up((in + out*completion_ratio) * model_ratio * group_ratio + surcharges) A per-call
 * price replaces the token part. A priced call costs at least 1.
 */
#pragma once

#include "domain/billing/usage.h"

/* Decimal fixed point: RATIO_ONE is 1.0 (9 decimals). */
typedef int64_t ratio;
#define RATIO_ONE INT64_C(1000000000)
#define QUOTA_PER_USD INT64_C(500000)

struct price {
    int64_t id; /* row of price_versions: what a usage row refers to; 0 = no price */
    bool per_call;
    int64_t call_quota; /* with per_call: quota of one call, times the group ratio */
    ratio model, completion, cache_read, cache_write, cache_write_1h, image, audio,
        audio_completion;
    int64_t search_quota; /* surcharge per provider-side web search */
};
