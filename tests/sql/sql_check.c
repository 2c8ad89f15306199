/* sql_check SOCKET NAME - migrates a database and asks the server about every statement. TAP. */
#include "domain/schema/migrate.h"
#include "door/db_run.h"

#include "config.h"

#include <pwd.h>
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

int main(int argc, char **argv) {
    struct fault f = {0};
    struct passwd *me = getpwuid(getuid());
    if (argc != 3 || !me)
        return 2;
    db_library_init();
    struct db *db = db_new(&(struct db_conf){argv[1], me->pw_name, "", argv[2], 5, 30});
    result(schema_check(db, &f) == ERR_SCHEMA_OLD, "an empty database is refused", "");
    f = (struct fault){0};
    result(schema_migrate(db, NULL, &f) == OK, "migrates", f.detail);
    result(schema_migrate(db, NULL, &f) == OK, "migrates again without harm", f.detail);
    result(schema_check(db, &f) == OK, "the migrated database is accepted", f.detail);
    prepare_all(db);
    db_free(&db);
    printf("1..%d\n", count);
    return failed != 0;
}
