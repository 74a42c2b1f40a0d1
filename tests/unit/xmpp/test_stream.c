#include "recorder.h"
#include <stdio.h>

#define STANDARD_OPENED                                                                                                \
    "opened http://etherx.jabber.org/streams|stream default=jabber:client version=1.0 v1=1 extra=[]\n"

/* What the bytes give when fed whole; free() it. Checked against byte by byte, and against each split in two. */
static char *record_all_ways_of(bool framed, const char *p, size_t n, const struct stream_limits *limits)
{
    struct parser_pool *pool = parser_pool_new();
    struct recorder r;
    recorder_begin(&r, pool, limits);
    if (framed)
        stream_set_framed(r.stream);
    recorder_feed_steps(&r, p, n, n);
    char *whole = buf_steal(&r.text);
    recorder_end(&r);
    for (size_t split = 0; split <= n; split++) {
        recorder_begin(&r, pool, limits);
        if (framed)
            stream_set_framed(r.stream);
        if (split == 0) {
            recorder_feed_steps(&r, p, n, 1);
        } else {
            recorder_feed_steps(&r, p, split, split);
            if (!r.closed && !r.failed)
                recorder_feed_steps(&r, p + split, n - split, n);
        }
        char *parts = buf_steal(&r.text);
        assert_string_equal(parts, whole);
        free(parts);
        recorder_end(&r);
    }
    parser_pool_free(pool);
    return whole;
}

static char *record_all_ways(const char *p, size_t n, const struct stream_limits *limits)
{
    return record_all_ways_of(false, p, n, limits);
}

static char *record_text(const char *text)
{
    return record_all_ways(text, strlen(text), &usual_limits);
}

static void expect(const char *input, const char *wanted)
{
    char *got = record_text(input);
    assert_string_equal(got, wanted);
    free(got);
}

static void expect_failure(const char *input, enum stream_error error)
{
    char *got = record_text(input), wanted[64];
    snprintf(wanted, sizeof wanted, "failed %s\n", stream_error_name(error));
    if (!strstr(got, wanted))
        fail_msg("wanted %s for %s\ngot %s", wanted, input, got);
    free(got);
}

static void test_header(void **state)
{
    (void)state;
    expect("<?xml version='1.0' encoding='utf-8'?>\n<stream:stream to='a.lit' from='u@a.lit/x' id='&lt;7&gt;' "
           "xml:lang='de' version='1.12' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' >",
           "opened http://etherx.jabber.org/streams|stream default=jabber:client to=a.lit from=u@a.lit/x id=<7> "
           "version=1.12 lang=de v1=1 extra=[]\n");
    expect("  \n" HEADER "</stream:stream>", STANDARD_OPENED "closed\n");
    expect("<?xml version='1.0'?> " HEADER " </stream:stream><message/>", STANDARD_OPENED "closed\n");
    expect("<stream:stream id='' from=\"a.lit\" to='b@a.lit'\n xmlns=\"jabber:client\" xml:lang='en' "
           "xmlns:stream='http://etherx.jabber.org/streams'><presence/>",
           "opened http://etherx.jabber.org/streams|stream default=jabber:client to=b@a.lit from=a.lit id= lang=en "
           "v1=0 extra=[]\n"
           "element kind=2 jabber:client|presence facts=0 priority=0 open=11 close=11 name=9 bytes=<presence/>\n");
    expect("<s:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams' version='0.9'></s:stream>",
           "opened http://etherx.jabber.org/streams|stream default=jabber:client version=0.9 v1=0 "
           "extra=[ xmlns:s='http://etherx.jabber.org/streams']\nclosed\n");
    expect("<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client'><c:iq id='1'/></stream>",
           "opened http://etherx.jabber.org/streams|stream default=http://etherx.jabber.org/streams v1=0 "
           "extra=[ xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client']\n"
           "element kind=3 jabber:client|iq id=1 facts=0 priority=0 open=14 close=14 name=5 bytes=<c:iq id='1'/>"
           "(jabber:client|iq |id=1 text= bytes=<c:iq id='1'/>)\nclosed\n");
}

static void test_header_versions(void **state)
{
    (void)state;
    static const struct {
        const char *version;
        bool is_1;
    } rows[] = {{"1.0", true},  {"1.1", true}, {"10.0", true},  {"01.0", true},  {"2.0", true},
                {"0.9", false}, {"1", false},  {"", false},     {"1.", false},   {".1", false},
                {"1.x", false}, {"x", false},  {"-1.0", false}, {" 1.0", false}, {"1.0.0", false}};
    struct parser_pool *pool = parser_pool_new();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct recorder r;
        char text[256];
        recorder_begin(&r, pool, &usual_limits);
        snprintf(text, sizeof text,
                 "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='%s'>",
                 rows[i].version);
        recorder_feed_str(&r, text);
        buf_append(&r.text, "", 1);
        assert_non_null(strstr(r.text.data, rows[i].is_1 ? "v1=1" : "v1=0"));
        recorder_end(&r);
    }
    parser_pool_free(pool);
}

