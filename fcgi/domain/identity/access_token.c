#include "domain/identity/access_token.h"

#include "domain/identity/key_text.h"
#include "door/crypt.h"
#include "door/queries.h"
#include "util/clock.h"

#define HASHED_FOR "access_token"
#define USED_INTERVAL_S 60

bool access_token_shaped(struct str text) {
    return str_starts(text, STR(ACCESS_TOKEN_PREFIX));
}

static enum err fill(const struct q_access_token_find *row, struct identity *out) {
    *out = (struct identity){
        .user_id = row->user_id,
        .token_id = row->id,
        .role = row->role >= ROLE_ROOT    ? ROLE_ROOT
                : row->role >= ROLE_ADMIN ? ROLE_ADMIN
                                          : ROLE_USER,
        .user_disabled = row->status != 1,
        .scopes = (uint64_t)row->scopes,
    };
    bool fits = str_copy(row->username, out->user_name, sizeof out->user_name) &&
                str_copy(row->user_group, out->user_group, sizeof out->user_group) &&
                str_copy(row->language, out->language, sizeof out->language);
    return fits ? OK : ERR_INTERNAL;
}

static enum err find(struct db *db, const struct keyring *keys, struct str text, int64_t now,
                     struct q_access_token_find *row, uint8_t newest[CRYPT_HASH_LEN],
                     unsigned *edition) {
    uint8_t hash[CRYPT_GENERATIONS][CRYPT_HASH_LEN];
    struct str h[CRYPT_GENERATIONS];
    *edition = crypt_hash_all(keys, HASHED_FOR, text, hash);
    for (int i = 0; i < CRYPT_GENERATIONS; i++)
        h[i] = str_of(hash[i], CRYPT_HASH_LEN);
    memcpy(newest, hash[0], CRYPT_HASH_LEN);
    return q_access_token_find(db, &(struct q_access_token_find_in){h[0], h[1], h[2], h[3], now},
                               row);
}

enum err access_token_find(struct db *db, const struct keyring *keys, struct str text,
                           struct str ip, struct identity *out) {
    uint8_t newest[CRYPT_HASH_LEN];
    unsigned edition;
    struct q_access_token_find row;
    int64_t now = clock_unix_s();
    if (!key_text_ok(text))
        return ERR_TOKEN_INVALID;
    enum err e = find(db, keys, text, now, &row, newest, &edition);
    if (e == ERR_DB_NO_ROW && keyring_refresh(keys, edition))
        e = find(db, keys, text, now, &row, newest, &edition);
    if (e == ERR_DB_NO_ROW)
        return ERR_TOKEN_INVALID;
    if (e == OK)
        e = fill(&row, out);
    if (e != OK)
        return e;
    struct str hash = str_of(newest, sizeof newest);
    bool old = !str_eq(row.hash, hash);
    if (old || now - row.last_used_at >= USED_INTERVAL_S)
        e = q_access_token_used(db, &(struct q_access_token_used_in){now, ip, hash, row.id}, NULL);
    return e;
}

enum err access_token_add(struct db *db, const struct keyring *keys,
                          const struct access_token_new *t, int64_t *id, char text[KEY_TEXT_CAP]) {
    uint8_t hash[CRYPT_HASH_LEN];
    char hint[KEY_HINT_CAP];
    struct db_done done;
    key_text_make(STR(ACCESS_TOKEN_PREFIX), text);
    key_text_hint(str_c(text), hint);
    crypt_hash(keys, HASHED_FOR, str_c(text), hash);
    enum err e = q_access_token_insert(db,
                                       &(struct q_access_token_insert_in){
                                           .user_id = t->user_id,
                                           .name = t->name,
                                           .hash = str_of(hash, sizeof hash),
                                           .hint = str_c(hint),
                                           .scopes = (int64_t)t->scopes,
                                           .created_at = clock_unix_s(),
                                           .expires_at = t->expires_at,
                                       },
                                       &done);
    *id = e == OK ? done.insert_id : 0;
    return e;
}
