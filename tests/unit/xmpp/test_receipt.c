/* Which messages ask for a receipt that may be sent for their client, and what it looks like. The rules of XEP-0184 and
 * of good practice, one row or more for each that a stanza alone decides; the others are in session/test_receipts.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "xmpp/receipt.h"
#include "xmpp/xml.h"
#include <stdlib.h>

#define REQUEST "<request xmlns='urn:xmpp:receipts'/>"
#define ASKING  "<message from='juliet@example.org/x' id='1' type='chat'>" REQUEST
#define HINTS   "xmlns='urn:xmpp:hints'"

/* Message events (XEP-0022). */
#define EVENT(tags) "<x xmlns='jabber:x:event'>" tags "</x>"
#define FROM_JULIET "<message from='juliet@example.org/x' id='1' type='chat'>"

struct parsed {
    struct xml_tree *tree;
    const struct element *e;
};

static struct parsed parse(const char *xml)
{
    const struct node *root;
    struct parsed p = {.tree = xml_tree_parse(slice_str(xml), &root)};
    if (!p.tree)
        fail_msg("not well-formed: %s", xml);
    p.e = xml_tree_element(p.tree);
    return p;
}

static enum receipt_verdict judge(const char *xml)
{
    struct parsed p = parse(xml);
    struct receipt r;
    enum receipt_verdict verdict = receipt_judge(p.e, SLICE_LIT("romeo@example.org"), &r);
    xml_tree_free(p.tree);
    return verdict;
}

