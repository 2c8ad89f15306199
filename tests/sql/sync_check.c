/* sync_check SOCKET NAME - the catalogue and two hosts in step over one database. TAP. */
#include "domain/catalog/catalog.h"
#include "domain/routing/sync.h"
#include "domain/schema/migrate.h"
#include "door/crypt.h"
#include "door/db.h"
#include "door/queries.h"
#include "util/clock.h"

#include <dirent.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int count, failed;

static void result(bool ok, const char *what) {
    printf("%sok %d - %s\n", ok ? "" : "not ", ++count, what);
    failed += !ok;
}

static const char *socket_path, *db_name;
static struct keyring *keys;

static struct db *session(void) {
    struct passwd *me = getpwuid(getuid());
    must(me != NULL);
    return db_new(&(struct db_conf){socket_path, me->pw_name, "", db_name, 5, 30});
}

static void run(struct db *db, const char *sql) {
    struct fault f = {0};
    if (db_script(db, str_c(sql), &f) != OK) {
        printf("Bail out! %s: %s\n", sql, f.detail);
        exit(1);
    }
}

/* Removes a directory and the plain files in it. */
static void empty(const char *dir) {
    char path[400];
    DIR *d = opendir(dir);
    must(d != NULL);
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.')
            remove(path);
    }
    closedir(d);
    remove(dir);
}

struct site { /* one host: its own shared file, worker and session */
    char dir[40];
    struct host *host;
    struct db *db;
    struct sync *sync;
};

static void open_site(struct site *s) {
    snprintf(s->dir, sizeof s->dir, "/tmp/tollgate-sync-XXXXXX");
    must(mkdtemp(s->dir) != NULL);
    must(host_open(s->dir, &s->host, NULL) == OK);
    s->db = session();
    must(sync_new(s->host, keys, s->db, &s->sync, NULL) == OK);
}

static void close_site(struct site *s) {
    sync_free(&s->sync, s->db);
    db_free(&s->db);
    host_close(&s->host);
    empty(s->dir);
}

static enum err note(struct db *db, void *ctx) {
    return change_note(db, ctx);
}

/* As every writer does: note, commit, apply. */
static void write_change(struct site *s, enum host_gen kind, int64_t id) {
    struct change c = {.kind = kind, .entity_id = id};
    must(db_transaction(s->db, false, note, &c) == OK);
    change_apply(s->host, &c);
}

/* ---- the catalogue ---- */

static void add_channel(struct db *db, const char *name, const char *secret, bool good) {
    struct buf sealed AUTO(buf_free) = BUF(1000), sql AUTO(buf_free) = BUF(8000);
    crypt_seal(keys, good ? "channel_key" : "something_else", str_c(secret), &sealed);
    buf_printf(&sql,
               "INSERT INTO channels (name, type, base_url) VALUES ('%s', 0, "
               "'https://p.example/v1/'); SET @c = LAST_INSERT_ID();"
               "INSERT INTO channel_keys (channel_id, sealed) VALUES (@c, x'",
               name);
    buf_hex(&sql, sealed.p, sealed.n);
    buf_printf(&sql,
               "'); INSERT INTO channel_groups SELECT @c, id FROM `groups`;"
               "INSERT INTO channel_models VALUES (@c, 'gpt-a'), (@c, 'gpt-b');"
               "INSERT INTO channel_mappings VALUES (@c, 'gpt-a', 'provider-%s')",
               name);
    run(db, sql.p);
}

