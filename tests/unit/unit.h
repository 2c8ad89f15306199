/* unit.h - cmocka with what it needs included, and views as arguments. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "util/str.h"

#define assert_str(s, lit)                            \
    do {                                              \
        struct str got_ = (s);                        \
        assert_int_equal(got_.n, strlen(lit));        \
        if (got_.n)                                   \
            assert_memory_equal(got_.p, lit, got_.n); \
    } while (0)
