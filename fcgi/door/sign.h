/* sign.h - OpenSSL's libcrypto: signatures of others. Any thread. */
#pragma once

#include "util/err.h"

/* True when `signature` (DER) over the SHA-256 of `text` was made with the private key of `pem`, an
 * EC public key on P-256 ("-----BEGIN PUBLIC KEY-----"). False for anything malformed. */
must_use bool sign_ecdsa_ok(struct str pem, struct str text, struct str signature);
/* Strict base64 with padding, appended to out; false when malformed or too long for it. */
must_use bool sign_base64(struct str text, struct buf *out);
