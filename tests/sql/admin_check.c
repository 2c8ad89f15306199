/* admin_check SOCKET NAME - an operator's changes reach the workers of this host at once. TAP. */
#include "domain/admin/account.h"
#include "domain/admin/shelf.h"
#include "domain/admin/write.h"
#include "domain/schema/migrate.h"
#include "door/crypt.h"
#include "door/db.h"
#include "door/queries.h"
#include "util/log.h"

#include <pwd.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int count, failed;
static const char *socket_path, *db_name, *user;
static char dir[] = "/tmp/tollgate-admin.XXXXXX";

static void result(bool ok, const char *what) {
    printf("%sok %d - %s\n", ok ? "" : "not ", ++count, what);
    failed += !ok;
}

static struct db *session(void) {
    return db_new(&(struct db_conf){socket_path, user, "", db_name, 5, 30});
}

static enum err on_change(void *ctx, const struct q_change_since *r) {
    (void)r;
    ++*(int *)ctx;
    return OK;
}

static int changes(struct db *db) {
    int n = 0;
    must(q_change_since(db, &(struct q_change_since_in){0}, on_change, &n) == OK);
    return n;
}

static struct account_new ann(void) {
    return (struct account_new){.email = STR("ann@example.org"),
                                .password = STR("correct horse"),
                                .group = STR("default"),
                                .role = 1,
                                .balance = 42};
}

static void accounts(struct db *db, struct host *host) {
    struct account_new a = ann(), again = ann();
    struct fault f = {0};
    must(account_add(db, host, &a, &f) == OK);
    uint32_t before = host_gen(host, HOST_GEN_USER, a.id);
    must(account_set_status(db, host, a.id, ACCOUNT_DISABLED) == OK);
    result(host_gen(host, HOST_GEN_USER, a.id) != before,
           "a ban makes cached copies stale at once");
    before = host_gen(host, HOST_GEN_USER, a.id);
    int logged = changes(db);
    result(account_add(db, host, &again, &f) == ERR_EXISTS && changes(db) == logged,
           "a refused change is told to nobody");
    must(account_set_status(db, NULL, a.id, ACCOUNT_ENABLED) == OK);
    result(host_gen(host, HOST_GEN_USER, a.id) == before && changes(db) == logged + 1,
           "without the shared file a change is still in the log");
}

static void offers(struct db *db, struct host *host) {
    struct fault f = {0};
    struct group_edit g = {.name = STR("vip")};
    uint32_t before = host_gen(host, HOST_GEN_CATALOG, 0);
    must(group_save(db, host, &g, &f) == OK);
    result(host_gen(host, HOST_GEN_CATALOG, 0) != before, "a change of the offer, too");
}

struct killing {
    struct db *killer;
    int runs;
    int64_t entity;
};

static enum err killed_once(struct db *db, void *ctx) {
    struct killing *k = ctx;
    struct fault f = {0};
    enum err e = q_option_put(db, &(struct q_option_put_in){STR("killed"), STR("yes")}, NULL);
    if (!e && k->runs++ == 0) {
        must(db_script(k->killer,
                       STR("SET @id = (SELECT id FROM information_schema.processlist "
                           "WHERE id <> CONNECTION_ID() AND db = DATABASE() LIMIT 1)"),
                       &f) == OK);
        must(db_script(k->killer, STR("EXECUTE IMMEDIATE CONCAT('KILL ', @id)"), &f) == OK);
    }
    return e;
}

static void killed(struct db *db, struct host *host) {
    struct killing k = {session(), 0, 0};
    int logged = changes(db);
    must(db_ping(k.killer) == OK);
    result(admin_write(db, host, HOST_GEN_CATALOG, &k.entity, killed_once, &k) == OK &&
               k.runs == 2 && changes(db) == logged + 1,
           "a change whose session dies is made and told once");
    db_free(&k.killer);
}

/* The program itself, whose configuration names the shared file. */
static bool run_ctl(char *program, char *verb) {
    char conf[300], family[] = "user", who[] = "ann@example.org", option[] = "--config";
    pid_t pid;
    int status;
    snprintf(conf, sizeof conf, "%s/conf", dir);
    FILE *file = fopen(conf, "w");
    must(file != NULL);
    fprintf(file, "db.hosts = %s\ndb.name = %s\ndb.user = %s\nrun.dir = %s\n", socket_path, db_name,
            user, dir);
    fclose(file);
    char *argv[] = {program, option, conf, family, verb, who, NULL};
    return posix_spawn(&pid, program, NULL, NULL, argv, environ) == 0 &&
           waitpid(pid, &status, 0) == pid && status == 0;
}

static void program(struct host *host, const char *self) {
    char path[400], verb[] = "disable";
    const char *slash = strrchr(self, '/');
    snprintf(path, sizeof path, "%.*s/../../tollgatectl", slash ? (int)(slash - self) : 1,
             slash ? self : ".");
    uint32_t before = host_gen(host, HOST_GEN_USER, 1);
    fflush(stdout);
    result(run_ctl(path, verb) && host_gen(host, HOST_GEN_USER, 1) != before,
           "tollgatectl reaches running workers before it ends");
}

static void sweep(void) {
    char path[300];
    static const char *const names[] = {"conf", "shared"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

int main(int argc, char **argv) {
    struct passwd *me = getpwuid(getuid());
    struct host *host = NULL;
    struct fault f = {0};
    if (argc != 3 || !me || !mkdtemp(dir))
        return 2;
    socket_path = argv[1];
    db_name = argv[2];
    user = me->pw_name;
    must(log_setup(LOG_ERROR, "/dev/null"));
    crypt_init();
    db_library_init();
    struct db *db = session();
    must(schema_migrate(db, NULL, &f) == OK && host_open(dir, &host, &f) == OK);
    accounts(db, host);
    offers(db, host);
    killed(db, host);
    program(host, argv[0]);
    host_close(&host);
    db_free(&db);
    sweep();
    printf("1..%d\n", count);
    return failed != 0;
}
