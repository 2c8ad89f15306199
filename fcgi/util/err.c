#include "util/err.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    int http;
    const char *type, *code;
    unsigned flags;
    const char *text[3];
} rows[] = {
    [OK] = {200, "", "", ERR_F_NONE, {"", "", ""}},
#define ERR(name, http, type, code, flags, en, zh, vi) \
    [ERR_##name] = {http, type, code, flags, {en, zh, vi}},
#include "util/err.def"
#undef ERR
};
static_assert(ARRAY_LEN(rows) == ERR__MAX, "err.def and the table differ");

static void set_detail(struct fault *f, enum err e, const char *param, const char *fmt, va_list ap)
    printf_like(4, 0);
static void set_detail(struct fault *f, enum err e, const char *param, const char *fmt,
                       va_list ap) {
    f->err = e;
    f->detail[0] = '\0';
    snprintf(f->param, sizeof f->param, "%s", param ? param : "");
    if (!fmt)
        return;
    int n = vsnprintf(f->detail, sizeof f->detail, fmt, ap);
    must(n >= 0);
    size_t len = strlen(f->detail);
    while (len && !str_utf8_ok(str_of(f->detail, len))) /* cut inside a character, or bad input */
        f->detail[--len] = '\0';
}

enum err fault_set(struct fault *f, enum err e, const char *fmt, ...) {
    if (!f)
        return e;
    va_list ap;
    va_start(ap, fmt);
    set_detail(f, e, NULL, fmt, ap);
    va_end(ap);
    return e;
}

enum err fault_field(struct fault *f, enum err e, const char *param, const char *fmt, ...) {
    if (!f)
        return e;
    va_list ap;
    va_start(ap, fmt);
    set_detail(f, e, param, fmt, ap);
    va_end(ap);
    return e;
}

int64_t fault_retry_after_s(const struct fault *f) {
    if (f->retry_after_s > 0)
        return f->retry_after_s;
    return err_http(f->err) == 503 ? 1 : 0;
}

int err_http(enum err e) {
    return rows[e].http;
}

const char *err_type(enum err e) {
    return rows[e].type;
}

const char *err_code(enum err e) {
    return rows[e].code;
}

unsigned err_flags(enum err e) {
    return rows[e].flags;
}

void err_text(struct buf *out, const struct fault *f, enum lang lang) {
    const char *text = rows[f->err].text[lang], *hole = strstr(text, "%s");
    if (!hole) {
        buf_puts(out, text);
        return;
    }
    buf_put(out, text, (size_t)(hole - text));
    buf_puts(out, f->detail);
    buf_puts(out, hole + 2);
}

/* The "q" of RFC 9110 in thousandths; what is none counts as 0. */
static int weight(struct str params) {
    struct str p;
    while (str_cut(&params, ';', &p)) {
        p = str_trim(p);
        if (!str_istarts(p, STR("q=")))
            continue;
        p = str_from(p, 2);
        int w = p.n && p.p[0] == '1' ? 1000 : 0;
        for (size_t i = 2, unit = 100; p.n && p.p[0] == '0' && i < p.n && unit; i++, unit /= 10)
            w += p.p[i] >= '0' && p.p[i] <= '9' ? (int)unit * (p.p[i] - '0') : 0;
        return w;
    }
    return 1000;
}

enum lang err_lang(struct str accept) {
    static const struct {
        struct str tag;
        enum lang lang;
    } known[] = {{STR_INIT("zh"), LANG_ZH}, {STR_INIT("vi"), LANG_VI}, {STR_INIT("en"), LANG_EN}};
    enum lang best = LANG_EN;
    int most = 0;
    struct str item, tag;
    while (str_cut(&accept, ',', &item)) {
        item = str_trim(item);
        if (!str_cut(&item, ';', &tag))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(known); i++) {
            if (!str_istarts(tag, known[i].tag) || weight(item) <= most)
                continue;
            most = weight(item);
            best = known[i].lang;
        }
    }
    return best;
}
