#include "door/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

struct net4 {
    uint32_t net;
    int bits;
};

#define NET4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (c) << 8 | (d))

static bool v4_is_private(uint32_t ip) {
    static const struct net4 nets[] = {
        {NET4(0, 0, 0, 0), 8},     {NET4(10, 0, 0, 0), 8},      {NET4(100, 64, 0, 0), 10},
        {NET4(127, 0, 0, 0), 8},   {NET4(169, 254, 0, 0), 16},  {NET4(172, 16, 0, 0), 12},
        {NET4(192, 0, 0, 0), 24},  {NET4(192, 0, 2, 0), 24},    {NET4(192, 168, 0, 0), 16},
        {NET4(198, 18, 0, 0), 15}, {NET4(198, 51, 100, 0), 24}, {NET4(203, 0, 113, 0), 24},
        {NET4(224, 0, 0, 0), 4},   {NET4(240, 0, 0, 0), 4},
    };
    for (size_t i = 0; i < ARRAY_LEN(nets); i++)
        if (ip >> (32 - nets[i].bits) == nets[i].net >> (32 - nets[i].bits))
            return true;
    return false;
}

static bool has_prefix(const uint8_t *ip, const uint8_t *net, int bits) {
    int whole = bits / 8, rest = bits % 8;
    if (memcmp(ip, net, (size_t)whole) != 0)
        return false;
    return !rest || (ip[whole] ^ net[whole]) >> (8 - rest) == 0;
}

static uint32_t v4_at(const uint8_t *p) {
    return NET4(p[0], p[1], (uint32_t)p[2], (uint32_t)p[3]);
}

static bool v6_is_private(const uint8_t ip[16]) {
    static const struct {
        uint8_t net[16];
        int bits;
    } nets[] = {
        {{0xfc}, 7},                          /* unique local */
        {{0xfe, 0x80}, 10},                   /* link-local */
        {{0xfe, 0xc0}, 10},                   /* site-local, deprecated */
        {{0xff}, 8},                          /* multicast */
        {{0x01, 0x00}, 64},                   /* discard-only */
        {{0x20, 0x01, 0x0d, 0xb8}, 32},       /* documentation */
        {{0x20, 0x01, 0x00, 0x00}, 32},       /* Teredo: an IPv4 address is inside, obscured */
        {{0x00, 0x64, 0xff, 0x9b, 0, 1}, 48}, /* local-use translation */
    };
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
    static const uint8_t zeros[12] = {0};
    if (memcmp(ip, mapped, 12) == 0 || memcmp(ip, nat64, 12) == 0 || memcmp(ip, zeros, 12) == 0)
        return v4_is_private(v4_at(ip + 12)); /* ::1 and :: are 0.0.0.0/8 here */
    if (ip[0] == 0x20 && ip[1] == 0x02)       /* 6to4 */
        return v4_is_private(v4_at(ip + 2));
    for (size_t i = 0; i < ARRAY_LEN(nets); i++)
        if (has_prefix(ip, nets[i].net, nets[i].bits))
            return true;
    return false;
}

bool address_is_private(const struct sockaddr *sa) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (sa->sa_family == AF_INET) {
        memcpy(&v4, sa, sizeof v4);
        return v4_is_private(ntohl(v4.sin_addr.s_addr));
    }
    if (sa->sa_family != AF_INET6)
        return true;
    memcpy(&v6, sa, sizeof v6);
    return v6_is_private(v6.sin6_addr.s6_addr);
}
