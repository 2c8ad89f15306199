/* usage.h - what a provider says an answer used, in tokens; every dialect is brought to this. */
#pragma once

#include "util/base.h"

struct usage {
    int64_t prompt;         /* all input tokens, cached and cache-written ones included */
    int64_t completion;     /* all output tokens, reasoning included */
    int64_t cached;         /* of prompt: read from the provider's cache */
    int64_t cache_write_5m; /* of prompt: written to the cache (5 minutes, or unspecified) */
    int64_t cache_write_1h; /* of prompt: written to the 1-hour cache */
    int64_t image_in;       /* of prompt */
    int64_t audio_in;       /* of prompt */
    int64_t audio_out;      /* of completion */
    int64_t reasoning;      /* of completion */
    int64_t tool_searches;  /* web searches the provider charged for */
    int64_t images;         /* that an image call asked for; a price per call counts for each */
    bool reported;          /* the provider said so; false = our estimate or nothing */
};
