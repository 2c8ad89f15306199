/* migrate.h - bringing a database to this program's schema, and refusing one that is too old.
 *
 * The numbered files of sql/schema/ are built in. They only go forward and may be run again, since
 * MariaDB commits each DDL statement by itself: a run that was cut is simply repeated.
 */
#pragma once

#include "util/err.h"

struct db;

struct schema_step {
    int version;
    const char *name, *sql;
};
extern const struct schema_step schema_steps[]; /* ends with version 0 */
extern const int schema_newest;

/* The version of the database; 0 when nothing was ever migrated. */
must_use enum err schema_version(struct db *db, int *version, struct fault *f);
/* Applies what is missing; told is called before each step (may be NULL). Of two runs at once the
 * second waits up to 40 s for the first (then ERR_DB_CONFLICT) and does what is left. */
must_use enum err schema_migrate(struct db *db, void (*told)(const struct schema_step *step),
                                 struct fault *f);
/* For a worker: OK when the schema is this program's or one step newer. ERR_SCHEMA_OLD,
 * ERR_SCHEMA_NEW, ERR_DB_AWAY. */
must_use enum err schema_check(struct db *db, struct fault *f);
