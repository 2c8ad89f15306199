#include "domain/admin/shelf.h"
#include "domain/admin/write.h"
#include "domain/identity/key_text.h"
#include "door/queries.h"

#define VALUE_MAX 65536

static bool name_ok(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') ||
              s.p[i] == '_' || s.p[i] == '.'))
            return false;
    return s.n > 0 && s.n <= 64;
}

/* The options that decide about keys; a slip of the pen there would be their default in silence. */
static enum err check_value(struct str name, struct str value, struct fault *f) {
    int64_t n;
    if (str_eqc(name, "key_reveal") && !str_eqc(value, "always") && !str_eqc(value, "endpoint") &&
        !str_eqc(value, "once"))
        return fault_field(f, ERR_FIELD_VALUE, "value", "key_reveal is always, endpoint or once");
    if ((str_eqc(name, "key_prefix_live") || str_eqc(name, "key_prefix_test")) &&
        !key_prefix_ok(value))
        return fault_field(
            f, ERR_FIELD_VALUE, "value",
            "a prefix has 1 to %d letters, digits, '-' and '_' and ends with '-' or '_'",
            KEY_PREFIX_MAX);
    if (str_eqc(name, "max_user_tokens") && (!str_i64(value, &n) || n < 0))
        return fault_field(f, ERR_FIELD_VALUE, "value", "max_user_tokens is a number from 0");
    return OK;
}

static enum err save(struct db *db, void *ctx) {
    const struct q_option_put_in *in = ctx;
    if (in->value.p)
        return q_option_put(db, in, NULL);
    return q_option_delete(db, &(struct q_option_delete_in){in->name}, NULL);
}

enum err option_save(struct db *db, struct host *host, struct str name, struct str value,
                     struct fault *f) {
    static const int64_t whole = 0;
    struct q_option_put_in in = {name, value};
    if (!name_ok(name))
        return fault_field(f, ERR_FIELD_VALUE, "name",
                           "an option's name has small letters, digits, '_' and '.'");
    if (value.n > VALUE_MAX || !str_utf8_ok(value))
        return fault_field(f, ERR_FIELD_VALUE, "value", "the value is too long or not UTF-8");
    enum err e = value.p ? check_value(name, value, f) : OK;
    return e ? e : admin_write(db, host, HOST_GEN_CATALOG, &whole, save, &in);
}
