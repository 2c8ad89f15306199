#include "unit.h"

#include "door/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

static bool is_private(const char *text) {
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return address_is_private((struct sockaddr *)&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return address_is_private((struct sockaddr *)&v6);
}

static void nothing_inside_is_reached_by_a_public_name(void **state) {
    (void)state;
    static const char *const inside[] = {"0.0.0.0",
                                         "10.255.255.255",
                                         "100.64.0.1",
                                         "100.127.255.255",
                                         "127.0.0.1",
                                         "127.255.255.254",
                                         "169.254.169.254",
                                         "172.16.0.0",
                                         "172.31.255.255",
                                         "192.168.1.1",
                                         "198.19.0.1",
                                         "224.0.0.1",
                                         "255.255.255.255",
                                         "::",
                                         "::1",
                                         "::ffff:10.0.0.1",
                                         "::ffff:127.0.0.1",
                                         "64:ff9b::a00:1",
                                         "2002:a00:1::",
                                         "fd00::1",
                                         "fe80::1",
                                         "ff02::1",
                                         "2001:db8::1",
                                         "::10.0.0.1",
                                         "2001:0:1::1"};
    for (size_t i = 0; i < ARRAY_LEN(inside); i++)
        if (!is_private(inside[i]))
            fail_msg("%s passes as public", inside[i]);
}

static void public_providers_are_reached(void **state) {
    (void)state;
    static const char *const outside[] = {"1.1.1.1",         "9.255.255.255",    "11.0.0.0",
                                          "100.63.255.255",  "100.128.0.0",      "126.255.255.255",
                                          "128.0.0.1",       "172.15.255.255",   "172.32.0.0",
                                          "192.167.255.255", "223.255.255.255",  "2606:4700::1111",
                                          "::ffff:1.1.1.1",  "64:ff9b::101:101", "2002:101:101::"};
    for (size_t i = 0; i < ARRAY_LEN(outside); i++)
        if (is_private(outside[i]))
            fail_msg("%s is refused", outside[i]);
}

static void other_families_are_refused(void **state) {
    (void)state;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    assert_true(address_is_private((struct sockaddr *)&un));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_inside_is_reached_by_a_public_name),
        cmocka_unit_test(public_providers_are_reached),
        cmocka_unit_test(other_families_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