static void test_bad_headers(void **state)
{
    (void)state;
    expect_failure("<stream:stream xmlns='jabber:client' xmlns:stream='urn:other'>", STREAM_INVALID_NAMESPACE);
    expect_failure("<stream>", STREAM_INVALID_NAMESPACE);
    expect_failure("<stream:other xmlns:stream='http://etherx.jabber.org/streams'>", STREAM_BAD_FORMAT);
    expect_failure("<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>", STREAM_BAD_FORMAT);
    expect_failure("<stream:stream xmlns='jabber:client'>", STREAM_BAD_NAMESPACE_PREFIX);
    expect_failure("GET / HTTP/1.1\r\n\r\n", STREAM_NOT_WELL_FORMED);
    expect_failure("\x16\x03\x01\x02", STREAM_NOT_WELL_FORMED);
    expect_failure("<?xml version='1.0' encoding='ISO-8859-1'?>" HEADER, STREAM_UNSUPPORTED_ENCODING);
    expect_failure("<?xml version='1.0' encoding='UTF-16'?>" HEADER, STREAM_UNSUPPORTED_ENCODING);
    expect_failure("<?xml version='1.0' encoding='klingon'?>" HEADER, STREAM_UNSUPPORTED_ENCODING);
    expect_failure("\xff\xfe<" HEADER, STREAM_UNSUPPORTED_ENCODING); /* expat would take it for UTF-16 */
    expect_failure("\xfe\xff<" HEADER, STREAM_UNSUPPORTED_ENCODING);
}

static void test_elements(void **state)
{
    (void)state;
    expect(
        HEADER " \n<message to='a&amp;b@c' id=\"&#x41;&quot;\" type='chat'><body>a &lt; <![CDATA[<b>]]></body>"
               "</message >\r\n<presence/>\n<r xmlns='urn:xmpp:sm:3'/></stream:stream>",
        STANDARD_OPENED
        "element kind=1 jabber:client|message id=A\" to=a&b@c type=chat facts=20001 priority=0 open=54 close=89 name=8 "
        "bytes=<message to='a&amp;b@c' id=\"&#x41;&quot;\" type='chat'><body>a &lt; <![CDATA[<b>]]></body></message >\n"
        "element kind=2 jabber:client|presence facts=0 priority=0 open=11 close=11 name=9 bytes=<presence/>\n"
        "element kind=0 urn:xmpp:sm:3|r facts=0 priority=0 open=26 close=26 name=2 bytes=<r xmlns='urn:xmpp:sm:3'/>"
        "(urn:xmpp:sm:3|r text= bytes=<r xmlns='urn:xmpp:sm:3'/>)\n"
        "closed\n");
}

static void test_tree(void **state)
{
    (void)state;
    expect(HEADER "<iq type='get'>a<q xmlns='urn:q' xml:lang='en' k='&apos;&#10;v'>t&amp;<e/>u\nv</q><p/>&gt;b</iq>",
           STANDARD_OPENED
           "element kind=3 jabber:client|iq type=get facts=20000 priority=0 open=15 close=90 name=3 "
           "bytes=<iq type='get'>a<q xmlns='urn:q' xml:lang='en' k='&apos;&#10;v'>t&amp;<e/>u\nv</q><p/>&gt;b</iq>"
           "(jabber:client|iq |type=get text=a>b "
           "bytes=<iq type='get'>a<q xmlns='urn:q' xml:lang='en' k='&apos;&#10;v'>t&amp;<e/>u\nv</q><p/>&gt;b</iq>"
           "(urn:q|q http://www.w3.org/XML/1998/namespace|lang=en |k='\nv text=t&u\nv "
           "bytes=<q xmlns='urn:q' xml:lang='en' k='&apos;&#10;v'>t&amp;<e/>u\nv</q>"
           "(urn:q|e text= bytes=<e/>))"
           "(jabber:client|p text= bytes=<p/>))\n");
}

