#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/proxy_header.h"
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4_ENDS   "\xc0\x00\x02\x01\xc6\x33\x64\x02\xdc\x04\x14\x66" /* 192.0.2.1:56324 198.51.100.2:5222 */
#define V6_ENDS                                                                                                        \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"                                                                       \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"                                                                       \
    "\xdc\x04\x14\x66"
#define TLVS     "\x01\x00\x0bxmpp-client\x04\x00\x02..\xee\xff\xff" /* the last one claims more than there is */
#define V2(rest) SLICE_LIT(SIGNATURE rest)

/* A complete header: what it tells, and that no beginning of it is taken for one, nor for a bad one. */
static void check(struct slice bytes, bool local, const char *source, const char *destination)
{
    struct proxy_header h = {0};
    char text[ENDPOINT_TEXT], more[PROXY_HEADER_MAX + 16];
    for (size_t n = 0; n < bytes.n; n++) {
        char *exact = malloc(n + 1); /* a reader beyond the end is caught */
        memcpy(exact + 1, bytes.p, n);
        assert_int_equal(proxy_header_parse(slice_of(exact + 1, n), &h), PROXY_HEADER_MORE);
        free(exact);
    }
    memcpy(more, bytes.p, bytes.n);
    memcpy(more + bytes.n, "<stream:stream", 14);
    assert_int_equal(proxy_header_parse(slice_of(more, bytes.n + 14), &h), PROXY_HEADER_DONE);
    assert_int_equal(h.size, bytes.n);
    assert_int_equal(h.local, local);
    assert_string_equal(endpoint_text(&h.ends.source, text), source);
    assert_string_equal(endpoint_text(&h.ends.destination, text), destination);
}

static void version_1_tells_the_addresses(void **state)
{
    (void)state;
    check(SLICE_LIT("PROXY TCP4 192.0.2.1 198.51.100.2 56324 5222\r\n"), false, "192.0.2.1:56324", "198.51.100.2:5222");
    check(SLICE_LIT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), false, "255.255.255.255:65535",
          "255.255.255.255:65535");
    check(SLICE_LIT("PROXY TCP6 2001:DB8::1 2001:db8::2 0 5222\r\n"), false, "[2001:db8::1]:0", "[2001:db8::2]:5222");
    check(SLICE_LIT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
                    "65535\r\n"),
          false, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
    check(SLICE_LIT("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n"), false, "192.0.2.1:1", "[2001:db8::2]:2");
}

static void version_1_unknown_is_local_whatever_follows(void **state)
{
    (void)state;
    check(SLICE_LIT("PROXY UNKNOWN\r\n"), true, "", "");
    check(SLICE_LIT("PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n"), true, "", "");
    check(SLICE_LIT("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                    "65535 65535\r\n"),
          true, "", "");
}

static void version_2_tells_the_addresses(void **state)
{
    (void)state;
    check(V2("\x21\x11\x00\x0c" V4_ENDS), false, "192.0.2.1:56324", "198.51.100.2:5222");
    check(V2("\x21\x21\x00\x24" V6_ENDS), false, "[2001:db8::1]:56324", "[2001:db8::2]:5222");
    check(V2("\x21\x11\x00\x22" V4_ENDS TLVS), false, "192.0.2.1:56324", "198.51.100.2:5222");
}

static void version_2_without_addresses_of_tcp_tells_none(void **state)
{
    (void)state;
    char local_unix[216] = "/run/x";
    struct buf b = {0};
    check(V2("\x20\x00\x00\x00"), true, "", "");
    check(V2("\x20\x11\x00\x0c" V4_ENDS), true, "", "");
    check(V2("\x20\xff\x00\x02.."), true, "", ""); /* the family of LOCAL is to be ignored */
    check(V2("\x21\x00\x00\x00"), false, "", "");
    check(V2("\x21\x12\x00\x0c" V4_ENDS), false, "", ""); /* UDP */
    buf_add(&b, V2("\x21\x31\x00\xd8"));
    buf_append(&b, local_unix, sizeof local_unix);
    check(buf_slice(&b), false, "", "");
    buf_free(&b);
}

static void bad_headers_are_refused_as_soon_as_seen(void **state)
{
    static const struct {
        struct slice bytes;
        const char *fault;
    } rows[] = {
        {SLICE_LIT("<?xml version='1.0'?>"), "no PROXY protocol header"},
        {SLICE_LIT("\x16\x03\x01"), "no PROXY protocol header"},
        {SLICE_LIT("PROXX"), "no PROXY protocol header"},
        {SLICE_LIT("PROXY\tTCP4"), "no PROXY protocol header"},
        {SLICE_LIT("\r\n\r\n\0\r\nQUIT\r"), "no PROXY protocol header"},
        {SLICE_LIT("PROXY UNKNOWN\n"), "a line of version 1 that does not end in CRLF"},
        {SLICE_LIT("PROXY UNKNOWN\rx"), "a line of version 1 that does not end in CRLF"},
        {SLICE_LIT("PROXY TCP4\r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY \r\n"), "version 1 with a protocol other than TCP4, TCP6 and UNKNOWN"},
        {SLICE_LIT("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n"),
         "version 1 with a protocol other than TCP4, TCP6 and UNKNOWN"},
        {SLICE_LIT("PROXY UNKNOWNX\r\n"), "version 1 with a protocol other than TCP4, TCP6 and UNKNOWN"},
        {SLICE_LIT("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY TCP4 ::1 ::1 1 2\r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY TCP4 192.0.2.1 192.0.2.2 1 -2\r\n"), "version 1 with malformed addresses"},
        {SLICE_LIT("PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n"), "version 1 with malformed addresses"},
        {V2("\x11\x11\x00\x0c"), "an unknown version"},
        {V2("\x22\x11\x00\x0c"), "version 2 with an unknown command"},
        {V2("\x21\x41\x00\x0c"), "version 2 with an unknown family or protocol"},
        {V2("\x21\x13\x00\x0c"), "version 2 with an unknown family or protocol"},
        {V2("\x21\x11\x00\x0b"), "version 2, too short for its addresses"},
        {V2("\x21\x21\x00\x23"), "version 2, too short for its addresses"},
        {V2("\x21\x31\x00\xd7"), "version 2, too short for its addresses"},
        {V2("\x21\x11\x0f\xf1"), "version 2, too long"},
        {V2("\x20\x00\xff\xff"), "version 2, too long"},
    };
    struct proxy_header h;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(proxy_header_parse(rows[i].bytes, &h), PROXY_HEADER_BAD);
        assert_string_equal(h.fault, rows[i].fault);
    }
}

