#include "domain/billing/record.h"

/* A record is numbers, shares, texts, in this order: the numbers are copied as they are, of the
 * shares those in use. */
struct layout {
    size_t n_shares, shares; /* where they stand */
    const struct field { size_t at, cap; } * texts;
    size_t n_texts;
};

#define TEXT(type, m) \
    { offsetof(struct type, m), sizeof((struct type *)NULL)->m }
#define LAYOUT(type)                                                                  \
    {                                                                                 \
        offsetof(struct type, n_shares), offsetof(struct type, shares), type##_texts, \
            ARRAY_LEN(type##_texts)                                                   \
    }

static const struct field opened_texts[] = {TEXT(opened, request_id), TEXT(opened, model)};
static const struct field bill_texts[] = {
    TEXT(bill, request_id), TEXT(bill, upstream_request_id),
    TEXT(bill, model),      TEXT(bill, upstream_model),
    TEXT(bill, ip),         TEXT(bill, endpoint),
    TEXT(bill, error_code),
};
static const struct layout opened_layout = LAYOUT(opened), bill_layout = LAYOUT(bill);

static uint32_t count_shares(const void *record, const struct layout *l) {
    uint32_t n;
    memcpy(&n, (const char *)record + l->n_shares, sizeof n);
    return n;
}

static void write_all(struct buf *out, const void *record, const struct layout *l) {
    must(count_shares(record, l) <= SHARE_MAX);
    buf_put(out, record, l->shares + count_shares(record, l) * sizeof(struct share));
    for (size_t i = 0; i < l->n_texts; i++) {
        const char *text = (const char *)record + l->texts[i].at;
        size_t len = strlen(text);
        must(len < l->texts[i].cap && len < 256);
        buf_putc(out, (char)(unsigned char)len);
        buf_put(out, text, len);
    }
}

static bool read_all(struct str in, void *record, const struct layout *l) {
    if (in.n < l->shares)
        return false;
    uint32_t n_shares = count_shares(in.p, l);
    size_t head = l->shares + n_shares * sizeof(struct share);
    if (n_shares > SHARE_MAX || in.n < head)
        return false;
    memset((char *)record + head, 0, (SHARE_MAX - n_shares) * sizeof(struct share));
    memcpy(record, in.p, head);
    in = str_from(in, head);
    for (size_t i = 0; i < l->n_texts; i++) {
        size_t len = in.n ? (unsigned char)in.p[0] : 0;
        if (in.n < 1 + len || len >= l->texts[i].cap)
            return false;
        char *text = (char *)record + l->texts[i].at;
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
    write_all(out, o, &opened_layout);
}

bool opened_read(struct str bytes, struct opened *o) {
    return read_all(bytes, o, &opened_layout);
}

void bill_write(struct buf *out, const struct bill *b) {
    write_all(out, b, &bill_layout);
}

bool bill_read(struct str bytes, struct bill *b) {
    return read_all(bytes, b, &bill_layout);
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