static void test_verdicts(void **state)
{
    (void)state;
    static const struct {
        enum receipt_verdict verdict;
        const char *xml;
    } rows[] = {
        /* only for a request with an id, and with somebody to answer to */
        {RECEIPT_DUE, ASKING "<body>x</body></message>"},
        {RECEIPT_DUE, ASKING "</message>"},
        {RECEIPT_NOT_ASKED, "<message from='j@example.org/x' id='1'><body>x</body></message>"},
        {RECEIPT_NOT_ASKED, "<message from='j@example.org/x' id='1'><request xmlns='urn:xmpp:other'/></message>"},
        {RECEIPT_NOT_ASKED, "<message from='j@example.org/x' id='1'><x xmlns='urn:x'>" REQUEST "</x></message>"},
        {RECEIPT_NOT_ASKED, "<presence from='j@example.org/x' id='1'>" REQUEST "</presence>"},
        {RECEIPT_NOT_ASKED, "<iq type='get' from='j@example.org/x' id='1'>" REQUEST "</iq>"},
        {RECEIPT_WITHOUT_ID, "<message from='j@example.org/x'>" REQUEST "</message>"},
        {RECEIPT_WITHOUT_ID, "<message from='j@example.org/x' id=''>" REQUEST "</message>"},
        {RECEIPT_WITHOUT_ID, "<message id='1'>" REQUEST "</message>"},
        /* in the older words: asked for without <id/>, told with it */
        {RECEIPT_DUE, FROM_JULIET EVENT("<delivered/>") "</message>"},
        {RECEIPT_DUE, FROM_JULIET EVENT("<offline/><displayed/><composing/>") "<body>x</body></message>"},
        {RECEIPT_NOT_ASKED, FROM_JULIET EVENT("<displayed/><composing/>") "</message>"},
        {RECEIPT_NOT_ASKED, FROM_JULIET EVENT("<delivered/><id>0</id>") "</message>"},
        {RECEIPT_NOT_ASKED, FROM_JULIET EVENT("<delivered/><id/>") "</message>"},
        {RECEIPT_NOT_ASKED, FROM_JULIET EVENT("<delivered xmlns='urn:x'/>") "</message>"},
        {RECEIPT_NOT_ASKED, FROM_JULIET EVENT("<y><delivered/></y>") "</message>"},
        {RECEIPT_NOT_ASKED, FROM_JULIET "<x xmlns='urn:x'><delivered/></x></message>"},
        {RECEIPT_LOOP, ASKING EVENT("<delivered/><id>0</id>") "</message>"},
        {RECEIPT_WITHOUT_ID, "<message from='j@example.org/x'>" EVENT("<delivered/>") "</message>"},
        {RECEIPT_WRONG_TYPE,
         "<message from='r@muc.example.org/j' id='1' type='groupchat'>" EVENT("<delivered/>") "</message>"},
        {RECEIPT_WRONG_TYPE, "<message from='j@example.org/x' id='1' type='error'>" EVENT("<delivered/>") "</message>"},
        {RECEIPT_SECOND_HAND, FROM_JULIET EVENT("<delivered/>") "<result xmlns='urn:xmpp:mam:2'/></message>"},
        {RECEIPT_SECOND_HAND, FROM_JULIET EVENT("<delivered/>") "<sent xmlns='urn:xmpp:carbons:2'/></message>"},
        {RECEIPT_FROM_ROOM,
         FROM_JULIET EVENT("<delivered/>") "<x xmlns='http://jabber.org/protocol/muc#user'/></message>"},
        {RECEIPT_OWN, "<message from='romeo@example.org/other' id='1'>" EVENT("<delivered/>") "</message>"},
        /* types */
        {RECEIPT_DUE, "<message from='j@example.org/x' id='1'>" REQUEST "</message>"},
        {RECEIPT_DUE, "<message from='j@example.org/x' id='1' type='normal'>" REQUEST "</message>"},
        {RECEIPT_DUE, "<message from='j@example.org/x' id='1' type='headline'>" REQUEST "</message>"},
        {RECEIPT_DUE, "<message from='j@example.org/x' id='1' type='nonsense'>" REQUEST "</message>"},
        {RECEIPT_WRONG_TYPE, "<message from='r@muc.example.org/j' id='1' type='groupchat'>" REQUEST "</message>"},
        {RECEIPT_WRONG_TYPE, "<message from='j@example.org/x' id='1' type='error'>" REQUEST "</message>"},
        {RECEIPT_WRONG_TYPE, "<message from='j@example.org/x' id='1'>" REQUEST "<error type='wait'/></message>"},
        /* history of a room is groupchat, delayed or not */
        {RECEIPT_WRONG_TYPE, "<message from='r@muc.example.org/j' id='1' type='groupchat'>" REQUEST
                             "<delay xmlns='urn:xmpp:delay' from='r@muc.example.org'/></message>"},
        /* private messages of a room */
        {RECEIPT_FROM_ROOM, ASKING "<x xmlns='http://jabber.org/protocol/muc#user'/></message>"},
        /* no loops */
        {RECEIPT_LOOP, ASKING "<received xmlns='urn:xmpp:receipts' id='0'/></message>"},
        {RECEIPT_LOOP, ASKING "<received xmlns='urn:xmpp:chat-markers:0' id='0'/></message>"},
        /* the first time it arrives: out of offline storage yes, copies and archives no */
        {RECEIPT_DUE, ASKING "<delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z'/></message>"},
        {RECEIPT_SECOND_HAND, ASKING "<received xmlns='urn:xmpp:carbons:2'/></message>"},
        {RECEIPT_SECOND_HAND, ASKING "<sent xmlns='urn:xmpp:carbons:2'/></message>"},
        {RECEIPT_SECOND_HAND, ASKING "<result xmlns='urn:xmpp:mam:2'/></message>"},
        {RECEIPT_SECOND_HAND, ASKING "<result xmlns='urn:xmpp:mam:tmp'/></message>"},
        /* a request inside of what is forwarded asks nobody */
        {RECEIPT_NOT_ASKED, "<message from='romeo@example.org' id='1'><received xmlns='urn:xmpp:carbons:2'>"
                            "<forwarded xmlns='urn:xmpp:forward:0'>" ASKING "</message></forwarded></received>"
                            "</message>"},
        /* "the device rings" is not ours to say */
        {RECEIPT_CALL, ASKING "<propose xmlns='urn:xmpp:jingle-message:0' id='c'/></message>"},
        /* from the account itself */
        {RECEIPT_OWN, "<message from='romeo@example.org' id='1'>" REQUEST "</message>"},
        {RECEIPT_OWN, "<message from='romeo@example.org/other' id='1'>" REQUEST "</message>"},
        {RECEIPT_DUE, "<message from='romeo@example.com' id='1'>" REQUEST "</message>"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (judge(rows[i].xml) != rows[i].verdict)
            fail_msg("%d, not %d: %s", (int)judge(rows[i].xml), (int)rows[i].verdict, rows[i].xml);
}

static void test_receipts(void **state)
{
    (void)state;
    static const struct {
        enum receipt_kind kind;
        const char *message, *receipt;
    } rows[] = {
        {RECEIPT_RECEIVED, "<message from='juliet@example.org/x' id='1' type='chat'>" REQUEST "</message>",
         "<message to='juliet@example.org/x' type='chat' id='own'>"
         "<received xmlns='urn:xmpp:receipts' id='1'/></message>"},
        {RECEIPT_RECEIVED, "<message from='juliet@example.org' id='1'>" REQUEST "</message>",
         "<message to='juliet@example.org' id='own'><received xmlns='urn:xmpp:receipts' id='1'/></message>"},
        {RECEIPT_RECEIVED, "<message from='j@e/x' id='1' type='normal'>" REQUEST "</message>",
         "<message to='j@e/x' type='normal' id='own'><received xmlns='urn:xmpp:receipts' id='1'/></message>"},
        {RECEIPT_RECEIVED, "<message from='j@e/x' id='1' type='headline'>" REQUEST "</message>",
         "<message to='j@e/x' type='headline' id='own'><received xmlns='urn:xmpp:receipts' id='1'/></message>"},
        {RECEIPT_RECEIVED, "<message from='j@e/x' id='1' type='nonsense'>" REQUEST "</message>",
         "<message to='j@e/x' id='own'><received xmlns='urn:xmpp:receipts' id='1'/></message>"},
        /* an id may be anything, and so may a resource */
        {RECEIPT_RECEIVED,
         "<message from='j@e/&lt;&quot;&apos;&amp;>' id='&apos;/>&lt;&amp;amp;&quot;&#10;\xc3\xa9'>" REQUEST
         "</message>",
         "<message to='j@e/&lt;&quot;&apos;&amp;&gt;' id='own'><received xmlns='urn:xmpp:receipts' "
         "id='&apos;/&gt;&lt;&amp;amp;&quot;&#10;\xc3\xa9'/></message>"},
        /* hints of the message are kept, but the receipt may wait for a sender who is away */
        {RECEIPT_RECEIVED, ASKING "<no-store " HINTS "/></message>",
         "<message to='juliet@example.org/x' type='chat' id='own'><received xmlns='urn:xmpp:receipts' id='1'/>"
         "<no-permanent-store " HINTS "/></message>"},
        {RECEIPT_RECEIVED, ASKING "<no-copy " HINTS "/><store " HINTS "/></message>",
         "<message to='juliet@example.org/x' type='chat' id='own'><received xmlns='urn:xmpp:receipts' id='1'/>"
         "<no-copy " HINTS "/></message>"},
        /* events: one of them and the id, beside nothing */
        {RECEIPT_DELIVERED, FROM_JULIET EVENT("<offline/><delivered/>") "<no-store " HINTS "/></message>",
         "<message to='juliet@example.org/x' type='chat' id='own'>" EVENT("<delivered/><id>1</id>") "</message>"},
        {RECEIPT_OFFLINE, "<message from='j@e/x' id='&lt;&amp;'>" EVENT("<offline/>") "</message>",
         "<message to='j@e/x' id='own'>" EVENT("<offline/><id>&lt;&amp;</id>") "</message>"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct parsed p = parse(rows[i].message);
        struct receipt r;
        struct buf out = {0};
        assert_int_equal(receipt_judge(p.e, SLICE_LIT("romeo@example.org"), &r), RECEIPT_DUE);
        receipt_write(&out, &r, rows[i].kind, "own");
        char *text = buf_steal(&out);
        assert_string_equal(text, rows[i].receipt);
        struct parsed again = parse(text); /* and it never asks for one */
        assert_false(again.e->facts & (FACT_RECEIPT_REQUEST | FACT_ASKS_DELIVERED | FACT_ASKS_OFFLINE));
        assert_true(rows[i].kind == RECEIPT_OFFLINE || slice_eq(again.e->receipt_id, p.e->id));
        assert_int_equal(receipt_own_kinds(again.e), rows[i].kind & RECEIPT_OF_CLIENT);
        assert_true(slice_eq(again.e->to, p.e->from));
        xml_tree_free(again.tree);
        xml_tree_free(p.tree);
        free(text);
    }
}

static void test_kinds(void **state)
{
    (void)state;
    static const struct {
        unsigned kinds;
        const char *children;
    } rows[] = {
        {RECEIPT_RECEIVED, REQUEST},
        {RECEIPT_DELIVERED, EVENT("<composing/><delivered/>")},
        {RECEIPT_OFFLINE, EVENT("<offline></offline>")},
        {RECEIPT_RECEIVED | RECEIPT_DELIVERED | RECEIPT_OFFLINE, EVENT("<offline/>\n<delivered/>") REQUEST},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *xml = mem_printf(FROM_JULIET "%s</message>", rows[i].children);
        struct parsed p = parse(xml);
        struct receipt r;
        assert_int_equal(receipt_judge(p.e, SLICE_LIT("romeo@example.org"), &r), RECEIPT_DUE);
        assert_int_equal(r.kinds, rows[i].kinds);
        if (r.kinds & RECEIPT_OFFLINE)
            assert_true(slice_starts(slice_skip(p.e->bytes, p.e->offline_at), SLICE_LIT("<offline")) &&
                        p.e->bytes.p[p.e->offline_end - 1] == '>');
        xml_tree_free(p.tree);
        free(xml);
    }
}

static void test_own(void **state)
{
    (void)state;
    static const struct {
        unsigned own;
        bool alone;
        const char *xml;
    } rows[] = {
        {RECEIPT_RECEIVED, true, "<message to='j@e/x'><received xmlns='urn:xmpp:receipts' id='1'/></message>"},
        {RECEIPT_RECEIVED, true, "<message to='j@e'><received xmlns='urn:xmpp:chat-markers:0' id='1'/></message>"},
        {RECEIPT_RECEIVED, true,
         "<message to='j@e'><received xmlns='urn:xmpp:chat-markers:0' id='1'/>"
         "<received xmlns='urn:xmpp:receipts' id='1'/><store " HINTS "/></message>"},
        {RECEIPT_RECEIVED, true,
         "<message to='j@e'><thread>t</thread><received xmlns='urn:xmpp:receipts' id='1'/>"
         "<origin-id xmlns='urn:xmpp:sid:0' id='o'/><body/></message>"},
        {RECEIPT_RECEIVED, false,
         "<message to='j@e'><received xmlns='urn:xmpp:chat-markers:0' id='1'/>"
         "<received xmlns='urn:xmpp:receipts' id='2'/></message>"},
        {RECEIPT_RECEIVED, false,
         "<message to='j@e'><received xmlns='urn:xmpp:receipts' id='1'/><body>x</body></message>"},
        {RECEIPT_RECEIVED, false,
         "<message to='j@e'><received xmlns='urn:xmpp:receipts' id='1'/><y xmlns='urn:y'/></message>"},
        {RECEIPT_RECEIVED, false,
         "<message to='j@e'><received xmlns='urn:xmpp:receipts' id='1'/>"
         "<active xmlns='http://jabber.org/protocol/chatstates'/></message>"},
        {RECEIPT_DELIVERED, true, "<message to='j@e/x'>" EVENT("<delivered/>\n<id>1</id>") "</message>"},
        {RECEIPT_DELIVERED, true, "<message to='j@e/x'>" EVENT("<id>&#49;<![CDATA[]]></id><delivered/>") "</message>"},
        {RECEIPT_RECEIVED | RECEIPT_DELIVERED, true,
         "<message to='j@e/x'>" EVENT(
             "<delivered/><id>1</id>") "<received xmlns='urn:xmpp:receipts' id='1'/></message>"},
        {RECEIPT_RECEIVED | RECEIPT_DELIVERED, false,
         "<message to='j@e/x'><received xmlns='urn:xmpp:receipts' id='2'/>" EVENT(
             "<delivered/><id>1</id>") "</message>"},
        {RECEIPT_DELIVERED, false, "<message to='j@e/x'>" EVENT("<delivered/><displayed/><id>1</id>") "</message>"},
        {RECEIPT_DELIVERED, false, "<message to='j@e/x'>" EVENT("<delivered/><id>1</id>") "<body>x</body></message>"},
        {0, true, "<message to='j@e/x'>" EVENT("<delivered/><id/>") "</message>"},
        {0, false, "<message to='j@e/x'>" EVENT("<delivered/>") "</message>"},
        {0, false, "<message to='j@e/x'>" EVENT("<offline/><id>1</id>") "</message>"},
        {0, false, "<message to='j@e/x'>" EVENT("<composing/><id>1</id>") "</message>"},
        {0, true, "<message to='j@e' type='error'>" EVENT("<delivered/><id>1</id>") "</message>"},
        {0, true, "<message to='j@e'><received xmlns='urn:xmpp:receipts'/></message>"},
        {0, true, "<message to='j@e'><received xmlns='urn:xmpp:receipts' id=''/></message>"},
        {0, true, "<message><received xmlns='urn:xmpp:receipts' id='1'/></message>"},
        {0, false, "<message to='j@e'><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/></message>"},
        {0, false, "<message to='j@e'><received xmlns='urn:xmpp:carbons:2' id='1'/></message>"},
        {0, true, "<message to='j@e' type='error'><received xmlns='urn:xmpp:receipts' id='1'/></message>"},
        {0, true, "<presence to='j@e'><received xmlns='urn:xmpp:receipts' id='1'/></presence>"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct parsed p = parse(rows[i].xml);
        if (receipt_own_kinds(p.e) != rows[i].own || p.e->beside_receipt == rows[i].alone)
            fail_msg("own %u, beside %d: %s", receipt_own_kinds(p.e), p.e->beside_receipt, rows[i].xml);
        xml_tree_free(p.tree);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_receipts),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
