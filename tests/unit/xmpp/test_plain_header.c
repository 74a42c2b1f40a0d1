/* Which headers go the short way, and which must not. That both ways give the same is tried by test_stream and
 * fuzz_stream. */
#include "../../../proxy/xmpp/plain_header.h"
#include "base/mem.h"
#include "recorder.h"

#define BOTH_NS " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"

/* How much is read of bytes that end where their allocation ends. */
static size_t read_bytes(const char *text, const struct stream_limits *limits, struct stream_header *h)
{
    char *copy = mem_copy(text, strlen(text));
    size_t n = plain_header_read(slice_of(copy, strlen(text)), limits, h);
    free(copy);
    return n;
}

static void expect_plain(const char *header)
{
    struct stream_header h;
    char *more = mem_printf("%s<stream:features>", header);
    if (read_bytes(header, &usual_limits, &h) != strlen(header) ||
        read_bytes(more, &usual_limits, &h) != strlen(header))
        fail_msg("not read: %s", header);
    for (size_t n = 0; n < strlen(header); n++) {
        char *part = mem_dup(slice_of(header, n));
        assert_int_equal(read_bytes(part, &usual_limits, &h), 0);
        free(part);
    }
    free(more);
}

static void expect_not(const char *header)
{
    struct stream_header h;
    if (read_bytes(header, &usual_limits, &h) != 0)
        fail_msg("read: %s", header);
}

static void test_plain(void **state)
{
    (void)state;
    expect_plain("<stream:stream" BOTH_NS ">");
    expect_plain("<?xml version='1.0'?><stream:stream to='a.lit' version='1.0'" BOTH_NS " >");
    expect_plain("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<stream:stream from='a@b' id=\"'x\" xml:lang='en'\n"
                 "xmlns=\"jabber:client\" xmlns:stream=\"http://etherx.jabber.org/streams\" version=''>");
}

static void test_what_it_says(void **state)
{
    (void)state;
    struct stream_header h;
    const char text[] = "<stream:stream id='7' to='a' from='b' version='1.0' xml:lang='de'" BOTH_NS ">";
    assert_int_equal(plain_header_read(slice_str(text), &usual_limits, &h), strlen(text));
    assert_true(slice_eq_str(h.ns, "http://etherx.jabber.org/streams") && slice_eq_str(h.name, "stream"));
    assert_true(slice_eq_str(h.default_ns, "jabber:client"));
    assert_true(slice_eq_str(h.id, "7") && slice_eq_str(h.to, "a") && slice_eq_str(h.from, "b"));
    assert_true(slice_eq_str(h.version, "1.0") && slice_eq_str(h.lang, "de"));
    assert_true(h.has_version);
    assert_int_equal(h.extra_ns.n, 0);
}

static void test_the_long_way(void **state)
{
    (void)state;
    expect_not("");
    expect_not("<stream:stream version='1.0'>");
    expect_not("<stream:stream xmlns='jabber:client'>");
    expect_not("<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>");
    expect_not("<stream:stream xmlns='jabber:client' xmlns:stream='urn:other'>");
    expect_not("<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>");
    expect_not("<stream:stream" BOTH_NS " xmlns:a='urn:a'>");
    expect_not("<stream:stream" BOTH_NS " other='a'>");
    expect_not("<stream:stream" BOTH_NS " to='a' to='a'>");
    expect_not("<stream:stream" BOTH_NS " to='&lt;'>");
    expect_not("<stream:stream" BOTH_NS " to='<'>");
    expect_not("<stream:stream" BOTH_NS " to='a\tb'>");
    expect_not("<stream:stream" BOTH_NS " to='\xc3\xa4'>");
    expect_not("<stream:stream" BOTH_NS " to = 'a'>");
    expect_not("<stream:stream" BOTH_NS " to='a'from='b'>");
    expect_not("<stream:stream" BOTH_NS "/>");
    expect_not("<stream:streams" BOTH_NS ">");
    expect_not("<?xml version='1.1'?><stream:stream" BOTH_NS ">");
    expect_not("<?xml version='1.0'?><?xml version='1.0'?><stream:stream" BOTH_NS ">");
    expect_not("<?xml version='1.0' encoding='UTF-16'?><stream:stream" BOTH_NS ">");
    expect_not("<!-- --><stream:stream" BOTH_NS ">");
}

static void test_limits(void **state)
{
    (void)state;
    const char text[] = "<stream:stream to='a'" BOTH_NS ">";
    struct stream_header h;
    struct stream_limits limits = usual_limits;
    limits.tag_bytes = strlen(text);
    limits.attributes = 3;
    limits.names = 4;
    limits.namespace_bytes = strlen(NS_STREAMS);
    assert_int_equal(read_bytes(text, &limits, &h), strlen(text));
    struct stream_limits less[4] = {limits, limits, limits, limits};
    less[0].tag_bytes--;
    less[1].attributes--;
    less[2].names--;
    less[3].namespace_bytes--;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(read_bytes(text, &less[i], &h), 0);
}

static void test_end(void **state)
{
    (void)state;
    assert_int_equal(plain_header_end(SLICE_LIT("</stream:stream>x")), strlen("</stream:stream>"));
    assert_int_equal(plain_header_end(SLICE_LIT("</stream:stream")), 0);
    assert_int_equal(plain_header_end(SLICE_LIT("</stream:stream >")), 0);
    assert_int_equal(plain_header_end(SLICE_LIT("</s:stream>")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),  cmocka_unit_test(test_what_it_says), cmocka_unit_test(test_the_long_way),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
