#include "unit.h"

#include "door/conf.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[] = "/tmp/tollgate-conf-XXXXXX";

static void write_bytes(struct str text, mode_t mode) {
    int fd AUTO(base_closep) = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text.p, text.n), (ssize_t)text.n);
    assert_int_equal(fchmod(fd, mode), 0);
}

static enum err load(struct str text, struct conf *c, struct fault *f) {
    write_bytes(text, 0600);
    return conf_load(path, c, f);
}

static bool accepts(const char *key, int64_t v, const char *unit) {
    char text[128];
    snprintf(text, sizeof text, "%s = %lld%s\n", key, (long long)v, unit);
    struct conf c;
    return load(str_c(text), &c, NULL) == OK;
}

#define UNIT_STR ""
#define UNIT_LEVEL ""
#define UNIT_INT ""
#define UNIT_MS "ms"
#define UNIT_SIZE ""
#define UNIT_BOOL ""

static void every_number_stops_at_its_edges(void **state) {
    (void)state;
    static const struct {
        const char *key, *unit;
        int64_t min, max;
    } rows[] = {
#define CONF(key, member, type, def, min, max, flags, text) {key, UNIT_##type, min, max},
#include "door/conf.def"
#undef CONF
    };
    int numbers = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!rows[i].max)
            continue;
        numbers++;
        assert_true(accepts(rows[i].key, rows[i].min, rows[i].unit));
        assert_true(accepts(rows[i].key, rows[i].max, rows[i].unit));
        assert_false(accepts(rows[i].key, rows[i].min - 1, rows[i].unit));
        assert_false(accepts(rows[i].key, rows[i].max + 1, rows[i].unit));
    }
    assert_true(numbers > 20);
}

static void values_are_read_in_their_units(void **state) {
    (void)state;
    struct conf c;
    struct fault f = {0};
    assert_int_equal(load(STR("# a comment\r\n"
                              "\n"
                              "  upstream.connect_timeout = 2s  # why\r\n"
                              "worker.drain_timeout=3h\n"
                              "body.deadline =\t90s\n"
                              "ledger.flush_interval = 7ms\n"
                              "limit.body = 2M\n"
                              "limit.headers = 4096\n"
                              "body.min_rate = 0\n"
                              "db.password = p#q = r\n"
                              "log.level = debug\n"
                              "listen.backlog = 5"),
                          &c, &f),
                     OK);
    assert_int_equal(c.upstream_connect_timeout, 2000);
    assert_int_equal(c.worker_drain_timeout, 3 * 3600 * 1000);
    assert_int_equal(c.body_deadline, 90000);
    assert_int_equal(c.ledger_flush_interval, 7);
    assert_int_equal(c.limit_body, 2 << 20);
    assert_int_equal(c.limit_headers, 4096);
    assert_int_equal(c.body_min_rate, 0);
    assert_string_equal(c.db_password, "p#q = r");
    assert_string_equal(c.log_level, "debug");
    assert_int_equal(c.listen_backlog, 5);
    assert_int_equal(c.worker_threads, 4);
}

