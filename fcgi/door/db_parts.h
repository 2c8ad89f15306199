/* db_parts.h - what the files of the database door share; nobody else includes it. */
#pragma once

#include "door/db_run.h"

#include <mysql.h>

struct out_buffer {
    char *p;
    unsigned long cap, length;
    int64_t number;
    my_bool null, error;
};

struct bulk { /* the inputs of one bulk execution: an array of `cap` values for each column */
    size_t cap;
    int64_t *numbers;
    char **texts;
    unsigned long *lengths;
    char *indicators;
};

struct stmt {
    MYSQL_STMT *handle;
    MYSQL_BIND *in, *out;
    unsigned long *in_length;
    int8_t *in_bool;
    char *in_null;
    struct out_buffer *buffers;
    struct bulk bulk;
    bool rebind; /* an out buffer has moved */
};

struct db {
    char *hosts, *user, *password, *name;
    unsigned connect_timeout_s, io_timeout_s;
    MYSQL *session;
    struct stmt *stmts;      /* by query */
    int64_t used_us;         /* when a statement was last about to be sent */
    int64_t connect_from_us; /* not before this moment: connecting failed a short while ago */
    enum err spoiled;        /* why nothing more may run in the open transaction, OK = it may */
    bool in_transaction, lost_logged, has_bulk;
};

/* OK when a statement may be sent; opens the session when it is closed and no transaction is. */
must_use enum err db_ready(struct db *db);
/* What a server or client error number means to the caller; a broken session is closed. */
must_use enum err db_judge(struct db *db, unsigned code, const char *query, const char *message);
/* The statement, prepared and with its outputs bound. */
must_use enum err db_stmt(struct db *db, size_t i, struct stmt **out);
must_use bool db_stmt_run(MYSQL_STMT *h);
must_use enum err db_stmt_error(struct db *db, const struct db_query *q, MYSQL_STMT *h);
void db_stmt_free(const struct db_query *q, struct stmt *s);
void db_bulk_free(struct bulk *b);
