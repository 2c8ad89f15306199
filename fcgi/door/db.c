#include "door/db.h"

#include "door/db_run.h"
#include "util/clock.h"
#include "util/counter.h"
#include "util/log.h"

#include <errmsg.h>
#include <mysql.h>
#include <mysqld_error.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define MAX_TRIES 8
#define FIRST_TEXT 256 /* first size of an out buffer; it grows to what a row needs */
#define BULK_STEP 1000 /* rows in one execution */
#define ER_WSREP_NOT_READY 1047

struct out_buffer {
    char *p;
    unsigned long cap, length;
    int64_t number;
    my_bool null, error;
};

struct stmt {
    MYSQL_STMT *handle;
    MYSQL_BIND *in, *out;
    unsigned long *in_length;
    int8_t *in_bool;
    char *in_null;
    struct out_buffer *buffers;
};

struct db {
    char *hosts, *user, *password, *name;
    unsigned connect_timeout_s, io_timeout_s;
    MYSQL *session;
    struct stmt *stmts; /* by query */
    bool in_transaction, lost_logged;
};

void db_library_init(void) {
    must(mysql_library_init(0, NULL, NULL) == 0);
}

struct db *db_new(const struct db_conf *conf) {
    struct db *db = base_zalloc(sizeof *db);
    db->hosts = base_strdup(conf->hosts);
    db->user = base_strdup(conf->user);
    db->password = base_strdup(conf->password);
    db->name = base_strdup(conf->name);
    db->connect_timeout_s = (unsigned)conf->connect_timeout_s;
    db->io_timeout_s = (unsigned)conf->io_timeout_s;
    db->stmts = base_zalloc((db_n_queries + 1) * sizeof *db->stmts);
    return db;
}

static void free_stmt(const struct db_query *q, struct stmt *s) {
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
    *s = (struct stmt){0};
}

static void close_session(struct db *db) {
    for (size_t i = 0; i < db_n_queries; i++)
        free_stmt(&db_queries[i], &db->stmts[i]);
    if (db->session)
        mysql_close(db->session);
    db->session = NULL;
    db->in_transaction = false;
}

void db_free(struct db **dbp) {
    struct db *db = *dbp;
    *dbp = NULL;
    if (!db)
        return;
    close_session(db);
    explicit_bzero(db->password, strlen(db->password));
    free(db->hosts);
    free(db->user);
    free(db->password);
    free(db->name);
    free(db->stmts);
    free(db);
}

/* --- session -------------------------------------------------------------------------------- */

static void note_lost(struct db *db, unsigned code) {
    if (!db->lost_logged)
        LOG(LOG_EV_DB_LOST, log_i("error", code));
    db->lost_logged = true;
}

