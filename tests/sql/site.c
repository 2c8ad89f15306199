#include "site.h"

#include "domain/catalog/catalog.h"
#include "domain/routing/host.h"
#include "domain/schema/migrate.h"
#include "door/conf.h"
#include "door/crypt.h"
#include "door/db.h"
#include "util/clock.h"

#include <dirent.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct site site = {.dir = "/tmp/tollgate-check.XXXXXX"};
static int count, failed;
static struct conf conf;

void result(bool ok, const char *what, ...) {
    va_list ap;
    va_start(ap, what);
    printf("%sok %d - ", ok ? "" : "not ", ++count);
    vprintf(what, ap);
    putchar('\n');
    va_end(ap);
    failed += !ok;
}

struct db *session(void) {
    struct passwd *me = getpwuid(getuid());
    must(me != NULL);
    return db_new(&(struct db_conf){site.socket_path, me->pw_name, "", site.db_name, 5, 30});
}

void run(struct db *db, const char *sql) {
    struct fault f = {0};
    if (db_script(db, str_c(sql), &f) != OK) {
        printf("Bail out! %s: %s\n", sql, f.detail);
        exit(1);
    }
}

/* Removes a directory and the plain files and directories of plain files in it. */
static void empty(const char *path) {
    char child[500];
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        if (e->d_type == DT_DIR)
            empty(child);
        else
            unlink(child);
    }
    closedir(d);
    rmdir(path);
}

/* --- a client --------------------------------------------------------------------------------- */

void client_free(struct client *c) {
    json_free(&c->json);
    api_reply_free(&c->reply);
}

struct client client_of(struct db *db, int64_t user_id, uint64_t scopes) {
    struct client c = {.db = db};
    int64_t id;
    enum err e = access_token_add(
        db, site.keys, &(struct access_token_new){user_id, -1, STR("test"), scopes}, &id, c.token);
    must(e == OK);
    api_reply_init(&c.reply);
    return c;
}

static int call_n(struct client *c, const char *method, const char *path, struct str body) {
    struct arena mem;
    struct fault f = {0};
    struct str whole = str_c(path), bare;
    arena_init(&mem, 4096);
    api_reply_free(&c->reply);
    api_reply_init(&c->reply);
    struct catalog *catalog = catalog_current();
    must(str_cut(&whole, '?', &bare));
    struct api_request req = {
        .method = str_c(method),
        .path = bare,
        .query = whole,
        .body = body,
        .content_type = str_c(c->content_type ? c->content_type : "application/json"),
        .idempotency_key = str_c(c->idempotency_key),
        .accept_language = str_c(c->language),
        .authorization = str_c(c->token),
        .new_api_user = str_c(c->new_api_user),
        .ip = str_c(c->ip ? c->ip : "192.0.2.1"),
        .request_id = STR("req_test"),
        .db = c->db,
        .conf = &conf,
        .host = site.host,
        .keys = site.keys,
        .auth = site.auth,
        .catalog = catalog,
        .mem = &mem,
    };
    const struct api_route *route = api_find(&req, &f);
    api_call(route, &req, &c->reply, &f);
    catalog_unref(&catalog);
    arena_free(&mem);
    json_free(&c->json);
    if (json_parse(buf_view(&c->reply.body), &c->json, &f) != OK) {
        printf("Bail out! %s %s answered what is not JSON: %s\n", method, path, c->reply.body.p);
        exit(1);
    }
    return c->reply.status;
}

int call(struct client *c, const char *method, const char *path, const char *body) {
    return call_n(c, method, path, str_c(body));
}

bool succeeded(const struct client *c) {
    return json_bool(json_get(c->json, "success"));
}

const char *text_at(const struct client *c, const char *name) {
    const struct json *n = json_get(c->json, name);
    return n && json_type_of(n) == JSON_STRING ? json_str(n).p : "";
}