/* The facts of one stanza. */
static bool cut_result;
static size_t nodes_result;
static uint32_t facts_result;
static int priority_result;
static enum stream_next take_facts(void *ctx, const struct element *e)
{
    (void)ctx;
    facts_result = e->facts;
    priority_result = e->priority;
    cut_result = e->tree_cut;
    nodes_result = 0;
    for (const struct node *n = e->tree ? e->tree->first_child : NULL; n; n = n->next)
        nodes_result++;
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

static void feed_facts(const char *stanza)
{
    static const struct stream_events events = {ignore_opened, take_facts, ignore_closed, never_failed};
    struct parser_pool *pool = parser_pool_new();
    struct stream *s = stream_new(SLAB_CONNECTION, pool, &usual_limits, &events, NULL);
    facts_result = UINT32_MAX;
    assert_int_equal(stream_feed(s, HEADER, strlen(HEADER)), strlen(HEADER));
    assert_int_equal(stream_feed(s, stanza, strlen(stanza)), strlen(stanza));
    assert_int_not_equal(facts_result, UINT32_MAX);
    stream_free(s);
    parser_pool_free(pool);
}

/* Memory for the tree is bounded; the element itself is whole. */
static void test_tree_is_cut(void **state)
{
    (void)state;
    for (size_t children = ELEMENT_NODES - 2; children <= ELEMENT_NODES + 2; children++) {
        struct buf stanza = {0};
        BUF_LIT(&stanza, "<iq type='get'>");
        for (size_t i = 0; i < children; i++)
            buf_add_str(&stanza, i % 2 ? "<a/>" : "<b>t</b>");
        BUF_LIT(&stanza, "</iq>");
        char *text = buf_steal(&stanza);
        feed_facts(text);
        assert_int_equal(cut_result, children > ELEMENT_NODES - 1); /* the root is a node as well */
        assert_int_equal(nodes_result, cut_result ? ELEMENT_NODES - 1 : children);
        free(text);
    }
}

static void test_facts(void **state)
{
    (void)state;
    static const struct {
        const char *child;
        uint32_t facts;
    } rows[] = {
        {"<body>x</body>", FACT_BODY | FACT_PAYLOAD},
        {"<body/>", 0},
        {"<body></body>", 0},
        {"<body><![CDATA[]]></body>", 0},
        {"<body>&#32;</body>", FACT_BODY | FACT_PAYLOAD},
        {"<body xmlns='urn:other'>x</body>", FACT_PAYLOAD},
        {"<subject/>", FACT_SUBJECT | FACT_PAYLOAD},
        {"<thread>t</thread>", 0},
        {"<composing xmlns='http://jabber.org/protocol/chatstates'/>", FACT_CHAT_STATE},
        {"<delay xmlns='urn:xmpp:delay' stamp='x'/>", FACT_DELAY},
        {"<x xmlns='jabber:x:delay' stamp='x'/>", 0},
        {"<no-store xmlns='urn:xmpp:hints'/>", FACT_NO_STORE},
        {"<no-permanent-store xmlns='urn:xmpp:hints'/>", FACT_NO_STORE},
        {"<no-copy xmlns='urn:xmpp:hints'/>", FACT_NO_COPY},
        {"<store xmlns='urn:xmpp:hints'/>", 0},
        {"<origin-id xmlns='urn:xmpp:sid:0' id='1'/><stanza-id xmlns='urn:xmpp:sid:0' id='1' by='x'/>", 0},
        {"<request xmlns='urn:xmpp:receipts'/>", FACT_RECEIPT_REQUEST | FACT_PAYLOAD},
        {"<received xmlns='urn:xmpp:receipts' id='1'/>", FACT_RECEIPT | FACT_PAYLOAD},
        {"<sent xmlns='urn:xmpp:carbons:2'/>", FACT_CARBON | FACT_PAYLOAD},
        {"<received xmlns='urn:xmpp:carbons:2'/>", FACT_CARBON | FACT_PAYLOAD},
        {"<result xmlns='urn:xmpp:mam:2'/>", FACT_ARCHIVED | FACT_PAYLOAD},
        {"<x xmlns='jabber:x:event'/>", FACT_EVENT | FACT_PAYLOAD},
        {"<x xmlns='jabber:x:event'><offline/><delivered/><y/></x>",
         FACT_EVENT | FACT_ASKS_OFFLINE | FACT_ASKS_DELIVERED | FACT_PAYLOAD},
        {"<x xmlns='jabber:x:event'><delivered/><id>1</id></x>", FACT_EVENT | FACT_DELIVERED | FACT_PAYLOAD},
        {"<x xmlns='jabber:x:event'><displayed/><id>1</id></x>", FACT_EVENT | FACT_PAYLOAD},
        {"<x xmlns='jabber:x:event'><composing/><id>1</id></x>", FACT_EVENT | FACT_CHAT_STATE},
        {"<x xmlns='jabber:x:event'><id>1</id></x>", FACT_EVENT | FACT_CHAT_STATE},
        {"<x xmlns='http://jabber.org/protocol/muc#user'/>", FACT_MUC_USER | FACT_PAYLOAD},
        {"<x xmlns='http://jabber.org/protocol/muc'/>", FACT_PAYLOAD}, /* a join is presence */
        {"<error/>", FACT_ERROR | FACT_PAYLOAD},
        {"<query xmlns='jabber:iq:auth'/>", FACT_IQ_AUTH | FACT_PAYLOAD},
        {"<query xmlns='jabber:iq:register'/>", FACT_REGISTER | FACT_PAYLOAD},
        {"<query xmlns='jabber:iq:roster'/>", FACT_ROSTER | FACT_PAYLOAD},
        {"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>", FACT_BIND | FACT_PAYLOAD},
        {"<ping xmlns='urn:xmpp:ping'/>", FACT_PING | FACT_PAYLOAD},
        {"<ext xmlns='urn:unknown'><body xmlns='jabber:client'>x</body></ext>", FACT_PAYLOAD},
        {"text", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char stanza[512];
        snprintf(stanza, sizeof stanza, "<message>%s</message>", rows[i].child);
        feed_facts(stanza);
        if (facts_result != rows[i].facts)
            fail_msg("%s: %x, not %x", rows[i].child, (unsigned)facts_result, (unsigned)rows[i].facts);
    }
    feed_facts("<presence><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    assert_int_equal(facts_result, FACT_MUC_JOIN | FACT_PAYLOAD);
    feed_facts("<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
    assert_int_equal(facts_result, FACT_STREAM_ERROR);
    feed_facts("<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>");
    assert_int_equal(facts_result, 0);
}

static void test_priority(void **state)
{
    (void)state;
    static const struct {
        const char *child;
        int priority;
    } rows[] = {
        {"<priority>5</priority>", 5},
        {"<priority> -1\n</priority>", -1},
        {"<priority>127</priority>", 127},
        {"<priority>-128</priority>", -128},
        {"<priority>128</priority>", 0},
        {"<priority>1x</priority>", 0},
        {"<priority/>", 0},
        {"<priority>&#49;<![CDATA[2]]></priority>", 12},
        {"<priority>111111111111</priority>", 0},
        {"<priority xmlns='urn:x'>5</priority>", 0},
        {"<c xmlns='urn:x'><priority xmlns='jabber:client'>5</priority></c>", 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char stanza[256];
        snprintf(stanza, sizeof stanza, "<presence><show>away</show>%s<status>7</status></presence>", rows[i].child);
        feed_facts(stanza);
        assert_int_equal(priority_result, rows[i].priority);
    }
}

static void test_receipt_id(void **state)
{
    (void)state;
    char *got = record_text(HEADER "<message><received xmlns='urn:xmpp:receipts' id='a&amp;1'/></message>");
    assert_non_null(strstr(got, " receipt=a&1 "));
    free(got);
    got = record_text(HEADER "<message><x xmlns='jabber:x:event'><id>a<y>2</y>&amp;1</id><delivered/></x></message>");
    assert_non_null(strstr(got, " receipt=a&1 "));
    free(got);
    got = record_text(HEADER "<message><x xmlns='jabber:x:event'> <offline/></x></message>");
    assert_non_null(strstr(got, " offline=36-46"));
    free(got);
}

static void test_chat_state(void **state)
{
    (void)state;
    char *got = record_text(HEADER "<message><thread>a<y>2</y>&amp;1</thread>"
                                   "<paused xmlns='http://jabber.org/protocol/chatstates'/></message>");
    assert_non_null(strstr(got, " thread=a&1 "));
    assert_non_null(strstr(got, " chat_state=3"));
    free(got);
}

static void test_prefixes_of_header(void **state)
{
    (void)state;
    expect(
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
        "xmlns:ack='urn:a&amp;&apos;b'><ack:r/> <message/></stream:stream>",
        "opened http://etherx.jabber.org/streams|stream default=jabber:client v1=0 "
        "extra=[ xmlns:ack='urn:a&amp;&apos;b']\n"
        "element kind=0 urn:a&'b|r facts=0 priority=0 open=8 close=8 name=6 bytes=<ack:r/>"
        "(urn:a&'b|r text= bytes=<ack:r/>)\n"
        "element kind=1 jabber:client|message facts=0 priority=0 open=10 close=10 name=8 bytes=<message/>\nclosed\n");
}

static void test_restricted(void **state)
{
    (void)state;
    static const char *const bad[] = {"<!-- c -->", "<?pi x?>", "<!DOCTYPE a>", "<!DOCTYPE a [<!ENTITY b 'c'>]>",
                                      "<?xml-stylesheet href='x'?>"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        static const char *const before[] = {"",
                                             "<?xml version='1.0'?>",
                                             HEADER,
                                             HEADER "<message/> ",
                                             HEADER "<message><body>x",
                                             HEADER "<iq><![CDATA[a]]>"};
        for (size_t j = 0; j < sizeof before / sizeof *before; j++) {
            char text[512];
            snprintf(text, sizeof text, "%s%s", before[j], bad[i]);
            if (j < 3 || i < 2 || i == 4)
                expect_failure(text, STREAM_RESTRICTED_XML);
        }
    }
    expect_failure(HEADER "<message>&foo;</message>", STREAM_RESTRICTED_XML);
    expect_failure(HEADER "<message to='&foo;'/>", STREAM_RESTRICTED_XML);
    expect_failure(HEADER "<?xml version='1.0'?>" HEADER, STREAM_RESTRICTED_XML);
}

/* It is told as soon as nothing else can come of it, not at its end, which may never come. */
static void test_restricted_at_once(void **state)
{
    (void)state;
    static const char *const begins[] = {"<!-", "<!D", "<?p"};
    struct parser_pool *pool = parser_pool_new();
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        struct recorder r;
        recorder_begin(&r, pool, &usual_limits);
        recorder_feed_str(&r, HEADER "<message>");
        recorder_feed_str(&r, begins[i]);
        assert_int_equal(r.failed, 1);
        assert_int_equal(r.error, STREAM_RESTRICTED_XML);
        recorder_end(&r);
    }
    parser_pool_free(pool);
}

static void test_not_well_formed(void **state)
{
    (void)state;
    expect_failure(HEADER "<message></presence>", STREAM_NOT_WELL_FORMED);
    expect_failure(HEADER "<message a='1' a='2'/>", STREAM_NOT_WELL_FORMED);
    expect_failure(HEADER "<message><foo:body/></message>", STREAM_NOT_WELL_FORMED);
    expect_failure(HEADER "<message foo:a='1'/>", STREAM_NOT_WELL_FORMED);
    expect_failure(HEADER "<message/>text", STREAM_NOT_WELL_FORMED);
    expect_failure(HEADER "<![CDATA[ ]]>", STREAM_NOT_WELL_FORMED);
    expect_failure(HEADER "&amp;<a/>", STREAM_NOT_WELL_FORMED);
    expect_failure(HEADER "<message>\x01</message>", STREAM_NOT_WELL_FORMED);
    expect_failure(HEADER "<message>&#0;</message>", STREAM_NOT_WELL_FORMED);
    expect_failure(HEADER "</stream:other>", STREAM_NOT_WELL_FORMED);
    expect_failure(HEADER "<message/><message <>", STREAM_NOT_WELL_FORMED);
}

static struct slice with_inserted(struct buf *text, const char *stanza, size_t at, struct slice bad)
{
    buf_clear(text);
    buf_add_str(text, HEADER "<presence/>");
    buf_append(text, stanza, at);
    buf_add(text, bad);
    buf_add_str(text, stanza + at);
    return buf_slice(text);
}

/* Bad bytes anywhere, and the reads cut anywhere: what came before is delivered, what holds them is not. */
static void test_invalid_characters(void **state)
{
    (void)state;
    static const char stanza[] = "<message to='ab' xmlns:x='urn:x'><body>h\xc3\xa9y</body><x:q/></message>";
    static const struct slice bad[] = {
        SLICE_LIT("\xff"),     /* never in UTF-8 */
        SLICE_LIT("\x80"),     /* a continuation without a beginning */
        SLICE_LIT("\xc0\xaf"), /* too long for what they mean */
        SLICE_LIT("\xe0\x80\xaf"),
        SLICE_LIT("\xf0\x80\x80\xaf"),
        SLICE_LIT("\xc1\xbf"),
        SLICE_LIT("\xed\xa0\x80"), /* surrogates */
        SLICE_LIT("\xed\xbf\xbf"),
        SLICE_LIT("\xed\xa0\xbd\xed\xb8\x80"),
        SLICE_LIT("\xf4\x90\x80\x80"), /* beyond U+10FFFF */
        SLICE_LIT("\xf5\x80\x80\x80"),
        SLICE_LIT("\xe2\x82\x28"), /* cut short */
        SLICE_LIT("\xe2\x82"),
        SLICE_LIT("\xef\xbf\xbe"), /* U+FFFE, U+FFFF */
        SLICE_LIT("\xef\xbf\xbf"),
        SLICE_LIT("\x01"), /* control characters */
        SLICE_LIT("\x0b"),
        SLICE_LIT("\x1f"),
        SLICE_LIT("\0"),
    };
    struct buf text = {0};
    struct parser_pool *pool = parser_pool_new();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        for (size_t at = 0; at < sizeof stanza - 1; at++) {
            struct slice in = with_inserted(&text, stanza, at, bad[i]);
            for (size_t split = sizeof HEADER - 1; split < in.n; split++) {
                struct recorder r;
                recorder_begin(&r, pool, &usual_limits);
                recorder_feed(&r, in.p, split);
                recorder_feed(&r, in.p + split, in.n - split);
                assert_int_equal(r.failed, 1);
                assert_int_equal(r.error, STREAM_NOT_WELL_FORMED);
                assert_int_equal(r.elements, 1);
                recorder_end(&r);
            }
        }
    }
    parser_pool_free(pool);
    buf_free(&text);
}

static void test_valid_characters_of_all_lengths(void **state)
{
    (void)state;
    static const char stanza[] = "<message><body>\t\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbd"
                                 "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf<![CDATA[<&]]></body></message>";
    struct buf text = {0};
    struct parser_pool *pool = parser_pool_new();
    struct slice in = with_inserted(&text, stanza, 0, SLICE_NONE);
    for (size_t split = 1; split < in.n; split++) {
        struct recorder r;
        recorder_begin(&r, pool, &usual_limits);
        recorder_feed(&r, in.p, split);
        recorder_feed(&r, in.p + split, in.n - split);
        assert_int_equal(r.failed, 0);
        assert_int_equal(r.elements, 2);
        assert_non_null(memmem(r.text.data, r.text.n, stanza, sizeof stanza - 1));
        recorder_end(&r);
    }
    parser_pool_free(pool);
    buf_free(&text);
}

/* What is finished is reported at once, however it came: expat itself would wait for more. */
static void test_trickle(void **state)
{
    (void)state;
    struct parser_pool *pool = parser_pool_new();
    struct recorder r;
    char big[600];
    memset(big, 'x', sizeof big);
    int n = snprintf(big, sizeof big, "<message to='");
    memset(big + n, 'x', 500);
    recorder_begin(&r, pool, &usual_limits);
    recorder_feed_str(&r, HEADER);
    recorder_feed(&r, big, (size_t)n + 500);
    assert_int_equal(r.elements, 0);
    assert_int_equal(stream_pending(r.stream), (size_t)n + 500);
    recorder_feed_str(&r, "'/");
    recorder_feed_str(&r, ">");
    assert_int_equal(r.elements, 1);
    assert_int_equal(stream_pending(r.stream), 0);
    recorder_feed_str(&r, "<r xmlns='urn:xmpp:sm:3'/");
    assert_int_equal(r.elements, 1);
    recorder_feed_str(&r, ">");
    assert_int_equal(r.elements, 2);
    recorder_feed_str(&r, "<message><body>x</body></messag");
    recorder_feed_str(&r, "e");
    recorder_feed_str(&r, ">");
    assert_int_equal(r.elements, 3);
    recorder_end(&r);
    parser_pool_free(pool);
}

static void append_many(struct buf *b, const char *text, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        buf_add_str(b, text);
}

static void test_many_in_one_feed(void **state)
{
    (void)state;
    struct parser_pool *pool = parser_pool_new();
    struct buf in = {0};
    buf_add_str(&in, HEADER);
    append_many(&in, "<message to='a'><body>hello &amp; welcome</body></message>\n", 5000);
    static const size_t steps[] = {1 << 30, 65536, 1000, 61, 7};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct recorder r;
        recorder_begin(&r, pool, &usual_limits);
        recorder_feed_steps(&r, buf_slice(&in).p, in.n, steps[i]);
        assert_int_equal(r.elements, 5000);
        assert_int_equal(r.failed, 0);
        recorder_end(&r);
    }
    buf_free(&in);
    parser_pool_free(pool);
}

static void expect_limit(struct buf *in, const struct stream_limits *limits, bool fits)
{
    struct parser_pool *pool = parser_pool_new();
    static const size_t steps[] = {1 << 30, 4096, 100, 1};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct recorder r;
        recorder_begin(&r, pool, limits);
        recorder_feed_steps(&r, buf_slice(in).p, in->n, steps[i]);
        assert_int_equal(r.failed, !fits);
        if (!fits)
            assert_int_equal(r.error, STREAM_POLICY_VIOLATION);
        else
            assert_int_equal(r.elements, 1);
        recorder_end(&r);
    }
    buf_free(in);
    parser_pool_free(pool);
}

static void test_limits(void **state)
{
    (void)state;
    const struct stream_limits limits = {
        .stanza_bytes = 1000, .tag_bytes = 300, .depth = 3, .attributes = 4, .names = 8, .namespace_bytes = 100};
    struct buf in = {0};
    for (unsigned over = 0; over < 2; over++) {
        buf_add_str(&in, HEADER "<message><body>");
        append_many(&in, "x", 1000 - 9 - 6 - 7 - 10 + over);
        buf_add_str(&in, "</body></message>");
        expect_limit(&in, &limits, !over);

        buf_add_str(&in, HEADER "<message to='");
        append_many(&in, "x", 300 - 13 - 3 + over);
        buf_add_str(&in, "'/>");
        expect_limit(&in, &limits, !over);

        buf_add_str(&in, over ? HEADER "<a><a><a><a/></a></a></a>" : HEADER "<a><a><a/><a></a></a></a>");
        expect_limit(&in, &limits, !over);

        buf_add_str(&in, HEADER "<a a='1' b='2' c='3' xmlns='urn:x'");
        buf_add_str(&in, over ? " xmlns:x='urn:x'/>" : "/>");
        expect_limit(&in, &limits, !over);

        buf_add_str(&in, HEADER "<a><b c='1' d='1'/><b c='1' d='1'/><b/>");
        buf_add_str(&in, over ? "<b/></a>" : "</a>");
        expect_limit(&in, &limits, !over);

        buf_add_str(&in, HEADER "<a xmlns='");
        append_many(&in, "x", 100 + over);
        buf_add_str(&in, "'/>");
        expect_limit(&in, &limits, !over);
    }
    /* What never ends is noticed too. */
    buf_add_str(&in, HEADER "<message><body>");
    append_many(&in, "x\n", 1000);
    expect_limit(&in, &limits, false);
    buf_add_str(&in, HEADER "<message to='");
    append_many(&in, "x>", 1000);
    expect_limit(&in, &limits, false);
    buf_add_str(&in, "<stream:stream xmlns='");
    append_many(&in, "x", 1000);
    expect_limit(&in, &limits, false);
    buf_add_str(&in, HEADER "<a xmlns='");
    append_many(&in, "x", 2000);
    buf_add_str(&in, "'/>");
    expect_limit(&in, &usual_limits, false);
}

static void test_large_element_keeps_its_bytes(void **state)
{
    (void)state;
    struct parser_pool *pool = parser_pool_new();
    struct buf in = {0}, wanted = {0};
    buf_add_str(&wanted, "<iq><q xmlns='urn:q'>");
    append_many(&wanted, "<item a='b'>t&#233;xt\n</item>", 2000);
    buf_add_str(&wanted, "</q></iq>");
    buf_add_str(&in, HEADER "\n");
    buf_add(&in, buf_slice(&wanted));
    static const size_t steps[] = {1 << 30, 5000, 333};
    char *first = NULL;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct recorder r;
        recorder_begin(&r, pool, &usual_limits);
        recorder_feed_steps(&r, buf_slice(&in).p, in.n, steps[i]);
        assert_int_equal(r.elements, 1);
        assert_non_null(memmem(r.text.data, r.text.n, wanted.data, wanted.n));
        char *text = buf_steal(&r.text);
        if (first)
            assert_string_equal(text, first);
        else
            first = mem_strdup(text);
        free(text);
        recorder_end(&r);
    }
    free(first);
    buf_free(&in);
    buf_free(&wanted);
    parser_pool_free(pool);
}

