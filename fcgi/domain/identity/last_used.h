/* last_used.h - uses of keys that wait to be written: a bounded list, emptied by one thread now and
 * then. Internal to identity/. When it is full a use is dropped; the next minute's one is noted. */
#pragma once

#include "domain/identity/cidr.h"
#include "util/lock.h"

struct db;

#define LAST_USED_INTERVAL_S 60 /* at most one write per secret in this time */

struct last_use {
    int64_t key_id, secret_id, at_s;
    char ip[ADDR_TEXT_CAP], model[128], user_agent[128];
};

struct last_used {
    struct lock lock;
    struct last_use *waiting;
    size_t n;
};

void last_used_init(struct last_used *l);
void last_used_free(struct last_used *l);
void last_used_note(struct last_used *l, int64_t key_id, int64_t secret_id, int64_t at_s,
                    struct str ip, struct str model, struct str user_agent);
/* Writes what waits. Uses that cannot be written are dropped. */
must_use enum err last_used_flush(struct last_used *l, struct db *db);