static void bad_lines_are_refused_with_their_number(void **state) {
    (void)state;
    static const struct {
        struct str text;
        const char *says;
    } rows[] = {
        {STR_INIT("\nno.such = 1\n"), ":2: unknown key 'no.such'"},
        {STR_INIT("just words\n"), ":1: expected 'key = value'"},
        {STR_INIT("= 1\n"), ":1: unknown key ''"},
        {STR_INIT("worker.threads = 2\nworker.threads = 2\n"),
         ":2: worker.threads was given in line 1"},
        {STR_INIT("worker.threads =\n"), ":1: worker.threads must be a whole number"},
        {STR_INIT("worker.threads = 2x\n"), ":1: worker.threads must be a whole number"},
        {STR_INIT("worker.threads = 0x10\n"), ":1: worker.threads must be a whole number"},
        {STR_INIT("worker.threads = 1.5\n"), ":1: worker.threads must be a whole number"},
        {STR_INIT("worker.threads = 2 3\n"), ":1: worker.threads must be a whole number"},
        {STR_INIT("worker.threads = 300\n"), ":1: worker.threads must be 1 to 256"},
        {STR_INIT("worker.threads = 99999999999999999999\n"), "must be a whole number"},
        {STR_INIT("db.io_timeout = 10\n"), ":1: db.io_timeout must be a number with the unit"},
        {STR_INIT("db.io_timeout = 10 s\n"), ":1: db.io_timeout must be a number with the unit"},
        {STR_INIT("db.io_timeout = 10S\n"), ":1: db.io_timeout must be a number with the unit"},
        {STR_INIT("db.io_timeout = 9223372036854775807h\n"), "must be a number with the unit"},
        {STR_INIT("limit.body = 9223372036854775807G\n"), "must be a number of bytes"},
        {STR_INIT("limit.body = 2k\n"), "must be a number of bytes"},
        {STR_INIT("log.level = loud\n"), ":1: log.level must be debug, info"},
        {STR_INIT("db.name = a\0b\n"), ":1: control characters"},
        {STR_INIT("db.name = a\x01\n"), ":1: control characters"},
        {STR_INIT("db.name = \xC0\x80\n"), ":1: control characters or ill-formed UTF-8"},
        {STR_INIT("Worker.Threads = 2\n"), ":1: unknown key"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct conf c;
        struct fault f = {0};
        assert_int_equal(load(rows[i].text, &c, &f), ERR_CONFIG);
        if (!strstr(f.detail, rows[i].says))
            fail_msg("row %zu: '%s' lacks '%s'", i, f.detail, rows[i].says);
    }
}

static void long_lines_values_and_files_are_refused(void **state) {
    (void)state;
    struct conf c;
    static char text[300 * 1024];
    memset(text, 'a', sizeof text);
    memcpy(text, "db.name = ", 10);
    struct fault f = {0};
    assert_int_equal(load(str_of(text, 10 + 511), &c, &f), OK);
    assert_int_equal(strlen(c.db_name), 511);
    assert_int_equal(load(str_of(text, 10 + 512), &c, &f), ERR_CONFIG);
    assert_non_null(strstr(f.detail, "longer than 511 bytes"));
    assert_int_equal(load(str_of(text, 1025), &c, &f), ERR_CONFIG);
    assert_non_null(strstr(f.detail, "longer than 1024 bytes"));
    for (size_t i = 0; i < sizeof text; i += 100)
        text[i] = '\n';
    memset(text, '\n', 20);
    assert_int_equal(load(str_of(text, sizeof text), &c, &f), ERR_CONFIG);
    assert_non_null(strstr(f.detail, "File too large"));
}

static void a_missing_file_is_named(void **state) {
    (void)state;
    struct conf c;
    struct fault f = {0};
    assert_int_equal(conf_load("/nonexistent/tollgate.conf", &c, &f), ERR_CONFIG);
    assert_string_equal(f.detail, "/nonexistent/tollgate.conf: No such file or directory");
}

static void a_secret_in_a_world_readable_file_is_refused_and_never_quoted(void **state) {
    (void)state;
    struct conf c;
    struct fault f = {0};
    write_bytes(STR("\nmetrics.token = hunter2hunter2\n"), 0644);
    assert_int_equal(conf_load(path, &c, &f), ERR_CONFIG);
    assert_non_null(strstr(f.detail, ":2: metrics.token is secret"));
    assert_null(strstr(f.detail, "hunter2"));
    write_bytes(STR("metrics.token = hunter2hunter2\n"), 0640);
    assert_int_equal(conf_load(path, &c, &f), OK);
    write_bytes(STR("metrics.token =\ndb.name = x\n"), 0644);
    assert_int_equal(conf_load(path, &c, &f), OK);
}

static void a_reload_keeps_what_needs_a_restart_and_says_so(void **state) {
    (void)state;
    struct conf old, c;
    assert_int_equal(load(STR("worker.threads = 2\nlimit.body = 1M\n"), &old, NULL), OK);
    write_bytes(STR("worker.threads = 8\ndb.name = other\nlimit.body = 2M\n"), 0600);
    struct buf kept AUTO(buf_free) = BUF(1000);
    assert_int_equal(conf_reload(path, &old, &c, &kept, NULL), OK);
    assert_str(buf_view(&kept), "db.name, worker.threads");
    assert_int_equal(c.worker_threads, 2);
    assert_string_equal(c.db_name, "tollgate");
    assert_int_equal(c.limit_body, 2 << 20);
}

static void a_dump_hides_secrets_and_reads_back(void **state) {
    (void)state;
    struct conf c, again;
    assert_int_equal(
        load(STR("db.password = hunter2hunter2\nbody.deadline = 61s\nlimit.body = 1025K\n"
                 "worker.drain_timeout = 0\n"),
             &c, NULL),
        OK);
    struct buf dump AUTO(buf_free) = BUF(64 * 1024);
    conf_dump(&c, &dump);
    assert_false(dump.failed);
    assert_null(strstr(dump.p, "hunter2"));
    assert_non_null(strstr(dump.p, "\ndb.password = ****\n"));
    assert_non_null(strstr(dump.p, "\nbody.deadline = 61s\n"));
    assert_non_null(strstr(dump.p, "\nlimit.body = 1025K\n"));
    assert_non_null(strstr(dump.p, "\nmetrics.token =\n"));
    assert_int_equal(load(buf_view(&dump), &again, NULL), OK);
    memcpy(again.db_password, c.db_password, sizeof c.db_password);
    struct buf dump2 AUTO(buf_free) = BUF(64 * 1024);
    conf_dump(&again, &dump2);
    assert_string_equal(dump.p, dump2.p);
    assert_int_equal(again.body_deadline, 61000);
}

static void the_manual_page_describes_the_keys_there_are(void **state) {
    (void)state;
    const char *src = getenv("srcdir");
    char page[512];
    snprintf(page, sizeof page, "%s/docs/tollgate.conf.5", src ? src : ".");
    int fd AUTO(base_closep) = open(page, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    static char on_disk[64 * 1024];
    ssize_t n = read(fd, on_disk, sizeof on_disk - 1);
    assert_true(n > 0);
    struct buf man AUTO(buf_free) = BUF(sizeof on_disk);
    conf_man(&man);
    if (strcmp(on_disk, man.p) != 0)
        fail_msg("%s is old; make it anew: tests/unit/door_conf --man", page);
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--man") == 0) { /* how the page is made anew */
        struct buf man AUTO(buf_free) = BUF(64 * 1024);
        conf_man(&man);
        return fputs(man.p, stdout) < 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_stops_at_its_edges),
        cmocka_unit_test(values_are_read_in_their_units),
        cmocka_unit_test(bad_lines_are_refused_with_their_number),
        cmocka_unit_test(long_lines_values_and_files_are_refused),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(a_secret_in_a_world_readable_file_is_refused_and_never_quoted),
        cmocka_unit_test(a_reload_keeps_what_needs_a_restart_and_says_so),
        cmocka_unit_test(a_dump_hides_secrets_and_reads_back),
        cmocka_unit_test(the_manual_page_describes_the_keys_there_are),
    };
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
