/* door_check SOCKET NAME - the database door against a real server. TAP. */
#include "door/db.h"
#include "tests/sql/queries.h"
#include "util/clock.h"
#include "util/log.h"

#include <errno.h>
#include <inttypes.h>
#include <mysql.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int count, failed;
static const char *socket_path, *db_name, *user;
static char log_path[] = "/tmp/tollgate-door.XXXXXX";

static void result(bool ok, const char *what) {
    printf("%sok %d - %s\n", ok ? "" : "not ", ++count, what);
    failed += !ok;
}

/* What the door asks of the allocator, and a server that does not know bulk executions. */
static long allocations;
static bool no_bulk;
void *__real_base_alloc(size_t n);
void *__wrap_base_alloc(size_t n);
void *__real_base_zalloc(size_t n);
void *__wrap_base_zalloc(size_t n);
my_bool __real_mariadb_get_infov(MYSQL *m, enum mariadb_value value, void *arg, ...);
my_bool __wrap_mariadb_get_infov(MYSQL *m, enum mariadb_value value, void *arg, ...);

void *__wrap_base_alloc(size_t n) {
    allocations++;
    return __real_base_alloc(n);
}

void *__wrap_base_zalloc(size_t n) {
    allocations++;
    return __real_base_zalloc(n);
}

my_bool __wrap_mariadb_get_infov(MYSQL *m, enum mariadb_value value, void *arg, ...) {
    return no_bulk ? 1 : __real_mariadb_get_infov(m, value, arg);
}

static struct db *open_at(const char *hosts) {
    return db_new(&(struct db_conf){hosts, user, "", db_name, 2, 30});
}

static void script(struct db *db, const char *sql) {
    struct fault f = {0};
    if (db_script(db, str_c(sql), &f) != OK) {
        printf("Bail out! %s: %s\n", sql, f.detail);
        exit(1);
    }
}

/* Ends the session of db on the server, from another one. */
static void kill_session(struct db *db) {
    struct q_session_id row;
    struct db *other = open_at(socket_path);
    char sql[64];
    must(q_session_id(db, &row) == OK);
    snprintf(sql, sizeof sql, "KILL %" PRId64, row.id);
    script(other, sql);
    db_free(&other);
}

static void empty(struct db *db) {
    script(db, "TRUNCATE TABLE items");
}

static struct q_item_sum sum(struct db *db) {
    struct q_item_sum row = {0};
    must(q_item_sum(db, &(struct q_item_sum_in){0}, &row) == OK);
    return row;
}

/* How often `text` stands in the log. */
static int logged(const char *text) {
    static char all[1 << 16];
    int n = 0;
    FILE *f = fopen(log_path, "r");
    must(f != NULL);
    all[fread(all, 1, sizeof all - 1, f)] = '\0';
    fclose(f);
    for (const char *p = all; (p = strstr(p, text)); p += strlen(text))
        n++;
    return n;
}

static enum err add(struct db *db, int64_t id) {
    return q_item_add(db, &(struct q_item_add_in){.id = id, .name = STR("x"), .n = {.has = true}},
                      NULL);
}

/* --- values ---------------------------------------------------------------------------------- */

static bool body_is(struct str body, size_t n) {
    bool same = body.n == n;
    for (size_t i = 0; same && i < n; i++)
        same = (uint8_t)body.p[i] == (uint8_t)(i * 7);
    return same;
}

static char pattern[300000];