static void test_pause(void **state)
{
    (void)state;
    static const char auth[] = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>";
    struct parser_pool *pool = parser_pool_new();
    struct recorder r;
    char text[1024];
    int n = snprintf(text, sizeof text, HEADER "%s<?xml version='1.0'?>" HEADER "<iq/>", auth);
    recorder_begin(&r, pool, &usual_limits);
    r.pause_at = "auth";
    size_t used = recorder_feed(&r, text, (size_t)n);
    assert_int_equal(used, strlen(HEADER) + strlen(auth));
    assert_int_equal(r.elements, 1);
    stream_restart(r.stream);
    assert_int_equal(recorder_feed(&r, text + used, (size_t)n - used), (size_t)n - used);
    assert_int_equal(r.opened, 2);
    assert_int_equal(r.elements, 2);
    recorder_end(&r);

    /* Without a restart, it goes on where it was; the header pauses just as well. */
    recorder_begin(&r, pool, &usual_limits);
    r.pause_at = "opened";
    assert_int_equal(recorder_feed_str(&r, HEADER "<iq/>"), strlen(HEADER));
    r.pause_at = "iq";
    assert_int_equal(recorder_feed_str(&r, "<iq/><iq/><message/>"), 5);
    assert_int_equal(recorder_feed_str(&r, "<iq/><message/>"), 5);
    assert_int_equal(recorder_feed_str(&r, "<message/></stream:stream>x"), 10 + 16);
    assert_int_equal(r.elements, 3);
    assert_int_equal(r.closed, 1);
    assert_int_equal(recorder_feed_str(&r, "more"), 0);
    assert_int_equal(r.failed, 0);
    recorder_end(&r);
    parser_pool_free(pool);
}

