#include "door/sign.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

static void bio_free(BIO **b) {
    BIO_free(*b);
}

static void key_free(EVP_PKEY **k) {
    EVP_PKEY_free(*k);
}

static void digest_free(EVP_MD_CTX **c) {
    EVP_MD_CTX_free(*c);
}

/* A key on another curve is not what the list is for. */
static bool is_p256(EVP_PKEY *key) {
    char curve[64];
    size_t n;
    return EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, curve, sizeof curve,
                                          &n) == 1 &&
           strcmp(curve, "prime256v1") == 0;
}

bool sign_ecdsa_ok(struct str pem, struct str text, struct str signature) {
    BIO *in AUTO(bio_free) = pem.n && pem.n <= 4096 ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
    EVP_PKEY *key AUTO(key_free) = in ? PEM_read_bio_PUBKEY(in, NULL, NULL, NULL) : NULL;
    EVP_MD_CTX *digest AUTO(digest_free) = EVP_MD_CTX_new();
    if (!digest || !key || !is_p256(key) || !signature.n)
        return false;
    return EVP_DigestVerifyInit(digest, NULL, EVP_sha256(), NULL, key) == 1 &&
           EVP_DigestVerify(digest, (const unsigned char *)signature.p, signature.n,
                            (const unsigned char *)text.p, text.n) == 1;
}

bool sign_base64(struct str text, struct buf *out) {
    if (!text.n || text.n % 4 || text.n > 4096)
        return false;
    for (size_t i = 0; i < text.n; i++) /* libcrypto skips blanks at the ends */
        if (text.p[i] <= ' ' || text.p[i] == '-' || (text.p[i] == '=' && i + 2 < text.n))
            return false;
    size_t pad = (size_t)(text.p[text.n - 1] == '=') + (text.p[text.n - 2] == '=');
    char *room = buf_room(out, text.n / 4 * 3 + 1);
    if (!room)
        return false;
    int n = EVP_DecodeBlock((unsigned char *)room, (const unsigned char *)text.p, (int)text.n);
    if (n < 0 || (size_t)n < pad)
        return false;
    out->n += (size_t)n - pad;
    return true;
}
