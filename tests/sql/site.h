/* site.h - a site without a web server, for the checks of tests/sql: a migrated database with three
 * accounts, two extra groups and two models, a keyring, a shared file - and clients that call the
 * management endpoints as the front threads do. TAP. */
#pragma once

#include "api/api.h"
#include "domain/identity/access_token.h"
#include "domain/identity/caller.h"
#include "door/json.h"

struct site {
    struct keyring *keys;
    struct host *host;
    struct auth *auth;
    const char *socket_path, *db_name;
    char dir[40];
};
extern struct site site;

/* Starts and ends a check; site_end prints the plan and gives the exit status. */
struct db *site_start(int argc, char **argv);
int site_end(struct db **db);
struct db *session(void);
/* An empty cache of callers, with site.keys as they are now. */
void site_auth(void);
void run(struct db *db, const char *sql);
/* After `sql` has changed options: the catalogue is read again. */
void site_set(struct db *db, const char *sql);
void result(bool ok, const char *what, ...) printf_like(2, 3);

struct client {
    struct db *db;
    char token[KEY_TEXT_CAP + 80];
    const char *language, *idempotency_key, *content_type, *new_api_user, *ip;
    /* the last answer */
    struct api_reply reply;
    struct json *json;
};
/* With a new access token of the account; scopes 0 = all. */
struct client client_of(struct db *db, int64_t user_id, uint64_t scopes);
void client_free(struct client *c);
/* One request; returns the status. */
int call(struct client *c, const char *method, const char *path, const char *body);

/* Of the last answer. says and good print it when it is another. */
bool succeeded(const struct client *c);
bool good(const struct client *c);
bool says(const struct client *c, int status, const char *code);
const char *text_at(const struct client *c, const char *name);
const struct json *data(const struct client *c);
int64_t int_of(const struct json *o, const char *name);
const char *str_of_json(const struct json *o, const char *name);

/* Makes a key; returns its id and writes its text. */
int64_t make_key(struct client *c, const char *body, char text[KEY_TEXT_CAP]);
const struct json *get_key(struct client *c, int64_t id);
/* What the data path does with a key: OK or why not. */
enum err use(struct db *db, const char *text, struct str ip, struct str model, struct fault *f);
enum err use_plainly(struct db *db, const char *text);
