#include "domain/schema/migrate.h"

#include "door/db.h"
#include "door/queries.h"
#include "util/clock.h"

#define STEP_TIMEOUT_S 86400 /* changing a large table takes its time */

/* No step ever alters it: its row's lock is held meanwhile, by another session. */
static const struct str version_table = STR_INIT("CREATE TABLE IF NOT EXISTS schema_version ("
                                                 " version BIGINT NOT NULL PRIMARY KEY,"
                                                 " name VARCHAR(190) NOT NULL,"
                                                 " applied_at BIGINT NOT NULL"
                                                 ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4");

static enum err read_version(struct db *db, int *version) {
    struct q_schema_version row;
    enum err e = q_schema_version(db, &row);
    *version = e ? 0 : (int)row.version;
    return e;
}

enum err schema_version(struct db *db, int *version, struct fault *f) {
    struct q_schema_table there;
    enum err e = q_schema_table(db, &there);
    *version = 0;
    if (!e && there.n)
        e = read_version(db, version);
    return e ? fault_set(f, e, NULL) : OK;
}

static enum err apply(struct db *db, const struct schema_step *s, struct fault *f) {
    enum err e = db_script(db, str_c(s->sql), f);
    if (e)
        return e;
    e = q_schema_version_add(db,
                             &(struct q_schema_version_add_in){.version = s->version,
                                                               .name = str_c(s->name),
                                                               .now = clock_unix_s()},
                             NULL);
    return e ? fault_set(f, e, NULL) : OK;
}

struct run {
    struct db *worker; /* does the steps: DDL ends the transaction of its own session */
    void (*told)(const struct schema_step *step);
    struct fault *f;
};

static enum err start(struct db *db, void *ctx) {
    (void)ctx;
    return q_schema_start(db, NULL);
}

static enum err locked(struct db *db, void *ctx) {
    const struct run *r = ctx;
    struct q_schema_lock row;
    int version;
    enum err e = q_schema_lock(db, &row);
    if (!e)
        e = schema_version(r->worker, &version, r->f);
    for (const struct schema_step *s = schema_steps; !e && s->version; s++) {
        if (s->version <= version)
            continue;
        if (r->told)
            r->told(s);
        e = apply(r->worker, s, r->f);
    }
    return e;
}

enum err schema_migrate(struct db *db, void (*told)(const struct schema_step *step),
                        struct fault *f) {
    struct db *worker AUTO(db_free) = db_twin(db, STEP_TIMEOUT_S);
    enum err e = db_script(worker, version_table, f);
    if (e)
        return e;
    e = db_transaction(worker, true, start, NULL);
    if (!e)
        e = db_transaction(db, true, locked, &(struct run){worker, told, f});
    if (e == ERR_DB_CONFLICT)
        return fault_set(f, e, "another migration holds the lock");
    return e && f && f->err == e ? e : e ? fault_set(f, e, NULL) : OK;
}

enum err schema_check(struct db *db, struct fault *f) {
    int version;
    enum err e = schema_version(db, &version, f);
    if (e)
        return e;
    if (version < schema_newest)
        return fault_set(f, ERR_SCHEMA_OLD,
                         "database has version %d, this program needs %d: run tollgatectl migrate",
                         version, schema_newest);
    if (version > schema_newest + 1)
        return fault_set(f, ERR_SCHEMA_NEW, "database has version %d, this program knows %d",
                         version, schema_newest);
    return OK;
}
