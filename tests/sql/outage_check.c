/* outage_check SOCKET NAME - the database door when locks are held, sessions are killed and the
 * server stops. TAP.
 * TOLLGATE_DEVDB and TOLLGATE_DEVDB_DIR name the script and the folder that stop and start it. */
#include "util/clock.h"
#include "util/log.h"

#include "tests/sql/queries.h" /* made of door.sql */

#include <pwd.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int count, failed;
static const char *socket_path, *db_name, *user;

static void result(bool ok, const char *what) {
    printf("%sok %d - %s\n", ok ? "" : "not ", ++count, what);
    failed += !ok;
}

static struct db *session_at(const char *hosts, const char *as) {
    return db_new(&(struct db_conf){hosts, as, "wrong", db_name, 3, 30});
}

static struct db *session(void) {
    return session_at(socket_path, user);
}

static void script(struct db *db, const char *sql) {
    struct fault f = {0};
    if (db_script(db, str_c(sql), &f) != OK) {
        printf("Bail out! %s: %s\n", sql, f.detail);
        exit(1);
    }
}

/* --- transactions ------------------------------------------------------------------------------
 */

static void counts(struct db *db, int64_t a, int64_t b) {
    char sql[128];
    snprintf(sql, sizeof sql, "REPLACE INTO items (id, n) VALUES (1, %lld), (2, %lld)",
             (long long)a, (long long)b);
    script(db, sql);
}

static enum err add(struct db *db, int64_t id) {
    return q_item_bump(db, &(struct q_item_bump_in){1, id}, NULL);
}

static bool counted(struct db *db, int64_t a, int64_t b) {
    struct q_item_get one, two;
    return q_item_get(db, &(struct q_item_get_in){1}, &one) == OK &&
           q_item_get(db, &(struct q_item_get_in){2}, &two) == OK && one.n.v == a && two.n.v == b;
}

struct waiting {
    struct db *holder;
    int runs;
};

static enum err wait_for_row(struct db *db, void *ctx) {
    struct waiting *w = ctx;
    if (w->runs++ > 0)
        script(w->holder, "COMMIT");
    enum err e = add(db, 2);
    return e ? e : add(db, 1);
}

static void lock_wait(struct db *db) {
    struct waiting w = {session(), 0};
    counts(db, 0, 0);
    script(db, "SET innodb_lock_wait_timeout = 1");
    script(w.holder, "START TRANSACTION; UPDATE items SET n = 10 WHERE id = 1");
    result(db_transaction(db, false, wait_for_row, &w) == OK && w.runs == 2 && counted(db, 11, 1),
           "a wait for a lock that took too long repeats the whole, and only once each");
    db_free(&w.holder);
}

struct killing {
    struct db *killer;
    int runs, kills;
    bool at_end, overlook;
};

static void kill_session(struct db *db, struct killing *k) {
    struct q_session_id me;
    char sql[64];
    must(q_session_id(db, &me) == OK);
    snprintf(sql, sizeof sql, "KILL %lld", (long long)me.id);
    script(k->killer, sql);
}

static enum err killed(struct db *db, void *ctx) {
    struct killing *k = ctx;
    bool now = k->runs++ < k->kills;
    enum err e = add(db, 1);
    if (!e && now && !k->at_end)
        kill_session(db, k);
    enum err second = add(db, 2);
    if (!e && !second && now && k->at_end)
        kill_session(db, k);
    return k->overlook ? OK : e ? e : second;
}

static void kills(struct db *db) {
    struct killing k = {session(), 0, 1, false, false};
    counts(db, 0, 0);
    result(db_transaction(db, false, killed, &k) == OK && k.runs == 2 && counted(db, 1, 1),
           "a session killed in a transaction loses nothing: the whole is repeated");
    counts(db, 0, 0);
    k = (struct killing){k.killer, 0, 1, false, true};
    result(db_transaction(db, false, killed, &k) == OK && k.runs == 2 && counted(db, 1, 1),
           "no half of a transaction is committed by a new session");
    counts(db, 0, 0);
    k = (struct killing){k.killer, 0, 1, true, false};
    result(db_transaction(db, false, killed, &k) == ERR_DB_AWAY && k.runs == 1 && counted(db, 0, 0),
           "a COMMIT of unknown outcome is not repeated");
    k = (struct killing){k.killer, 0, 1, true, false};
    result(db_transaction(db, true, killed, &k) == OK && k.runs == 2 && counted(db, 1, 1),
           "unless repeating does no harm");
    k = (struct killing){k.killer, 0, 100, false, false};
    result(db_transaction(db, false, killed, &k) == ERR_DB_AWAY && k.runs < 10 && counted(db, 1, 1),
           "a session that dies each time is given up");
    kill_session(db, &k);
    result(counted(db, 1, 1), "a read that finds its session dead is asked again");
    db_free(&k.killer);
}

