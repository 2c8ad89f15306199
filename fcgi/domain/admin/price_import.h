/* price_import.h - prices from LiteLLM's model_prices_and_context_window.json.
 *
 * An object of models; the costs of a token are read as decimal texts, never as floating point.
 * Each changed model is one transaction (shelf.h), so a run that was cut can simply be repeated.
 */
#pragma once

#include "util/err.h"

struct db;
struct host;

enum price_import_result {
    PRICE_IMPORT_ADDED,
    PRICE_IMPORT_CHANGED,
    PRICE_IMPORT_SAME,
    PRICE_IMPORT_SKIPPED,
    PRICE_IMPORT__MAX
};

struct price_import {
    bool dry_run;       /* says what would be done */
    bool only_existing; /* leaves models out that are not offered yet */
    /* told of each model; detail: the old and new price, or why it was skipped */
    void (*tell)(void *ctx, struct str model, enum price_import_result result, const char *detail);
    void *ctx;
};

const char *price_import_result_name(enum price_import_result r);
/* ERR_BODY_NOT_JSON and friends, ERR_FIELD_TYPE when the text is no object, the database's. */
must_use enum err price_import_run(struct db *db, struct host *host, struct str text,
                                   const struct price_import *how, struct fault *f);
