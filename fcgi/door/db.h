/* db.h - the only way to MariaDB: one session, used by the thread that owns it.
 *
 * Statements are the named, typed rows of sql/queries/ (generated header door/queries.h); nothing
 * else can be run except by db_script (migrations). A generated function looks like
 *
 *   :one   enum err q_NAME(struct db *, const struct q_NAME_in *, struct q_NAME *row);
 *   :many  enum err q_NAME(struct db *, const struct q_NAME_in *, q_NAME_row *fn, void *ctx);
 *   :exec  enum err q_NAME(struct db *, const struct q_NAME_in *, struct db_done *);
 *   :bulk  enum err q_NAME(struct db *, const struct q_NAME_in *rows, size_t n, struct db_done *);
 *
 * without the _in where the statement has no inputs; db_done may be NULL. A :bulk goes in steps of
 * 1000 rows: in a transaction all or none. A lone SELECT that finds its session broken is repeated
 * once on a new one. A session that was idle for seconds is looked at before it is used.
 *
 * Strings of a row are valid until the next call on the session (:many: until the callback
 * returns). Errors: ERR_DB_NO_ROW (:one only), ERR_DB_DUPLICATE (unique key), ERR_DB_CONFLICT
 * (deadlock, lock wait; the transaction is gone), ERR_DB_AWAY (no session: the next call connects
 * anew), ERR_INTERNAL (a statement the server refuses: a bug, logged).
 *
 * A broken session is closed, never silently reconnected inside a transaction.
 */
#pragma once

#include "util/err.h"

struct db;

struct db_conf {
    const char *hosts; /* list tried in order: "/run/mysqld/mysqld.sock,db2:3306" */
    const char *user, *password, *name;
    int connect_timeout_s, io_timeout_s;
};

struct db_done {
    int64_t affected; /* rows matched by UPDATE/DELETE (CLIENT_FOUND_ROWS), inserted by INSERT */
    int64_t insert_id;
};

/* Call once in main, before threads. */
void db_library_init(void);
/* Never fails: the session is opened by the first call that needs it. conf is copied. */
struct db *db_new(const struct db_conf *conf);
void db_free(struct db **db);
/* Another session of the same place, with an own patience for answers. */
struct db *db_twin(const struct db *db, int io_timeout_s);
/* Opens the session when it is closed, pings otherwise. */
must_use enum err db_ping(struct db *db);

/* Runs fn in one transaction. OK commits, any other result rolls back. The whole is repeated, up
 * to 8 times with growing random pauses (1..100 ms), on ERR_DB_CONFLICT, once on a session lost
 * before COMMIT and - when `idempotent` - once on one lost in COMMIT, whose outcome is unknown. So
 * fn must set everything it computes anew on each run. After a conflict or a lost session nothing
 * more runs in the transaction, and nothing is committed, whatever fn makes of the error. Returns
 * fn's error or the database's. */
must_use enum err db_transaction(struct db *db, bool idempotent,
                                 enum err (*fn)(struct db *db, void *ctx), void *ctx);

/* Runs fn, which only reads, in one transaction whose statements all see the same moment (those of
 * db_transaction each see what is committed when they start). Repeated like db_transaction. */
must_use enum err db_snapshot(struct db *db, enum err (*fn)(struct db *db, void *ctx), void *ctx);

/* Runs a text of several statements (migrations only; tollgatectl). f gets the server's message. */
must_use enum err db_script(struct db *db, struct str sql, struct fault *f);
