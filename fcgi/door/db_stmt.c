#include "door/db_parts.h"
#include "util/clock.h"
#include "util/counter.h"
#include "util/log.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_TEXT 256        /* first size of an out buffer; it grows to what a row needs */
#define KEPT_TEXT (64 * 1024) /* a larger one is not kept for the next call */

void db_stmt_free(const struct db_query *q, struct stmt *s) {
    if (s->handle)
        mysql_stmt_close(s->handle);
    for (size_t i = 0; s->buffers && i < q->n_out; i++)
        free(s->buffers[i].p);
    free(s->buffers);
    free(s->in);
    free(s->out);
    free(s->in_length);
    free(s->in_bool);
    free(s->in_null);
    db_bulk_free(&s->bulk);
    *s = (struct stmt){0};
}

static void size_text(struct stmt *s, size_t i, unsigned long cap) {
    struct out_buffer *o = &s->buffers[i];
    free(o->p);
    o->cap = cap;
    o->p = base_alloc(cap);
    s->out[i].buffer = o->p;
    s->out[i].buffer_length = cap;
}

static void bind_out(const struct db_query *q, struct stmt *s) {
    s->out = base_zalloc((q->n_out + 1) * sizeof *s->out);
    s->buffers = base_zalloc((q->n_out + 1) * sizeof *s->buffers);
    for (size_t i = 0; i < q->n_out; i++) {
        MYSQL_BIND *b = &s->out[i];
        struct out_buffer *o = &s->buffers[i];
        b->is_null = &o->null;
        b->length = &o->length;
        b->error = &o->error;
        if (q->out[i].type == DB_I64 || q->out[i].type == DB_BOOL) {
            b->buffer_type = MYSQL_TYPE_LONGLONG;
            b->buffer = &o->number;
            continue;
        }
        b->buffer_type = MYSQL_TYPE_STRING;
        size_text(s, i, FIRST_TEXT);
    }
}

enum err db_stmt_error(struct db *db, const struct db_query *q, MYSQL_STMT *h) {
    return db_judge(db, mysql_stmt_errno(h), q->name, mysql_stmt_error(h));
}

enum err db_stmt(struct db *db, size_t i, struct stmt **out) {
    const struct db_query *q = &db_queries[i];
    enum err e = db_ready(db);
    if (e)
        return e;
    struct stmt *s = *out = &db->stmts[i];
    if (s->handle)
        return OK;
    s->handle = mysql_stmt_init(db->session);
    must(s->handle != NULL);
    if (mysql_stmt_prepare(s->handle, q->sql, strlen(q->sql)) != 0) {
        e = db_stmt_error(db, q, s->handle);
        db_stmt_free(q, s);
        return e;
    }
    if (mysql_stmt_param_count(s->handle) != q->n_in ||
        mysql_stmt_field_count(s->handle) != q->n_out) {
        LOG(LOG_EV_INTERNAL, log_s("query", q->name), log_s("message", "columns do not match"));
        db_stmt_free(q, s);
        return ERR_INTERNAL;
    }
    s->in = base_zalloc((q->n_in + 1) * sizeof *s->in);
    s->in_length = base_zalloc((q->n_in + 1) * sizeof *s->in_length);
    s->in_bool = base_zalloc(q->n_in + 1);
    s->in_null = base_zalloc(q->n_in + 1);
    bind_out(q, s);
    if (q->n_out)
        must(mysql_stmt_bind_result(s->handle, s->out) == 0); /* only refuses types it lacks */
    return OK;
}

static void bind_value(struct stmt *s, size_t i, const struct db_column *c, const char *row) {
    MYSQL_BIND *b = &s->in[i];
    const void *at = row + c->at;
    *b = (MYSQL_BIND){0};
    if (c->type == DB_STR || c->type == DB_BYTES) {
        const struct str *v = at;
        s->in_length[i] = v->n;
        s->in_null[i] = c->nullable && !v->p;
        b->buffer_type = c->type == DB_STR ? MYSQL_TYPE_STRING : MYSQL_TYPE_BLOB;
        b->buffer = (void *)(uintptr_t)(v->p ? v->p : "");
        b->buffer_length = v->n;
        b->length = &s->in_length[i];
    } else if (c->nullable) {
        const struct db_i64 *v = at;
        s->in_null[i] = !v->has;
        b->buffer_type = MYSQL_TYPE_LONGLONG;
        b->buffer = (void *)(uintptr_t)&v->v;
    } else if (c->type == DB_BOOL) {
        s->in_bool[i] = *(const bool *)at;
        s->in_null[i] = 0;
        b->buffer_type = MYSQL_TYPE_TINY;
        b->buffer = &s->in_bool[i];
    } else {
        s->in_null[i] = 0;
        b->buffer_type = MYSQL_TYPE_LONGLONG;
        b->buffer = (void *)(uintptr_t)at;
    }
    b->is_null = &s->in_null[i];
}

bool db_stmt_run(MYSQL_STMT *h) {
    int64_t from = clock_mono_us();
    bool ok = mysql_stmt_execute(h) == 0;
    counter_observe(COUNTER_DB_SECONDS, clock_mono_us() - from);
    counter_add_at(COUNTER_DB_QUERIES, ok ? COUNTER_DB_OK : COUNTER_DB_ERROR, 0, 1);
    return ok;
}

