#include "door/db.h"

#include "door/db_parts.h"
#include "util/clock.h"
#include "util/counter.h"
#include "util/log.h"
#include "util/wait.h"

#include <errmsg.h>
#include <mysqld_error.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define MAX_TRIES 8
#define CONNECT_PAUSE_US 50000
#define IDLE_US 5000000 /* a session unused for longer is looked at before it is used */
#define ER_WSREP_NOT_READY 1047

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

struct db *db_twin(const struct db *db, int io_timeout_s) {
    return db_new(&(struct db_conf){db->hosts, db->user, db->password, db->name,
                                    (int)db->connect_timeout_s, io_timeout_s});
}

/* The session first: its statements are then freed without a message for each of them. */
static void close_session(struct db *db) {
    if (db->session)
        mysql_close(db->session);
    db->session = NULL;
    for (size_t i = 0; i < db_n_queries; i++)
        db_stmt_free(&db_queries[i], &db->stmts[i]);
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
                           (unsigned)port, socket ? host : NULL, CLIENT_FOUND_ROWS)) {
        unsigned long more = 0;
        db->has_bulk =
            !mariadb_get_infov(m, MARIADB_CONNECTION_EXTENDED_SERVER_CAPABILITIES, &more) &&
            (more & (MARIADB_CLIENT_STMT_BULK_OPERATIONS >> 32));
        db->session = m;
        db->used_us = clock_mono_us();
        return true;
    }
    note_lost(db, mysql_errno(m));
    mysql_close(m);
    return false;
}

static enum err connect_any(struct db *db) {
    struct str rest = str_c(db->hosts), item;
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

/* The server closes what was idle for too long; that must not fail the next request. */
static bool still_there(struct db *db) {
    int64_t idle_from = db->used_us;
    db->used_us = clock_mono_us();
    if (db->in_transaction || db->used_us - idle_from < IDLE_US || mysql_ping(db->session) == 0)
        return true;
    close_session(db);
    return false;
}

/* A statement of a transaction whose beginning is gone would be committed alone. */
enum err db_ready(struct db *db) {
    wait_begins();
    if (db->in_transaction && db->spoiled)
        return db->spoiled;
    if (db->session && still_there(db))
        return OK;
    int64_t from = clock_mono_us();
    if (from < db->connect_from_us)
        return ERR_DB_AWAY;
    enum err e = connect_any(db);
    int64_t now = clock_mono_us();
    /* while nobody answers, at most half of a thread's time goes into trying */
    db->connect_from_us = e ? now + (now - from) + CONNECT_PAUSE_US : 0;
    return e;
}

static enum err meaning(unsigned code) {
    switch (code) {
    case ER_DUP_ENTRY:
        return ERR_DB_DUPLICATE;
    case ER_LOCK_DEADLOCK:
    case ER_LOCK_WAIT_TIMEOUT:
    case ER_LOCK_TABLE_FULL:
    case ER_CHECKREAD:
    case ER_QUERY_INTERRUPTED:
    case ER_STATEMENT_TIMEOUT:
        return ERR_DB_CONFLICT;
    case ER_SERVER_SHUTDOWN:
    case ER_CONNECTION_KILLED:
    case ER_NEW_ABORTING_CONNECTION:
    case ER_WSREP_NOT_READY:
    case ER_OPTION_PREVENTS_STATEMENT: /* read only */
    case ER_DISK_FULL:
    case ER_RECORD_FILE_FULL:
        return ERR_DB_AWAY;
    default:
        break;
    }
    return (code >= CR_MIN_ERROR && code <= CR_MAX_ERROR) || code >= CR_EVENT_CREATE_FAILED
               ? ERR_DB_AWAY
               : ERR_INTERNAL;
}

enum err db_judge(struct db *db, unsigned code, const char *query, const char *message) {
    enum err e = meaning(code);
    struct str rest = str_c(message), told;
    if (e == ERR_DB_AWAY) {
        note_lost(db, code);
        close_session(db);
    } else if (e == ERR_INTERNAL) {
        /* "Incorrect string value: '...'": what follows the colon may be anybody's secret */
        if (!str_cut(&rest, ':', &told))
            told = STR_NONE;
        LOG(LOG_EV_INTERNAL, log_s("query", query), log_i("error", code), log_str("message", told));
    }
    if (db->in_transaction && (e == ERR_DB_AWAY || e == ERR_DB_CONFLICT))
        db->spoiled = e;
    return e;
}

static enum err plain(struct db *db, const char *sql) {
    enum err e = db_ready(db);
    if (e || mysql_real_query(db->session, sql, strlen(sql)) == 0)
        return e;
    return db_judge(db, mysql_errno(db->session), sql, mysql_error(db->session));
}

enum err db_ping(struct db *db) {
    enum err e = db_ready(db);
    if (e || mysql_ping(db->session) == 0)
        return e;
    close_session(db);
    return db_ready(db);
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
    db->spoiled = OK;
    e = fn(db, ctx);
    db->in_transaction = false;
    if (!e)
        e = db->spoiled; /* fn overlooked it */
    enum err end = db->session ? plain(db, e ? "ROLLBACK" : "COMMIT") : OK;
    if (end && db->session)
        close_session(db);
    *in_doubt = !e && end == ERR_DB_AWAY;
    return e ? e : end;
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
    enum err e = db_ready(db);
    if (e)
        return fault_set(f, e, NULL);
    int rc = mysql_set_server_option(db->session, MYSQL_OPTION_MULTI_STATEMENTS_ON);
    rc = rc ? rc : mysql_real_query(db->session, sql.p, sql.n);
    while (rc == 0) {
        MYSQL_RES *r = mysql_store_result(db->session);
        if (r)
            mysql_free_result(r);
        rc = mysql_next_result(db->session); /* -1: no more */
    }
    if (rc < 0 && mysql_set_server_option(db->session, MYSQL_OPTION_MULTI_STATEMENTS_OFF) == 0)
        return OK;
    e = meaning(mysql_errno(db->session));
    fault_set(f, e, "%s", mysql_error(db->session));
    close_session(db); /* results of the rest may be under way */
    return e;
}
