/* secret.h - keeping secrets out of texts.
 *
 * secret_scrub copies a text and masks what looks like a credential (a token of 20 or more
 * [A-Za-z0-9_-] after a known prefix such as sk-, Bearer or key=, or any run of 32 or more mixed
 * letters and digits) and hides the host and path of URLs. It is used for provider error texts and
 * for every log value.
 */
#pragma once

#include "util/buf.h"

/* Appends the scrubbed text to out. */
void secret_scrub(struct buf *out, struct str text);
/* Appends "sk-ab**********wxyz": at most the first 6 and last 4 characters stay. */
void secret_mask(struct buf *out, struct str secret);
/* Overwrites memory in a way the compiler keeps. */
void secret_wipe(void *p, size_t n);
