#include "domain/billing/record.h"

/* The strings are the structs' tail: everything before the first one is copied as it is. */
static const struct field {
    size_t at, cap;
} opened_texts[] =
    {
#define TEXT(type, m) \
    { offsetof(struct type, m), sizeof((struct type *)NULL)->m }
        TEXT(opened, request_id),
        TEXT(opened, model),
},
  bill_texts[] = {
      TEXT(bill, request_id), TEXT(bill, upstream_request_id),
      TEXT(bill, model),      TEXT(bill, upstream_model),
      TEXT(bill, ip),         TEXT(bill, endpoint),
      TEXT(bill, error_code),
#undef TEXT
};

static void write_all(struct buf *out, const void *record, const struct field *texts, size_t n) {
    buf_put(out, record, texts[0].at);
    for (size_t i = 0; i < n; i++) {
        const char *text = (const char *)record + texts[i].at;
        size_t len = strlen(text);
        must(len < texts[i].cap && len < 256);
        buf_putc(out, (char)(unsigned char)len);
        buf_put(out, text, len);
    }
}

static bool read_all(struct str in, void *record, const struct field *texts, size_t n) {
    if (in.n < texts[0].at)
        return false;
    memcpy(record, in.p, texts[0].at);
    in = str_from(in, texts[0].at);
    for (size_t i = 0; i < n; i++) {
        size_t len = in.n ? (unsigned char)in.p[0] : 0;
        if (in.n < 1 + len || len >= texts[i].cap)
            return false;
        char *text = (char *)record + texts[i].at;
        memcpy(text, in.p + 1, len);
        text[len] = '\0';
        in = str_from(in, 1 + len);
    }
    return in.n == 0;
}

void record_text(char *field, size_t cap, struct str text) {
    size_t n = text.n < cap - 1 ? text.n : cap - 1;
    while (n && !str_utf8_ok(str_sub(text, 0, n)))
        n--;
    if (n)
        memcpy(field, text.p, n);
    field[n] = '\0';
}

void opened_write(struct buf *out, const struct opened *o) {
    write_all(out, o, opened_texts, ARRAY_LEN(opened_texts));
}

bool opened_read(struct str bytes, struct opened *o) {
    return read_all(bytes, o, opened_texts, ARRAY_LEN(opened_texts)) && o->n_shares <= SHARE_MAX;
}

void bill_write(struct buf *out, const struct bill *b) {
    write_all(out, b, bill_texts, ARRAY_LEN(bill_texts));
}

bool bill_read(struct str bytes, struct bill *b) {
    return read_all(bytes, b, bill_texts, ARRAY_LEN(bill_texts)) && b->n_shares <= SHARE_MAX;
}

void bill_interrupted(struct bill *b, const struct opened *o, int64_t now_us) {
    *b = (struct bill){
        .serial = o->serial,
        .ended_us = now_us,
        .started_us = o->started_us,
        .duration_us = now_us > o->started_us ? now_us - o->started_us : 0,
        .user_id = o->user_id,
        .key_id = o->key_id,
        .price_id = o->price_id,
        .group_ratio = o->group_ratio,
        .usage = {.prompt = o->prompt_tokens},
        .cost = o->interrupted_cost,
        .test_mode = o->test_mode,
        .estimated = true,
        .interrupted = true,
        .n_shares = o->n_shares,
    };
    memcpy(b->shares, o->shares, sizeof b->shares);
    memcpy(b->request_id, o->request_id, sizeof b->request_id);
    static_assert(sizeof b->model == sizeof o->model, "one width for a model's name");
    memcpy(b->model, o->model, sizeof b->model);
}
