#include "door/db_parts.h"

#include <stdlib.h>

#define BULK_STEP 1000 /* rows in one execution */
#define FEW_ROWS 8     /* who sends more has room for a whole step: no larger one comes later */

static void fill(const struct db_query *q, const char *rows, size_t n, MYSQL_BIND *binds,
                 struct bulk *c) {
    for (size_t k = 0; k < q->n_in; k++) {
        const struct db_column *col = &q->in[k];
        bool text = col->type == DB_STR || col->type == DB_BYTES;
        for (size_t r = 0; r < n; r++) {
            const void *at = rows + r * q->in_size + col->at;
            size_t to = k * c->cap + r;
            c->indicators[to] = STMT_INDICATOR_NONE;
            if (text) {
                const struct str *v = at;
                c->texts[to] = (char *)(uintptr_t)(v->p ? v->p : "");
                c->lengths[to] = v->n;
                if (col->nullable && !v->p)
                    c->indicators[to] = STMT_INDICATOR_NULL;
            } else if (col->nullable) {
                const struct db_i64 *v = at;
                c->numbers[to] = v->v;
                if (!v->has)
                    c->indicators[to] = STMT_INDICATOR_NULL;
            } else {
                c->numbers[to] = col->type == DB_BOOL ? *(const bool *)at : *(const int64_t *)at;
            }
        }
        binds[k] = (MYSQL_BIND){.buffer_type = !text                 ? MYSQL_TYPE_LONGLONG
                                               : col->type == DB_STR ? MYSQL_TYPE_STRING
                                                                     : MYSQL_TYPE_BLOB,
                                .buffer = text ? (void *)(c->texts + k * c->cap)
                                               : (void *)(c->numbers + k * c->cap),
                                .length = text ? c->lengths + k * c->cap : NULL,
                                .u.indicator = c->indicators + k * c->cap};
    }
}

void db_bulk_free(struct bulk *b) {
    free(b->numbers);
    free(b->texts);
    free(b->lengths);
    free(b->indicators);
    *b = (struct bulk){0};
}

static void make_room(struct bulk *b, size_t columns, size_t rows) {
    if (rows <= b->cap)
        return;
    size_t cap = rows <= FEW_ROWS ? FEW_ROWS : BULK_STEP;
    db_bulk_free(b);
    *b = (struct bulk){.cap = cap,
                       .numbers = base_alloc(columns * cap * sizeof *b->numbers),
                       .texts = base_alloc(columns * cap * sizeof *b->texts),
                       .lengths = base_alloc(columns * cap * sizeof *b->lengths),
                       .indicators = base_alloc(columns * cap)};
}

static enum err run_step(struct db *db, size_t i, const char *rows, size_t n,
                         struct db_done *done) {
    const struct db_query *q = &db_queries[i];
    struct stmt *s;
    enum err e = db_stmt(db, i, &s);
    if (e)
        return e;
    unsigned count = (unsigned)n;
    make_room(&s->bulk, q->n_in, n);
    fill(q, rows, n, s->in, &s->bulk);
    if (mysql_stmt_attr_set(s->handle, STMT_ATTR_ARRAY_SIZE, &count) != 0 ||
        mysql_stmt_bind_param(s->handle, s->in) != 0 || !db_stmt_run(s->handle))
        return db_stmt_error(db, q, s->handle);
    done->affected += (int64_t)mysql_stmt_affected_rows(s->handle);
    done->insert_id = (int64_t)mysql_stmt_insert_id(s->handle);
    return OK;
}

/* For what stands between us and MariaDB and does not know bulk executions. */
static enum err run_single(struct db *db, size_t i, const char *row, struct db_done *sum) {
    struct db_done done;
    enum err e = db_run_exec(db, i, row, &done);
    if (!e)
        *sum = (struct db_done){sum->affected + done.affected, done.insert_id};
    return e;
}

enum err db_run_bulk(struct db *db, size_t i, const void *rows, size_t n, struct db_done *done) {
    const char *row = rows;
    size_t size = db_queries[i].in_size;
    struct db_done sum = {0};
    enum err e = n ? db_ready(db) : OK;
    for (size_t at = 0, step; !e && at < n; at += step) {
        step = !db->has_bulk ? 1 : n - at < BULK_STEP ? n - at : BULK_STEP;
        e = db->has_bulk ? run_step(db, i, row + at * size, step, &sum)
                         : run_single(db, i, row + at * size, &sum);
    }
    if (done)
        *done = sum;
    return e;
}
