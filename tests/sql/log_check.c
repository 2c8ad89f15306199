/* log_check SOCKET NAME - lists of usage longer than what an answer looks at; months that are made
 * and dropped while others use the table. TAP. */
#include "site.h"

#include "domain/billing/partition.h"
#include "door/db.h"
#include "util/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define CALL_SQL_CAP 1024
#define CALLS 25000
#define FAIL_EACH 4999 /* the fifth failure is call 24995 */
#define MONTH_S (31 * INT64_C(86400))

/* The calls of an account, one a second: `columns` in the place of id, created_s and type. */
static void calls_sql(char sql[CALL_SQL_CAP], int64_t user, int64_t key, const char *columns,
                      int n) {
    snprintf(sql, CALL_SQL_CAP,
             "INSERT INTO usage_rows (id, created_s, type, user_id, key_id, group_id, channel_id, "
             "price_id, group_ratio, cost, prompt, completion, cached, cache_write_5m, "
             "cache_write_1h, image_in, audio_in, audio_out, reasoning, searches, status, "
             "attempts, end_reason, policy, stream, test_mode, estimated, interrupted, "
             "started_us, first_byte_us, duration_us, request_id, model) SELECT %s, %lld, %lld, 1, "
             "1, 1, 1, 7, 10, 20, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1, 0, 0, 1, 0, 0, 0, 1, 1, 1, "
             "CONCAT('req_', seq), 'gpt-4o' FROM seq_1_to_%d",
             columns, (long long)user, (long long)key, n);
}

static void add_calls(struct db *db, int64_t user, int64_t key, const char *columns, int n) {
    char sql[CALL_SQL_CAP];
    calls_sql(sql, user, key, columns, n);
    run(db, sql);
}

/* --- lists ---------------------------------------------------------------------------------- */

static int64_t total_of(struct client *c, const char *path) {
    call(c, "GET", path, "");
    return good(c) ? int_of(data(c), "total") : -1;
}

static void rare_rows_are_found_by_going_on(struct client *c) {
    char path[200], cursor[64] = "";
    int found = 0, answers = 0, again = 0;
    int64_t last = INT64_MAX;
    do {
        snprintf(path, sizeof path, "/api/log/self?type=5&page_size=2&before=%s", cursor);
        call(c, "GET", path, "");
        const struct json *items = json_get(data(c), "items");
        for (size_t i = 0; i < json_length(items); i++, found++) {
            int64_t id = int_of(json_at(items, i), "id");
            again += id >= last || id % FAIL_EACH != 0;
            last = id;
        }
        snprintf(cursor, sizeof cursor, "%s", str_of_json(data(c), "next_cursor"));
    } while (*cursor && ++answers < 20);
    result(found == CALLS / FAIL_EACH && !again && !*cursor,
           "every failure once, newest first, in %d answers: %d", answers + 1, found);
    result(total_of(c, "/api/log/self?type=5") == 2, "the first counts those it has looked at");
    result(total_of(c, "/api/log/self?type=5&end_timestamp=4000") == 1,
           "with a time it looks at that time");
    result(total_of(c, "/api/log/self?request_id=req_3&type=2") == 1,
           "a request is found however old it is");
}

static void lists_keep_to_their_account(struct client *one, struct client *two) {
    result(total_of(one, "/api/log/self") == 5000, "a long list counts to its cap");
    result(total_of(one, "/api/log/self?token_id=11") == 5000, "so does that of a key");
    result(total_of(one, "/api/log/self?token_id=12") == 0, "another account's key has no rows");
    result(total_of(two, "/api/log/self") == 30, "a short one counts its rows");
    call(two, "GET", "/api/log/self/stat?token_id=11", "");
    result(good(two) && int_of(data(two), "quota") == 0, "another account's key has no sum");
    call(one, "GET", "/api/log/self?p=50&page_size=100", "");
    const struct json *items = json_get(data(one), "items");
    result(json_length(items) == 100 && int_of(json_at(items, 99), "id") == CALLS - 4999,
           "the last page that a number reaches");
}

/* --- months --------------------------------------------------------------------------------- */

/* Inserts that would rather fail than wait for a change of the table. */
struct inserts {
    struct db *db;
    int64_t n, refused;
    atomic_bool stop;
};

static void *insert(void *ctx) {
    struct inserts *i = ctx;
    char columns[64];
    run(i->db, "SET lock_wait_timeout = 0");
    while (!i->stop) {
        struct fault f = {0};
        char sql[CALL_SQL_CAP];
        snprintf(columns, sizeof columns, "%lld, %lld, 2", (long long)(1000000 + i->n++),
                 (long long)clock_unix_s());
        calls_sql(sql, 3, 13, columns, 1);
        i->refused += db_script(i->db, str_c(sql), &f) != OK;
    }
    return NULL;
}

static void months_change_while_others_work(struct db *db) {
    struct db *reader = session();
    struct inserts in = {.db = session()};
    pthread_t thread;
    int changed;
    int64_t now = clock_unix_s(), later = now + 6 * MONTH_S;
    enum err e = partition_keep(db, now, 0, &changed);
    result(!e && changed == 3, "this month and two more are made");
    e = partition_keep(db, now, 0, &changed);
    result(!e && changed == 0, "once");

    run(reader, "START TRANSACTION; SELECT id FROM usage_rows LIMIT 1");
    must(pthread_create(&thread, NULL, insert, &in) == 0);
    int put_off = 0;
    for (int i = 0; i < 5; i++)
        put_off += partition_keep(db, later, 2, &changed) == ERR_DB_CONFLICT;
    in.stop = true;
    pthread_join(thread, NULL);
    result(put_off == 5, "while somebody reads, months are not touched");
    /* the moment in which the server finds that it would have to wait is seen by some */
    result(in.n > 0 && in.refused * 10 < in.n, "inserts go on: %lld of %lld would have waited",
           (long long)in.refused, (long long)in.n);

    run(reader, "COMMIT");
    e = ERR_DB_CONFLICT;
    for (int i = 0; i < 20 && e == ERR_DB_CONFLICT; i++)
        e = partition_keep(db, later, 2, &changed);
    result(e == OK, "afterwards they are made and dropped");
    e = partition_keep(db, later, 2, &changed);
    result(!e && changed == 0, "nothing is left to do");
    db_free(&reader);
    db_free(&in.db);
}

int main(int argc, char **argv) {
    struct db *db = site_start(argc, argv);
    run(db, "INSERT INTO api_keys (id, user_id, name, created_at) VALUES (11, 1, 'a', 1), "
            "(12, 2, 'b', 1), (13, 3, 'c', 1)");
    char columns[64];
    snprintf(columns, sizeof columns, "seq, 1 + seq DIV 2, IF(seq %% %d = 0, 5, 2)", FAIL_EACH);
    add_calls(db, 1, 11, columns, CALLS);
    add_calls(db, 2, 12, "50000 + seq, seq, 2", 30);
    struct client one = client_of(db, 1, 0), two = client_of(db, 2, 0);
    rare_rows_are_found_by_going_on(&one);
    lists_keep_to_their_account(&one, &two);
    months_change_while_others_work(db);
    client_free(&one);
    client_free(&two);
    return site_end(&db);
}
