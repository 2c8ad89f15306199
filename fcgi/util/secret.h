/* secret.h - keeping secrets out of texts.
 *
 * secret_scrub copies a text and masks what looks like a credential - a token of 16 or more
 * [A-Za-z0-9_-] after a known prefix such as sk-, also when it was shortened with asterisks or
 * dots; the word after "Bearer"; the value after key=, "password": and the like; any run of 32 or
 * more mixed letters and digits - and hides URLs. It is used for every log value.
 * secret_scrub_foreign also hides host names, addresses and e-mail addresses: for provider texts.
 */
#pragma once

#include "util/buf.h"

/* Appends the scrubbed text to out. */
void secret_scrub(struct buf *out, struct str text);
void secret_scrub_foreign(struct buf *out, struct str text);
/* Appends "sk-ab**********wxyz": at most the first 6 and last 4 characters stay. */
void secret_mask(struct buf *out, struct str secret);
/* Overwrites memory in a way the compiler keeps. */
void secret_wipe(void *p, size_t n);
