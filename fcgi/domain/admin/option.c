#include "domain/admin/shelf.h"
#include "domain/admin/write.h"
#include "door/queries.h"

#define VALUE_MAX 65536

static bool name_ok(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') ||
              s.p[i] == '_' || s.p[i] == '.'))
            return false;
    return s.n > 0 && s.n <= 64;
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
    return admin_write(db, host, HOST_GEN_CATALOG, &whole, save, &in);
}
