#include "unit.h"

#include "domain/identity/client_ip.h"

#include <stdlib.h>

static bool matches(const char *cidr, const char *addr) {
    struct cidr c;
    uint8_t a[16];
    assert_true(cidr_parse(str_c(cidr), &c));
    assert_true(addr_parse(str_c(addr), a));
    return cidr_has(&c, a);
}

static void networks_hold_their_addresses_and_no_others(void **state) {
    (void)state;
    assert_true(matches("198.51.100.10", "198.51.100.10"));
    assert_false(matches("198.51.100.10", "198.51.100.11"));
    assert_true(matches("203.0.113.0/24", "203.0.113.255"));
    assert_false(matches("203.0.113.0/24", "203.0.114.0"));
    assert_true(matches("10.0.0.0/9", "10.127.255.255"));
    assert_false(matches("10.0.0.0/9", "10.128.0.0"));
    assert_true(matches("2001:db8::/32", "2001:db8:ffff::1"));
    assert_false(matches("2001:db8::/32", "2001:db9::1"));
    assert_true(matches("0.0.0.0/0", "8.8.8.8"));
    assert_false(matches("0.0.0.0/0", "2001:db8::1"));
    assert_true(matches("::/0", "8.8.8.8"));
}

static void mapped_addresses_are_their_ipv4_selves(void **state) {
    (void)state;
    assert_true(matches("203.0.113.0/24", "::ffff:203.0.113.7"));
    assert_true(matches("::ffff:203.0.113.0/120", "203.0.113.7"));
    assert_false(matches("::ffff:203.0.113.0/120", "203.0.114.7"));
}

static void lists_are_stored_in_normal_form(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"203.0.113.77/24", "203.0.113.0/24"},
        {"192.0.2.1/32", "192.0.2.1"},
        {"2001:DB8:0:0::1/128", "2001:db8::1"},
        {"2001:db8:1:2:3::/48", "2001:db8:1::/48"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"::ffff:192.0.2.0/120", "192.0.2.0/24"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"::/0", "::/0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cidr c, again;
        struct buf out AUTO(buf_free) = BUF(100);
        assert_true(cidr_parse(str_c(rows[i][0]), &c));
        cidr_text(&c, &out);
        assert_str(buf_view(&out), rows[i][1]);
        assert_true(cidr_parse(buf_view(&out), &again));
        assert_memory_equal(&c, &again, sizeof c);
    }
}

static void malformed_entries_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.4/33",
        "1.2.3.4/",
        "1.2.3.4/-1",
        "1.2.3.4/08",
        "1.2.3.4/8/8",
        "1.2.3.4:80",
        "::1/129",
        "::g",
        "fe80::1%eth0",
        "[::1]",
        "example.com",
        "1.2.3.4/a",
        "*",
        "1.2.3.4/ 8",
        ":::",
        "::ffff:10.0.0.0/8",
        "::ffff:10.0.0.0/95",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct cidr c;
        if (cidr_parse(str_c(bad[i]), &c))
            fail_msg("accepted: %s", bad[i]);
    }
    struct cidr c;
    assert_false(cidr_parse(str_of("1.2.3.4\0", 8), &c));
}

static void every_separator_of_real_clients_works(void **state) {
    (void)state;
    struct cidr *list = NULL;
    size_t n;
    struct fault f = {0};
    assert_int_equal(cidr_list_parse(STR("\r\n1.1.1.1\r\n2.2.2.2,3.3.3.3 ,\t4.4.4.4\n\n"),
                                     "allow_ips", 4, &list, &n, &f),
                     OK);
    assert_int_equal(n, 4);
    free(list);
    assert_int_equal(cidr_list_parse(STR("1.1.1.1\nnonsense\n"), "allow_ips", 4, &list, &n, &f),
                     ERR_FIELD_VALUE);
    assert_string_equal(f.detail, "allow_ips: 'nonsense' is not an address or CIDR");
    assert_int_equal(cidr_list_parse(STR("1.1.1.1 1.1.1.2 1.1.1.3"), "allow_ips", 2, &list, &n, &f),
                     ERR_FIELD_VALUE);
}

static void a_client_cannot_choose_its_address(void **state) {
    (void)state;
    static const struct {
        const char *remote, *header, *want;
    } rows[] = {
        {"198.51.100.1", "1.1.1.1", "198.51.100.1"},           /* peer is no proxy */
        {"10.0.0.1", "1.1.1.1", "1.1.1.1"},                    /* one proxy */
        {"10.0.0.1", "6.6.6.6, 1.1.1.1", "1.1.1.1"},           /* forged entry at the left */
        {"10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", "1.1.1.1"}, /* two proxies */
        {"10.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"},         /* only proxies */
        {"10.0.0.1", "", "10.0.0.1"},
        {"10.0.0.1", "1.1.1.1, unknown", "10.0.0.1"}, /* stop at what cannot be read */
        {"10.0.0.1", "1.1.1.1:5000", "1.1.1.1"},
        {"10.0.0.1", "\"[2001:db8::7]:443\"", "2001:db8::7"},
        {"10.0.0.1", "::ffff:1.1.1.1", "1.1.1.1"},
        {"::ffff:10.0.0.1", "1.1.1.1", "1.1.1.1"},
        {"10.0.0.1", "1.1.1.1,", "10.0.0.1"},
        {"unix:", "1.1.1.1", ""},
        {"", "1.1.1.1", ""},
    };
    struct cidr trusted;
    assert_true(cidr_parse(STR("10.0.0.0/8"), &trusted));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char out[ADDR_TEXT_CAP];
        assert_str(client_ip(&trusted, 1, str_c(rows[i].remote), str_c(rows[i].header), out),
                   rows[i].want);
        assert_str(client_ip(NULL, 0, STR("192.0.2.9"), str_c(rows[i].header), out), "192.0.2.9");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_hold_their_addresses_and_no_others),
        cmocka_unit_test(mapped_addresses_are_their_ipv4_selves),
        cmocka_unit_test(lists_are_stored_in_normal_form),
        cmocka_unit_test(malformed_entries_are_refused),
        cmocka_unit_test(every_separator_of_real_clients_works),
        cmocka_unit_test(a_client_cannot_choose_its_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
