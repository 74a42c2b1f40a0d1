/* The line that nodes greet each other with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cluster/peer.h"
#include <stdlib.h>

#define SID   "0123456789abcdef0123456789abcdef0123456789abcdef"
#define GREET "holdfast-peer/1 hops=1 h=7 sid=" SID " account=a@b node=n client=192.0.2.1:5"

static enum peer_hello_result read_text(const char *text, struct peer_hello *out)
{
    size_t n = strlen(text);
    char *exact = mem_copy(text, n ? n : 1); /* the sanitizer sees a read behind it */
    enum peer_hello_result result = peer_hello_read(slice_of(exact, n), out);
    free(exact);
    return result;
}

static void test_what_is_written_can_be_read(void **state)
{
    (void)state;
    struct peer_hello in = {.hops = 2, .sid = SID, .h = UINT32_MAX, .client = "[2001:db8::1]:5222"}, out;
    in.account = mem_strdup("j\xc3\xbcrgen %\\40x@example.org");
    in.node = mem_strdup("node 1");
    struct buf line = {0};
    peer_hello_write(&line, &in);
    for (size_t n = 0; n < line.n; n++)
        assert_int_equal(peer_hello_read(slice_of(line.data, n), &out), PEER_HELLO_MORE);
    assert_int_equal(peer_hello_read(buf_slice(&line), &out), PEER_HELLO_OK);
    assert_int_equal(out.hops, 2);
    assert_int_equal(out.h, UINT32_MAX);
    assert_string_equal(out.sid, in.sid);
    assert_string_equal(out.account, in.account);
    assert_string_equal(out.node, in.node);
    assert_string_equal(out.client, in.client);
    peer_hello_clear(&in);
    peer_hello_clear(&out);
    buf_free(&line);
}

static void test_an_address_may_be_unknown(void **state)
{
    (void)state;
    struct peer_hello out;
    assert_int_equal(read_text("holdfast-peer/1 hops=1 h=0 sid=" SID " account=a node=n client= later=x\n", &out),
                     PEER_HELLO_OK);
    assert_string_equal(out.client, "");
    peer_hello_clear(&out);
}

static void test_what_is_refused(void **state)
{
    static const struct {
        const char *text;
        enum peer_hello_result result;
    } row[] = {
        {"\n", PEER_HELLO_BAD},
        {"G", PEER_HELLO_BAD},
        {"GET / HTTP/1.0\r\n", PEER_HELLO_BAD},
        {"holdfast-peer/\n", PEER_HELLO_BAD},
        {"holdfast-peer/1\n", PEER_HELLO_VERSION},
        {"holdfast-peer/1 \n", PEER_HELLO_BAD},
        {"holdfast-peer/2 relay\n", PEER_HELLO_VERSION},
        {"holdfast-peer/10 hops=1\n", PEER_HELLO_VERSION},
        {GREET "\n<presence/>", PEER_HELLO_BAD},
        {GREET " \n", PEER_HELLO_BAD},
        {GREET " x\n", PEER_HELLO_BAD},
        {GREET " =x\n", PEER_HELLO_BAD},
        {GREET " h=7\n", PEER_HELLO_BAD},
        {GREET " node=m\n", PEER_HELLO_BAD},
        {"holdfast-peer/1 hops=3 h=7 sid=" SID " account=a node=n client=\n", PEER_HELLO_HOPS},
        {"holdfast-peer/1 hops=0 h=7 sid=" SID " account=a node=n client=\n", PEER_HELLO_BAD},
        {"holdfast-peer/1 hops=1 h=4294967296 sid=" SID " account=a node=n client=\n", PEER_HELLO_BAD},
        {"holdfast-peer/1 hops=1 h=00000000007 sid=" SID " account=a node=n client=\n", PEER_HELLO_BAD},
        {"holdfast-peer/1 hops=1 h= sid=" SID " account=a node=n client=\n", PEER_HELLO_BAD},
        {"holdfast-peer/1 hops=1 sid=" SID " account=a node=n client=\n", PEER_HELLO_BAD},
        {"holdfast-peer/1 hops=1 h=7 sid=0123 account=a node=n client=\n", PEER_HELLO_BAD},
        {"holdfast-peer/1 hops=1 h=7 sid=" SID " account= node=n client=\n", PEER_HELLO_BAD},
        {"holdfast-peer/1 hops=1 h=7 sid=" SID " account=a%00 node=n client=\n", PEER_HELLO_BAD},
        {"holdfast-peer/1 hops=1 h=7 sid=" SID " account=a%4 node=n client=\n", PEER_HELLO_BAD},
        {"holdfast-peer/1 hops=1 h=7 sid=" SID " account=a%4g node=n client=\n", PEER_HELLO_BAD},
        {"holdfast-peer/1 hops=1 h=7 sid=" SID " account=a node=n client=a%20b\n", PEER_HELLO_BAD},
    };
    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct peer_hello out;
        enum peer_hello_result result = read_text(row[i].text, &out);
        if (result != row[i].result)
            fail_msg("%s: %d", row[i].text, result);
    }
}

static void test_a_line_that_does_not_end(void **state)
{
    (void)state;
    struct peer_hello out;
    struct buf line = {0};
    BUF_LIT(&line, GREET " x=");
    while (line.n < PEER_HELLO_MAX)
        BUF_LIT(&line, "x");
    assert_int_equal(peer_hello_read(buf_slice(&line), &out), PEER_HELLO_MORE);
    BUF_LIT(&line, "x");
    assert_int_equal(peer_hello_read(buf_slice(&line), &out), PEER_HELLO_BAD);
    buf_free(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_written_can_be_read),
        cmocka_unit_test(test_an_address_may_be_unknown),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_a_line_that_does_not_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