static void values(struct db *db) {
    struct q_item_get row;
    struct db_done done;
    struct q_session_settings s;
    struct q_item_add_in in = {.id = INT64_MIN,
                               .name = STR("na\xc3\xafve \xf0\x9f\x94\x91"),
                               .body = {pattern, 70000},
                               .n = {true, INT64_MAX},
                               .flag = true};
    result(q_session_settings(db, &s) == OK && str_eqc(s.zone, "+00:00") &&
               str_eqc(s.charset, "utf8mb4") && str_eqc(s.isolation, "READ-COMMITTED") && s.strict,
           "a session keeps UTC, utf8mb4, READ COMMITTED and strict values");
    result(q_item_add(db, &in, &done) == OK && done.affected == 1, "a row is inserted");
    result(q_item_get(db, &(struct q_item_get_in){INT64_MIN}, &row) == OK &&
               str_eq(row.name, in.name) && body_is(row.body, 70000) && row.n.has &&
               row.n.v == INT64_MAX && row.flag && row.id == INT64_MIN,
           "what goes in comes out: least and greatest number, four-byte text, 70000 bytes");
    in = (struct q_item_add_in){.id = 1};
    result(q_item_add(db, &in, NULL) == OK &&
               q_item_get(db, &(struct q_item_get_in){1}, &row) == OK && !row.name.p &&
               !row.body.p && !row.n.has && !row.flag,
           "NULL stays NULL");
    in = (struct q_item_add_in){.id = 2, .name = STR(""), .body = STR("")};
    result(q_item_add(db, &in, NULL) == OK &&
               q_item_get(db, &(struct q_item_get_in){2}, &row) == OK && row.name.p &&
               !row.name.n && row.body.p && !row.body.n,
           "an empty text is not NULL");
    result(q_item_bump(db, &(struct q_item_bump_in){0, INT64_MIN}, &done) == OK &&
               done.affected == 1,
           "a row that matched without changing counts as affected");
    result(q_item_bump(db, &(struct q_item_bump_in){1, 99}, &done) == OK && done.affected == 0,
           "no row matched is told");
    struct q_quoted q;
    result(q_quoted(db, &q) == OK && str_eqc(q.text, "a  b; -- ?"),
           "blanks, question marks and semicolons in a literal are left alone");
    empty(db);
}

struct walk {
    int64_t rows, wrong, stop_at;
};

static enum err step(void *ctx, const struct q_item_list *row) {
    struct walk *w = ctx;
    w->wrong += !body_is(row->body, (size_t)row->id * (size_t)row->id * 30);
    return ++w->rows == w->stop_at ? ERR_INTERNAL : OK;
}

static void texts(struct db *db) {
    struct walk all = {0}, some = {.stop_at = 3};
    struct q_item_list_in least = {1};
    struct q_item_get row;
    for (int64_t i = 1; i <= 100; i++) {
        size_t n = (size_t)i * (size_t)i * 30;
        must(q_item_add(db, &(struct q_item_add_in){.id = i, .body = {pattern, n}}, NULL) == OK);
    }
    result(q_item_list(db, &least, step, &all) == OK && all.rows == 100 && !all.wrong,
           "a hundred rows, each longer than the one before, arrive whole");
    result(q_item_list(db, &least, step, &some) == ERR_INTERNAL && some.rows == 3,
           "a caller that has seen enough stops the rows with its own error");
    bool same = true;
    for (int64_t i = 100; i > 0; i -= 3)
        same = same && q_item_get(db, &(struct q_item_get_in){i}, &row) == OK &&
               body_is(row.body, (size_t)i * (size_t)i * 30);
    result(same, "long and short texts by turns arrive whole");
    empty(db);
}

static void errors(struct db *db) {
    static const char secret[] = "sk-verysecretvalue1234567890abcdefghijklmnop";
    struct q_item_get row;
    struct q_item_name name;
    struct q_huge huge;
    struct q_item_add_in in = {.id = 5, .name = {secret, strlen(secret)}};
    result(q_item_get(db, &(struct q_item_get_in){7}, &row) == ERR_DB_NO_ROW, "no row is told");
    result(add(db, 5) == OK && add(db, 5) == ERR_DB_DUPLICATE, "a duplicate is told");
    in.id = 6;
    result(q_item_add(db, &in, NULL) == ERR_INTERNAL && sum(db).rows == 1,
           "a text too long for its column is refused, not cut");
    in.name = STR("sk-\xff\xfe-secretvalue");
    result(q_item_add(db, &in, NULL) == ERR_INTERNAL && sum(db).rows == 1,
           "bytes that are no UTF-8 are refused");
    result(logged("secretvalue") == 0 && logged("item_add") >= 2,
           "the log names the statement, never a value");
    in = (struct q_item_add_in){.id = 8};
    result(q_item_add(db, &in, NULL) == OK &&
               q_item_name(db, &(struct q_item_name_in){8}, &name) == ERR_INTERNAL,
           "NULL where the statement promises a text is an error");
    result(q_huge(db, &huge) == ERR_INTERNAL, "a number beyond 64 bits is an error, not cut");
    result(q_item_name(db, &(struct q_item_name_in){5}, &name) == OK && str_eqc(name.name, "x"),
           "the session is of use after errors");
    empty(db);
}