static enum err execute(struct db *db, size_t i, const void *in, struct stmt **out) {
    const struct db_query *q = &db_queries[i];
    enum err e = db_stmt(db, i, out);
    if (e)
        return e;
    struct stmt *s = *out;
    for (size_t k = 0; k < q->n_out; k++)
        if (s->buffers[k].cap > KEPT_TEXT) {
            size_text(s, k, FIRST_TEXT);
            s->rebind = true;
        }
    for (size_t k = 0; k < q->n_in; k++)
        bind_value(s, k, &q->in[k], in);
    if (s->rebind)
        must(mysql_stmt_bind_result(s->handle, s->out) == 0);
    s->rebind = false;
    if ((q->n_in && mysql_stmt_bind_param(s->handle, s->in) != 0) || !db_stmt_run(s->handle))
        return db_stmt_error(db, q, s->handle);
    return OK;
}

/* A session that died while it was idle costs nobody an answer: a read is done again on a new one.
 */
static enum err execute_read(struct db *db, size_t i, const void *in, struct stmt **out) {
    bool was_open = db->session != NULL;
    enum err e = execute(db, i, in, out);
    if (e == ERR_DB_AWAY && was_open && !db->in_transaction &&
        str_starts(str_c(db_queries[i].sql), STR("SELECT")))
        e = execute(db, i, in, out);
    return e;
}

/* A text longer than its buffer: the buffer grows and the column is fetched again. A number that
 * does not fit is never given out. */
static enum err refetch(struct db *db, const struct db_query *q, struct stmt *s) {
    for (size_t i = 0; i < q->n_out; i++) {
        struct out_buffer *o = &s->buffers[i];
        if (!o->null && !o->p && o->error) {
            LOG(LOG_EV_INTERNAL, log_s("query", q->name), log_i("number_in_column", (int64_t)i));
            return ERR_INTERNAL;
        }
        if (o->null || !o->p || o->length <= o->cap)
            continue;
        size_text(s, i, o->length * 2);
        if (mysql_stmt_fetch_column(s->handle, &s->out[i], (unsigned)i, 0) != 0)
            return db_stmt_error(db, q, s->handle);
    }
    must(mysql_stmt_bind_result(s->handle, s->out) == 0);
    return OK;
}

static enum err take_row(const struct db_query *q, const struct stmt *s, char *row) {
    for (size_t i = 0; i < q->n_out; i++) {
        const struct db_column *c = &q->out[i];
        const struct out_buffer *o = &s->buffers[i];
        void *at = row + c->at;
        if (o->null && !c->nullable) {
            LOG(LOG_EV_INTERNAL, log_s("query", q->name), log_i("null_in_column", (int64_t)i));
            return ERR_INTERNAL;
        }
        if (c->type == DB_STR || c->type == DB_BYTES)
            *(struct str *)at = o->null ? STR_NONE : str_of(o->p, o->length);
        else if (c->nullable)
            *(struct db_i64 *)at = (struct db_i64){!o->null, o->null ? 0 : o->number};
        else if (c->type == DB_BOOL)
            *(bool *)at = o->number != 0;
        else
            *(int64_t *)at = o->number;
    }
    return OK;
}

/* The next row; *more false at the end. */
static enum err fetch(struct db *db, const struct db_query *q, struct stmt *s, void *row,
                      bool *more) {
    int rc = mysql_stmt_fetch(s->handle);
    *more = rc == 0 || rc == MYSQL_DATA_TRUNCATED;
    if (rc == MYSQL_NO_DATA)
        return OK;
    if (!*more)
        return db_stmt_error(db, q, s->handle);
    enum err e = rc == MYSQL_DATA_TRUNCATED ? refetch(db, q, s) : OK;
    return e ? e : take_row(q, s, row);
}

enum err db_run_one(struct db *db, size_t i, const void *in, void *row) {
    const struct db_query *q = &db_queries[i];
    struct stmt *s;
    bool more;
    enum err e = execute_read(db, i, in, &s);
    if (e)
        return e;
    if (mysql_stmt_store_result(s->handle) != 0)
        return db_stmt_error(db, q, s->handle);
    e = fetch(db, q, s, row, &more);
    if (s->handle)
        mysql_stmt_free_result(s->handle);
    return e ? e : more ? OK : ERR_DB_NO_ROW;
}

enum err db_run_many(struct db *db, size_t i, const void *in, void *row, db_row_fn *fn, void *ctx) {
    const struct db_query *q = &db_queries[i];
    struct stmt *s;
    bool more = true;
    enum err e = execute_read(db, i, in, &s);
    if (e)
        return e;
    if (mysql_stmt_store_result(s->handle) != 0)
        return db_stmt_error(db, q, s->handle);
    const MYSQL_STMT *h = s->handle;
    while (!e && more) {
        e = fetch(db, q, s, row, &more);
        if (!e && more)
            e = fn(ctx, row);
        if (s->handle != h) /* fn lost the session, and the rows with it */
            return e ? e : ERR_DB_AWAY;
    }
    mysql_stmt_free_result(s->handle);
    return e;
}

enum err db_run_exec(struct db *db, size_t i, const void *in, struct db_done *done) {
    struct stmt *s;
    enum err e = execute(db, i, in, &s);
    if (!e && done)
        *done = (struct db_done){(int64_t)mysql_stmt_affected_rows(s->handle),
                                 (int64_t)mysql_stmt_insert_id(s->handle)};
    return e;
}

enum err db_prepare(struct db *db, size_t i, struct fault *f) {
    struct stmt *s;
    enum err e = db_stmt(db, i, &s);
    return e ? fault_set(f, e, "%s", db_queries[i].name) : OK;
}