static void test_pause_all_ways(void **state)
{
    (void)state;
    static const char text[] = HEADER "<a/><iq><b/></iq> <message><body>x</body></message>\n</stream:stream>";
    char *wanted = record_text(text);
    struct parser_pool *pool = parser_pool_new();
    for (size_t step = 1; step < sizeof text; step++) {
        struct recorder r;
        recorder_begin(&r, pool, &usual_limits);
        r.next = STREAM_PAUSE;
        recorder_feed_steps(&r, text, sizeof text - 1, step);
        char *got = buf_steal(&r.text);
        assert_string_equal(got, wanted);
        free(got);
        recorder_end(&r);
    }
    free(wanted);
    parser_pool_free(pool);
}

static void test_restart(void **state)
{
    (void)state;
    struct parser_pool *pool = parser_pool_new();
    struct recorder r;
    recorder_begin(&r, pool, &usual_limits);
    r.restart_at = "success";
    /* From within the upcall, with bytes behind it and without. */
    recorder_feed_str(&r, HEADER "<success/>" HEADER "<iq/>");
    assert_int_equal(r.opened, 2);
    assert_int_equal(r.elements, 2);
    recorder_feed_str(&r, "<success/>");
    recorder_feed_str(&r, "<?xml version='1.0'?>" HEADER "<iq/>");
    assert_int_equal(r.opened, 3);
    /* In the middle of an element, of a header, and after the end. */
    recorder_feed_str(&r, "<iq><x");
    assert_int_equal(stream_pending(r.stream), 6);
    stream_restart(r.stream);
    assert_int_equal(stream_pending(r.stream), 0);
    recorder_feed_str(&r, "<stream:str");
    stream_restart(r.stream);
    recorder_feed_str(&r, HEADER "</stream:stream>");
    assert_int_equal(r.opened, 4);
    assert_int_equal(r.closed, 1);
    stream_restart(r.stream);
    recorder_feed_str(&r, "<stream:stream xmlns='jabber:client' xmlns:x='urn:x' "
                          "xmlns:stream='http://etherx.jabber.org/streams'>");
    assert_true(slice_eq_str(stream_extra_ns(r.stream), " xmlns:x='urn:x'"));
    recorder_feed_str(&r, "<y:y/>");
    assert_int_equal(r.failed, 1);
    stream_restart(r.stream);
    recorder_feed_str(&r, HEADER);
    assert_int_equal(r.opened, 6);
    assert_int_equal(stream_extra_ns(r.stream).n, 0);
    recorder_end(&r);
    parser_pool_free(pool);
}

