/* key_text.h - what an API key (or access token) looks like.
 *
 *   <prefix><43 random base62 digits><6 base62 digits: CRC-32 of all before them>
 *
 * 43 digits are 256 random bits. The checksum tells a mistyped or made-up key without a look into
 * the database, and lets scanners know a key offline. Everything behind the prefix has a fixed
 * length, so keys made under a former prefix stay valid. Pure; any thread.
 */
#pragma once

#include "util/buf.h"

#define KEY_RANDOM_LEN 43
#define KEY_CHECK_LEN 6
#define KEY_BODY_LEN (KEY_RANDOM_LEN + KEY_CHECK_LEN)
#define KEY_PREFIX_MAX 20
#define KEY_TEXT_CAP (KEY_PREFIX_MAX + KEY_BODY_LEN + 1)
#define KEY_HINT_CAP (KEY_PREFIX_MAX + 19)

/* 1..KEY_PREFIX_MAX letters, digits, '-' and '_', the last one a '-' or '_'. */
bool key_prefix_ok(struct str prefix);
/* A new key, NUL-terminated. The prefix must be ok. */
void key_text_make(struct str prefix, char out[KEY_TEXT_CAP]);
/* True when the whole text is a key with the right checksum. */
bool key_text_ok(struct str key);
/* Takes "<key>" or "<key>-<channel id>" apart, blanks trimmed; *pin is 0 without a suffix. The
 * whole text is tried first; one "sk-" too many in front is dropped, for clients that always put it
 * there. False when there is no well-formed key in it. */
must_use bool key_text_parse(struct str presented, struct str *key, int64_t *pin);
/* "<prefix>Ab12**********wXyZ". The key must be ok. */
void key_text_hint(struct str key, char out[KEY_HINT_CAP]);
/* Finds the next key that starts with prefix at or after *at in text; moves *at behind it. */
must_use bool key_text_find(struct str text, struct str prefix, size_t *at, struct str *key);
