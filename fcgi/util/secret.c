#include "util/secret.h"

#include <string.h>

void secret_wipe(void *p, size_t n) {
    explicit_bzero(p, n);
}

void secret_mask(struct buf *out, struct str secret) {
    if (secret.n <= 12) {
        buf_puts(out, "****");
        return;
    }
    buf_put(out, secret.p, 6);
    buf_puts(out, "**********");
    buf_put(out, secret.p + secret.n - 4, 4);
}

static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '_';
}

/* A random-looking run: both letters and digits, and no two separators close together, so that
 * "gpt-4o-mini-2024-07-18" and UUIDs (request ids) stay readable. */
static bool looks_random(struct str w) {
    size_t run = 0, longest = 0, digits = 0, letters = 0;
    for (size_t i = 0; i < w.n; i++) {
        bool sep = w.p[i] == '-' || w.p[i] == '_';
        run = sep ? 0 : run + 1;
        if (run > longest)
            longest = run;
        digits += w.p[i] >= '0' && w.p[i] <= '9';
        letters += !sep && !(w.p[i] >= '0' && w.p[i] <= '9');
    }
    return longest >= 32 && digits && letters;
}

static bool has_secret_prefix(struct str w) {
    static const struct str prefixes[] = {STR_INIT("sk-"),  STR_INIT("sk_"),   STR_INIT("pk-"),
                                          STR_INIT("rk_"),  STR_INIT("AIza"),  STR_INIT("xai-"),
                                          STR_INIT("gsk_"), STR_INIT("tg-"),   STR_INIT("ghp_"),
                                          STR_INIT("hf_"),  STR_INIT("aitk_"), STR_INIT("eyJ")};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (w.n >= 16 && str_starts(w, prefixes[i]))
            return true;
    return false;
}

static size_t url_length(struct str s) {
    if (!str_istarts(s, STR("http://")) && !str_istarts(s, STR("https://")))
        return 0;
    size_t n = 0;
    while (n < s.n && s.p[n] > ' ' && !strchr("\"'<>\\)]}", s.p[n]))
        n++;
    return n;
}

void secret_scrub(struct buf *out, struct str text) {
    bool after_bearer = false;
    for (size_t i = 0; i < text.n;) {
        struct str rest = str_from(text, i);
        size_t url = url_length(rest);
        if (url) {
            buf_puts(out, "[url]");
            i += url;
            continue;
        }
        if (!is_word(text.p[i])) {
            buf_putc(out, text.p[i++]);
            continue;
        }
        size_t n = 0;
        while (n < rest.n && is_word(rest.p[n]))
            n++;
        struct str word = str_sub(rest, 0, n);
        if (has_secret_prefix(word) || looks_random(word) || (after_bearer && n >= 8))
            buf_puts(out, "[secret]");
        else
            buf_str(out, word);
        after_bearer = str_ieq(word, STR("bearer"));
        i += n;
    }
}
