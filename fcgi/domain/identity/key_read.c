#include "domain/identity/key_store.h"

#include "domain/identity/caller_load.h"
#include "door/crypt.h"
#include "door/queries.h"
#include "util/clock.h"

/* A page is read in four statements whatever its size: the ids, then everything of these ids. */
struct reading {
    struct arena *mem;
    struct key_view *items;
    size_t n, max;
    struct buf ids; /* JSON array */
    enum err e;
};

static void ids_free(struct reading *r) {
    buf_free(&r->ids);
}

static void add_id(struct reading *r, int64_t id) {
    must(r->n < r->max);
    r->items[r->n++].id = id;
    buf_putc(&r->ids, r->n == 1 ? '[' : ',');
    buf_i64(&r->ids, id);
}

static struct key_view *view_of(struct reading *r, int64_t id) {
    for (size_t i = 0; i < r->n; i++)
        if (r->items[i].id == id)
            return &r->items[i];
    return NULL;
}

static enum err take_key(void *ctx, const struct q_key_rows *row) {
    struct reading *r = ctx;
    struct key_view *v = view_of(r, row->id);
    if (!v)
        return OK;
    v->user_id = row->user_id;
    v->created_at = row->created_at;
    v->accessed_at = row->accessed_at;
    v->used_quota = row->used;
    v->disabled = row->disabled;
    v->last_used_ip = arena_str(r->mem, row->last_used_ip);
    v->last_used_model = arena_str(r->mem, row->last_used_model);
    v->s = (struct key_settings){
        .name = arena_str(r->mem, row->name),
        .model_limits = arena_str(r->mem, row->model_limits),
        .allow_ips = arena_str(r->mem, row->allow_ips),
        .group = arena_str(r->mem, row->key_group),
        .auto_groups = arena_str(r->mem, row->auto_groups),
        .expires_at = row->expires_at,
        .remain_quota = row->granted - row->used,
        .unlimited_quota = row->unlimited,
        .model_limits_enabled = row->model_limits_enabled,
        .cross_group_retry = row->cross_group_retry,
        .test_mode = row->test_mode,
        .scopes = (uint64_t)row->scopes,
        .rpm_limit = row->rpm_limit,
        .tpm_limit = row->tpm_limit,
        .concurrency_limit = row->concurrency_limit,
    };
    return OK;
}

static enum err take_secret(void *ctx, const struct q_key_secrets *row) {
    struct reading *r = ctx;
    struct key_view *v = view_of(r, row->key_id);
    if (!v || v->n_secrets == KEY_SECRETS_MAX)
        return OK;
    v->secrets[v->n_secrets++] = (struct key_secret_view){
        .id = row->id,
        .created_at = row->created_at,
        .expires_at = row->expires_at,
        .last_used_at = row->last_used_at,
        .hint = arena_str(r->mem, row->hint),
        .sealed = arena_str(r->mem, row->sealed),
        .last_used_ip = arena_str(r->mem, row->last_used_ip),
        .last_used_model = arena_str(r->mem, row->last_used_model),
        .last_used_agent = arena_str(r->mem, row->last_used_agent),
    };
    return OK;
}

static enum err take_budget(void *ctx, const struct q_key_budget_rows *row) {
    struct reading *r = ctx;
    struct key_view *v = view_of(r, row->key_id);
    if (!v || v->s.n_budgets == KEY_BUDGETS_MAX)
        return OK;
    struct budget_rule *b = &v->s.budgets[v->s.n_budgets++];
    *b =
        (struct budget_rule){.id = row->id, .window = row->time_window.p[0], .amount = row->amount};
    return str_copy(row->timezone, b->timezone, sizeof b->timezone) ? OK : ERR_INTERNAL;
}

/* Fills the views whose ids are listed. */
static enum err read_views(struct db *db, struct reading *r) {
    if (!r->n)
        return OK;
    buf_putc(&r->ids, ']');
    struct str ids = buf_view(&r->ids);
    enum err e = q_key_rows(db, &(struct q_key_rows_in){.ids = ids}, take_key, r);
    if (e == OK)
        e = q_key_secrets(db, &(struct q_key_secrets_in){.ids = ids, .now = clock_unix_s()},
                          take_secret, r);
    if (e == OK)
        e = q_key_budget_rows(db, &(struct q_key_budget_rows_in){.ids = ids}, take_budget, r);
    return e;
}

static void start(struct reading *r, struct arena *mem, size_t max) {
    *r = (struct reading){.mem = mem, .max = max, .ids = BUF(max * 24 + 2)};
    r->items = arena_alloc(mem, (max ? max : 1) * sizeof *r->items);
}

static enum err read_one(struct db *db, int64_t id, struct arena *mem, struct key_view *out) {
    struct reading r AUTO(ids_free);
    start(&r, mem, 1);
    add_id(&r, id);
    enum err e = read_views(db, &r);
    if (e == OK && !r.items[0].user_id)
        e = ERR_RECORD_NOT_FOUND;
    if (e == OK)
        *out = r.items[0];
    return e;
}

enum err key_get(struct db *db, int64_t user_id, int64_t id, struct arena *mem,
                 struct key_view *out) {
    enum err e = read_one(db, id, mem, out);
    return e == OK && out->user_id != user_id ? ERR_RECORD_NOT_FOUND : e;
}

