/* access_token.h - personal access tokens: credentials of an account for the management API.
 *
 * Their text is a key text with a prefix of its own; stored is the keyed hash. Read from the
 * database at each use, so a revocation is in force everywhere at once. */
#pragma once

#include "domain/identity/caller.h"
#include "domain/identity/key_text.h"

#define ACCESS_TOKEN_PREFIX "tgat_"
#define ACCESS_TOKEN_MAX 100 /* live ones of an account */

/* Who an access token stands for. */
struct identity {
    int64_t user_id, token_id;
    enum role role;
    bool user_disabled;
    uint64_t scopes; /* 0 = all rights of the account */
    char user_name[256], user_group[65], language[16];
};

/* Does the text look like one at all? */
bool access_token_shaped(struct str text);
/* ERR_TOKEN_INVALID for unknown, expired and revoked ones. Notes the use, at most once a minute. */
must_use enum err access_token_find(struct db *db, const struct keyring *keys, struct str text,
                                    struct str ip, struct identity *out);

struct access_token_new {
    int64_t user_id, expires_at; /* unix s, -1 = never */
    struct str name;
    uint64_t scopes; /* 0 = all rights of the account */
};
/* The text is told once, here. */
must_use enum err access_token_add(struct db *db, const struct keyring *keys,
                                   const struct access_token_new *t, int64_t *id,
                                   char text[KEY_TEXT_CAP]);
