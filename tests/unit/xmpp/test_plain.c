/* What goes the short way, and what must not. That both ways give the same is tried by test_stream and fuzz_stream. */
#include "../../../proxy/xmpp/plain.h"
#include "base/mem.h"
#include "recorder.h"

static struct stream_limits limits;

static int setup(void **state)
{
    (void)state;
    limits = usual_limits;
    limits.names = 50;
    return 0;
}

/* How much is read of bytes that end where their allocation ends. */
static size_t read_bytes(const char *text)
{
    struct element_builder b = {0};
    char *copy = mem_copy(text, strlen(text));
    size_t n = plain_read(slice_of(copy, strlen(text)), &limits, &b);
    assert_int_equal(b.depth, 0);
    element_builder_free(&b);
    free(copy);
    return n;
}

static void expect_plain(const char *element)
{
    char *more = mem_printf("%s<r", element);
    if (read_bytes(element) != strlen(element) || read_bytes(more) != strlen(element))
        fail_msg("not read: %s", element);
    free(more);
}

static void expect_not(const char *element)
{
    if (read_bytes(element) != 0)
        fail_msg("read: %s", element);
}

static void test_plain(void **state)
{
    (void)state;
    expect_plain("<r xmlns='urn:xmpp:sm:3'/>");
    expect_plain("<a xmlns=\"urn:xmpp:sm:3\" h=\"17\" />");
    expect_plain("<message></message>");
    expect_plain(
        "<message to='a@b/\"c>'\n\tid=\"'\" type='chat' xml:lang='en'><body>1 > 0 ] \t\n &lt;&amp;&gt;&apos;&quot;"
        "</body><x xmlns='jabber:x:oob'><url/></x></message>");
    expect_plain("<iq type='result' from='\xc3\xa4@b'><q xmlns='u'>\xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xef\xbf\xbd "
                 "\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf</q></iq>");
    expect_plain("<presence><priority> 5 </priority><status>away &amp; gone</status></presence>");
}

/* Every one of them is XML as it should be, only that more than a scan is needed to read it. */
static void test_the_long_way(void **state)
{
    (void)state;
    expect_not("<stream:features/>");
    expect_not("<message xmlns:a='u'/>");
    expect_not("<message a:b='c'/>");
    expect_not("<message xml:space='preserve'/>");
    expect_not("<message id='&#x41;'/>");
    expect_not("<message id='&lt;'/>");
    expect_not("<message id='a\nb'/>");
    expect_not("<message id = 'a'/>");
    expect_not("<message><body>a\r\nb</body></message>");
    expect_not("<message><body>&#65;</body></message>");
    expect_not("<message><body>]]]</body></message>");
    expect_not("<message><![CDATA[a]]></message>");
    expect_not("<message><x xmlns=''/></message>");
    expect_not("<message></message >");
    expect_not("<iq><q>&lt;</q></iq>");
    expect_not("<presence><priority>&lt;</priority></presence>");
    expect_not("<\xc3\xa4/>");
}

static void test_not_xmpp(void **state)
{
    (void)state;
    expect_not("");
    expect_not("<");
    expect_not("</stream:stream>");
    expect_not("text");
    expect_not("<?xml version='1.0'?>");
    expect_not("<!-- a --><r/>");
    expect_not("<!DOCTYPE a>");
    expect_not("<message><!-- a --></message>");
    expect_not("<message><?a?></message>");
    expect_not("<message><body>a</message></body>");
    expect_not("<message></messages>");
    expect_not("<message id='a' id='b'/>");
    expect_not("<message xml:lang='a' xml:lang='b'/>");
    expect_not("<message xmlns='a' xmlns='b'/>");
    expect_not("<message xmlns='http://www.w3.org/2000/xmlns/'/>");
    expect_not("<message id='a'to='b'/>");
    expect_not("<message id='<'/>");
    expect_not("<message id=a/>");
    expect_not("<message id/>");
    expect_not("<message / >");
    expect_not("<message/");
    expect_not("<1/>");
    expect_not("<message><body>]]></body></message>");
    expect_not("<message><body>&nbsp;</body></message>");
    expect_not("<message><body>a\x01</body></message>");
}

static void test_bad_utf8(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xc1\xbf",
                                      "\xc3",
                                      "\xc3(",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xef\xbf\xbe",
                                      "\xef\xbf\xbf",
                                      "\xe2\x82",
                                      "\xe2(\xac",
                                      "\xe2\x82(",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf5\x80\x80\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf0\x90\x80",
                                      "\xff",
                                      "\xfe"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *text = mem_printf("<message><body>%s</body></message>", bad[i]);
        char *attribute = mem_printf("<message id='%s'/>", bad[i]);
        expect_not(text);
        expect_not(attribute);
        free(text);
        free(attribute);
    }
}

/* Whatever is cut off, it is not read, and nothing behind the end is looked at. */
static void test_incomplete(void **state)
{
    (void)state;
    static const char whole[] =
        "<iq id='12345678' to='\xe2\x82\xac'><q xmlns='urn:example'>text \xf0\x9f\x98\x80 ]</q><a/></iq>";
    assert_int_equal(read_bytes(whole), sizeof whole - 1);
    for (size_t n = 0; n < sizeof whole - 1; n++) {
        char *part = mem_dup(slice_of(whole, n));
        expect_not(part);
        free(part);
    }
}

static void test_limits(void **state)
{
    (void)state;
    static const char two[] = "<message id='a'><x xmlns='urn:a' b='c'/></message>";
    expect_plain(two);
    limits.depth = 1;
    expect_not(two);
    limits.depth = 2;
    limits.attributes = 1;
    expect_not(two);
    limits.attributes = 2;
    limits.names = 4;
    expect_not(two);
    limits.names = 5;
    limits.namespace_bytes = 4;
    expect_not(two);
    limits.namespace_bytes = 5;
    limits.tag_bytes = sizeof "<x xmlns='urn:a' b='c'/>" - 2;
    expect_not(two);
    limits.tag_bytes++;
    limits.stanza_bytes = sizeof two - 2;
    expect_not(two);
    limits.stanza_bytes++;
    expect_plain(two);
}

/* More levels and attributes than there is room for. */
static void test_more_than_usual(void **state)
{
    (void)state;
    struct buf deep = {0}, wide = {0};
    for (int i = 0; i < 16; i++)
        BUF_LIT(&deep, "<a>");
    for (int i = 0; i < 16; i++)
        BUF_LIT(&deep, "</a>");
    char *fits = mem_dup(buf_slice(&deep)), *too_deep = mem_printf("<a>%s</a>", fits);
    expect_plain(fits);
    expect_not(too_deep);
    BUF_LIT(&wide, "<a");
    for (int i = 0; i < 16; i++)
        buf_printf(&wide, " a%d=''", i);
    char *full = mem_printf("%.*s/>", SLICE_ARG(buf_slice(&wide))),
         *more = mem_printf("%.*s b=''/>", SLICE_ARG(buf_slice(&wide)));
    expect_plain(full);
    expect_not(more);
    free(fits);
    free(too_deep);
    free(full);
    free(more);
    buf_free(&deep);
    buf_free(&wide);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_plain, setup),           cmocka_unit_test_setup(test_the_long_way, setup),
        cmocka_unit_test_setup(test_not_xmpp, setup),        cmocka_unit_test_setup(test_bad_utf8, setup),
        cmocka_unit_test_setup(test_incomplete, setup),      cmocka_unit_test_setup(test_limits, setup),
        cmocka_unit_test_setup(test_more_than_usual, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
