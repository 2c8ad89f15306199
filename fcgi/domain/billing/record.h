/* record.h - what is known about one metered call: at its beginning (struct opened) and at its end
 * (struct bill). Both are written to the journal; the bill becomes the usage row. */
#pragma once

#include "domain/billing/lease.h"
#include "domain/billing/price.h"
#include "util/buf.h"

#define SHARE_MAX 13 /* account, key, budgets: of the key 3, the account 4, the group 4 */
#define SEAT_MAX 3

/* A call's part of one allowance. */
struct share {
    struct allow_id id;
    int64_t amount; /* held */
    bool unlimited; /* nothing is held; what it costs becomes a debt of the allowance */
};

struct opened {
    struct list node; /* the journal's list of calls under way */
    uint64_t serial;  /* of this worker's calls, from 1 */
    int64_t started_us, user_id, key_id, price_id, prompt_tokens;
    int64_t interrupted_cost; /* what is charged when the worker dies before the end is known */
    ratio group_ratio;
    uint32_t n_shares;
    bool test_mode;
    struct share shares[SHARE_MAX];
    char request_id[80], model[160];
};

struct bill {
    struct list node;
    uint64_t seq;    /* of this worker's ended calls, from 1: the order they reach the database */
    uint64_t serial; /* the opened call's; 0 = nothing was held */
    int64_t ended_us, started_us, first_byte_us, duration_us;
    int64_t user_id, key_id, group_id, channel_id, price_id;
    ratio group_ratio;
    struct usage usage;
    int64_t cost;
    int32_t status, attempts;
    uint8_t end, policy;
    bool stream, test_mode, estimated, interrupted;
    uint32_t n_shares;
    struct share shares[SHARE_MAX];
    char request_id[80], upstream_request_id[96], model[160], upstream_model[160], ip[48],
        endpoint[48], error_code[48];
};

/* Copies as much of a text as a field holds, never half a character. */
void record_text(char *field, size_t cap, struct str text);
#define RECORD_TEXT(field, text) record_text(field, sizeof(field), text)

/* Appends the record's bytes: the numbers as they lie in memory (a journal is read on the host and
 * by the program version that wrote it), of the shares those in use, then the strings with their
 * lengths. */
void opened_write(struct buf *out, const struct opened *o);
must_use bool opened_read(struct str bytes, struct opened *o);
void bill_write(struct buf *out, const struct bill *b);
must_use bool bill_read(struct str bytes, struct bill *b);

/* The bill of a call whose worker died. */
void bill_interrupted(struct bill *b, const struct opened *o, int64_t now_us);
