#include "api/handlers.h"
#include "api/token_common.h"
#include "domain/identity/key_audit.h"
#include "domain/routing/sync.h"

struct deletion {
    int64_t ids[TOKEN_BATCH_MAX];
    struct change changes[TOKEN_BATCH_MAX];
    size_t n, deleted;
    bool single; /* then it must exist */
};

static enum err delete_one(struct api_request *req, int64_t id, struct deletion *d) {
    struct audit_event who = token_actor(req);
    enum err e = key_delete(req->db, req->user_id, id);
    if (e == OK)
        e = key_audit(req->db, &who, id, "delete", STR(""));
    if (e != OK)
        return e;
    d->changes[d->deleted] = (struct change){HOST_GEN_KEY, id, 0};
    return change_note(req->db, &d->changes[d->deleted++]);
}

static enum err delete_all(struct api_request *req, struct api_reply *reply, void *ctx,
                           struct fault *f) {
    (void)f;
    struct deletion *d = ctx;
    d->deleted = 0;
    for (size_t i = 0; i < d->n; i++) {
        enum err e = delete_one(req, d->ids[i], d);
        if (e != OK && (e != ERR_RECORD_NOT_FOUND || d->single))
            return e;
    }
    if (d->single) {
        api_ok(reply);
        return OK;
    }
    buf_i64(api_data(reply), (int64_t)d->deleted);
    api_data_end(reply);
    return OK;
}

static enum err run_deletion(struct api_request *req, struct api_reply *reply, struct deletion *d,
                             struct fault *f) {
    enum err e = api_transaction(req, reply, delete_all, d, f);
    for (size_t i = 0; e == OK && i < d->deleted; i++)
        change_apply(req->host, &d->changes[i]);
    return e;
}

enum err token_delete(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct deletion d = {.ids = {req->id[0]}, .n = 1, .single = true};
    return run_deletion(req, reply, &d, f);
}

enum err token_delete_batch(struct api_request *req, struct api_reply *reply, struct fault *f) {
    struct deletion d = {.n = 0};
    enum err e = token_ids_read(req, d.ids, &d.n, f);
    return e != OK ? e : run_deletion(req, reply, &d, f);
}
