#include "api/idempotency.h"

#include "door/crypt.h"
#include "door/queries.h"
#include "util/clock.h"

#define SEALED_FOR "idempotency"

/* What makes two requests the same: method, path with query, body. */
static void hash_request(const struct api_request *req, uint8_t out[CRYPT_HASH_LEN]) {
    struct buf text AUTO(buf_free) =
        BUF(req->method.n + req->path.n + req->query.n + req->body.n + 3);
    const struct str parts[] = {req->method, req->path, req->query, req->body};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        if (i)
            buf_putc(&text, '\n');
        buf_str(&text, parts[i]);
    }
    crypt_digest(buf_view(&text), out);
}

enum err idempotency_claim(struct api_request *req) {
    uint8_t hash[CRYPT_HASH_LEN];
    int64_t now = clock_unix_s();
    hash_request(req, hash);
    enum err e =
        q_idempotency_drop_old(req->db,
                               &(struct q_idempotency_drop_old_in){
                                   req->user_id, req->idempotency_key, now - IDEMPOTENCY_TTL_S},
                               NULL);
    if (e == OK)
        e = q_idempotency_claim(req->db,
                                &(struct q_idempotency_claim_in){req->user_id, req->idempotency_key,
                                                                 str_of(hash, sizeof hash), now},
                                NULL);
    return e == ERR_DB_DUPLICATE ? ERR_CONFLICT : e;
}

enum err idempotency_keep(struct api_request *req, const struct api_reply *reply) {
    struct buf sealed AUTO(buf_free) = BUF(reply->body.n + CRYPT_SEAL_OVERHEAD);
    crypt_seal(req->keys, SEALED_FOR, buf_view(&reply->body), &sealed);
    return q_idempotency_keep(req->db,
                              &(struct q_idempotency_keep_in){reply->status, buf_view(&sealed),
                                                              req->user_id, req->idempotency_key},
                              NULL);
}

enum err idempotency_replay(struct api_request *req, struct api_reply *reply, struct fault *f) {
    uint8_t hash[CRYPT_HASH_LEN];
    struct q_idempotency_get row;
    hash_request(req, hash);
    enum err e = q_idempotency_get(
        req->db, &(struct q_idempotency_get_in){req->user_id, req->idempotency_key}, &row);
    if (e != OK)
        return e;
    if (!str_eq(row.request_hash, str_of(hash, sizeof hash)))
        return fault_set(f, ERR_CONFLICT, NULL);
    buf_clear(&reply->body);
    reply->status = (int)row.status;
    e = crypt_unseal(req->keys, SEALED_FOR, row.answer, &reply->body);
    if (e == OK)
        api_header(reply, "Idempotency-Replayed", "true");
    return e;
}

enum err api_housekeep(struct db *db) {
    return q_idempotency_prune(
        db, &(struct q_idempotency_prune_in){clock_unix_s() - IDEMPOTENCY_TTL_S}, NULL);
}
