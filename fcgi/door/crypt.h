/* crypt.h - libsodium: hashes, sealed texts, passwords, random; and the site's secret files.
 *
 * The keyring is a directory (mode 0700, files 0600, made by `tollgatectl secrets init`), never in
 * the database: a file a generation, "1.key", "2.key", ..., each with a pepper (keyed hash of API
 * keys and access tokens) and a sealing key (what must be readable again). New things use the
 * newest generation; all are tried when reading, so both work while rows are re-sealed. What
 * nothing known fits makes a process look whether a generation was added meanwhile
 * (keyring_refresh).
 */
#pragma once

#include "util/err.h"

#define CRYPT_HASH_LEN 32
#define CRYPT_KEY_LEN 32
#define CRYPT_SEAL_OVERHEAD 41 /* 1 generation + 24 nonce + 16 tag */
#define CRYPT_GENERATIONS 4

struct keyring; /* any thread */

/* Once in main before threads. */
void crypt_init(void);
/* Loads every generation. The fault names the file that is missing, malformed or too open. */
must_use enum err keyring_load(const char *dir, struct keyring **out, struct fault *f);
void keyring_free(struct keyring **k);
/* Loads the generations again when others are listed than are known; true when there are others now
 * than in this edition. To be asked when a hash is not found: another process may have written it
 * with a newer generation. */
must_use bool keyring_refresh(const struct keyring *k, unsigned edition);
/* Makes dir and a first generation when it is missing; with `rotate` adds a newer generation. */
must_use enum err keyring_init(const char *dir, bool rotate, struct fault *f);
/* How many generations there are: 1..CRYPT_GENERATIONS; 0 is the newest. */
int keyring_generations(const struct keyring *k);

/* Keyed BLAKE2b-256 of a high-entropy secret with the newest pepper. `what` separates uses
 * ("api_key", "access_token", "session"): the same secret hashes differently. Returns
 * the keyring's edition, for keyring_refresh. */
unsigned crypt_hash(const struct keyring *k, const char *what, struct str secret,
                    uint8_t out[CRYPT_HASH_LEN]);
/* With every pepper, newest first; the newest again where there are fewer. */
unsigned crypt_hash_all(const struct keyring *k, const char *what, struct str secret,
                        uint8_t out[CRYPT_GENERATIONS][CRYPT_HASH_LEN]);
/* XChaCha20-Poly1305; `what` is bound as associated data. Appends to out. */
void crypt_seal(const struct keyring *k, const char *what, struct str plain, struct buf *out);
/* ERR_INTERNAL when it was sealed by an unknown generation, for another use, or was changed. */
must_use enum err crypt_unseal(const struct keyring *k, const char *what, struct str sealed,
                               struct buf *out);
/* True when `sealed` was made by an older generation and should be sealed anew. */
bool crypt_seal_is_old(const struct keyring *k, struct str sealed);

/* Plain BLAKE2b-256 (audit chain, idempotency). */
void crypt_digest(struct str data, uint8_t out[CRYPT_HASH_LEN]);
bool crypt_equal(const void *a, const void *b, size_t n); /* constant time */
void crypt_random(void *p, size_t n);
uint32_t crypt_random_below(uint32_t limit);

/* argon2id, 19 MiB and 2 passes (OWASP); out is NUL-terminated text of at most 128 bytes.
 * ERR_OVERLOADED when the memory for it cannot be had. About 20 ms of CPU: not in the loop. */
must_use enum err crypt_password_hash(struct str password, char out[128]);
bool crypt_password_ok(const char *hash, struct str password);
