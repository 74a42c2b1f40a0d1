/* RFC 7395: streams whose elements come one in a message, and elements as messages. */
#include "recorder.h"
#include "xmpp/framing.h"

#define OPEN    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.example' version='1.0' xml:lang='de'/>"
#define CLOSE   "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"
#define MESSAGE "<message xmlns='jabber:client' id='1'><body>a &amp; b</body></message>"

struct fixture {
    struct parser_pool *pool;
    struct recorder r;
};

static void begin(struct fixture *f)
{
    f->pool = parser_pool_new();
    recorder_begin(&f->r, f->pool, &usual_limits);
    stream_set_framed(f->r.stream);
}

static void end(struct fixture *f)
{
    recorder_end(&f->r);
    parser_pool_free(f->pool);
}

/* Messages, each with its end, in pieces of that many bytes; it goes on behind pauses. */
static void say(struct fixture *f, const char *const *messages, size_t piece)
{
    struct buf all = {0};
    for (; *messages; messages++)
        buf_append(&all, *messages, strlen(*messages) + 1);
    for (size_t i = 0; i < all.n;) {
        size_t n = all.n - i < piece ? all.n - i : piece, used = recorder_feed(&f->r, all.data + all.off + i, n);
        if (used == 0)
            break;
        i += used;
    }
    buf_free(&all);
}

#define SAY(f, piece, ...) say(f, (const char *const[]){__VA_ARGS__, NULL}, piece)

static void test_however_it_is_cut(void **state)
{
    (void)state;
    char *first = NULL;
    for (size_t piece = 1; piece < 400; piece = piece < 20 ? piece + 1 : piece * 3) {
        struct fixture f;
        begin(&f);
        SAY(&f, piece, OPEN, MESSAGE, "<presence/>\n", " ", "", "<r xmlns='urn:xmpp:sm:3'/>", CLOSE, MESSAGE);
        assert_int_equal(f.r.opened, 1);
        assert_int_equal(f.r.elements, 3);
        assert_int_equal(f.r.closed, 1);
        assert_int_equal(f.r.failed, 0);
        char *text = buf_steal(&f.r.text);
        if (first)
            assert_string_equal(first, text);
        else
            assert_non_null(strstr(text, "opened http://etherx.jabber.org/streams|stream default=jabber:client "
                                         "to=a.example version=1.0 lang=de v1=1 extra=[]\n"));
        if (first)
            free(text);
        else
            first = text;
        end(&f);
    }
    free(first);
}

/* What is behind a pause waits, the end of its message too. */
static void test_pauses_and_a_restart(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    f.r.next = STREAM_PAUSE;
    f.r.restart_at = "success";
    SAY(&f, 1000, OPEN, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/> ", OPEN, MESSAGE);
    assert_int_equal(f.r.opened, 2);
    assert_int_equal(f.r.elements, 2);
    assert_int_equal(f.r.failed, 0);
    end(&f);
}

static const struct {
    const char *messages[4];
    enum stream_error error;
} bad[] = {
    {{"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"}, STREAM_NOT_WELL_FORMED},
    {{"<open xmlns='jabber:client'/>"}, STREAM_INVALID_NAMESPACE},
    {{MESSAGE}, STREAM_INVALID_NAMESPACE},
    {{"<opened xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"}, STREAM_BAD_FORMAT},
    {{OPEN, OPEN}, STREAM_BAD_FORMAT},
    {{OPEN, MESSAGE MESSAGE}, STREAM_BAD_FORMAT},
    {{OPEN, MESSAGE "<"}, STREAM_NOT_WELL_FORMED},
    {{OPEN, MESSAGE "text"}, STREAM_NOT_WELL_FORMED},
    {{OPEN, "<message>", "</message>"}, STREAM_NOT_WELL_FORMED},
    {{OPEN, "<message"}, STREAM_NOT_WELL_FORMED},
    {{OPEN, "</stream:stream>"}, STREAM_NOT_WELL_FORMED},
    {{OPEN, "<?xml version='1.0'?>" MESSAGE}, STREAM_RESTRICTED_XML},
    {{OPEN, "<!-- -->"}, STREAM_RESTRICTED_XML},
    {{OPEN, "<!DOCTYPE a>"}, STREAM_RESTRICTED_XML},
};

static void test_what_is_no_message(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (size_t piece = 1; piece <= 1000; piece += 999) {
            struct fixture f;
            begin(&f);
            say(&f, bad[i].messages, piece);
            assert_int_equal(f.r.failed, 1);
            assert_int_equal(f.r.error, bad[i].error);
            end(&f);
        }
    }
}

static void assert_message(const char *element, const char *wanted)
{
    struct slice parts[FRAMING_PARTS];
    struct buf out = {0};
    size_t n = framing_message(slice_str(element), parts);
    for (size_t i = 0; i < n; i++)
        buf_add(&out, parts[i]);
    char *text = buf_steal(&out);
    assert_string_equal(text, wanted);
    free(text);
}

static void test_declarations(void **state)
{
    (void)state;
    assert_message("<presence/>", "<presence xmlns='jabber:client'/>");
    assert_message("<iq\tid='a>b'/>", "<iq xmlns='jabber:client'\tid='a>b'/>");
    assert_message("<message><body xmlns='x'/></message>",
                   "<message xmlns='jabber:client'><body xmlns='x'/></message>");
    assert_message("<message id=\"xmlns='x'\"/>", "<message xmlns='jabber:client' id=\"xmlns='x'\"/>");
    assert_message("<r xmlns = \"urn:xmpp:sm:3\"/>", "<r xmlns = \"urn:xmpp:sm:3\"/>");
    assert_message("<x:a xmlns:x='y'/>", "<x:a xmlns='jabber:client' xmlns:x='y'/>");
    assert_message("<stream:error/>", "<stream:error xmlns='jabber:client' "
                                      "xmlns:stream='http://etherx.jabber.org/streams'/>");
    assert_message("<stream:a xmlns:stream='z' xmlns='y'/>", "<stream:a xmlns:stream='z' xmlns='y'/>");
    assert_message("<a xmlns='b'><stream:c/></a>",
                   "<a xmlns:stream='http://etherx.jabber.org/streams' xmlns='b'><stream:c/></a>");
}

static void test_open(void **state)
{
    (void)state;
    char *text = framing_open(&(struct stream_header){.id = SLICE_LIT("a'b"), .version = SLICE_LIT("1.0")});
    assert_string_equal(text, "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='a&apos;b' version='1.0'/>");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_however_it_is_cut),
        cmocka_unit_test(test_pauses_and_a_restart),
        cmocka_unit_test(test_what_is_no_message),
        cmocka_unit_test(test_declarations),
        cmocka_unit_test(test_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
