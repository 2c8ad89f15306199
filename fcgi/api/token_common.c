#include "api/token_common.h"

#include "domain/identity/caller.h"
#include "door/json.h"

struct audit_event token_actor(struct api_request *req) {
    const char *credential = req->token_id ? "access_token" : "api_key";
    int64_t id = req->token_id ? req->token_id : req->caller->key_id;
    return (struct audit_event){
        .user_id = req->user_id,
        .actor_id = req->user_id,
        .actor = str_c(arena_printf(req->mem, "%s %lld", credential, (long long)id)),
        .ip = req->ip,
        .request_id = req->request_id,
    };
}

/* Ascending and each once: the order in which rows are locked. */
static void add_id(int64_t ids[TOKEN_BATCH_MAX], size_t *n, int64_t id) {
    size_t at = *n;
    for (size_t i = 0; i < *n; i++)
        if (ids[i] == id)
            return;
    for (; at > 0 && ids[at - 1] > id; at--)
        ids[at] = ids[at - 1];
    ids[at] = id;
    ++*n;
}

enum err token_ids_read(struct api_request *req, int64_t ids[TOKEN_BATCH_MAX], size_t *n,
                        struct fault *f) {
    static const char *const known[] = {"ids", NULL};
    struct json *o AUTO(json_free) = NULL;
    enum err e = api_body(req, known, &o, f);
    if (e != OK)
        return e;
    const struct json *list = json_get(o, "ids");
    *n = 0;
    if (list && json_type_of(list) != JSON_ARRAY && json_type_of(list) != JSON_NULL)
        return fault_field(f, ERR_FIELD_TYPE, "ids", "ids must be an array of integers");
    if (!list || !json_length(list))
        return fault_field(f, ERR_PARAMETERS, "ids", NULL);
    if (json_length(list) > TOKEN_BATCH_MAX)
        return fault_field(f, ERR_BATCH_TOO_LARGE, "ids", "%d", TOKEN_BATCH_MAX);
    for (size_t i = 0; i < json_length(list); i++) {
        if (json_type_of(json_at(list, i)) != JSON_INT)
            return fault_field(f, ERR_FIELD_TYPE, "ids", "ids must be an array of integers");
        add_id(ids, n, json_int(json_at(list, i)));
    }
    return OK;
}
