#include "domain/admin/price_import.h"

#include "domain/admin/shelf.h"
#include "door/json.h"
#include "door/queries.h"
#include "util/hash.h"

#include <stdio.h>
#include <stdlib.h>

#define PER_MILLION_PLACES 15 /* nine places of a million tokens' price */

struct known { /* a model that is offered */
    struct price price;
    int64_t default_max_tokens;
    bool priced;
    char name[];
};

struct import {
    struct db *db;
    struct host *host;
    const struct price_import *how;
    struct fault *fault;
    struct map known;
};

static uint64_t hash_known(const void *value) {
    const struct known *k = value;
    return hash_bytes(k->name, strlen(k->name));
}

static bool is_known(const void *value, const void *key) {
    const struct known *k = value;
    const struct str *name = key;
    return str_eqc(*name, k->name);
}

static enum err remember(void *ctx, const struct q_catalog_models *r) {
    struct import *im = ctx;
    struct known *k = base_zalloc(sizeof *k + r->name.n + 1);
    memcpy(k->name, r->name.p, r->name.n);
    k->priced = r->price_id.has;
    k->default_max_tokens = r->default_max_tokens;
    k->price = catalog_price_of(r);
    map_put(&im->known, k);
    return OK;
}

static bool same_price(const struct price *a, const struct price *b) {
    return a->per_call == b->per_call && a->call_quota == b->call_quota && a->model == b->model &&
           a->completion == b->completion && a->cache_read == b->cache_read &&
           a->cache_write == b->cache_write && a->cache_write_1h == b->cache_write_1h &&
           a->image == b->image && a->audio == b->audio &&
           a->audio_completion == b->audio_completion && a->search_quota == b->search_quota;
}

/* A number's own text, or nothing when the member is absent or no number. */
static bool number_text(const struct json *o, const char *name, struct buf *text) {
    const struct json *node = json_get(o, name);
    buf_clear(text);
    if (!node || (json_type_of(node) != JSON_INT && json_type_of(node) != JSON_DOUBLE))
        return false;
    json_write(text, node);
    return !text->failed;
}

/* False when the number can not be a price. */
static bool amount(const struct json *o, const char *name, int places, int64_t *out) {
    struct buf text AUTO(buf_free) = BUF(512);
    if (!number_text(o, name, &text))
        return true;
    return price_decimal_parse(text.p, text.n, places, out);
}