static void a_line_without_end_is_refused_at_its_limit(void **state)
{
    char line[107] = "PROXY UNKNOWN ";
    struct proxy_header h;
    (void)state;
    memset(line + 14, 'x', sizeof line - 14);
    assert_int_equal(proxy_header_parse(slice_of(line, 106), &h), PROXY_HEADER_MORE);
    assert_int_equal(proxy_header_parse(slice_of(line, 107), &h), PROXY_HEADER_BAD);
    memcpy(line + 105, "\r\n", 2);
    assert_int_equal(proxy_header_parse(slice_of(line, 107), &h), PROXY_HEADER_DONE);
}

static void the_longest_header_of_version_2_is_taken(void **state)
{
    struct buf b = {0};
    (void)state;
    buf_add(&b, V2("\x21\x11\x0f\xf0" V4_ENDS));
    memset(buf_reserve(&b, PROXY_HEADER_MAX - b.n), '\xff', PROXY_HEADER_MAX - b.n);
    buf_commit(&b, PROXY_HEADER_MAX - b.n);
    check(buf_slice(&b), false, "192.0.2.1:56324", "198.51.100.2:5222");
    buf_free(&b);
}

static struct endpoint v4(uint8_t last, uint16_t port)
{
    return endpoint_make(ENDPOINT_V4, (uint8_t[]){192, 0, 2, last}, port);
}

static struct endpoint v6(uint8_t last, uint16_t port)
{
    return endpoint_make(ENDPOINT_V6, (uint8_t[16]){0x20, 1, 0xd, 0xb8, [15] = last}, port);
}

static void assert_written(int version, const struct endpoints *client, struct slice expected)
{
    struct buf out = {0};
    buf_add_str(&out, "before");
    proxy_header_write(&out, version, client);
    struct slice written = slice_skip(buf_slice(&out), 6);
    assert_int_equal(written.n, expected.n);
    assert_memory_equal(written.p, expected.p, expected.n);
    buf_free(&out);
}

static void headers_are_written(void **state)
{
    const struct endpoints four = {v4(1, 56324), v4(2, 5222)}, six = {v6(1, 56324), v6(2, 5222)},
                           mixed = {v4(1, 56324), v6(2, 5222)}, half = {v4(1, 1), {0}};
    (void)state;
    assert_written(1, &four, SLICE_LIT("PROXY TCP4 192.0.2.1 192.0.2.2 56324 5222\r\n"));
    assert_written(1, &six, SLICE_LIT("PROXY TCP6 2001:db8::1 2001:db8::2 56324 5222\r\n"));
    assert_written(1, &mixed, SLICE_LIT("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 56324 5222\r\n"));
    assert_written(1, &half, SLICE_LIT("PROXY UNKNOWN\r\n"));
    assert_written(1, NULL, SLICE_LIT("PROXY UNKNOWN\r\n"));
    assert_written(2, &four, V2("\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x14\x66"));
    assert_written(2, &six, V2("\x21\x21\x00\x24" V6_ENDS));
    assert_written(2, &mixed,
                   V2("\x21\x21\x00\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01"
                      "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\xdc\x04\x14\x66"));
    assert_written(2, NULL, V2("\x20\x00\x00\x00"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_tells_the_addresses),
        cmocka_unit_test(version_1_unknown_is_local_whatever_follows),
        cmocka_unit_test(version_2_tells_the_addresses),
        cmocka_unit_test(version_2_without_addresses_of_tcp_tells_none),
        cmocka_unit_test(bad_headers_are_refused_as_soon_as_seen),
        cmocka_unit_test(a_line_without_end_is_refused_at_its_limit),
        cmocka_unit_test(the_longest_header_of_version_2_is_taken),
        cmocka_unit_test(headers_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
