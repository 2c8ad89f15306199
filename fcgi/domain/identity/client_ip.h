/* client_ip.h - which address a request really comes from.
 *
 * The web server's peer, unless that is a proxy the operator named: then the nearest address in
 * X-Forwarded-For that is not such a proxy. With no trusted proxies (the default) the header is
 * nobody's to write, so it is not read. Pure; any thread.
 */
#pragma once

#include "domain/identity/cidr.h"

#define CLIENT_IP_MAX_PROXIES 256

/* Writes the address in its normal form and returns a view of it; empty when remote_addr is none
 * (a Unix socket) and no trusted hop named one. */
struct str client_ip(const struct cidr *trusted, size_t n_trusted, struct str remote_addr,
                     struct str forwarded_for, char out[ADDR_TEXT_CAP]);
