#include "xmpp/sasl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_base64(void **state)
{
    (void)state;
    static const struct {
        const char *base64, *plain; /* plain NULL: refused */
    } rows[] = {
        {"", ""},          {"Zg==", "f"},    {"Zm8=", "fo"},   {"Zm9v", "foo"},  {"Zm9vYg==", "foob"},
        {"Zm9vYmE=", "fooba"}, {"Zm9vYmFy", "foobar"}, {"+/+/", "\xfb\xff\xbf"},
        {"Zg=", NULL},     {"Zg", NULL},     {"Z", NULL},      {"=", NULL},      {"====", NULL},   {"Z===", NULL},
        {"Zh==", NULL},    {"Zm9=", NULL},   {"Zg==Zg==", NULL}, {"Zm9v\n", NULL}, {" Zm9", NULL}, {"Zm-_", NULL},
        {"Z=9v", NULL},    {"Zm=v", NULL},   {"=m9v", NULL},   {"Zm9\xff", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out = {0};
        bool ok = sasl_base64_decode(&out, slice_str(rows[i].base64));
        if (ok != (rows[i].plain != NULL))
            fail_msg("%s: %d", rows[i].base64, ok);
        assert_true(slice_eq_str(buf_slice(&out), rows[i].plain ? rows[i].plain : ""));
        buf_free(&out);
    }
}

static void encode(struct buf *out, const char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned bits = 0;
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (i + k < n ? (unsigned char)p[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            buf_append(out, i + k > n ? "=" : &digits[bits >> (18 - 6 * k) & 63], 1);
    }
}

static void test_base64_of_all_bytes(void **state)
{
    (void)state;
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    for (size_t n = 0; n <= sizeof all; n++) {
        struct buf base64 = {0}, out = {0};
        encode(&base64, all, n);
        assert_true(sasl_base64_decode(&out, buf_slice(&base64)));
        assert_int_equal(out.n, n);
        if (n)
            assert_memory_equal(out.data, all, n);
        buf_free(&base64);
        buf_free(&out);
    }
}

static void feed(struct sasl_identity *id, const char *p, size_t n)
{
    struct buf base64 = {0};
    encode(&base64, p, n);
    sasl_feed(id, buf_slice(&base64));
    buf_free(&base64);
}

static void assert_name(const char *got, const char *wanted)
{
    if (wanted)
        assert_string_equal(got ? got : "(none)", wanted);
    else
        assert_null(got);
}

struct row {
    const char *message;
    size_t n;
    const char *authcid, *authzid, *realm; /* authcid NULL: not known */
};
#define ROW(literal, ...) {literal, sizeof(literal) - 1, __VA_ARGS__}

static void check_rows(const char *mechanism, const struct row *rows, size_t n)
{
    struct sasl_identity id = {0};
    for (size_t i = 0; i < n; i++) {
        sasl_begin(&id, slice_str(mechanism));
        feed(&id, rows[i].message, rows[i].n);
        if (id.known != (rows[i].authcid != NULL))
            fail_msg("%s: row %zu, known %d", mechanism, i, id.known);
        assert_name(id.authcid, rows[i].authcid);
        assert_name(id.authzid, rows[i].authzid);
        assert_name(id.realm, rows[i].realm);
        assert_false(id.anonymous);
    }
    sasl_reset(&id);
}
#define CHECK_ROWS(mechanism, rows) check_rows(mechanism, rows, sizeof rows / sizeof *rows)

static void test_plain(void **state)
{
    (void)state;
    static const struct row rows[] = {
        ROW("\0alice\0secret", "alice", NULL, NULL),
        ROW("a@b\0alice\0secret", "alice", "a@b", NULL),
        ROW("\0alice\0", "alice", NULL, NULL),
        ROW("\0\0secret", NULL, NULL, NULL),
        ROW("alice\0secret", NULL, NULL, NULL),
        ROW("\0alice\0sec\0ret", NULL, NULL, NULL),
        ROW("alice", NULL, NULL, NULL),
    };
    CHECK_ROWS("PLAIN", rows);
}

static void test_scram(void **state)
{
    (void)state;
    static const struct row rows[] = {
        ROW("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", "user", NULL, NULL),
        ROW("y,,n=u=2Cs=3Der,r=x", "u,s=er", NULL, NULL),
        ROW("p=tls-unique,a=bob,n=user,r=x", "user", "bob", NULL),
        ROW("n,a=b=3Db,n=user,r=x,ext=1", "user", "b=b", NULL),
        ROW("n,,n=us=2der,r=x", NULL, NULL, NULL),
        ROW("n,,n=user=,r=x", NULL, NULL, NULL),
        ROW("n,,n=,r=x", NULL, NULL, NULL),
        ROW("n,a=,n=user,r=x", NULL, NULL, NULL),
        ROW("n,,m=ext,n=user,r=x", NULL, NULL, NULL),
        ROW("n,,n=user", NULL, NULL, NULL),
        ROW("n,,n=user,r=x,n=other", NULL, NULL, NULL),
        ROW("n,n=user,r=x", NULL, NULL, NULL),
        ROW("x,,n=user,r=x", NULL, NULL, NULL),
        ROW("n,,n=us\0er,r=x", NULL, NULL, NULL),
        ROW("n=user,r=x", NULL, NULL, NULL),
    };
    CHECK_ROWS("SCRAM-SHA-1", rows);
    CHECK_ROWS("SCRAM-SHA-256-PLUS", rows);
}

static void test_digest_md5(void **state)
{
    (void)state;
    static const struct row rows[] = {
        ROW("charset=utf-8,username=\"chris\",realm=\"elwood.innosoft.com\",nonce=\"OA6MG9tEQGm2hh\",nc=00000001,"
            "cnonce=\"OA6MHXh6VqTrRk\",digest-uri=\"imap/elwood.innosoft.com\","
            "response=d388dad90d4bbd760a152321f2143af7,qop=auth",
            "chris", NULL, "elwood.innosoft.com"),
        ROW("username=\"a\\\"b\\\\c,d\", Realm = x ,authzid=\"z\",charset=utf-8", "a\"b\\c,d", "z", "x"),
        ROW("username=\"\xc3\xa9\",charset=utf-8", "\xc3\xa9", NULL, NULL),
        ROW("username=\"\xe9\",realm=\"\xdf\"", "\xc3\xa9", NULL, "\xc3\x9f"),
        ROW(",,username=\"a\",realm=\"\",authzid=\"\"", "a", NULL, NULL),
        ROW("username=\"a\",username=\"b\"", NULL, NULL, NULL),
        ROW("username=\"a\",charset=latin-1", NULL, NULL, NULL),
        ROW("username=\"a", NULL, NULL, NULL),
        ROW("username=\"a\"b", NULL, NULL, NULL),
        ROW("username", NULL, NULL, NULL),
        ROW("realm=\"x\"", NULL, NULL, NULL),
        ROW("username=\"a\\", NULL, NULL, NULL),
    };
    CHECK_ROWS("DIGEST-MD5", rows);
}

static void test_exchanges(void **state)
{
    (void)state;
    struct sasl_identity id = {0};
    /* The message in <response/>, behind an empty challenge. */
    sasl_begin(&id, SLICE_LIT("PLAIN"));
    sasl_feed(&id, SLICE_NONE);
    sasl_feed(&id, SLICE_LIT("="));
    assert_false(id.known);
    sasl_feed(&id, SLICE_LIT("AGFsaWNlAHB3")); /* alice, pw */
    assert_true(id.known);
    assert_string_equal(id.authcid, "alice");
    /* One more than the mechanism has: who knows which one the server took. */
    sasl_feed(&id, SLICE_LIT("AGFsaWNlAHB3"));
    assert_false(id.known);
    assert_null(id.authcid);
    sasl_feed(&id, SLICE_LIT("AGFsaWNlAHB3"));
    assert_false(id.known);

    sasl_begin(&id, SLICE_LIT("SCRAM-SHA-1"));
    feed(&id, "n,,n=user,r=x", 13);
    feed(&id, "c=biws,r=x,p=v0X8", 17);
    assert_true(id.known);
    sasl_feed(&id, SLICE_NONE);
    assert_true(id.known);
    assert_int_equal(id.mechanism, SASL_SCRAM);

    sasl_begin(&id, SLICE_LIT("PLAIN"));
    sasl_feed(&id, SLICE_LIT("AGFsaWNlAHB3\n"));
    assert_false(id.known);

    sasl_begin(&id, SLICE_LIT("ANONYMOUS"));
    sasl_feed(&id, SLICE_LIT("dHJhY2U="));
    assert_true(id.anonymous);
    assert_false(id.known);

    sasl_begin(&id, SLICE_LIT("X-OAUTH2"));
    sasl_feed(&id, SLICE_LIT("AGFsaWNlAHB3"));
    assert_int_equal(id.mechanism, SASL_UNKNOWN);
    assert_false(id.known || id.anonymous);
    sasl_reset(&id);
}

static void feed_challenge(struct sasl_identity *id, const char *text)
{
    struct buf base64 = {0};
    encode(&base64, text, strlen(text));
    sasl_feed_challenge(id, buf_slice(&base64));
    buf_free(&base64);
}

static void test_downgrade_hash(void **state)
{
    (void)state;
    struct sasl_identity id = {0};
    sasl_begin(&id, SLICE_LIT("SCRAM-SHA-1"));
    feed_challenge(&id, "r=h=abc,s=QSXCR+Q6sek8bf92,i=4096");
    feed_challenge(&id, "v=h=x");
    sasl_feed_challenge(&id, SLICE_LIT("?"));
    sasl_feed_challenge(&id, SLICE_NONE);
    assert_false(id.downgrade_hash);
    feed_challenge(&id, "r=abc,s=QSXCR+Q6sek8bf92,i=4096,h=G6k/rBLDqgOhRRaCuuatSDFkJ08=");
    assert_true(id.downgrade_hash);
    sasl_begin(&id, SLICE_LIT("DIGEST-MD5"));
    feed_challenge(&id, "r=abc,h=1");
    assert_false(id.downgrade_hash);
    sasl_reset(&id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64),     cmocka_unit_test(test_base64_of_all_bytes),
        cmocka_unit_test(test_plain),      cmocka_unit_test(test_scram),
        cmocka_unit_test(test_digest_md5), cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_downgrade_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
