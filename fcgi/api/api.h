/* api.h - the frame of the management endpoints: request in, complete reply out.
 *
 * A front thread fills the upper half of an api_request, asks api_find for the route and hands both
 * to api_call, which authenticates as the route's row in routes.def says, runs the handler and
 * always leaves a whole reply - the envelope {"success","message","data"|"code"}, errors included,
 * in the caller's language. Handlers are blocking and use the thread's database session.
 */
#pragma once

#include "domain/identity/scope.h"
#include "util/arena.h"
#include "util/err.h"

struct auth;
struct billing;
struct caller;
struct catalog;
struct conf;
struct db;
struct host;
struct json;
struct keyring;

enum api_auth {
    API_PUBLIC, /* anybody */
    API_USER,   /* access token, or an API key with the route's scope */
    API_ADMIN,  /* the same with role admin or above */
    API_ROOT,
    API_KEY, /* the API key itself, also when expired or exhausted */
};

struct api_request {
    /* from the front thread */
    struct str method, path, query, body;
    struct str content_type, idempotency_key, accept_language, user_agent, authorization, cookie,
        new_api_user, origin, sec_fetch_site, host_name, github_key,
        github_signature;      /* header values, empty when absent */
    struct str ip, request_id; /* ip: textual, "" = unknown */
    struct db *db;
    const struct conf *conf;
    struct host *host;
    const struct keyring *keys;
    struct auth *auth;
    struct billing *billing;
    struct catalog *catalog; /* the caller's reference, kept until the reply is sent */
    struct arena *mem;       /* lives as long as the request */

    /* from api_find */
    int64_t id[2];     /* ":id" parts of the path in order; 0 when out of range */
    struct str arg[2]; /* ":name" parts, as they stand in the path */

    /* from authentication */
    int64_t user_id;  /* 0: nobody (API_PUBLIC) */
    int64_t token_id; /* access token, 0 = none */
    int role;         /* enum role */
    struct str user_name, user_group;
    uint64_t scopes;             /* SCOPE_ALL for an access token without scopes */
    const struct caller *caller; /* the API key that was presented, or NULL */
    enum lang lang;
};

struct api_reply {
    int status;
    const char *content_type; /* default: application/json */
    struct buf body;
    struct buf headers; /* more header lines, each with its CRLF */
};

/* Fills reply->body (by api_data and friends) or returns an error; a fault with the details. */
typedef enum err api_handler(struct api_request *req, struct api_reply *reply, struct fault *f);

struct api_route {
    const char *method, *path;
    api_handler *handler;
    enum api_auth auth;
    enum scope scope;
};

/* True when the path belongs to the management endpoints (also when no route has it). */
bool api_owns(struct str path);
/* The row for the request's method and path, with or without a slash at the end; sets id and arg.
 * NULL: fault is ERR_URL_UNKNOWN, or ERR_METHOD with the allowed methods as its detail. */
const struct api_route *api_find(struct api_request *req, struct fault *f);
void api_reply_init(struct api_reply *reply);
void api_reply_free(struct api_reply *reply);
/* route NULL answers the fault of api_find. */
void api_call(const struct api_route *route, struct api_request *req, struct api_reply *reply,
              const struct fault *found);
/* Forgets kept answers whose time is over; a minute apart, from a thread with a session. */
must_use enum err api_housekeep(struct db *db);
/* The rows of routes.def, for tests and the documentation. */
const struct api_route *api_routes(size_t *n);

/* What handlers use */

/* {"success":true,"message":""} */
void api_ok(struct api_reply *reply);
/* {"success":true,"message":"","data": - then write one JSON value and call api_data_end. */
struct buf *api_data(struct api_reply *reply);
void api_data_end(struct api_reply *reply);
void api_header(struct api_reply *reply, const char *name, const char *fmt, ...) printf_like(3, 4);

/* The body as a JSON object with only the members in `known` (NULL: any). Release with json_free;
 * strings of the tree die with it. */
must_use enum err api_body(struct api_request *req, const char *const *known, struct json **out,
                           struct fault *f);
/* A decoded query parameter (in the arena); false when absent or empty. ERR_FIELD_VALUE when it is
 * malformed. */
must_use enum err api_query(struct api_request *req, const char *name, struct str *out,
                            struct fault *f);

struct api_page {
    int64_t page, size, offset;
};
/* p, page_size (ps, size): clamped, never an error. */
struct api_page api_page(const struct api_request *req);
/* {"page":..,"page_size":..,"total":..,"items": - then write the array and a closing brace. */
void api_page_begin(struct buf *out, const struct api_page *p, int64_t total);

/* True when the credential has the scope. */
bool api_may(const struct api_request *req, enum scope s);

/* Runs fn in one transaction (see db_transaction: fn may run again, so it must compute everything
 * anew; the reply is emptied before each run). With an Idempotency-Key the answer is kept for 24
 * hours in the same transaction: the same key and body get it again without fn, another body gets
 * ERR_CONFLICT. */
typedef enum err api_work(struct api_request *req, struct api_reply *reply, void *ctx,
                          struct fault *f);
must_use enum err api_transaction(struct api_request *req, struct api_reply *reply, api_work *fn,
                                  void *ctx, struct fault *f);
