#include "recorder.h"
#include "xmpp/stanza.h"
#include "xmpp/xml.h"

static void assert_written(struct buf *out, const char *wanted)
{
    char *got = buf_steal(out);
    assert_string_equal(got, wanted);
    free(got);
}

/* The places in a stanza, found by the means that production uses. */
static struct stanza_bytes places;
static enum stream_next take_places(void *ctx, const struct element *e)
{
    places = stanza_bytes_of(e);
    places.bytes = slice_str(ctx);
    return STREAM_GO;
}

static enum stream_next ignore_opened(void *ctx, const struct stream_header *h)
{
    (void)ctx, (void)h;
    return STREAM_GO;
}

static void ignore_closed(void *ctx)
{
    (void)ctx;
}

static void never_failed(void *ctx, enum stream_error error, const char *text)
{
    (void)ctx;
    fail_msg("%s: %s", stream_error_name(error), text);
}

static struct stanza_bytes places_of(const char *stanza)
{
    static const struct stream_events events = {ignore_opened, take_places, ignore_closed, never_failed};
    static const char header[] = "<stream:stream xmlns='jabber:client' xmlns:c='jabber:client' xmlns:x='urn:x' "
                                 "xmlns:stream='http://etherx.jabber.org/streams'>";
    struct parser_pool *pool = parser_pool_new();
    struct stream *s = stream_new(SLAB_CONNECTION, pool, &usual_limits, &events, (void *)stanza);
    places = (struct stanza_bytes){0};
    stream_feed(s, header, sizeof header - 1);
    stream_feed(s, stanza, strlen(stanza));
    assert_non_null(places.bytes.p);
    stream_free(s);
    parser_pool_free(pool);
    return places;
}

static void test_delayed(void **state)
{
    (void)state;
    static const struct {
        const char *stanza, *delayed;
    } rows[] = {
        {"<message to='a'><body>x</body></message>", "<message to='a'><body>x</body>D</message>"},
        {"<message><a/></message\n>", "<message><a/>D</message\n>"},
        {"<message></message>", "<message>D</message>"},
        {"<message to='a' />", "<message to='a' >D</message>"},
        {"<message/>", "<message>D</message>"},
        {"<c:message\tid='1'/>", "<c:message\tid='1'>D</c:message>"},
        {"<c:message><x:y/></c:message>", "<c:message><x:y/>D</c:message>"},
        {"<message to='a/>b'/>", "<message to='a/>b'>D</message>"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct stanza_bytes s = places_of(rows[i].stanza);
        struct buf out = {0}, wanted = {0};
        const char *mark = strchr(rows[i].delayed, 'D');
        buf_append(&wanted, rows[i].delayed, (size_t)(mark - rows[i].delayed));
        buf_add_str(&wanted, "<delay xmlns='urn:xmpp:delay' from='a&apos;b' stamp='2026-01-02T03:04:05.678Z'/>");
        buf_add_str(&wanted, mark + 1);
        stanza_write_delayed(&out, &s, SLICE_LIT("a'b"), "2026-01-02T03:04:05.678Z");
        char *text = buf_steal(&wanted);
        assert_written(&out, text);
        places_of(text); /* still a stanza */
        free(text);
    }
    struct stanza_bytes s = places_of("<message/>");
    struct buf out = {0};
    stanza_write_delayed(&out, &s, SLICE_NONE, "S");
    assert_written(&out, "<message><delay xmlns='urn:xmpp:delay' stamp='S'/></message>");
}

static void test_declared(void **state)
{
    (void)state;
    static const char extra[] = " xmlns:x='urn:x' xmlns:y='urn:&apos;\"y'";
    static const struct {
        const char *stanza, *declared;
    } rows[] = {
        {"<message/>", "<message xmlns:x='urn:x' xmlns:y='urn:&apos;\"y'/>"},
        {"<iq id='1'><x:q/></iq>", "<iq xmlns:x='urn:x' xmlns:y='urn:&apos;\"y' id='1'><x:q/></iq>"},
        {"<iq id='xmlns:y=' xmlns:x = \"urn:other\"><x:q/></iq>",
         "<iq xmlns:y='urn:&apos;\"y' id='xmlns:y=' xmlns:x = \"urn:other\"><x:q/></iq>"},
        {"<iq\n xmlns:y='a'\txmlns:x='b'/>", "<iq\n xmlns:y='a'\txmlns:x='b'/>"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct stanza_bytes s = places_of(rows[i].stanza);
        struct buf out = {0};
        size_t added = stanza_write_declared(&out, &s, slice_str(extra));
        assert_int_equal(added, strlen(rows[i].declared) - strlen(rows[i].stanza));
        struct stanza_bytes now = places_of(rows[i].declared);
        assert_int_equal(now.open_end, s.open_end + added);
        assert_int_equal(now.close_at, s.close_at + added);
        assert_int_equal(now.name_end, s.name_end);
        assert_written(&out, rows[i].declared);
    }
    struct stanza_bytes s = places_of("<message/>");
    struct buf out = {0};
    assert_int_equal(stanza_write_declared(&out, &s, SLICE_NONE), 0);
    assert_written(&out, "<message/>");
}

static void test_iqs(void **state)
{
    (void)state;
    struct buf out = {0};
    stanza_write_iq_error(&out, SLICE_LIT("a&1"), SLICE_LIT("me@a/r"), SLICE_LIT("you@b/r"), "wait",
                          "recipient-unavailable");
    assert_written(&out, "<iq type='error' id='a&amp;1' from='me@a/r' to='you@b/r'><error type='wait'>"
                         "<recipient-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>");
    stanza_write_pong(&out, SLICE_LIT("1"), SLICE_NONE, SLICE_NONE);
    assert_written(&out, "<iq type='result' id='1'/>");
    stanza_write_pong(&out, SLICE_LIT("1"), SLICE_NONE, SLICE_LIT("a.lit"));
    assert_written(&out, "<iq type='result' id='1' to='a.lit'/>");
    stanza_write_ping(&out, SLICE_LIT("p"), SLICE_NONE, SLICE_LIT("a.lit"));
    assert_written(&out, "<iq type='get' id='p' to='a.lit'><ping xmlns='urn:xmpp:ping'/></iq>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_delayed),
        cmocka_unit_test(test_declared),
        cmocka_unit_test(test_iqs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
