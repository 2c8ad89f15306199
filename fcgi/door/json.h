/* json.h - json-c: management bodies and dialect conversion (never the relay's hot path).
 *
 * A tree belongs to one thread. Reading is strict (RFC 8259): whole text, valid UTF-8, depth <= 32,
 * no duplicate members, no NaN; nothing is coerced. An integer outside int64 is a JSON_DOUBLE, so
 * it fails as the wrong type where an integer is wanted and is written back unchanged elsewhere.
 * Getters fill a fault that names the field. Writing is done with buf_json and friends.
 */
#pragma once

#include "util/err.h"

struct json; /* an owned tree or a borrowed node of one */

enum json_type {
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,
    JSON_DOUBLE,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

/* Owned tree in *out, or ERR_BODY_EMPTY, ERR_BODY_NOT_JSON, ERR_FIELD_DUPLICATE. */
must_use enum err json_parse(struct str text, struct json **out, struct fault *f);
void json_free(struct json **tree);

enum json_type json_type_of(const struct json *node);
/* Borrowed member or NULL when absent; a JSON null is a node of type JSON_NULL. */
struct json *json_get(const struct json *object, const char *name);
size_t json_length(const struct json *array);
struct json *json_at(const struct json *array, size_t i);
struct str json_str(const struct json *node); /* must be JSON_STRING */
int64_t json_int(const struct json *node);    /* must be JSON_INT */
bool json_bool(const struct json *node);      /* must be JSON_BOOL */
double json_double(const struct json *node);  /* JSON_INT or JSON_DOUBLE */
/* Calls fn for each member; stops at the first error and returns it. */
must_use enum err json_each(const struct json *object,
                            enum err (*fn)(void *ctx, struct str name, struct json *value),
                            void *ctx);
/* The compact text of the tree, appended. */
void json_write(struct buf *out, const struct json *node);

/* Typed members. Absent leaves *out alone and returns OK, `*given` (may be NULL) tells; null
 * counts as absent. A wrong type: ERR_FIELD_TYPE naming the field. */
must_use enum err json_want_str(const struct json *o, const char *name, struct str *out,
                                bool *given, struct fault *f);
must_use enum err json_want_int(const struct json *o, const char *name, int64_t *out, bool *given,
                                struct fault *f);
must_use enum err json_want_bool(const struct json *o, const char *name, bool *out, bool *given,
                                 struct fault *f);
/* Refuses members that are not in the NULL-terminated list: ERR_FIELD_UNKNOWN. */
must_use enum err json_only(const struct json *o, const char *const *names, struct fault *f);
