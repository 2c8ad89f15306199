/* address.h - which socket addresses lie outside the public internet. Pure; any thread. */
#pragma once

#include "util/base.h"

struct sockaddr;

/* True for loopback, private, link-local, shared (RFC 6598), multicast, reserved and unspecified
 * addresses (IANA special-purpose registries), IPv4 addresses inside IPv6 ones included, and for
 * every family that is neither IPv4 nor IPv6. */
bool address_is_private(const struct sockaddr *sa);