static void check_catalogue(struct db *db) {
    run(db, "INSERT INTO options VALUES ('system_name', 'Nómada')");
    run(db, "INSERT INTO `groups` (name, ratio, drain, auto_rank) VALUES ('vip', 500000000, 1, 1),"
            " ('auto', 1, 0, -1)");
    run(db, "INSERT INTO group_ratios SELECT a.id, b.id, 250000000 FROM `groups` a, `groups` b"
            " WHERE a.name = 'vip' AND b.name = 'default'");
    run(db, "INSERT INTO price_versions (model, completion, created_s) VALUES (1250000000, "
            "4000000000, 1);"
            "INSERT INTO models (name, price_id, default_max_tokens)"
            " VALUES ('gpt-a', LAST_INSERT_ID(), 99)");
    add_channel(db, "good", "provider-secret-1", true);
    add_channel(db, "foreign", "provider-secret-2", false);
    run(db, "INSERT INTO channels (name, type, base_url, weight) VALUES"
            " ('odd type', 9, 'https://x.example', 1), ('odd url', 0, 'gopher://x', 1),"
            " ('odd weight', 0, 'https://x.example', -5), ('no key', 0, 'https://x.example', 1)");
    struct catalog *c AUTO(catalog_unref) = NULL;
    must(catalog_load(db, keys, &c, NULL) == OK);
    const struct group *vip = catalog_group(c, STR("vip")), *def = catalog_group(c, STR("default"));
    const struct model *a = catalog_model(c, STR("gpt-a"));
    const struct ability *ability = catalog_ability(c, vip, STR("gpt-a"));
    result(str_eqc(catalog_option(c, "system_name", STR("")), "N\xC3\xB3mada"), "options are read");
    result(vip && def && catalog_ratio(c, vip, def) == RATIO_ONE / 4 &&
               catalog_ratio(c, def, vip) == RATIO_ONE / 2 && vip->leave == LEAVE_DRAIN,
           "groups and their ratios are read");
    result(!catalog_group(c, STR("auto")), "a group named auto is left out");
    result(a && a->price && a->price->model == RATIO_ONE / 4 * 5 && a->default_max_tokens == 99,
           "models have their price");
    result(ability && ability->n == 1 && str_eqc(ability->channels[0]->name, "good") &&
               str_eqc(ability->channels[0]->keys[0], "provider-secret-1") &&
               str_eqc(ability->channels[0]->mapping[0].to, "provider-good") &&
               str_eqc(ability->channels[0]->base_url, "https://p.example/v1"),
           "a channel whose key cannot be unsealed serves nothing, the good one does");
    result(catalog_ability(c, def, STR("gpt-b")) && !catalog_model(c, STR("gpt-b"))->price,
           "a model that only a channel names has no price");
    int channels = 0;
    for (int64_t id = 1; id < 20; id++)
        channels += catalog_channel(c, id) != NULL;
    result(channels == 2, "rows that make no sense are left out, the others stay");
    run(db, "DELETE FROM channels WHERE name LIKE 'odd%'");
}

static enum err read_twice(struct db *db, void *ctx) {
    struct db *other = ctx;
    struct q_schema_version v;
    enum err e = q_schema_version(db, &v);
    int64_t before = v.version;
    run(other, "INSERT INTO schema_version VALUES (99, 'x', 0)");
    if (!e)
        e = q_schema_version(db, &v);
    run(other, "DELETE FROM schema_version WHERE version = 99");
    return e ? e : before == v.version ? OK : ERR_CONFLICT;
}

/* ---- hosts in step ---- */

struct overtaken {
    struct site *here, *there;
    struct change slow;
    bool quick_seen, slow_hidden;
};

/* The slow writer has its id; a quicker one gets a higher id, commits first and is seen. */
static enum err note_and_dawdle(struct db *db, void *ctx) {
    struct overtaken *o = ctx;
    enum err e = change_note(db, &o->slow);
    if (e)
        return e;
    struct db *quick AUTO(db_free) = session();
    struct change c = {.kind = HOST_GEN_KEY, .entity_id = 200};
    uint32_t before = host_gen(o->there->host, HOST_GEN_KEY, 200),
             slow = host_gen(o->there->host, HOST_GEN_KEY, 100);
    must(db_transaction(quick, false, note, &c) == OK);
    must(c.id > o->slow.id);
    sync_tick(o->there->sync, o->there->db);
    o->quick_seen = host_gen(o->there->host, HOST_GEN_KEY, 200) == before + 1;
    o->slow_hidden = host_gen(o->there->host, HOST_GEN_KEY, 100) == slow;
    return OK;
}

static void check_out_of_order(struct site *here, struct site *there) {
    struct overtaken o = {here, there, {.kind = HOST_GEN_KEY, .entity_id = 100}, false, false};
    uint32_t before = host_gen(there->host, HOST_GEN_KEY, 100);
    must(db_transaction(here->db, false, note_and_dawdle, &o) == OK);
    result(o.quick_seen && o.slow_hidden, "a change is seen when it is committed, not before");
    sync_tick(there->sync, there->db);
    result(host_gen(there->host, HOST_GEN_KEY, 100) == before + 1,
           "a change whose id was overtaken by a later one is not lost");
    uint32_t now = host_gen(there->host, HOST_GEN_KEY, 100);
    for (int i = 0; i < 5; i++)
        sync_tick(there->sync, there->db);
    result(host_gen(there->host, HOST_GEN_KEY, 100) == now, "looking back applies nothing twice");
}

static int64_t current_ratio(void) {
    struct catalog *c AUTO(catalog_unref) = catalog_current();
    return catalog_group(c, STR("vip"))->ratio;
}