enum err key_lock(struct db *db, int64_t user_id, int64_t id, struct arena *mem,
                  struct key_view *out) {
    struct q_key_lock row;
    enum err e = q_key_lock(db, &(struct q_key_lock_in){.user_id = user_id, .id = id}, &row);
    if (e == ERR_DB_NO_ROW)
        return ERR_RECORD_NOT_FOUND;
    return e != OK ? e : read_one(db, id, mem, out);
}

static enum err take_id_row(struct reading *r, int64_t id) {
    if (r->n < r->max)
        add_id(r, id);
    return OK;
}

static enum err take_id(void *ctx, const struct q_key_ids *row) {
    return take_id_row(ctx, row->id);
}

static enum err take_found(void *ctx, const struct q_key_search_ids *row) {
    return take_id_row(ctx, row->id);
}

#define BUCKET_BITS 10 /* as in sql: 1024 ids to a bucket */
#define NEAR 512       /* pages this near to the newest key are found by walking */

/* Looks for the bucket in which the key at `offset` lies. */
struct seeking {
    int64_t offset, below_id;
    bool found;
};

static enum err pass_bucket(void *ctx, const struct q_key_buckets *row) {
    struct seeking *s = ctx;
    if (s->found)
        return OK;
    s->below_id = (row->bucket + 1) << BUCKET_BITS;
    if (s->offset < row->n)
        s->found = true;
    else
        s->offset -= row->n;
    return OK;
}

/* A page costs the same wherever it is: whole buckets are passed by their counts. */
static enum err list_ids(struct db *db, int64_t user_id, int64_t offset, int64_t limit,
                         struct reading *r) {
    struct seeking s = {offset, INT64_MAX, offset <= NEAR};
    enum err e = OK;
    if (!s.found)
        e = q_key_buckets(db, &(struct q_key_buckets_in){user_id}, pass_bucket, &s);
    if (e != OK || !s.found)
        return e;
    return q_key_ids(db, &(struct q_key_ids_in){user_id, s.below_id, limit, s.offset}, take_id, r);
}

enum err key_page(struct db *db, int64_t user_id, int64_t offset, int64_t limit, struct arena *mem,
                  struct key_list *out) {
    struct q_key_total total;
    struct reading r AUTO(ids_free);
    start(&r, mem, (size_t)limit);
    enum err e = q_key_total(db, &(struct q_key_total_in){user_id}, &total);
    if (e == OK)
        e = list_ids(db, user_id, offset, limit, &r);
    if (e == OK)
        e = read_views(db, &r);
    *out = (struct key_list){r.items, r.n, e == OK ? total.live_keys : 0};
    return e;
}

struct id_range {
    int64_t first, last;
};

/* A key by its whole text: at most one. */
static enum err find_whole(struct db *db, const struct keyring *keys, struct str key,
                           struct id_range *out) {
    struct secret_ids ids = {0};
    enum err e = secret_find(db, keys, key, &ids);
    *out = (struct id_range){ids.key_id, ids.key_id};
    return e == ERR_DB_NO_ROW ? OK : e;
}

static bool is_ascii(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] > 0x7E)
            return false;
    return true;
}

/* Text as a LIKE pattern that means itself. */
static void put_pattern(struct buf *out, struct str text) {
    for (size_t i = 0; i < text.n; i++) {
        if (strchr("%_!", text.p[i]))
            buf_putc(out, '!');
        buf_putc(out, text.p[i]);
    }
}

static struct str without_percents(struct str s) {
    while (s.n && s.p[0] == '%')
        s = str_from(s, 1);
    while (s.n && s.p[s.n - 1] == '%')
        s.n--;
    return s;
}

enum err key_search(struct db *db, const struct keyring *keys, int64_t user_id, struct str keyword,
                    struct str token, int64_t offset, int64_t limit, struct arena *mem,
                    struct key_list *out) {
    struct buf name AUTO(buf_free) = BUF(1024), hint AUTO(buf_free) = BUF(512);
    struct reading r AUTO(ids_free);
    struct q_key_search_total total = {0};
    struct id_range range = {0, INT64_MAX};
    struct str key;
    int64_t pin;
    enum err e = OK;
    token = without_percents(str_trim(token));
    start(&r, mem, (size_t)limit);
    *out = (struct key_list){r.items, 0, 0};
    put_pattern(&name, without_percents(keyword));
    if (token.n && key_text_parse(token, &key, &pin)) {
        e = find_whole(db, keys, key, &range);
    } else if (token.n) {
        buf_putc(&hint, '%');
        put_pattern(&hint, token);
        buf_putc(&hint, '%');
    }
    /* longer than any name or hint, or made of what no hint has */
    if (e != OK || name.failed || hint.failed || !is_ascii(token))
        return e;
    struct str n = buf_view(&name), h = buf_view(&hint);
    e = q_key_search_total(
        db, &(struct q_key_search_total_in){user_id, range.first, range.last, n, h, h}, &total);
    if (e == OK)
        e = q_key_search_ids(
            db,
            &(struct q_key_search_ids_in){user_id, range.first, range.last, n, h, h, limit, offset},
            take_found, &r);
    if (e == OK)
        e = read_views(db, &r);
    *out = (struct key_list){r.items, r.n, total.n};
    return e;
}
