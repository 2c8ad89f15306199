/* sql_check SOCKET NAME - migrates a database and asks the server about every statement. TAP. */
#include "domain/schema/migrate.h"
#include "door/db.h"
#include "door/queries.h"

#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static int count, failed;

static void result(bool ok, const char *what, const char *detail) {
    printf("%sok %d - %s%s%s\n", ok ? "" : "not ", ++count, what, *detail ? ": " : "", detail);
    failed += !ok;
}

static void prepare_all(struct db *db) {
    for (size_t q = 0; q < db_n_queries; q++) {
        struct fault f = {0};
        bool ok = db_prepare(db, q, &f) == OK;
        result(ok, db_queries[q].name, ok ? "" : "the server refuses it (see the log line above)");
    }
}

static atomic_int steps;

static void count_step(const struct schema_step *s) {
    (void)s;
    steps++;
}

static void *migrate_too(void *ctx) {
    struct fault f = {0};
    return schema_migrate(ctx, count_step, &f) == OK ? NULL : ctx;
}

/* Two installations over one new database. */
static void migrate_twice_at_once(struct db *db) {
    pthread_t thread;
    void *bad;
    struct fault f = {0};
    struct db *other = db_twin(db, 30);
    must(pthread_create(&thread, NULL, migrate_too, other) == 0);
    enum err e = schema_migrate(db, count_step, &f);
    pthread_join(thread, &bad);
    result(!e && !bad, "two migrations at once both succeed", f.detail);
    result(steps == schema_newest, "and each step is done once", "");
    db_free(&other);
}

/* A run that was cut leaves a step half done: each must bear to be done again. */
static void repeat_steps(struct db *db) {
    for (const struct schema_step *s = schema_steps; s->version; s++) {
        struct fault f = {0};
        result(db_script(db, str_c(s->sql), &f) == OK, s->name, f.detail);
    }
    steps = 0;
    struct fault f = {0};
    result(schema_migrate(db, count_step, &f) == OK && steps == 0,
           "a current database has nothing to migrate", f.detail);
}

static enum err pretend(struct db *db, int version) {
    return q_schema_version_add(
        db, &(struct q_schema_version_add_in){version, STR("of a later program"), 1}, NULL);
}

static void versions(struct db *db) {
    struct fault f = {0};
    result(schema_check(db, &f) == OK, "the migrated database is accepted", f.detail);
    result(!pretend(db, schema_newest + 1) && schema_check(db, &f) == OK,
           "one that is a step newer is accepted: hosts are upgraded one by one", f.detail);
    result(!pretend(db, schema_newest + 2) && schema_check(db, &f) == ERR_SCHEMA_NEW,
           "one that is two steps newer is refused", "");
}

int main(int argc, char **argv) {
    struct fault f = {0};
    struct passwd *me = getpwuid(getuid());
    if (argc != 3 || !me)
        return 2;
    db_library_init();
    struct db *db = db_new(&(struct db_conf){argv[1], me->pw_name, "", argv[2], 5, 30});
    result(schema_check(db, &f) == ERR_SCHEMA_OLD, "an empty database is refused", "");
    migrate_twice_at_once(db);
    repeat_steps(db);
    prepare_all(db);
    versions(db);
    db_free(&db);
    printf("1..%d\n", count);
    return failed != 0;
}