static void check_hosts(struct site *here, struct site *there) {
    uint32_t far = host_gen(there->host, HOST_GEN_USER, 7),
             near = host_gen(here->host, HOST_GEN_USER, 7);
    write_change(here, HOST_GEN_USER, 7);
    result(host_gen(here->host, HOST_GEN_USER, 7) == near + 1, "here a change is in force at once");
    sync_tick(here->sync, here->db);
    result(host_gen(here->host, HOST_GEN_USER, 7) == near + 1, "the log does not repeat it here");
    sync_tick(there->sync, there->db);
    result(host_gen(there->host, HOST_GEN_USER, 7) == far + 1, "the other host follows");
    write_change(here, HOST_GEN_USER, 7);
    run(here->db, "UPDATE changes SET kind = 99 ORDER BY id DESC LIMIT 1");
    sync_tick(there->sync, there->db);
    result(host_gen(there->host, HOST_GEN_USER, 7) == far + 1,
           "a kind of a newer version is passed over");

    run(here->db, "UPDATE `groups` SET ratio = 123 WHERE name = 'vip'");
    sync_tick(there->sync, there->db);
    result(current_ratio() != 123, "the catalogue is not read again without a reason");
    write_change(here, HOST_GEN_CATALOG, 0);
    int64_t start = clock_mono_ms();
    sync_tick(there->sync, there->db);
    result(current_ratio() == 123 && clock_mono_ms() - start < 500,
           "the other host has the new catalogue with its next look");
    run(here->db, "UPDATE `groups` SET ratio = 456 WHERE name = 'vip'");
    sync_reload(there->sync);
    sync_tick(there->sync, there->db);
    result(current_ratio() == 456, "a reload reads it in any case");
}

static enum err note_and_fail(struct db *db, void *ctx) {
    enum err e = change_note(db, ctx);
    return e ? e : ERR_ABSENT;
}

static void check_failures(struct site *here, struct site *there) {
    struct change c = {.kind = HOST_GEN_KEY, .entity_id = 300};
    uint32_t before = host_gen(there->host, HOST_GEN_KEY, 300);
    must(db_transaction(here->db, false, note_and_fail, &c) == ERR_ABSENT);
    sync_tick(there->sync, there->db);
    result(host_gen(there->host, HOST_GEN_KEY, 300) == before,
           "what was rolled back changes nothing");
    must(db_transaction(here->db, false, note, &c) == OK); /* and the writer dies here */
    sync_tick(here->sync, here->db);
    result(host_gen(here->host, HOST_GEN_KEY, 300) == 1, "the log makes good for a killed writer");
    run(there->db, "RENAME TABLE changes TO away");
    sync_tick(here->sync, here->db); /* fails, is logged, and goes on later */
    run(there->db, "RENAME TABLE away TO changes");
    write_change(there, HOST_GEN_KEY, 300);
    sync_tick(here->sync, here->db);
    result(host_gen(here->host, HOST_GEN_KEY, 300) == 2, "a failed look is made up for");
}

/* How many rows of the worker there were; none is left. */
static int64_t remove_worker(struct db *db, int64_t id) {
    struct db_done done;
    must(q_worker_remove(db, &(struct q_worker_remove_in){id}, &done) == OK);
    return done.affected;
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    socket_path = argv[1];
    db_name = argv[2];
    char secrets[] = "/tmp/tollgate-sync-keys-XXXXXX";
    must(mkdtemp(secrets) != NULL);
    struct fault f = {0};
    crypt_init();
    db_library_init();
    must(keyring_init(secrets, false, &f) == OK && keyring_load(secrets, &keys, &f) == OK);
    struct db *db AUTO(db_free) = session(), *other AUTO(db_free) = session();
    must(schema_migrate(db, NULL, &f) == OK);
    check_catalogue(db);
    result(db_snapshot(db, read_twice, other) == OK, "a snapshot sees one moment");
    struct site here, there;
    open_site(&here);
    open_site(&there);
    int64_t id = sync_worker_id(here.sync);
    result(id != sync_worker_id(there.sync), "each worker has its own id");
    check_hosts(&here, &there);
    check_out_of_order(&here, &there);
    check_failures(&here, &there);
    result(remove_worker(db, sync_worker_id(there.sync)) == 1, "a running worker has a row");
    close_site(&here);
    close_site(&there);
    result(remove_worker(db, id) == 0, "a worker that stops takes its row away");
    catalog_publish(NULL);
    keyring_free(&keys);
    empty(secrets);
    printf("1..%d\n", count);
    return failed != 0;
}
