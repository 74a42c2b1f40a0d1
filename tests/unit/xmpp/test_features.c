#include "recorder.h"
#include "xmpp/features.h"

#define STARTTLS          "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
#define STARTTLS_REQUIRED "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
#define SM                "<sm xmlns='urn:xmpp:sm:3'/><sm xmlns='urn:xmpp:sm:2'/>"
#define MECHANISMS        "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>"

struct rewriting {
    struct parser_pool *pool;
    struct stream *stream;
    struct features_change change;
    struct features_offer offer;
    struct buf out;
};

static enum stream_next on_opened(void *ctx, const struct stream_header *h)
{
    struct rewriting *w = ctx;
    (void)h;
    w->change.extra_ns = stream_extra_ns(w->stream);
    return STREAM_GO;
}

static enum stream_next on_element(void *ctx, const struct element *e)
{
    struct rewriting *w = ctx;
    assert_true(features_is(e));
    struct features_offer read;
    features_read(e, &read);
    features_rewrite(&w->out, e, &w->change, &w->offer);
    assert_int_equal(read.mechanisms_left, w->offer.mechanisms_left);
    assert_true(read.bind == w->offer.bind && read.starttls == w->offer.starttls && read.sm3 == w->offer.sm3);
    return STREAM_GO;
}

static void on_closed(void *ctx)
{
    (void)ctx;
}

static void on_failed(void *ctx, enum stream_error error, const char *text)
{
    (void)ctx;
    fail_msg("%s: %s", stream_error_name(error), text);
}

static const struct stream_events events = {on_opened, on_element, on_closed, on_failed};

/* What becomes of features behind header; also proves that it can be read behind the standard header. */
static void rewrite_behind(const char *header, const char *features, struct features_change change,
                           struct features_offer *offer, const char *wanted)
{
    struct rewriting w = {.pool = parser_pool_new(), .change = change};
    w.stream = stream_new(SLAB_CONNECTION, w.pool, &usual_limits, &events, &w);
    stream_feed(w.stream, header, strlen(header));
    stream_feed(w.stream, features, strlen(features));
    char *got = buf_steal(&w.out);
    assert_string_equal(got, wanted);
    *offer = w.offer;

    w.change = (struct features_change){0};
    stream_restart(w.stream);
    stream_feed(w.stream, HEADER, strlen(HEADER));
    stream_feed(w.stream, wanted, strlen(wanted));
    assert_true(w.out.n > 0);
    free(got);
    buf_free(&w.out);
    stream_free(w.stream);
    parser_pool_free(w.pool);
}

static void rewrite(const char *features, struct features_change change, struct features_offer *offer,
                    const char *wanted)
{
    rewrite_behind(HEADER, features, change, offer, wanted);
}

static void test_before_login(void **state)
{
    (void)state;
    struct features_offer o;
    rewrite(
        "<stream:features>\n <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>" MECHANISMS
        "<mechanism>SCRAM-SHA-1-PLUS</mechanism><mechanism>SCRAM-SHA-1</mechanism> <mechanism> EXTERNAL </mechanism>"
        "<mechanism>PLAIN</mechanism></mechanisms>"
        "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/></sasl-channel-binding>"
        "<compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression>"
        "<auth xmlns='http://jabber.org/features/iq-auth'/><register xmlns='http://jabber.org/features/iq-register'/>"
        "<authentication xmlns='urn:xmpp:sasl:2'><mechanism>PLAIN</mechanism><inline><bind xmlns='urn:xmpp:bind:0'/>"
        "</inline></authentication><x:unknown xmlns:x='urn:x' a=\"1\" >t</x:unknown></stream:features>",
        (struct features_change){.add_starttls = true}, &o,
        "<stream:features>\n " MECHANISMS "<mechanism>SCRAM-SHA-1</mechanism> <mechanism>PLAIN</mechanism></mechanisms>"
        "<auth xmlns='http://jabber.org/features/iq-auth'/><register xmlns='http://jabber.org/features/iq-register'/>"
        "<x:unknown xmlns:x='urn:x' a=\"1\" >t</x:unknown>" STARTTLS "</stream:features>");
    assert_true(o.starttls && o.starttls_required && o.plus_offered && o.external_offered && o.sasl2 && o.compression);
    assert_true(o.iq_auth && o.registration);
    assert_int_equal(o.mechanisms, 4);
    assert_int_equal(o.mechanisms_left, 2);
    assert_false(o.bind || o.session || o.sm2 || o.sm3 || o.old_ack);
}

