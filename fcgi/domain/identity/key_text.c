#include "domain/identity/key_text.h"

#include "door/crypt.h"
#include "door/zip.h"

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
#define BASE 62

static bool is_digit62(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static void checksum(struct str text, char out[KEY_CHECK_LEN]) {
    uint32_t crc = zip_crc32(text);
    for (size_t i = KEY_CHECK_LEN; i > 0; i--) {
        out[i - 1] = digits[crc % BASE];
        crc /= BASE;
    }
}

bool key_prefix_ok(struct str prefix) {
    if (prefix.n < 1 || prefix.n > KEY_PREFIX_MAX)
        return false;
    for (size_t i = 0; i < prefix.n; i++)
        if (!is_digit62(prefix.p[i]) && prefix.p[i] != '-' && prefix.p[i] != '_')
            return false;
    return !is_digit62(prefix.p[prefix.n - 1]);
}

void key_text_make(struct str prefix, char out[KEY_TEXT_CAP]) {
    must(key_prefix_ok(prefix));
    memcpy(out, prefix.p, prefix.n);
    char *body = out + prefix.n;
    for (size_t i = 0; i < KEY_RANDOM_LEN; i++)
        body[i] = digits[crypt_random_below(BASE)];
    checksum(str_of(out, prefix.n + KEY_RANDOM_LEN), body + KEY_RANDOM_LEN);
    body[KEY_BODY_LEN] = '\0';
}

bool key_text_ok(struct str key) {
    if (key.n <= KEY_BODY_LEN || !key_prefix_ok(str_sub(key, 0, key.n - KEY_BODY_LEN)))
        return false;
    for (size_t i = key.n - KEY_BODY_LEN; i < key.n; i++)
        if (!is_digit62(key.p[i]))
            return false;
    char check[KEY_CHECK_LEN];
    checksum(str_sub(key, 0, key.n - KEY_CHECK_LEN), check);
    return memcmp(check, key.p + key.n - KEY_CHECK_LEN, KEY_CHECK_LEN) == 0;
}

/* "<key>" or "<key>-<id>" */
static bool parse(struct str *key, int64_t *pin) {
    *pin = 0;
    if (key_text_ok(*key))
        return true;
    size_t dash = key->n;
    while (dash > 0 && key->p[dash - 1] >= '0' && key->p[dash - 1] <= '9')
        dash--;
    if (dash < 2 || key->p[dash - 1] != '-' || !str_i64(str_from(*key, dash), pin) || *pin < 1)
        return false;
    *key = str_sub(*key, 0, dash - 1);
    return key_text_ok(*key);
}

bool key_text_parse(struct str presented, struct str *key, int64_t *pin) {
    struct str text = str_trim(presented);
    *key = text;
    if (parse(key, pin))
        return true;
    *key = str_from(text, strlen("sk-"));
    return str_starts(text, STR("sk-")) && parse(key, pin);
}

void key_text_hint(struct str key, char out[KEY_HINT_CAP]) {
    must(key.n > KEY_BODY_LEN && key.n < KEY_TEXT_CAP);
    size_t head = key.n - KEY_BODY_LEN + 4;
    memcpy(out, key.p, head);
    memset(out + head, '*', 10);
    memcpy(out + head + 10, key.p + key.n - 4, 4);
    out[head + 14] = '\0';
}

bool key_text_find(struct str text, struct str prefix, size_t *at, struct str *key) {
    while (*at < text.n) {
        ptrdiff_t hit = str_find_str(str_from(text, *at), prefix);
        if (hit < 0)
            break;
        *at += (size_t)hit;
        *key = str_sub(text, *at, prefix.n + KEY_BODY_LEN);
        if (key->n == prefix.n + KEY_BODY_LEN && key_text_ok(*key)) {
            *at += key->n;
            return true;
        }
        *at += prefix.n;
    }
    *at = text.n;
    return false;
}