static void set_options(struct db *db, MYSQL *m) {
    unsigned local_infile = 0;
    my_bool off = 0;
    mysql_options(m, MYSQL_OPT_CONNECT_TIMEOUT, &db->connect_timeout_s);
    mysql_options(m, MYSQL_OPT_READ_TIMEOUT, &db->io_timeout_s);
    mysql_options(m, MYSQL_OPT_WRITE_TIMEOUT, &db->io_timeout_s);
    mysql_options(m, MYSQL_OPT_LOCAL_INFILE, &local_infile);
    mysql_options(m, MYSQL_OPT_RECONNECT, &off);
    mysql_options(m, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    mysql_options(m, MYSQL_INIT_COMMAND,
                  "SET time_zone='+00:00', sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',"
                  " tx_isolation='READ-COMMITTED', innodb_lock_wait_timeout=5");
}

static bool try_host(struct db *db, struct str item) {
    char host[256];
    uint64_t port = 0;
    bool socket = str_starts(item, STR("/"));
    struct str name = item;
    if (!socket) {
        ptrdiff_t colon = str_find(item, ':');
        if (colon >= 0 && !str_u64(str_from(item, (size_t)colon + 1), &port))
            return false;
        name = colon >= 0 ? str_sub(item, 0, (size_t)colon) : item;
    }
    if (!str_copy(name, host, sizeof host) || port > 65535)
        return false;
    MYSQL *m = mysql_init(NULL);
    must(m != NULL);
    set_options(db, m);
    if (mysql_real_connect(m, socket ? NULL : host, db->user, db->password, db->name,
                           (unsigned)port, socket ? host : NULL,
                           CLIENT_FOUND_ROWS | CLIENT_MULTI_STATEMENTS)) {
        db->session = m;
        return true;
    }
    note_lost(db, mysql_errno(m));
    mysql_close(m);
    return false;
}

static enum err ensure_session(struct db *db) {
    struct str rest = str_c(db->hosts), item;
    if (db->session)
        return OK;
    while (str_cut(&rest, ',', &item)) {
        item = str_trim(item);
        if (!item.n || !try_host(db, item))
            continue;
        if (db->lost_logged)
            LOG(LOG_EV_DB_BACK, log_str("server", item));
        db->lost_logged = false;
        return OK;
    }
    return ERR_DB_AWAY;
}

/* What a server or client error number means to the caller; a broken session is closed. */
static enum err judge(struct db *db, unsigned code, const char *query, const char *message) {
    switch (code) {
    case ER_DUP_ENTRY:
        return ERR_DB_DUPLICATE;
    case ER_LOCK_DEADLOCK:
    case ER_LOCK_WAIT_TIMEOUT:
    case ER_CHECKREAD:
        return ERR_DB_CONFLICT;
    default:
        break;
    }
    if (code >= CR_MIN_ERROR || code == ER_SERVER_SHUTDOWN || code == ER_CONNECTION_KILLED ||
        code == ER_WSREP_NOT_READY || code == ER_NEW_ABORTING_CONNECTION ||
        code == ER_OPTION_PREVENTS_STATEMENT || code == ER_DISK_FULL ||
        code == ER_RECORD_FILE_FULL) {
        note_lost(db, code);
        close_session(db);
        return ERR_DB_AWAY;
    }
    LOG(LOG_EV_INTERNAL, log_s("query", query), log_i("error", code), log_s("message", message));
    return ERR_INTERNAL;
}

static enum err plain(struct db *db, const char *sql) {
    enum err e = ensure_session(db);
    if (e || mysql_real_query(db->session, sql, strlen(sql)) == 0)
        return e;
    return judge(db, mysql_errno(db->session), sql, mysql_error(db->session));
}

enum err db_ping(struct db *db) {
    enum err e = ensure_session(db);
    if (e || mysql_ping(db->session) == 0)
        return e;
    close_session(db);
    return ensure_session(db);
}

/* --- statements ----------------------------------------------------------------------------- */

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
        o->cap = FIRST_TEXT;
        o->p = base_alloc(o->cap + 1);
        b->buffer_type = MYSQL_TYPE_STRING;
        b->buffer = o->p;
        b->buffer_length = o->cap;
    }
}

static enum err stmt_error(struct db *db, const struct db_query *q, MYSQL_STMT *h) {
    return judge(db, mysql_stmt_errno(h), q->name, mysql_stmt_error(h));
}

