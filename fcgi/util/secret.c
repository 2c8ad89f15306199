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
    static const struct str prefixes[] = {
        STR_INIT("sk-"),  STR_INIT("sk_"),   STR_INIT("pk-"),   STR_INIT("rk_"),
        STR_INIT("AIza"), STR_INIT("xai-"),  STR_INIT("gsk_"),  STR_INIT("tg-"),
        STR_INIT("ghp_"), STR_INIT("hf_"),   STR_INIT("r8_"),   STR_INIT("aitk_"),
        STR_INIT("eyJ"),  STR_INIT("AKIA"),  STR_INIT("org-"),  STR_INIT("proj_"),
        STR_INIT("ya29"), STR_INIT("pplx-"), STR_INIT("nvapi-")};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (str_starts(w, prefixes[i]))
            return true;
    return false;
}

/* Length of the word at the start of s. Providers shorten keys they quote ("sk-ab***yz",
 * "sk-ab...yz"): the filling belongs to a word that starts like a key. */
static size_t word_length(struct str s) {
    size_t n = 0;
    while (n < s.n && is_word(s.p[n]))
        n++;
    if (!has_secret_prefix(str_sub(s, 0, n)))
        return n;
    size_t end = n;
    while (n < s.n && (is_word(s.p[n]) || s.p[n] == '*' || s.p[n] == '.')) {
        n++;
        if (s.p[n - 1] != '.')
            end = n;
    }
    return end;
}

static bool is_label(struct str w) {
    static const struct str labels[] = {
        STR_INIT("key"),          STR_INIT("api_key"),      STR_INIT("api-key"),
        STR_INIT("apikey"),       STR_INIT("x-api-key"),    STR_INIT("x-goog-api-key"),
        STR_INIT("token"),        STR_INIT("access_token"), STR_INIT("password"),
        STR_INIT("passwd"),       STR_INIT("secret"),       STR_INIT("client_secret"),
        STR_INIT("authorization")};
    for (size_t i = 0; i < ARRAY_LEN(labels); i++)
        if (str_ieq(w, labels[i]))
            return true;
    return false;
}

/* Written after "key=" and the like: long enough, and no plain number or English word. */
static bool is_value(struct str w) {
    bool digit = false, letter = false;
    for (size_t i = 0; i < w.n; i++)
        *(w.p[i] >= '0' && w.p[i] <= '9' ? &digit : &letter) = true;
    return (w.n >= 6 && digit && letter) || w.n >= 20;
}

static size_t url_length(struct str s) {
    static const struct str schemes[] = {STR_INIT("http://"), STR_INIT("https://"),
                                         STR_INIT("ws://"), STR_INIT("wss://")};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        if (!str_istarts(s, schemes[i]))
            continue;
        size_t n = 0;
        while (n < s.n && s.p[n] > ' ' && !strchr("\"'<>\\)]}", s.p[n]))
            n++;
        return n;
    }
    return 0;
}

static bool is_ipv4(struct str s) {
    int n = 0;
    int64_t v;
    for (struct str part; str_cut(&s, '.', &part); n++)
        if (part.n > 3 || !str_i64(part, &v) || v < 0 || v > 255)
            return false;
    return n == 4;
}

static bool is_ipv6(struct str s) {
    size_t colons = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        colons += c == ':';
        if (c != ':' && c != '.' && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f') &&
            !(c >= 'A' && c <= 'F'))
            return false;
    }
    return colons == 7 || (colons >= 2 && str_find_str(s, STR("::")) >= 0 && s.n > 2);
}