static void test_free_inside_upcall(void **state)
{
    (void)state;
    static const char *const at[] = {"opened", "iq", "message", "closed", "failed"};
    static const char *const text[] = {HEADER "<iq/><message/><message/></stream:stream>",
                                       HEADER "<iq/><message/><message/>oops"};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        const char *in = text[i == 4];
        for (size_t step = 1; step < strlen(in); step += strlen(in) / 2) {
            struct parser_pool *pool = parser_pool_new();
            struct recorder r;
            recorder_begin(&r, pool, &usual_limits);
            r.free_at = at[i];
            for (size_t done = 0; done < strlen(in); done += step) {
                size_t n = strlen(in) - done < step ? strlen(in) - done : step;
                recorder_feed(&r, in + done, n);
                if ((i == 0 && r.opened) || (i == 1 && r.elements == 1) || (i == 2 && r.elements == 2) || r.closed ||
                    r.failed)
                    break;
            }
            assert_int_equal(r.elements, i == 0 ? 0 : i == 1 ? 1 : i == 2 ? 2 : 3);
            buf_free(&r.text);
            parser_pool_free(pool);
        }
    }
}

static void test_many_streams_share_a_pool(void **state)
{
    (void)state;
    struct parser_pool *pool = parser_pool_new(), *other = parser_pool_new();
    struct recorder r[200];
    for (size_t i = 0; i < 200; i++) {
        recorder_begin(&r[i], pool, &usual_limits);
        recorder_feed_str(&r[i], HEADER "<message id='");
    }
    for (size_t i = 0; i < 200; i++) {
        char rest[64];
        if (i % 2)
            stream_set_pool(r[i].stream, other);
        snprintf(rest, sizeof rest, "n%zu'/>", i);
        recorder_feed_str(&r[i], rest);
        snprintf(rest, sizeof rest, " id=n%zu ", i);
        assert_int_equal(r[i].elements, 1);
        assert_non_null(memmem(r[i].text.data, r[i].text.n, rest, strlen(rest)));
    }
    for (size_t i = 0; i < 200; i++) {
        recorder_feed_str(&r[i], "</stream:stream>");
        assert_int_equal(r[i].closed, 1);
        recorder_end(&r[i]);
    }
    /* What one stream left behind must not be seen by the next. */
    recorder_begin(&r[0], pool, &usual_limits);
    recorder_feed_str(&r[0], HEADER "<message/>\r");
    recorder_feed_str(&r[0], "<message/>");
    assert_int_equal(r[0].elements, 2);
    recorder_end(&r[0]);
    parser_pool_free(pool);
    parser_pool_free(other);
}

