/* estimate.h - how many tokens a text is, without a tokenizer.
 *
 * Every byte adds a cost, in hundredths of a token, that depends on its class (letter, digit,
 * script of a UTF-8 lead byte...) and on the class of the byte before: starting a word is dear,
 * going on with it is cheap; a Chinese character costs more than an English letter. The costs are
 * fitted to o200k (tests/e2e/lib/corpus.mjs), whose merges the other providers'
 * vocabularies resemble closely enough for what this serves: holds before a call, and bills of
 * answers that were cut off before the provider reported usage.
 *
 *   struct estimate e = {0};
 *   estimate_feed(&e, STR("Hello, ")); estimate_feed(&e, STR("world"));
 *   int64_t tokens = estimate_total(&e);
 *
 * Any split of a text gives the same total. Pure; any thread.
 */
#pragma once

#include "util/str.h"

struct estimate { /* all zero: nothing counted yet */
    uint64_t sum; /* hundredths of a token */
    uint8_t last; /* class of the last byte */
};

/* Counts more of the running text (UTF-8; anything else only makes the estimate poorer). */
void estimate_feed(struct estimate *e, struct str text);
/* The next text does not continue the last one. */
void estimate_break(struct estimate *e);
/* Tokens so far, rounded up. */
int64_t estimate_total(const struct estimate *e);
/* Tokens of one whole text. */
int64_t estimate_tokens(struct str text);
