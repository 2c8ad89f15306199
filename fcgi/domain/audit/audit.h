/* audit.h - who changed what: append-only rows, one chain of hashes for each account.
 *
 * A row's hash covers its content and the hash before it; audit_heads has the number of rows and
 * the last hash. So an edited, removed, added or reordered row is found, the last one included.
 * Writers run inside the transaction of the change, as late in it as they can: the account's head
 * is locked from here to COMMIT. Details are JSON and never hold secrets.
 */
#pragma once

#include "util/err.h"

struct db;

struct audit_event {
    int64_t user_id;   /* whose account it concerns; sees it */
    int64_t key_id;    /* 0 = no key */
    const char *kind;  /* "create", "update", ... at most 32 ASCII characters */
    struct str detail; /* a JSON object */
    /* who did it, from where */
    int64_t actor_id; /* user, 0 = the operator's command line or the system */
    struct str actor; /* the credential: "access_token 12"; at most 64 bytes */
    struct str ip, request_id;
};

must_use enum err audit_write(struct db *db, const struct audit_event *ev);

struct audit_report {
    int64_t accounts, rows;
    int64_t bad_user, bad_row; /* the first wrong place; 0 = none (bad_row 0: rows are missing) */
};
/* Walks every chain. ERR_INTERNAL with a detail at the first one that does not fit. */
must_use enum err audit_verify(struct db *db, struct audit_report *out, struct fault *f);
