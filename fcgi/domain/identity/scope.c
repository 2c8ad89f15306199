#include "domain/identity/scope.h"

static const struct {
    const char *name, *about;
    unsigned flags;
} rows[] = {
#define SCOPE(name, text, flags, about) [SCOPE_##name] = {text, about, flags},
#include "domain/identity/scope.def"
#undef SCOPE
};
static_assert(ARRAY_LEN(rows) == SCOPE__BUILTIN, "scope.def and the table differ");
static_assert((int)SCOPE__BUILTIN <= (int)SCOPE_SERVICE_FIRST, "built-in scopes overlap services'");

uint64_t scope_mask(unsigned flag) {
    uint64_t mask = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].flags & flag)
            mask |= SCOPE_BIT(i);
    return mask;
}

uint64_t scope_find(struct str name) {
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eqc(name, rows[i].name))
            return SCOPE_BIT(i);
    return 0;
}

const char *scope_name(enum scope s) {
    must(s < SCOPE__BUILTIN);
    return rows[s].name;
}

const char *scope_about(enum scope s) {
    must(s < SCOPE__BUILTIN);
    return rows[s].about;
}
