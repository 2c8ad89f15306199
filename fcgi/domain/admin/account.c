#include "domain/admin/account.h"

#include "domain/admin/write.h"
#include "domain/billing/credit.h"
#include "door/crypt.h"
#include "door/queries.h"
#include "util/clock.h"

static const struct {
    const char *name;
    int64_t role;
} roles[] = {{"user", 1}, {"admin", 10}, {"root", 100}};

bool account_role_parse(struct str name, int64_t *role) {
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (str_eqc(name, roles[i].name)) {
            *role = roles[i].role;
            return true;
        }
    return false;
}

const char *account_role_name(int64_t role) {
    for (size_t i = 0; i < ARRAY_LEN(roles); i++)
        if (roles[i].role == role)
            return roles[i].name;
    return "unknown";
}

static bool plain_text(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
            return false;
    return s.n > 0 && s.n <= 190 && str_utf8_ok(s);
}

static enum err check(const struct account_new *a, struct fault *f) {
    ptrdiff_t at = str_find(a->email, '@');
    if (!plain_text(a->email) || at <= 0 || (size_t)at + 1 == a->email.n)
        return fault_field(f, ERR_FIELD_VALUE, "email", "'%.*s' is no e-mail address",
                           STR_ARG(a->email));
    if (!plain_text(a->username))
        return fault_field(f, ERR_FIELD_VALUE, "username", "a name has 1 to 190 bytes, no blanks");
    if (a->balance < 0 || a->balance > ACCOUNT_BALANCE_MAX)
        return fault_field(f, ERR_FIELD_VALUE, "quota", "a balance is 0 to %lld",
                           (long long)ACCOUNT_BALANCE_MAX);
    return OK;
}

static enum err hash_password(struct str password, char hash[128], struct fault *f) {
    if (!str_utf8_ok(password) || str_utf8_count(password) < ACCOUNT_PASSWORD_MIN ||
        password.n > ACCOUNT_PASSWORD_MAX)
        return fault_field(f, ERR_FIELD_VALUE, "password", "a password has %d to %d characters",
                           ACCOUNT_PASSWORD_MIN, ACCOUNT_PASSWORD_MAX);
    enum err e = crypt_password_hash(password, hash);
    return e ? fault_set(f, e, NULL) : OK;
}

struct adding {
    struct account_new *a;
    struct str hash;
    struct fault *f;
};

static enum err credit(struct db *db, const struct account_new *a) {
    if (!a->balance)
        return OK;
    return credit_give_in(db, &(struct credit){.kind = ALLOW_USER,
                                               .user_id = a->id,
                                               .amount = a->balance,
                                               .source = CREDIT_GIFT,
                                               .reason = STR("first balance")});
}

static enum err add(struct db *db, void *ctx) {
    struct adding *w = ctx;
    struct account_new *a = w->a;
    struct q_group_by_name group;
    struct db_done done;
    enum err e = q_group_by_name(db, &(struct q_group_by_name_in){.name = a->group}, &group);
    if (e == ERR_DB_NO_ROW)
        return fault_field(w->f, ERR_FIELD_VALUE, "group", "there is no group '%.*s'",
                           STR_ARG(a->group));
    if (!e)
        e = q_user_insert(db,
                          &(struct q_user_insert_in){.email = a->email,
                                                     .username = a->username,
                                                     .password_hash = w->hash,
                                                     .role = a->role,
                                                     .user_group = a->group,
                                                     .created_at = clock_unix_s()},
                          &done);
    if (e == ERR_DB_DUPLICATE)
        return fault_set(w->f, ERR_EXISTS, "An account with this e-mail address or name");
    if (e)
        return e;
    a->id = done.insert_id;
    return credit(db, a);
}

enum err account_add(struct db *db, struct host *host, struct account_new *a, struct fault *f) {
    char hash[128];
    if (!a->username.n) {
        ptrdiff_t at = str_find(a->email, '@');
        a->username = str_sub(a->email, 0, at < 0 ? a->email.n : (size_t)at);
    }
    enum err e = check(a, f);
    if (!e)
        e = hash_password(a->password, hash, f);
    if (e)
        return e;
    struct adding w = {a, str_c(hash), f};
    return admin_write(db, host, HOST_GEN_USER, &a->id, add, &w);
}

enum err account_find(struct db *db, struct str who, int64_t *id, struct fault *f) {
    struct q_user_by_name row;
    int64_t number;
    if (!str_i64(who, &number))
        number = 0;
    enum err e = q_user_by_name(
        db, &(struct q_user_by_name_in){.id = number, .email = who, .username = who}, &row);
    if (e == ERR_DB_NO_ROW)
        return fault_set(f, ERR_ABSENT, "account '%.*s'", STR_ARG(who));
    if (!e)
        *id = row.id;
    return e;
}

struct changing {
    int64_t id;
    struct str hash;
    enum account_status status;
};

static enum err set_password(struct db *db, void *ctx) {
    const struct changing *w = ctx;
    return q_user_set_password(
        db, &(struct q_user_set_password_in){.password_hash = w->hash, .id = w->id}, NULL);
}

enum err account_set_password(struct db *db, struct host *host, int64_t id, struct str password,
                              struct fault *f) {
    char hash[128];
    enum err e = hash_password(password, hash, f);
    struct changing w = {.id = id, .hash = str_c(hash)};
    return e ? e : admin_write(db, host, HOST_GEN_USER, &id, set_password, &w);
}

static enum err set_status(struct db *db, void *ctx) {
    const struct changing *w = ctx;
    return q_user_set_status(
        db, &(struct q_user_set_status_in){.status = (int64_t)w->status, .id = w->id}, NULL);
}

enum err account_set_status(struct db *db, struct host *host, int64_t id,
                            enum account_status status) {
    struct changing w = {.id = id, .status = status};
    return admin_write(db, host, HOST_GEN_USER, &id, set_status, &w);
}

struct limiting {
    int64_t id;
    const struct account_limits *l;
};

static enum err set_limits(struct db *db, void *ctx) {
    const struct limiting *w = ctx;
    const struct account_limits *l = w->l;
    struct q_user_limits_get old;
    enum err e = q_user_limits_get(db, &(struct q_user_limits_get_in){w->id}, &old);
    if (!e)
        e = q_user_limits_set(
            db,
            &(struct q_user_limits_set_in){
                l->has.rpm ? l->rpm : old.rpm_limit, l->has.tpm ? l->tpm : old.tpm_limit,
                l->has.concurrency ? l->concurrency : old.concurrency_limit, w->id},
            NULL);
    return e ? e : budget_save(db, BUDGET_OF_USER, w->id, &l->budgets);
}

enum err account_set_limits(struct db *db, struct host *host, int64_t id,
                            const struct account_limits *l, struct fault *f) {
    if (l->rpm < 0 || l->tpm < 0 || l->concurrency < 0)
        return fault_field(f, ERR_FIELD_VALUE, "limit", "a limit is 0 (none) or more");
    struct limiting w = {id, l};
    return admin_write(db, host, HOST_GEN_USER, &id, set_limits, &w);
}
