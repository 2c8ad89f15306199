/* refused.h - calls with a real key that its rules did not allow: counted in memory, told in the
 * owner's audit at most once a minute for each key and reason. Internal to identity/. */
#pragma once

#include "domain/identity/cidr.h"
#include "util/lock.h"

struct db;

#define REFUSED_INTERVAL_S 60
#define REFUSED_MAX 256 /* pairs of key and reason a minute; more are not counted */

struct refusal {
    int64_t key_id, user_id, count, since_s;
    enum err why;
    char ip[ADDR_TEXT_CAP]; /* the last one */
};

struct refused {
    struct lock lock;
    struct refusal items[REFUSED_MAX];
    size_t n;
};

void refused_init(struct refused *r);
void refused_free(struct refused *r);
void refused_note(struct refused *r, int64_t key_id, int64_t user_id, enum err why, struct str ip,
                  int64_t now_s);
/* Writes what has waited a minute at now_s; what the database did not take is kept. */
must_use enum err refused_flush(struct refused *r, struct db *db, int64_t now_s);