static void test_after_login(void **state)
{
    (void)state;
    struct features_offer o;
    rewrite("<stream:features><ack xmlns='http://www.xmpp.org/extensions/xep-0198.html#ns'/>"
            "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind><sm xmlns='urn:xmpp:sm:2'/>"
            "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session><sm xmlns='urn:xmpp:sm:3'>"
            "<optional/></sm></stream:features>",
            (struct features_change){.add_sm = true}, &o,
            "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind>"
            "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'><optional/></session>" SM "</stream:features>");
    assert_true(o.bind && o.session && o.session_optional && o.sm2 && o.sm3 && o.old_ack);
    assert_false(o.starttls || o.plus_offered || o.iq_auth);
}

static void test_nothing_to_do(void **state)
{
    (void)state;
    struct features_offer o;
    static const char text[] = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/> </stream:features >";
    rewrite(text, (struct features_change){0}, &o, text);
    assert_true(o.bind);
    rewrite("<stream:features/>", (struct features_change){0}, &o, "<stream:features/>");
    rewrite("<stream:features/>",
            (struct features_change){.add_starttls = true, .starttls_required = true, .add_sm = true}, &o,
            "<stream:features>" STARTTLS_REQUIRED SM "</stream:features>");
    rewrite("<stream:features>" STARTTLS "</stream:features>", (struct features_change){0}, &o,
            "<stream:features></stream:features>");
    assert_true(o.starttls && !o.starttls_required);
}

static void test_no_mechanism_is_left(void **state)
{
    (void)state;
    struct features_offer o;
    rewrite("<stream:features>" MECHANISMS "<mechanism>EXTERNAL</mechanism></mechanisms></stream:features>",
            (struct features_change){0}, &o, "<stream:features></stream:features>");
    assert_int_equal(o.mechanisms, 1);
    assert_int_equal(o.mechanisms_left, 0);
    assert_true(o.external_offered && !o.plus_offered);
}

static void test_channel_binding_inside_mechanisms(void **state)
{
    (void)state;
    struct features_offer o;
    rewrite("<stream:features>" MECHANISMS "<mechanism>PLAIN</mechanism><c:sasl-channel-binding "
            "xmlns:c='urn:xmpp:sasl-cb:0'/></mechanisms></stream:features>",
            (struct features_change){0}, &o,
            "<stream:features>" MECHANISMS "<mechanism>PLAIN</mechanism></mechanisms></stream:features>");
    assert_true(o.plus_offered);
}

static void test_other_prefixes(void **state)
{
    (void)state;
    struct features_offer o;
    rewrite_behind("<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams' xmlns:t='"
                   "urn:ietf:params:xml:ns:xmpp-tls' version='1.0'>",
                   "<s:features><t:starttls/><ver xmlns='urn:xmpp:features:rosterver'/></s:features>",
                   (struct features_change){.add_sm = true}, &o,
                   "<s:features xmlns:s='http://etherx.jabber.org/streams' xmlns:t='urn:ietf:params:xml:ns:xmpp-tls'>"
                   "<ver xmlns='urn:xmpp:features:rosterver'/>" SM "</s:features>");
    assert_true(o.starttls);
    rewrite_behind("<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams' version='1.0'>",
                   "<s:features/>", (struct features_change){.add_sm = true}, &o,
                   "<s:features xmlns:s='http://etherx.jabber.org/streams'>" SM "</s:features>");
    rewrite("<features xmlns='http://etherx.jabber.org/streams'><bind "
            "xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></features>",
            (struct features_change){.add_sm = true}, &o,
            "<features xmlns='http://etherx.jabber.org/streams'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>" SM
            "</features>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_login),
        cmocka_unit_test(test_after_login),
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_no_mechanism_is_left),
        cmocka_unit_test(test_channel_binding_inside_mechanisms),
        cmocka_unit_test(test_other_prefixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