/* Only known last labels: "messages.0.content" and "gpt-4.1" are no hosts. */
static bool is_dns_name(struct str s) {
    static const struct str ends[] = {
        STR_INIT(".com"),   STR_INIT(".net"),      STR_INIT(".org"), STR_INIT(".io"),
        STR_INIT(".ai"),    STR_INIT(".dev"),      STR_INIT(".app"), STR_INIT(".cloud"),
        STR_INIT(".co"),    STR_INIT(".cn"),       STR_INIT(".us"),  STR_INIT(".eu"),
        STR_INIT(".uk"),    STR_INIT(".de"),       STR_INIT(".fr"),  STR_INIT(".jp"),
        STR_INIT(".vn"),    STR_INIT(".xyz"),      STR_INIT(".svc"), STR_INIT(".lan"),
        STR_INIT(".local"), STR_INIT(".internal"), STR_INIT(".corp")};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (s.n > ends[i].n && str_ieq(str_from(s, s.n - ends[i].n), ends[i]))
            return s.p[0] != '.';
    return false;
}

#define MAX_PLACE 320 /* longer than any host name; keeps the scan linear */

/* What a provider's text says about where it runs: how long it is, 0 = nothing; *what names it. */
static size_t place_length(struct str s, const char **what) {
    size_t n = 0;
    s = str_sub(s, 0, MAX_PLACE);
    while (n < s.n && (is_word(s.p[n]) || (s.p[n] && strchr(".:@%+", s.p[n]))))
        n++;
    while (n && strchr(".:", s.p[n - 1]))
        n--;
    struct str all = str_sub(s, 0, n), host = all;
    ptrdiff_t at = str_find(all, '@'), colon;
    if (at > 0 && (size_t)at + 1 < n) {
        *what = "[email]";
        return n;
    }
    *what = "[host]";
    if (is_ipv6(all))
        return n;
    if ((colon = str_find(all, ':')) > 0)
        host = str_sub(all, 0, (size_t)colon);
    bool local = colon > 0 && str_ieq(host, STR("localhost"));
    return is_ipv4(host) || is_dns_name(host) || local ? n : 0;
}

/* Length of a JSON escape: its letter belongs to no word. */
static size_t escape_length(struct str s) {
    uint8_t code[2];
    if (s.n < 2 || s.p[0] != '\\' || !s.p[1] || !strchr("nrtbfu", s.p[1]))
        return 0;
    if (s.p[1] != 'u')
        return 2;
    return s.n >= 6 && str_hex(str_sub(s, 2, 4), code, sizeof code) ? 6 : 0;
}

enum label { LABEL_NONE, LABEL_NAMED, LABEL_ASSIGNED };

static enum label after_mark(enum label l, char c) {
    if (l == LABEL_NONE || c == ' ' || c == '"' || c == '\'' || c == '\\')
        return l;
    return c == '=' || c == ':' ? LABEL_ASSIGNED : LABEL_NONE;
}

static void scrub(struct buf *out, struct str text, bool places) {
    enum label label = LABEL_NONE;
    bool bearer = false;
    for (size_t i = 0; i < text.n;) {
        struct str rest = str_from(text, i);
        const char *what = "[url]";
        size_t n = url_length(rest);
        if (!n && places && is_word(text.p[i]))
            n = place_length(rest, &what);
        if (n) {
            buf_puts(out, what);
            i += n;
            continue;
        }
        if ((n = escape_length(rest))) {
            buf_str(out, str_sub(rest, 0, n));
            i += n;
            continue;
        }
        if (!is_word(text.p[i])) {
            label = after_mark(label, text.p[i]);
            buf_putc(out, text.p[i++]);
            continue;
        }
        n = word_length(rest);
        struct str word = str_sub(rest, 0, n);
        if ((n >= 16 && has_secret_prefix(word)) || looks_random(word) || (bearer && n >= 8) ||
            (label == LABEL_ASSIGNED && is_value(word)))
            buf_puts(out, "[secret]");
        else
            buf_str(out, word);
        bearer = str_ieq(word, STR("bearer"));
        label = is_label(word) ? LABEL_NAMED : LABEL_NONE;
        i += n;
    }
}

void secret_scrub(struct buf *out, struct str text) {
    scrub(out, text, false);
}

void secret_scrub_foreign(struct buf *out, struct str text) {
    scrub(out, text, true);
}