bool says(const struct client *c, int status, const char *code) {
    bool fits = c->reply.status == status && !succeeded(c) && strcmp(text_at(c, "code"), code) == 0;
    if (!fits)
        printf("# %d %s\n", c->reply.status, c->reply.body.p);
    return fits;
}

bool good(const struct client *c) {
    bool fits = c->reply.status == 200 && succeeded(c);
    if (!fits)
        printf("# %d %s\n", c->reply.status, c->reply.body.p);
    return fits;
}

const struct json *data(const struct client *c) {
    return json_get(c->json, "data");
}

int64_t int_of(const struct json *o, const char *name) {
    const struct json *n = o ? json_get(o, name) : NULL;
    return n && json_type_of(n) == JSON_INT ? json_int(n) : INT64_MIN;
}

const char *str_of_json(const struct json *o, const char *name) {
    const struct json *n = o ? json_get(o, name) : NULL;
    return n && json_type_of(n) == JSON_STRING ? json_str(n).p : "";
}

int64_t make_key(struct client *c, const char *body, char text[KEY_TEXT_CAP]) {
    call(c, "POST", "/api/token/?return=1", body);
    if (!good(c))
        return 0;
    snprintf(text, KEY_TEXT_CAP, "%s", str_of_json(data(c), "key"));
    return int_of(data(c), "id");
}

const struct json *get_key(struct client *c, int64_t id) {
    char path[64];
    snprintf(path, sizeof path, "/api/token/%lld", (long long)id);
    call(c, "GET", path, "");
    return data(c);
}

enum err use(struct db *db, const char *text, struct str ip, struct str model, struct fault *f) {
    const struct caller *caller AUTO(caller_unref) = NULL;
    int64_t pin;
    enum err e = auth_key(site.auth, db, str_c(text), &caller, &pin, f);
    if (e == OK)
        e = auth_use(caller, clock_unix_s(), ip, pin, f);
    return e != OK ? e : auth_model(caller, model, f);
}

enum err use_plainly(struct db *db, const char *text) {
    struct fault f;
    return use(db, text, STR("192.0.2.1"), STR("gpt-4o"), &f);
}

static const struct conf *in_force(void) {
    return &conf;
}

void site_auth(void) {
    auth_free(&site.auth);
    site.auth = auth_new(site.host, site.keys, in_force);
}

static void prepare(struct db *db) {
    struct fault f = {0};
    char path[120];
    must(schema_migrate(db, NULL, &f) == OK);
    run(db, "INSERT INTO users (id, username, created_at) VALUES (1, 'one', 1), (2, 'two', 1), "
            "(3, 'three', 1);"
            "INSERT INTO `groups` (name, selectable) VALUES ('vip', FALSE), ('fast', TRUE);"
            "INSERT INTO models (name) VALUES ('gpt-4o'), ('claude-3');");
    must(mkdtemp(site.dir) != NULL);
    snprintf(path, sizeof path, "%s/secrets", site.dir);
    must(keyring_init(path, false, &f) == OK && keyring_load(path, &site.keys, &f) == OK);
    must(host_open(site.dir, &site.host, &f) == OK);
    conf_defaults(&conf);
    site_auth();
    struct catalog *catalog = NULL;
    must(catalog_load(db, site.keys, &catalog, &f) == OK);
    catalog_publish(catalog);
}

void site_set(struct db *db, const char *sql) {
    struct catalog *catalog = NULL;
    run(db, sql);
    must(catalog_load(db, site.keys, &catalog, NULL) == OK);
    catalog_publish(catalog);
}

struct db *site_start(int argc, char **argv) {
    if (argc != 3)
        exit(2);
    site.socket_path = argv[1];
    site.db_name = argv[2];
    crypt_init();
    db_library_init();
    struct db *db = session();
    prepare(db);
    return db;
}

int site_end(struct db **db) {
    auth_free(&site.auth);
    host_close(&site.host);
    keyring_free(&site.keys);
    catalog_publish(NULL);
    db_free(db);
    empty(site.dir);
    printf("1..%d\n", count);
    return failed != 0;
}