static bool read_tokens(const struct json *o, struct price_usd *usd) {
    const struct {
        const char *name;
        int64_t *to;
    } parts[] = {
        {"input_cost_per_token", &usd->input},
        {"output_cost_per_token", &usd->output},
        {"cache_read_input_token_cost", &usd->cached},
        {"cache_creation_input_token_cost", &usd->cache_write},
        {"cache_creation_input_token_cost_above_1hr", &usd->cache_write_1h},
        {"input_cost_per_image_token", &usd->image},
        {"input_cost_per_audio_token", &usd->audio},
        {"output_cost_per_audio_token", &usd->audio_output},
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (!amount(o, parts[i].name, PER_MILLION_PLACES, parts[i].to))
            return false;
    const struct json *search = json_get(o, "search_context_cost_per_query");
    return !search || json_type_of(search) != JSON_OBJECT ||
           amount(search, "search_context_size_medium", 9, &usd->search);
}

/* NULL, or why the entry has no price this site could charge. */
static const char *read_price(const struct json *o, struct price *price, struct fault *f) {
    struct price_usd usd = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
    if (json_type_of(o) != JSON_OBJECT)
        return "no object";
    if (!read_tokens(o, &usd) || !amount(o, "input_cost_per_request", 9, &usd.per_call))
        return "a price is negative or too large";
    struct str mode = STR("");
    if (json_want_str(o, "mode", &mode, NULL, NULL) != OK)
        return "mode is no text";
    bool image = str_eqc(mode, "image_generation");
    if (image && usd.input <= 0 && !amount(o, "output_cost_per_image", 9, &usd.per_call))
        return "a price is negative or too large";
    if (image && usd.input <= 0 && usd.per_call < 0 &&
        !amount(o, "input_cost_per_image", 9, &usd.per_call))
        return "a price is negative or too large";
    if (usd.per_call > 0 && usd.input <= 0)
        usd = (struct price_usd){-1, -1, -1, -1, -1, -1, -1, -1, usd.per_call, usd.search};
    else if (usd.input < 0)
        return "no price of a token or a call";
    else if (usd.input == 0 && usd.output > 0)
        return "only the answer has a price";
    else
        usd.per_call = -1;
    return price_from_usd(&usd, price, f) == OK ? NULL : f->detail;
}

static void describe(const struct known *k, const struct price *p, char *out, size_t cap) {
    if (p->per_call)
        snprintf(out, cap, "%lld quota a call", (long long)p->call_quota);
    else if (k && k->priced && !k->price.per_call)
        snprintf(out, cap, "model ratio %lld.%09lld, was %lld.%09lld",
                 (long long)(p->model / RATIO_ONE), (long long)(p->model % RATIO_ONE),
                 (long long)(k->price.model / RATIO_ONE), (long long)(k->price.model % RATIO_ONE));
    else
        snprintf(out, cap, "model ratio %lld.%09lld", (long long)(p->model / RATIO_ONE),
                 (long long)(p->model % RATIO_ONE));
}

/* A second price for long prompts has no place in a price version: people must know. */
static void note_tier(const struct json *o, char *detail, size_t cap) {
    static const char *const tiers[] = {"128k", "200k", "256k", "512k"};
    for (size_t i = 0; i < ARRAY_LEN(tiers); i++) {
        char name[64];
        snprintf(name, sizeof name, "input_cost_per_token_above_%s_tokens", tiers[i]);
        size_t n = strlen(detail);
        if (json_get(o, name))
            snprintf(detail + n, cap - n, "; its other price above %s tokens is left out",
                     tiers[i]);
    }
}

static enum err save(struct import *im, struct str name, const struct known *k,
                     const struct json *o, const struct price *price) {
    struct model_edit m = {.name = name, .existing = k != NULL, .price = price};
    int64_t most = 0;
    if (!k && json_want_int(o, "max_output_tokens", &most, NULL, NULL) == OK && most > 0) {
        m.default_max_tokens = most < 4096 ? most : 4096;
        m.has.default_max_tokens = true;
    }
    return im->how->dry_run ? OK : model_save(im->db, im->host, &m, im->fault);
}

static enum err import_model(void *ctx, struct str name, struct json *o) {
    struct import *im = ctx;
    const struct price_import *how = im->how;
    struct price price = {0};
    struct fault why = {0};
    char detail[200] = "";
    if (str_eqc(name, "sample_spec"))
        return OK;
    const struct known *k = map_get(&im->known, hash_bytes(name.p, name.n), &name);
    const char *reason = read_price(o, &price, &why);
    if (!reason && !k && how->only_existing)
        reason = "not offered here";
    if (!reason && name.n > 160)
        reason = "the name is too long";
    if (reason) {
        how->tell(how->ctx, name, PRICE_IMPORT_SKIPPED, reason);
        return OK;
    }
    if (k && k->priced && same_price(&k->price, &price)) {
        how->tell(how->ctx, name, PRICE_IMPORT_SAME, "");
        return OK;
    }
    describe(k, &price, detail, sizeof detail);
    note_tier(o, detail, sizeof detail);
    enum err e = save(im, name, k, o, &price);
    if (e == ERR_FIELD_VALUE) {
        how->tell(how->ctx, name, PRICE_IMPORT_SKIPPED, im->fault->detail);
        return OK;
    }
    if (!e)
        how->tell(how->ctx, name, k ? PRICE_IMPORT_CHANGED : PRICE_IMPORT_ADDED, detail);
    return e;
}

const char *price_import_result_name(enum price_import_result r) {
    static const char *const names[] = {"added", "changed", "same", "skipped"};
    static_assert(ARRAY_LEN(names) == PRICE_IMPORT__MAX, "a result without a name");
    return names[r];
}

enum err price_import_run(struct db *db, struct host *host, struct str text,
                          const struct price_import *how, struct fault *f) {
    struct import im = {.db = db, .host = host, .how = how, .fault = f};
    struct json *tree AUTO(json_free) = NULL;
    enum err e = json_parse(text, &tree, f);
    if (e)
        return e;
    if (json_type_of(tree) != JSON_OBJECT)
        return fault_set(f, ERR_FIELD_TYPE, "the file is no JSON object");
    map_init(&im.known, hash_known, is_known);
    e = q_catalog_models(db, remember, &im);
    if (!e)
        e = json_each(tree, import_model, &im);
    size_t at = 0;
    for (void *k; (k = map_next(&im.known, &at));)
        free(k);
    map_free(&im.known);
    return e;
}
