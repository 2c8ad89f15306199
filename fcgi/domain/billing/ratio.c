#include "domain/billing/price.h"

__extension__ typedef unsigned __int128 u128;

/* The text is digits * 10^exponent; both are gathered first, so no step can lose a digit. */
struct decimal {
    uint64_t digits; /* at most 18 significant */
    int exponent;
    bool round_up; /* the first digit that did not fit */
};

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static void push_digit(struct decimal *d, int *kept, char c, bool fraction) {
    if (*kept == 0 && c == '0') { /* leading zeros carry no digit */
        d->exponent -= fraction;
        return;
    }
    if (*kept < 18) {
        d->digits = d->digits * 10 + (uint64_t)(c - '0');
        d->exponent -= fraction;
        ++*kept;
    } else {
        d->round_up |= *kept == 18 && c >= '5';
        *kept = 19;
        d->exponent += !fraction;
    }
}

static bool parse_exponent(const char *s, size_t n, int *out) {
    size_t i = 0;
    bool minus = n && s[0] == '-';
    if (n && (s[0] == '-' || s[0] == '+'))
        i++;
    if (i == n || n - i > 3)
        return false;
    int v = 0;
    for (; i < n; i++) {
        if (!is_digit(s[i]))
            return false;
        v = v * 10 + (s[i] - '0');
    }
    *out = minus ? -v : v;
    return true;
}

static bool parse_decimal(const char *s, size_t n, struct decimal *d) {
    size_t i = 0, seen = 0;
    int kept = 0;
    bool fraction = false;
    for (; i < n && s[i] != 'e' && s[i] != 'E'; i++) {
        if (s[i] == '.' && !fraction) {
            fraction = true;
            continue;
        }
        if (!is_digit(s[i]))
            return false;
        push_digit(d, &kept, s[i], fraction);
        seen++;
    }
    if (!seen || seen > 400)
        return false;
    if (i == n)
        return true;
    int e;
    if (!parse_exponent(s + i + 1, n - i - 1, &e))
        return false;
    d->exponent += e;
    return true;
}

bool price_decimal_parse(const char *text, size_t n, int places, int64_t *out) {
    struct decimal d = {0};
    if (!parse_decimal(text, n, &d))
        return false;
    int shift = d.exponent + places;
    u128 v = d.digits;
    bool up = d.round_up && shift >= 0;
    for (; shift > 0 && v && v <= (u128)INT64_MAX; shift--)
        v *= 10;
    for (; shift < 0 && (v || up); shift++) {
        up = v % 10 >= 5;
        v /= 10;
    }
    v += up;
    if (v > (u128)INT64_C(9000000000) * (u128)RATIO_ONE)
        return false;
    *out = (int64_t)v;
    return true;
}

bool price_ratio_parse(const char *text, size_t n, ratio *out) {
    return price_decimal_parse(text, n, 9, out);
}