/* --- servers -----------------------------------------------------------------------------------
 */

static void servers(void) {
    char hosts[600];
    snprintf(hosts, sizeof hosts, "/nonexistent/db.sock, 127.0.0.1:1, %s", socket_path);
    struct db *db = session_at(hosts, user);
    result(db_ping(db) == OK, "the next server of the list is used when one is away");
    db_free(&db);
    db = session_at("/nonexistent/db.sock", user);
    result(db_ping(db) == ERR_DB_AWAY, "no server is told");
    db_free(&db);
    db = session_at(socket_path, "tollgate_nobody");
    result(db_ping(db) == ERR_DB_AWAY, "a refused login is told");
    db_free(&db);
    db = session_at("no-port:x,:3306,,/", user);
    result(db_ping(db) == ERR_DB_AWAY, "nonsense in the list is no server");
    db_free(&db);
}

static enum err both(struct db *db, void *ctx) {
    (void)ctx;
    enum err e = add(db, 1);
    return e ? e : add(db, 2);
}

/* The clock, moved on to spare a wait. */
static int64_t ahead_us;
int64_t __real_clock_mono_us(void);
int64_t __wrap_clock_mono_us(void);
int64_t __wrap_clock_mono_us(void) {
    return __real_clock_mono_us() + ahead_us;
}

static void idle(struct db *db) {
    struct killing k = {session(), 0, 0, false, false};
    counts(db, 0, 0);
    kill_session(db, &k);
    ahead_us += 10 * 1000000;
    result(add(db, 1) == OK && counted(db, 1, 0),
           "a write after a time of idleness does not fail because its session was closed");
    db_free(&k.killer);
}

static bool devdb(const char *verb) {
    char script_path[400], verb_copy[8], dir[400];
    pid_t pid;
    int status;
    must(str_copy(str_c(getenv("TOLLGATE_DEVDB")), script_path, sizeof script_path) &&
         str_copy(str_c(verb), verb_copy, sizeof verb_copy) &&
         str_copy(str_c(getenv("TOLLGATE_DEVDB_DIR")), dir, sizeof dir));
    char *argv[] = {script_path, verb_copy, dir, NULL};
    return posix_spawn(&pid, script_path, NULL, NULL, argv, environ) == 0 &&
           waitpid(pid, &status, 0) == pid && status == 0;
}

static int lines_with(const char *path, const char *word) {
    char line[4096];
    int n = 0;
    FILE *file = fopen(path, "r");
    must(file != NULL);
    while (fgets(line, sizeof line, file))
        n += strstr(line, word) != NULL;
    fclose(file);
    return n;
}

static void restart(struct db *db) {
    char log[] = "/tmp/tollgate-db-check.XXXXXX";
    int fd = mkstemp(log);
    must(fd >= 0 && log_setup(LOG_INFO, log));
    counts(db, 3, 4);
    must(devdb("stop"));
    struct q_item_get row;
    bool away = true;
    for (int i = 0; i < 3; i++)
        away &= q_item_get(db, &(struct q_item_get_in){1}, &row) == ERR_DB_AWAY &&
                add(db, 1) == ERR_DB_AWAY && db_transaction(db, true, both, NULL) == ERR_DB_AWAY;
    result(away, "a stopped server is told by each call");
    must(devdb("start"));
    ahead_us += 10 * 1000000; /* past the pause after a failed attempt to connect */
    result(counted(db, 3, 4), "the first call after its start works");
    result(lines_with(log, "db_lost") == 1 && lines_with(log, "db_back") == 1,
           "an outage is one line when it begins and one when it ends");
    counts(db, 0, 0);
    must(devdb("stop"));
    must(devdb("start"));
    result(db_transaction(db, false, both, NULL) == OK && counted(db, 1, 1),
           "a transaction after a restart that nobody noticed works");
    must(log_setup(LOG_ERROR, "-"));
    close(fd);
    unlink(log);
}

int main(int argc, char **argv) {
    struct passwd *me = getpwuid(getuid());
    if (argc != 3 || !me)
        return 2;
    socket_path = argv[1];
    db_name = argv[2];
    user = me->pw_name;
    must(log_setup(LOG_ERROR, "/dev/null"));
    setvbuf(stdout, NULL, _IOLBF, 0);
    db_library_init();
    struct db *db = session();
    script(db, "CREATE TABLE items (id BIGINT PRIMARY KEY, name VARCHAR(8) NULL, body BLOB NULL,"
               " n BIGINT NULL, flag BOOLEAN NOT NULL DEFAULT FALSE) ENGINE=InnoDB");
    lock_wait(db);
    kills(db);
    idle(db);
    servers();
    restart(db);
    db_free(&db);
    printf("1..%d\n", count);
    return failed != 0;
}
