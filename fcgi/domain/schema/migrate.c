#include "domain/schema/migrate.h"

#include "door/queries.h"
#include "util/clock.h"

static const struct str version_table =
    STR_INIT("CREATE TABLE IF NOT EXISTS schema_version ("
             " version BIGINT NOT NULL PRIMARY KEY,"
             " name VARCHAR(190) NOT NULL,"
             " applied_at BIGINT NOT NULL"
             ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;"
             "INSERT IGNORE INTO schema_version VALUES (0, 'start', 0)");

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
    if (e == ERR_DB_DUPLICATE) /* another run was as quick: each step may be run twice */
        return OK;
    return e ? fault_set(f, e, NULL) : OK;
}

enum err schema_migrate(struct db *db, void (*told)(const struct schema_step *step),
                        struct fault *f) {
    int version;
    enum err e = db_script(db, version_table, f);
    if (!e)
        e = schema_version(db, &version, f);
    for (const struct schema_step *s = schema_steps; !e && s->version; s++) {
        if (s->version <= version)
            continue;
        if (told)
            told(s);
        e = apply(db, s, f);
    }
    return e;
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