/* --- transactions ---------------------------------------------------------------------------- */

struct plan {
    int runs, kills;
    bool careless;
};

static enum err two_rows(struct db *db, void *ctx) {
    struct plan *p = ctx;
    enum err e = add(db, 1);
    if (p->runs++ < p->kills)
        kill_session(db);
    enum err second = add(db, 2);
    return p->careless ? OK : e ? e : second;
}

static enum err fail_after_row(struct db *db, void *ctx) {
    (void)ctx;
    enum err e = add(db, 1);
    return e ? e : ERR_INTERNAL;
}

static void lost(struct db *db, bool careless) {
    struct plan once = {.kills = 1, .careless = careless}, always = {.kills = 99};
    always.careless = careless;
    result(db_transaction(db, false, two_rows, &always) == ERR_DB_AWAY && sum(db).rows == 0,
           careless ? "a session lost again and again leaves nothing, though the error is ignored"
                    : "a session lost again and again leaves nothing behind");
    result(db_transaction(db, false, two_rows, &once) == OK && once.runs == 2 && sum(db).rows == 2,
           careless ? "a transaction that ignores its lost session is repeated whole"
                    : "a transaction whose session is lost is repeated whole");
    empty(db);
}

static void transactions(struct db *db) {
    struct plan p = {0};
    struct db_done done;
    result(db_transaction(db, false, fail_after_row, NULL) == ERR_INTERNAL && sum(db).rows == 0,
           "a transaction that fails leaves nothing");
    result(db_transaction(db, false, two_rows, &p) == OK && sum(db).rows == 2,
           "a transaction that ends well is kept");
    empty(db);
    lost(db, false);
    lost(db, true);
    must(add(db, 1) == OK);
    kill_session(db);
    result(sum(db).rows == 1, "a read on a session that died while idle is answered");
    kill_session(db);
    result(q_item_bump(db, &(struct q_item_bump_in){1, 1}, &done) == ERR_DB_AWAY &&
               q_item_bump(db, &(struct q_item_bump_in){1, 1}, &done) == OK && sum(db).total == 1,
           "a lone write is never done twice");
    empty(db);
}

struct rival {
    struct db *db;
    pthread_barrier_t *both;
    int64_t first, second;
    int runs;
    enum err e;
};

static enum err cross(struct db *db, void *ctx) {
    struct rival *r = ctx;
    enum err e = q_item_bump(db, &(struct q_item_bump_in){1, r->first}, NULL);
    if (r->runs++ == 0)
        pthread_barrier_wait(r->both);
    enum err ignored = q_item_bump(db, &(struct q_item_bump_in){1, r->second}, NULL);
    (void)ignored; /* the door must see to it */
    return e;
}

static void *compete(void *ctx) {
    struct rival *r = ctx;
    r->e = db_transaction(r->db, false, cross, r);
    return NULL;
}

static void deadlock(struct db *db) {
    pthread_barrier_t both;
    pthread_t thread;
    struct db *other = open_at(socket_path);
    struct rival a = {db, &both, 1, 2, 0, OK}, b = {other, &both, 2, 1, 0, OK};
    must(add(db, 1) == OK && add(db, 2) == OK);
    must(pthread_barrier_init(&both, NULL, 2) == 0);
    must(pthread_create(&thread, NULL, compete, &b) == 0);
    compete(&a);
    pthread_join(thread, NULL);
    result(a.e == OK && b.e == OK && a.runs + b.runs == 3 && sum(db).total == 4,
           "of two transactions in deadlock one is repeated whole, and both are kept");
    pthread_barrier_destroy(&both);
    db_free(&other);
    empty(db);
}

/* --- bulk ------------------------------------------------------------------------------------ */

#define MANY 5000
static struct q_item_bulk_in rows[MANY];
static struct db_done bulk_done;

static enum err add_many(struct db *db, void *ctx) {
    (void)ctx;
    return q_item_bulk(db, rows, MANY, &bulk_done);
}

