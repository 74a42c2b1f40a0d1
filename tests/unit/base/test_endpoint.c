#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/endpoint.h"
#include <arpa/inet.h>
#include <cmocka.h>
#include <string.h>

static struct endpoint endpoint_of(const char *ip)
{
    uint8_t bytes[16];
    bool v6 = strchr(ip, ':') != NULL;
    assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, ip, bytes), 1);
    return endpoint_make(v6 ? ENDPOINT_V6 : ENDPOINT_V4, bytes, 5222);
}

static void endpoints_are_written(void **state)
{
    static const char *const rows[][2] = {
        {"192.0.2.1", "192.0.2.1:5222"},
        {"2001:db8::1", "[2001:db8::1]:5222"},
        {"::ffff:192.0.2.1", "192.0.2.1:5222"},
        {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:5222"}};
    char text[ENDPOINT_TEXT];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct endpoint e = endpoint_of(rows[i][0]);
        assert_string_equal(endpoint_text(&e, text), rows[i][1]);
    }
    assert_string_equal(endpoint_text(&(struct endpoint){0}, text), "");
    struct endpoint a = endpoint_of("192.0.2.1"), b = endpoint_of("::ffff:192.0.2.1"), c = endpoint_of("192.0.2.2");
    assert_true(endpoint_eq(&a, &b));
    assert_false(endpoint_eq(&a, &c));
}

static void networks_hold_what_is_in_them(void **state)
{
    static const struct {
        const char *network, *ip;
        bool holds;
    } rows[] = {
        {"0.0.0.0/0", "255.1.2.3", true},
        {"0.0.0.0/0", "::1", false},
        {"10.0.0.0/8", "10.255.0.1", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"192.0.2.128/25", "192.0.2.129", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"192.0.2.4/31", "192.0.2.5", true},
        {"192.0.2.4/31", "192.0.2.6", false},
        {"192.0.2.4", "192.0.2.4", true},
        {"192.0.2.4/32", "192.0.2.5", false},
        {"192.0.2.4", "::ffff:192.0.2.4", true},
        {"::/0", "2001:db8::1", true},
        {"::/0", "192.0.2.1", false},
        {"2001:db8::/33", "2001:db8:7fff::", true},
        {"2001:db8::/33", "2001:db8:8000::", false},
        {"::1", "::1", true},
        {"::1/128", "::2", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct network n;
        struct endpoint e = endpoint_of(rows[i].ip);
        assert_true(network_parse(&n, rows[i].network));
        assert_int_equal(network_holds(&n, &e), rows[i].holds);
    }
    struct network all;
    assert_true(network_parse(&all, "0.0.0.0/0"));
    assert_false(network_holds(&all, &(struct endpoint){0}));
}

static void what_is_no_network_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "/",
        "10",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/8x",
        "10.0.0.0/0008",
        "10.0.0.1/8",
        "10.0.0",
        "::/129",
        "2001:db8::1/64",
        "[::1]",
        "localhost",
        "10.0.0.0 /8",
        "192.0.2.129/25",
        "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000/8",
    };
    struct network n;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_false(network_parse(&n, rows[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints_are_written),
        cmocka_unit_test(networks_hold_what_is_in_them),
        cmocka_unit_test(what_is_no_network_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
