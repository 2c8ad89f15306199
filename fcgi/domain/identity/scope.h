/* scope.h - what a credential may do: bits of a mask, named in scope.def.
 *
 * In the database and in struct caller a mask of 0 never means "nothing": a key without scopes has
 * the default ones, an access token without scopes has all rights of its account.
 */
#pragma once

#include "util/str.h"

enum scope {
#define SCOPE(name, text, flags, about) SCOPE_##name,
#include "domain/identity/scope.def"
#undef SCOPE
    SCOPE__BUILTIN,
    SCOPE_SERVICE_FIRST = 16,
    SCOPE__MAX = 63 /* the mask fits a signed BIGINT */
};

enum scope_flag {
    SCOPE_F_KEY = 1,     /* an API key may have it; the others are for access tokens only */
    SCOPE_F_DEFAULT = 2, /* an API key without scopes has it */
};

#define SCOPE_BIT(s) (UINT64_C(1) << (s))
#define SCOPE_ALL (UINT64_MAX)

/* Masks of all built-in scopes with a flag. */
uint64_t scope_mask(unsigned flag);
/* The built-in scope's bit by name, 0 when there is none. */
uint64_t scope_find(struct str name);
const char *scope_name(enum scope s); /* s < SCOPE__BUILTIN */
const char *scope_about(enum scope s);