#define OPEN "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.lit' version='1.0'/>\0"

static void expect_framed(const char *messages, size_t n, const char *wanted)
{
    char *got = record_all_ways_of(true, messages, n, &usual_limits);
    const char *opened =
        "opened http://etherx.jabber.org/streams|stream default=jabber:client to=a.lit version=1.0 v1=1 extra=[]\n";
    assert_int_equal(strncmp(got, opened, strlen(opened)), 0);
    assert_string_equal(got + strlen(opened), wanted);
    free(got);
}

/* Whichever way an element is read, a message has one, and what is framing is not for the upcall. */
static void test_framed_elements(void **state)
{
    (void)state;
    static const char two[] = OPEN "<r xmlns='urn:xmpp:sm:3'/>\0 <presence xmlns='jabber:client'/>\0\0"
                                   "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>\0";
    expect_framed(
        two, sizeof two - 1,
        "element kind=0 urn:xmpp:sm:3|r facts=0 priority=0 open=26 close=26 name=2 bytes=<r xmlns='urn:xmpp:sm:3'/>"
        "(urn:xmpp:sm:3|r text= bytes=<r xmlns='urn:xmpp:sm:3'/>)\n"
        "element kind=2 jabber:client|presence facts=0 priority=0 open=33 close=33 name=9 "
        "bytes=<presence xmlns='jabber:client'/>\nclosed\n");
    static const char in_one[] = OPEN "<presence/><presence/>\0";
    expect_framed(in_one, sizeof in_one - 1,
                  "element kind=2 jabber:client|presence facts=0 priority=0 open=11 close=11 name=9 bytes=<presence/>\n"
                  "failed bad-format\n");
    static const char twice[] = OPEN OPEN;
    expect_framed(twice, sizeof twice - 1, "failed bad-format\n");
    static const char cut[] = OPEN "<presence>\0";
    expect_framed(cut, sizeof cut - 1, "failed not-well-formed\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framed_elements),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_header_versions),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_elements),
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_tree_is_cut),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_priority),
        cmocka_unit_test(test_receipt_id),
        cmocka_unit_test(test_chat_state),
        cmocka_unit_test(test_prefixes_of_header),
        cmocka_unit_test(test_restricted),
        cmocka_unit_test(test_restricted_at_once),
        cmocka_unit_test(test_not_well_formed),
        cmocka_unit_test(test_invalid_characters),
        cmocka_unit_test(test_valid_characters_of_all_lengths),
        cmocka_unit_test(test_trickle),
        cmocka_unit_test(test_many_in_one_feed),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_large_element_keeps_its_bytes),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_pause_all_ways),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_free_inside_upcall),
        cmocka_unit_test(test_many_streams_share_a_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
