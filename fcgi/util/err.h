/* err.h - every way a request or an operation can be refused, as rows of one table (err.def).
 *
 * A function that can fail returns enum err (OK = 0) and is must_use. Where the answer needs a
 * detail (a field's name, a model) it also fills a struct fault:
 *
 *   return fault_set(f, ERR_MODEL_NOT_FOUND, "%s", model);
 *
 * The row says how the error looks outside: the HTTP status, the OpenAI `type` and the stable
 * `code` that both /v1 and /api answers carry, whether another channel may be tried, and its text
 * in three languages (at most one %s, filled with fault.detail).
 */
#pragma once

#include "util/buf.h"

enum err {
    OK = 0,
#define ERR(name, http, type, code, flags, en, zh, vi) ERR_##name,
#include "util/err.def"
#undef ERR
    ERR__MAX
};

enum err_flag {
    ERR_F_NONE = 0,
    ERR_F_RETRY = 1,    /* another channel may be tried */
    ERR_F_BUSINESS = 2, /* /api answers it with HTTP 200 and success:false */
    ERR_F_LOG = 4,      /* logged at warn level: an operator's business */
};

enum lang { LANG_EN, LANG_ZH, LANG_VI };

struct fault {
    enum err err;
    char param[64];        /* the field or header that is wrong, "" = none */
    char detail[256];      /* replaces %s in the text */
    int64_t retry_after_s; /* > 0: when to ask again, if it is known */
    int64_t resets_at;     /* > 0: unix seconds when a budget starts anew */
};

/* Records e with a formatted detail and returns it; f may be NULL. fmt NULL = no detail. */
enum err fault_set(struct fault *f, enum err e, const char *fmt, ...) printf_like(3, 4);
/* The same, naming the field (param) first. */
enum err fault_field(struct fault *f, enum err e, const char *param, const char *fmt, ...)
    printf_like(4, 5);

/* What Retry-After says, 0 = not sent. Every 503 has one. */
int64_t fault_retry_after_s(const struct fault *f);

int err_http(enum err e);
const char *err_type(enum err e); /* OpenAI error.type */
const char *err_code(enum err e); /* stable English code */
unsigned err_flags(enum err e);
/* The text in lang with the detail filled in, appended to out. */
void err_text(struct buf *out, const struct fault *f, enum lang lang);
/* "zh-CN,zh;q=0.9" -> LANG_ZH; anything unknown -> LANG_EN. */
enum lang err_lang(struct str accept_language);
