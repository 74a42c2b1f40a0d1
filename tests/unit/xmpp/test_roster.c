/* Rosters of any size, item by item. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "xmpp/roster.h"
#include "xmpp/stream.h"
#include <stdio.h>
#include <stdlib.h>

#define HEADER        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
#define ROSTER(items) "<iq type='result' id='1'><query xmlns='jabber:iq:roster'>" items "</query></iq>"

struct seen {
    struct buf text;
    size_t n;
    uint64_t digest; /* of the last */
    bool whole, cut;
};

static const struct hash_key seed = {{1, 2}};

static void on_item(void *ctx, const struct roster_item *item)
{
    struct seen *s = ctx;
    s->n++;
    s->digest = roster_digest(&seed, item);
    if (s->n > 3)
        return;
    buf_printf(&s->text, "%d%d ", item->removed, item->sees_us);
    roster_write_item(&s->text, item);
    BUF_LIT(&s->text, "\n");
}

static enum stream_next on_opened(void *ctx, const struct stream_header *h)
{
    (void)ctx;
    (void)h;
    return STREAM_GO;
}

static enum stream_next on_element(void *ctx, const struct element *e)
{
    struct seen *s = ctx;
    s->cut = e->tree_cut;
    s->whole = roster_each(e, on_item, s);
    return STREAM_GO;
}

static void on_closed(void *ctx)
{
    (void)ctx;
}

static void on_failed(void *ctx, enum stream_error error, const char *text)
{
    (void)ctx;
    (void)error;
    fail_msg("%s", text);
}

static struct seen look(const char *xml)
{
    static const struct stream_limits limits = {
        .stanza_bytes = 1 << 24, .tag_bytes = 1 << 16, .depth = 100, .attributes = 100, .namespace_bytes = 1000};
    static const struct stream_events events = {on_opened, on_element, on_closed, on_failed};
    struct seen seen = {0};
    struct parser_pool *pool = parser_pool_new();
    struct stream *s = stream_new(SLAB_CONNECTION, pool, &limits, &events, &seen);
    stream_feed(s, HEADER, strlen(HEADER));
    stream_feed(s, xml, strlen(xml));
    stream_free(s);
    parser_pool_free(pool);
    return seen;
}

static void assert_items(const char *xml, const char *text)
{
    struct seen seen = look(xml);
    char *got = buf_steal(&seen.text);
    assert_true(seen.whole);
    assert_string_equal(got ? got : "", text);
    free(got);
}

static void test_items(void **state)
{
    (void)state;
    assert_items(ROSTER(""), "");
    assert_items(ROSTER("<item jid='a@b' subscription='both'/> <item jid=\"c@d\" name='x &amp; &apos;y&apos;' "
                        "subscription='to' ask=\"subscribe\" ><group>g&lt;</group><group/></item>"
                        "<item jid='e@f' subscription='remove'/>"),
                 "01 <item jid='a@b' subscription='both'></item>\n"
                 "00 <item jid='c@d' name='x &amp; &apos;y&apos;' subscription='to' ask='subscribe'>"
                 "<group>g&lt;</group><group></group></item>\n"
                 "10 <item jid='e@f' subscription='remove'></item>\n");
    assert_items(ROSTER("<item jid='a@b' subscription='from'/><item jid='c@d' subscription='none'/><item jid=''/>"
                        "<item/><item xmlns='urn:x' jid='e@f'/><x jid='g@h'/>"),
                 "01 <item jid='a@b' subscription='from'></item>\n"
                 "00 <item jid='c@d' subscription='none'></item>\n");
    /* prefixes of its own do not get lost */
    assert_items("<iq type='result' id='1'><r:query xmlns:r='jabber:iq:roster'><r:item jid='a@b' subscription='to'>"
                 "<r:group>g</r:group></r:item></r:query></iq>",
                 "00 <item jid='a@b' subscription='to'><group>g</group></item>\n");
    assert_false(look("<iq type='result' id='1'/>").whole);
}

/* A tree has ELEMENT_NODES at the most; a roster may have more. */
static void test_large(void **state)
{
    (void)state;
    struct buf xml = {0};
    BUF_LIT(&xml, "<iq type='result' id='1'><query xmlns='jabber:iq:roster'>");
    for (unsigned i = 0; i < 5000; i++)
        buf_printf(&xml, "<item jid='c%u@example.org' subscription='both'><group>g&amp;%u</group></item>", i, i % 7);
    BUF_LIT(&xml, "</query></iq>");
    char *text = buf_steal(&xml);
    struct seen seen = look(text);
    assert_true(seen.cut);
    assert_true(seen.whole);
    assert_int_equal(seen.n, 5000);
    char *got = buf_steal(&seen.text);
    assert_string_equal(got, "01 <item jid='c0@example.org' subscription='both'><group>g&amp;0</group></item>\n"
                             "01 <item jid='c1@example.org' subscription='both'><group>g&amp;1</group></item>\n"
                             "01 <item jid='c2@example.org' subscription='both'><group>g&amp;2</group></item>\n");
    free(got);
    free(text);
}

static uint64_t digest(const char *xml)
{
    struct seen seen = look(xml);
    assert_int_equal(seen.n, 1);
    buf_free(&seen.text);
    return seen.digest;
}

#define ITEM(item) digest(ROSTER(item))

static void test_digests(void **state)
{
    (void)state;
    uint64_t d = ITEM("<item jid='a@b' name='n' subscription='to'><group>1</group><group>2</group></item>");
    assert_true(d ==
                ITEM("<item  subscription=\"to\" jid='a@&#98;' name='n'> <group>2</group><group>1</group></item>"));
    assert_true(d != ITEM("<item jid='a@b' name='n' subscription='to'><group>1</group><group>3</group></item>"));
    assert_true(d != ITEM("<item jid='a@b' name='n' subscription='to'><group>1</group></item>"));
    assert_true(d != ITEM("<item jid='a@b' name='n' subscription='both'><group>1</group><group>2</group></item>"));
    assert_true(d != ITEM("<item jid='a@b' subscription='to'><group>1</group><group>2</group></item>"));
    assert_true(ITEM("<item jid='a' name='b'/>") != ITEM("<item jid='b' name='a'/>"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_items),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_digests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
