/* cidr.h - addresses and networks, IPv4 and IPv6 alike: an IPv4 address is its v4-mapped IPv6 one,
 * so "::ffff:192.0.2.1" and "192.0.2.1" are the same everywhere. Pure; any thread. */
#pragma once

#include "util/err.h"

#define ADDR_TEXT_CAP 46 /* an address as text with its NUL */

struct cidr {
    uint8_t addr[16]; /* IPv6, IPv4 as v4-mapped; host bits are zero */
    uint8_t bits;     /* 0..128 */
};

/* "192.0.2.1", "2001:db8::1"; no zone, no port. */
must_use bool addr_parse(struct str text, uint8_t out[16]);
/* The normal form; v4-mapped addresses as dotted IPv4. */
void addr_text(const uint8_t addr[16], char out[ADDR_TEXT_CAP]);

/* An address or "address/bits"; host bits are cleared. */
must_use bool cidr_parse(struct str text, struct cidr *out);
bool cidr_has(const struct cidr *c, const uint8_t addr[16]);
bool cidr_list_has(const struct cidr *list, size_t n, const uint8_t addr[16]);
/* Appends the normal form: an address without "/bits" when it is a single one. */
void cidr_text(const struct cidr *c, struct buf *out);

/* The next entry of a list separated by newlines, CRLF, commas or blanks; false at its end. */
bool cidr_list_next(struct str *rest, struct str *entry);
/* Parses such a list of at most `max` entries into a malloc'ed array. ERR_FIELD_VALUE names the bad
 * entry and the field. */
must_use enum err cidr_list_parse(struct str text, const char *field, size_t max, struct cidr **out,
                                  size_t *n, struct fault *f);
