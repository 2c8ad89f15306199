#include "domain/identity/cidr.h"

#include <arpa/inet.h>
#include <stdlib.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

static bool is_v4(const uint8_t addr[16]) {
    return memcmp(addr, mapped, sizeof mapped) == 0;
}

bool addr_parse(struct str text, uint8_t out[16]) {
    char copy[ADDR_TEXT_CAP];
    if (memchr(text.p ? text.p : "", '\0', text.n) || !str_copy(text, copy, sizeof copy))
        return false;
    if (inet_pton(AF_INET6, copy, out) == 1)
        return true;
    memcpy(out, mapped, sizeof mapped);
    return inet_pton(AF_INET, copy, out + sizeof mapped) == 1;
}

void addr_text(const uint8_t addr[16], char out[ADDR_TEXT_CAP]) {
    const char *text = is_v4(addr) ? inet_ntop(AF_INET, addr + sizeof mapped, out, ADDR_TEXT_CAP)
                                   : inet_ntop(AF_INET6, addr, out, ADDR_TEXT_CAP);
    must(text != NULL);
}

/* Bits of byte i that belong to the network. */
static uint8_t mask_at(unsigned bits, unsigned i) {
    if (bits >= 8 * (i + 1))
        return 0xFF;
    if (bits <= 8 * i)
        return 0;
    return (uint8_t)(0xFF00u >> (bits - 8 * i));
}

static bool parse_bits(struct str text, int64_t max, uint8_t *out) {
    int64_t bits;
    if (text.n > 3 || (text.n > 1 && text.p[0] == '0') || !str_i64(text, &bits) || bits < 0 ||
        bits > max)
        return false;
    *out = (uint8_t)bits;
    return true;
}

bool cidr_parse(struct str text, struct cidr *out) {
    ptrdiff_t slash = str_find(text, '/');
    struct str addr = slash < 0 ? text : str_sub(text, 0, (size_t)slash);
    if (!addr_parse(addr, out->addr))
        return false;
    bool dotted = str_find(addr, ':') < 0;
    out->bits = 128;
    if (slash >= 0 && !parse_bits(str_from(text, (size_t)slash + 1), dotted ? 32 : 128, &out->bits))
        return false;
    /* "::ffff:10.0.0.0/8" means 10.0.0.0/8; as IPv6 it would be all of IPv4 */
    if (out->bits < 96 && is_v4(out->addr) && !dotted)
        return false;
    if (slash >= 0 && dotted)
        out->bits = (uint8_t)(out->bits + 96);
    for (unsigned i = 0; i < 16; i++)
        out->addr[i] &= mask_at(out->bits, i);
    return true;
}

bool cidr_has(const struct cidr *c, const uint8_t addr[16]) {
    for (unsigned i = 0; i < 16; i++)
        if ((addr[i] & mask_at(c->bits, i)) != c->addr[i])
            return false;
    return true;
}

bool cidr_list_has(const struct cidr *list, size_t n, const uint8_t addr[16]) {
    for (size_t i = 0; i < n; i++)
        if (cidr_has(&list[i], addr))
            return true;
    return false;
}

void cidr_text(const struct cidr *c, struct buf *out) {
    char text[ADDR_TEXT_CAP];
    addr_text(c->addr, text);
    buf_puts(out, text);
    if (c->bits == 128)
        return;
    /* A network wider than all of IPv4 is an IPv6 one, also when its address looks mapped. */
    buf_putc(out, '/');
    buf_i64(out, is_v4(c->addr) && c->bits >= 96 ? c->bits - 96 : c->bits);
}

static bool separates(char c) {
    return c == '\n' || c == '\r' || c == ',' || c == ' ' || c == '\t';
}

bool cidr_list_next(struct str *rest, struct str *entry) {
    size_t from = 0, to;
    while (from < rest->n && separates(rest->p[from]))
        from++;
    for (to = from; to < rest->n && !separates(rest->p[to]);)
        to++;
    *entry = str_sub(*rest, from, to - from);
    *rest = str_from(*rest, to);
    return entry->n > 0;
}

enum err cidr_list_parse(struct str text, const char *field, size_t max, struct cidr **out,
                         size_t *n, struct fault *f) {
    size_t count = 0;
    struct str rest = text, entry;
    *out = NULL;
    *n = 0;
    while (cidr_list_next(&rest, &entry))
        count++;
    if (count > max)
        return fault_field(f, ERR_FIELD_VALUE, field, "%s has more than %zu entries", field, max);
    struct cidr *list = base_alloc((count ? count : 1) * sizeof *list);
    for (size_t i = 0; cidr_list_next(&text, &entry); i++)
        if (!cidr_parse(entry, &list[i])) {
            free(list);
            return fault_field(f, ERR_FIELD_VALUE, field, "%s: '%.*s' is not an address or CIDR",
                               field, (int)(entry.n < 60 ? entry.n : 60), entry.p);
        }
    *out = list;
    *n = count;
    return OK;
}