static enum err get_stmt(struct db *db, size_t i, struct stmt **out) {
    const struct db_query *q = &db_queries[i];
    enum err e = ensure_session(db);
    if (e)
        return e;
    struct stmt *s = *out = &db->stmts[i];
    if (s->handle)
        return OK;
    s->handle = mysql_stmt_init(db->session);
    must(s->handle != NULL);
    if (mysql_stmt_prepare(s->handle, q->sql, strlen(q->sql)) != 0) {
        e = stmt_error(db, q, s->handle);
        if (db->session)
            free_stmt(q, s);
        return e;
    }
    if (mysql_stmt_param_count(s->handle) != q->n_in ||
        mysql_stmt_field_count(s->handle) != q->n_out) {
        LOG(LOG_EV_INTERNAL, log_s("query", q->name), log_s("message", "columns do not match"));
        free_stmt(q, s);
        return ERR_INTERNAL;
    }
    s->in = base_zalloc((q->n_in + 1) * sizeof *s->in);
    s->in_length = base_zalloc((q->n_in + 1) * sizeof *s->in_length);
    s->in_bool = base_zalloc(q->n_in + 1);
    s->in_null = base_zalloc(q->n_in + 1);
    bind_out(q, s);
    if (q->n_out && mysql_stmt_bind_result(s->handle, s->out) != 0)
        return stmt_error(db, q, s->handle);
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

static bool run_counted(MYSQL_STMT *h) {
    int64_t from = clock_mono_us();
    bool ok = mysql_stmt_execute(h) == 0;
    counter_observe(COUNTER_DB_SECONDS, clock_mono_us() - from);
    counter_add_at(COUNTER_DB_QUERIES, ok ? COUNTER_DB_OK : COUNTER_DB_ERROR, 0, 1);
    return ok;
}

static enum err execute(struct db *db, size_t i, const void *in, struct stmt **out) {
    const struct db_query *q = &db_queries[i];
    enum err e = get_stmt(db, i, out);
    if (e)
        return e;
    struct stmt *s = *out;
    for (size_t k = 0; k < q->n_in; k++)
        bind_value(s, k, &q->in[k], in);
    if ((q->n_in && mysql_stmt_bind_param(s->handle, s->in) != 0) || !run_counted(s->handle))
        return stmt_error(db, q, s->handle);
    return OK;
}

/* A text longer than its buffer: the buffer grows and the column is fetched again. */
static enum err refetch(struct db *db, const struct db_query *q, struct stmt *s) {
    for (size_t i = 0; i < q->n_out; i++) {
        struct out_buffer *o = &s->buffers[i];
        if (o->null || !o->p || o->length <= o->cap)
            continue;
        o->cap = o->length * 2;
        free(o->p);
        o->p = base_alloc(o->cap + 1);
        s->out[i].buffer = o->p;
        s->out[i].buffer_length = o->cap;
        if (mysql_stmt_fetch_column(s->handle, &s->out[i], (unsigned)i, 0) != 0)
            return stmt_error(db, q, s->handle);
    }
    if (mysql_stmt_bind_result(s->handle, s->out) != 0)
        return stmt_error(db, q, s->handle);
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
        return stmt_error(db, q, s->handle);
    enum err e = rc == MYSQL_DATA_TRUNCATED ? refetch(db, q, s) : OK;
    return e ? e : take_row(q, s, row);
}

enum err db_run_one(struct db *db, size_t i, const void *in, void *row) {
    const struct db_query *q = &db_queries[i];
    struct stmt *s;
    bool more;
    enum err e = execute(db, i, in, &s);
    if (e)
        return e;
    if (mysql_stmt_store_result(s->handle) != 0)
        return stmt_error(db, q, s->handle);
    e = fetch(db, q, s, row, &more);
    if (db->session)
        mysql_stmt_free_result(s->handle);
    return e ? e : more ? OK : ERR_DB_NO_ROW;
}

enum err db_run_many(struct db *db, size_t i, const void *in, void *row, db_row_fn *fn, void *ctx) {
    const struct db_query *q = &db_queries[i];
    struct stmt *s;
    bool more = true;
    enum err e = execute(db, i, in, &s);
    if (!e && mysql_stmt_store_result(s->handle) != 0)
        e = stmt_error(db, q, s->handle);
    while (!e && more) {
        e = fetch(db, q, s, row, &more);
        if (!e && more)
            e = fn(ctx, row);
    }
    if (db->session && s->handle)
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

/* --- bulk ------------------------------------------------------------------------------------ */

struct columns { /* of one execution: arrays by column */
    int64_t *numbers;
    char **texts;
    unsigned long *lengths;
    char *indicators;
};

static void fill(const struct db_query *q, const char *rows, size_t n, MYSQL_BIND *binds,
                 struct columns *c) {
    for (size_t k = 0; k < q->n_in; k++) {
        const struct db_column *col = &q->in[k];
        bool text = col->type == DB_STR || col->type == DB_BYTES;
        for (size_t r = 0; r < n; r++) {
            const void *at = rows + r * q->in_size + col->at;
            size_t to = k * BULK_STEP + r;
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
                                .buffer = text ? (void *)(c->texts + k * BULK_STEP)
                                               : (void *)(c->numbers + k * BULK_STEP),
                                .length = text ? c->lengths + k * BULK_STEP : NULL,
                                .u.indicator = c->indicators + k * BULK_STEP};
    }
}

static void free_columns(struct columns *c) {
    free(c->numbers);
    free(c->texts);
    free(c->lengths);
    free(c->indicators);
}

static enum err bulk_step(struct db *db, size_t i, const char *rows, size_t n, struct columns *c,
                          struct db_done *done) {
    const struct db_query *q = &db_queries[i];
    struct stmt *s;
    enum err e = get_stmt(db, i, &s);
    if (e)
        return e;
    unsigned count = (unsigned)n;
    fill(q, rows, n, s->in, c);
    if (mysql_stmt_attr_set(s->handle, STMT_ATTR_ARRAY_SIZE, &count) != 0 ||
        mysql_stmt_bind_param(s->handle, s->in) != 0 || !run_counted(s->handle))
        return stmt_error(db, q, s->handle);
    done->affected += (int64_t)mysql_stmt_affected_rows(s->handle);
    done->insert_id = (int64_t)mysql_stmt_insert_id(s->handle);
    return OK;
}

enum err db_run_bulk(struct db *db, size_t i, const void *rows, size_t n, struct db_done *done) {
    const struct db_query *q = &db_queries[i];
    struct db_done sum = {0};
    struct columns c AUTO(free_columns) = {
        .numbers = base_alloc(q->n_in * BULK_STEP * sizeof *c.numbers),
        .texts = base_alloc(q->n_in * BULK_STEP * sizeof *c.texts),
        .lengths = base_alloc(q->n_in * BULK_STEP * sizeof *c.lengths),
        .indicators = base_alloc(q->n_in * BULK_STEP)};
    enum err e = OK;
    for (size_t at = 0; !e && at < n; at += BULK_STEP) {
        size_t step = n - at < BULK_STEP ? n - at : BULK_STEP;
        e = bulk_step(db, i, (const char *)rows + at * q->in_size, step, &c, &sum);
    }
    if (done)
        *done = sum;
    return e;
}

enum err db_prepare(struct db *db, size_t i, struct fault *f) {
    struct stmt *s;
    enum err e = get_stmt(db, i, &s);
    return e ? fault_set(f, e, "%s", db_queries[i].name) : OK;
}

/* --- transactions and scripts ---------------------------------------------------------------- */

static void pause_before(int try) {
    uint32_t random;
    int64_t most_us = 1000 * (INT64_C(1) << (try < 7 ? try : 7));
    must(getrandom(&random, sizeof random, 0) == (ssize_t)sizeof random);
    int64_t us = 1000 + random % (most_us < 100000 ? most_us : 100000);
    struct timespec t = {.tv_nsec = us * 1000};
    nanosleep(&t, NULL);
}

static enum err begin(struct db *db, bool snapshot) {
    if (!snapshot)
        return plain(db, "START TRANSACTION");
    enum err e = plain(db, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
    return e ? e : plain(db, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
}

static enum err attempt(struct db *db, bool snapshot, enum err (*fn)(struct db *db, void *ctx),
                        void *ctx, bool *in_doubt) {
    *in_doubt = false;
    enum err e = begin(db, snapshot);
    if (e)
        return e;
    db->in_transaction = true;
    e = fn(db, ctx);
    if (!e) {
        e = db->session ? plain(db, "COMMIT") : ERR_DB_AWAY;
        *in_doubt = e == ERR_DB_AWAY;
    } else if (db->session) {
        enum err back = plain(db, "ROLLBACK");
        if (back && db->session)
            close_session(db);
    }
    db->in_transaction = false;
    return e;
}

static enum err repeat(struct db *db, bool idempotent, bool snapshot,
                       enum err (*fn)(struct db *db, void *ctx), void *ctx) {
    must(!db->in_transaction);
    enum err e = OK;
    for (int try = 1; try <= MAX_TRIES; try++) {
        bool in_doubt;
        e = attempt(db, snapshot, fn, ctx, &in_doubt);
        bool again = e == ERR_DB_CONFLICT || (e == ERR_DB_AWAY && (!in_doubt || idempotent));
        if (!again || (e == ERR_DB_AWAY && try > 2))
            return e;
        counter_add(COUNTER_DB_RETRIES, 1);
        LOG(LOG_EV_DB_RETRY, log_s("code", err_code(e)), log_i("try", try));
        pause_before(try);
    }
    return e;
}

enum err db_transaction(struct db *db, bool idempotent, enum err (*fn)(struct db *db, void *ctx),
                        void *ctx) {
    return repeat(db, idempotent, false, fn, ctx);
}

enum err db_snapshot(struct db *db, enum err (*fn)(struct db *db, void *ctx), void *ctx) {
    return repeat(db, true, true, fn, ctx);
}

enum err db_script(struct db *db, struct str sql, struct fault *f) {
    enum err e = ensure_session(db);
    if (e)
        return fault_set(f, e, NULL);
    int rc = mysql_real_query(db->session, sql.p, sql.n);
    while (rc == 0) {
        MYSQL_RES *r = mysql_store_result(db->session);
        if (r)
            mysql_free_result(r);
        rc = mysql_next_result(db->session); /* -1: no more */
    }
    if (rc < 0)
        return OK;
    fault_set(f, ERR_INTERNAL, "%s", mysql_error(db->session));
    close_session(db); /* results of the rest may be under way */
    return ERR_INTERNAL;
}
