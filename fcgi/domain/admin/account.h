/* account.h - accounts as an operator makes and changes them. */
#pragma once

#include "domain/billing/budget.h"

struct db;
struct host;

#define ACCOUNT_PASSWORD_MIN 8
#define ACCOUNT_PASSWORD_MAX 1024
#define ACCOUNT_BALANCE_MAX INT64_C(500000000000000) /* 1 billion USD */

enum account_status { ACCOUNT_ENABLED = 1, ACCOUNT_DISABLED = 2 };

struct account_new {
    struct str email, username; /* no username: what stands before the @ */
    struct str password, group;
    int64_t role;    /* enum role */
    int64_t balance; /* quota */
    int64_t id;      /* out */
};

/* "user", "admin" or "root"; false otherwise. */
must_use bool account_role_parse(struct str name, int64_t *role);
const char *account_role_name(int64_t role);

/* ERR_FIELD_VALUE naming what is wrong, ERR_EXISTS. */
must_use enum err account_add(struct db *db, struct host *host, struct account_new *a,
                              struct fault *f);
/* The account that `who` (number, e-mail or name) means. ERR_ABSENT. */
must_use enum err account_find(struct db *db, struct str who, int64_t *id, struct fault *f);
must_use enum err account_set_password(struct db *db, struct host *host, int64_t id,
                                       struct str password, struct fault *f);
/* Of all keys of the account together; 0 = none. What `has` does not name stays as it is. */
struct account_limits {
    struct {
        bool rpm, tpm, concurrency;
    } has;
    int64_t rpm, tpm, concurrency;
    struct budget_edit budgets;
};
/* ERR_FIELD_VALUE: a limit is below 0. */
must_use enum err account_set_limits(struct db *db, struct host *host, int64_t id,
                                     const struct account_limits *l, struct fault *f);
must_use enum err account_set_status(struct db *db, struct host *host, int64_t id,
                                     enum account_status status);
