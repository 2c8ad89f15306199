#include "domain/identity/client_ip.h"

/* "192.0.2.1", "192.0.2.1:4711", "2001:db8::1", "[2001:db8::1]:4711", quotes allowed. */
static bool parse_hop(struct str hop, uint8_t out[16]) {
    hop = str_trim(hop);
    if (hop.n >= 2 && hop.p[0] == '"' && hop.p[hop.n - 1] == '"')
        hop = str_sub(hop, 1, hop.n - 2);
    if (hop.n && hop.p[0] == '[') {
        ptrdiff_t end = str_find(hop, ']');
        return end > 0 && addr_parse(str_sub(hop, 1, (size_t)end - 1), out);
    }
    ptrdiff_t colon = str_find(hop, ':');
    if (colon > 0 && str_find(str_from(hop, (size_t)colon + 1), ':') < 0)
        hop = str_sub(hop, 0, (size_t)colon);
    return addr_parse(hop, out);
}

/* Cuts the last comma-separated part off. */
static struct str last_part(struct str *list) {
    size_t from = list->n;
    while (from > 0 && list->p[from - 1] != ',')
        from--;
    struct str part = str_from(*list, from);
    *list = str_sub(*list, 0, from ? from - 1 : 0);
    return part;
}

struct str client_ip(const struct cidr *trusted, size_t n_trusted, struct str remote_addr,
                     struct str forwarded_for, char out[ADDR_TEXT_CAP]) {
    uint8_t addr[16], hop[16];
    out[0] = '\0';
    if (!addr_parse(str_trim(remote_addr), addr))
        return str_c(out);
    while (forwarded_for.n && cidr_list_has(trusted, n_trusted, addr)) {
        if (!parse_hop(last_part(&forwarded_for), hop))
            break; /* what stands left of it was not written by anyone we trust */
        memcpy(addr, hop, sizeof addr);
    }
    addr_text(addr, out);
    return str_c(out);
}
