/* reseal.h - brings what older generations of the keyring sealed or hashed to the newest one. */
#pragma once

#include "util/err.h"

struct db;
struct keyring;

struct reseal_report {
    int64_t seen, moved; /* secrets of keys, provider keys, credentials of services */
    int64_t waiting;     /* keys without a sealed copy and access tokens: moved by their next use */
    int64_t lost;        /* sealed by a generation that is gone */
};
/* Row by row, so it may be stopped and run again; workers must have loaded the newest generation.
 */
must_use enum err reseal_all(struct db *db, const struct keyring *keys, struct reseal_report *out);
