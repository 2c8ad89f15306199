/* routes.h - the table of everything that can be asked outside /api (routes.def). */
#pragma once

#include "domain/catalog/catalog.h"
#include "util/err.h"

enum route_kind {
    ROUTE_RELAY,    /* metered, goes to a provider */
    ROUTE_MODELS,   /* the models the key may use */
    ROUTE_MODEL,    /* one of them */
    ROUTE_REALTIME, /* 501 with a reason */
    ROUTE_HEALTH,   /* the process lives */
    ROUTE_READY,    /* database and schema are usable */
    ROUTE_METRICS,  /* Prometheus */
    ROUTE_API,      /* management: the table of floor api decides */
};

enum route_flag {
    ROUTE_STREAM_USAGE = 1, /* knows stream_options.include_usage */
    ROUTE_MULTIPART = 2,    /* the body may be multipart/form-data */
    ROUTE_FREE = 4,         /* not charged */
    ROUTE_GEMINI = 8,       /* model and action are in the path */
    ROUTE_LENGTH = 16,      /* a request may limit the length of its answer */
};

struct route {
    const char *method;
    struct str path; /* without the '*' */
    bool prefix;
    enum route_kind kind;
    enum dialect dialect;
    unsigned family; /* COUNTER_ROUTE_... */
    unsigned flags;
};

/* ERR_URL_UNKNOWN, or ERR_METHOD with the allowed methods as the fault's detail. */
must_use enum err route_find(struct str method, struct str path, const struct route **out,
                             struct fault *f);
/* True for /api and the billing paths that answer with the management envelope. */
bool route_is_api(struct str path);
