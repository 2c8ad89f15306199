/* db_run.h - between db*.c and the code that scripts/sqlgen makes; nobody else includes it. */
#pragma once

#include "door/db.h"

enum db_type { DB_I64, DB_BOOL, DB_STR, DB_BYTES };

struct db_i64 { /* an integer or bool that may be NULL */
    bool has;
    int64_t v;
};

struct db_column {
    enum db_type type;
    bool nullable;
    size_t at; /* in the row's struct */
};

struct db_query {
    const char *name, *sql;
    const struct db_column *in;
    size_t n_in, in_size;
    const struct db_column *out;
    size_t n_out, out_size;
};

extern const struct db_query db_queries[];
extern const size_t db_n_queries;

typedef enum err db_row_fn(void *ctx, const void *row);

must_use enum err db_run_one(struct db *db, size_t q, const void *in, void *row);
must_use enum err db_run_many(struct db *db, size_t q, const void *in, void *row, db_row_fn *fn,
                              void *ctx);
must_use enum err db_run_exec(struct db *db, size_t q, const void *in, struct db_done *done);
must_use enum err db_run_bulk(struct db *db, size_t q, const void *rows, size_t n,
                              struct db_done *done);
/* Prepares statement q on the server; the fault's detail is the server's message. For tests. */
must_use enum err db_prepare(struct db *db, size_t q, struct fault *f);