static void bulk(struct db *db, const char *way) {
    char what[120];
    struct q_item_sum want = {.rows = MANY};
    for (int64_t i = 0; i < MANY; i++) {
        rows[i] = (struct q_item_bulk_in){.id = i + 1, .n = {i % 5 != 0, i}, .flag = i % 2};
        rows[i].name = i % 3 ? STR("row") : STR_NONE;
        rows[i].body = str_of(pattern, (size_t)i % 400);
        want.total += i % 5 ? i : 0;
        want.names += i % 3 != 0;
        want.bodies += i % 400;
    }
    int64_t from = clock_mono_us();
    enum err e = db_transaction(db, false, add_many, NULL);
    int64_t us = clock_mono_us() - from;
    struct q_item_sum got = sum(db);
    snprintf(what, sizeof what, "5000 rows %s (%" PRId64 " ms)", way, us / 1000);
    result(e == OK && bulk_done.affected == MANY && memcmp(&got, &want, sizeof got) == 0, what);
    empty(db);
    rows[3500].id = 1;
    snprintf(what, sizeof what, "a duplicate among 5000 rows %s leaves none of them", way);
    result(db_transaction(db, false, add_many, NULL) == ERR_DB_DUPLICATE && sum(db).rows == 0,
           what);
    rows[3500].id = 3501;
    empty(db);
}

static void bulks(struct db *db) {
    bulk(db, "at a stroke");
    no_bulk = true;
    struct db *old = open_at(socket_path);
    bulk(old, "one by one, for a server without bulk executions");
    db_free(&old);
    no_bulk = false;
    result(q_item_bulk(db, rows, 0, &bulk_done) == OK && bulk_done.affected == 0,
           "no rows are no work");
}

static void warm(struct db *db) {
    struct q_item_get row;
    must(add(db, 1) == OK && q_item_get(db, &(struct q_item_get_in){1}, &row) == OK);
    must(q_item_bulk(db, rows + 10, 900, NULL) == OK);
    long before = allocations;
    int64_t from = clock_mono_us();
    for (int i = 0; i < 1000; i++)
        must(q_item_get(db, &(struct q_item_get_in){1}, &row) == OK);
    printf("# %" PRId64 " us a lookup\n", (clock_mono_us() - from) / 1000);
    must(q_item_bulk(db, rows + 1000, 900, NULL) == OK);
    result(allocations == before, "a statement that ran before allocates nothing of ours");
    empty(db);
}

/* --- hosts ----------------------------------------------------------------------------------- */

static void hosts(void) {
    char list[300];
    int lost_before = logged("\"db_lost\""), back_before = logged("\"db_back\"");
    snprintf(list, sizeof list, "/nonexistent/db.sock, %s", socket_path);
    struct db *second = open_at(list);
    result(db_ping(second) == OK, "the second host serves when the first is away");
    db_free(&second);
    struct db *none = open_at("/nonexistent/a.sock,/nonexistent/b.sock");
    bool away = true;
    for (int i = 0; i < 50; i++)
        away = away && db_ping(none) == ERR_DB_AWAY;
    result(away, "no host is told as away");
    db_free(&none);
    result(logged("\"db_lost\"") - lost_before == 2 && logged("\"db_back\"") - back_before == 1,
           "a server's going and coming is logged once");
}

int main(int argc, char **argv) {
    struct passwd *me = getpwuid(getuid());
    int fd = mkstemp(log_path);
    if (argc != 3 || !me || fd < 0 || !log_setup(LOG_INFO, log_path))
        return 2;
    close(fd);
    socket_path = argv[1];
    db_name = argv[2];
    user = me->pw_name;
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (char)(uint8_t)(i * 7);
    db_library_init();
    struct db *db = open_at(socket_path);
    script(db, "CREATE TABLE items (id BIGINT PRIMARY KEY, name VARCHAR(20) NULL,"
               " body MEDIUMBLOB NULL, n BIGINT NULL, flag BOOLEAN NOT NULL)"
               " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4");
    values(db);
    texts(db);
    errors(db);
    transactions(db);
    deadlock(db);
    bulks(db);
    warm(db);
    hosts();
    db_free(&db);
    unlink(log_path);
    printf("1..%d\n", count);
    return failed != 0;
}
