/* The queue of stanzas that are kept, their copies, and what a stanza is worth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "recorder.h"
#include "xmpp/queue.h"
#include "xmpp/stanza.h"

/* ---- one stanza, parsed ---- */

struct parsed {
    void (*look)(void *ctx, const struct element *e);
    void *ctx;
    unsigned elements;
};

static enum stream_next on_opened(void *ctx, const struct stream_header *h)
{
    (void)ctx;
    (void)h;
    return STREAM_GO;
}

static enum stream_next on_element(void *ctx, const struct element *e)
{
    struct parsed *p = ctx;
    p->elements++;
    p->look(p->ctx, e);
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

static void parse(const char *xml, void (*look)(void *ctx, const struct element *e), void *ctx)
{
    static const struct stream_events events = {on_opened, on_element, on_closed, on_failed};
    struct parsed p = {look, ctx, 0};
    struct parser_pool *pool = parser_pool_new();
    struct stream *s = stream_new(SLAB_CONNECTION, pool, &usual_limits, &events, &p);
    stream_feed(s, HEADER, strlen(HEADER));
    stream_feed(s, xml, strlen(xml));
    assert_int_equal(p.elements, 1);
    stream_free(s);
    parser_pool_free(pool);
}

/* ---- the queue ---- */

static struct entry *entry_of(const char *text)
{
    return entry_copy(slice_str(text), 7);
}

static void test_order_and_numbers(void **state)
{
    (void)state;
    struct queue q = {0};
    assert_null(queue_take(&q, UINT64_MAX));
    queue_append(&q, entry_of("<a/>"));
    queue_append(&q, entry_of("<bb/>"));
    queue_append(&q, entry_of("<ccc/>"));
    assert_int_equal(q.count, 3);
    assert_int_equal(q.bytes, entry_cost(4) + entry_cost(5) + entry_cost(6));
    assert_int_equal(queue_cost(&q), q.bytes);
    assert_int_equal(q.last_number, 3);
    assert_null(queue_take(&q, 0));
    struct entry *e = queue_take(&q, 2);
    assert_int_equal(e->number, 1);
    assert_int_equal(e->arrived, 7);
    assert_null(e->next);
    assert_true(slice_eq_str(entry_slice(e), "<a/>"));
    entry_free(e);
    e = queue_take(&q, 2);
    assert_int_equal(e->number, 2);
    entry_free(e);
    assert_null(queue_take(&q, 2));
    assert_int_equal(q.count, 1);
    assert_int_equal(q.bytes, entry_cost(6));
    queue_free(&q);
    assert_int_equal(q.count, 0);
    assert_int_equal(q.bytes, 0);
    assert_null(q.first);
    assert_null(q.last);
}

/* Numbers go on behind what was taken, also beyond 32 bits. */
static void test_numbers_go_on(void **state)
{
    (void)state;
    struct queue q = {.last_number = UINT32_MAX - 1};
    for (uint64_t n = UINT32_MAX; n < (uint64_t)UINT32_MAX + 3; n++) {
        queue_append(&q, entry_of("<a/>"));
        assert_true(q.last->number == n);
        struct entry *e = queue_take(&q, n);
        assert_non_null(e);
        entry_free(e);
        assert_null(queue_take(&q, UINT64_MAX));
    }
    queue_free(&q);
    entry_free(NULL);
}

/* ---- copies ---- */

static const char *const delay = "<delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:20.000Z'/>";

struct copy {
    const char *extra, *wanted, *wanted_delayed;
};

static void look_copy(void *ctx, const struct element *e)
{
    struct copy *copy = ctx;
    struct entry *entry = entry_new(e, slice_str(copy->extra), 42);
    assert_true(slice_eq_str(entry_slice(entry), copy->wanted));
    assert_int_equal(entry->arrived, 42);
    assert_null(entry->origin);
    assert_false(entry->stamp);
    struct buf out = {0};
    struct stanza_bytes bytes = {entry_slice(entry), entry->open_end, entry->close_at, entry->name_end};
    stanza_write_with_child(&out, &bytes, slice_str(delay));
    assert_true(slice_eq_str(buf_slice(&out), copy->wanted_delayed));
    buf_free(&out);
    entry_free(entry);
}

static void test_copies(void **state)
{
    (void)state;
    static const struct {
        const char *xml, *extra, *wanted, *delayed;
    } rows[] = {
        {"<message><body>x</body></message>", NULL, "<message><body>x</body></message>",
         "<message><body>x</body>DELAY</message>"},
        {"<message id='a'/>", NULL, "<message id='a'/>", "<message id='a'>DELAY</message>"},
        {"<message/>", " xmlns:p='urn:p'", "<message xmlns:p='urn:p'/>", "<message xmlns:p='urn:p'>DELAY</message>"},
        {"<message\n to='b' ><body/></message >", " xmlns:p='urn:p'",
         "<message xmlns:p='urn:p'\n to='b' ><body/></message >",
         "<message xmlns:p='urn:p'\n to='b' ><body/>DELAY</message >"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *at = strstr(rows[i].delayed, "DELAY");
        char *delayed = mem_printf("%.*s%s%s", (int)(at - rows[i].delayed), rows[i].delayed, delay, at + 5);
        struct copy copy = {rows[i].extra, rows[i].wanted, delayed};
        parse(rows[i].xml, look_copy, &copy);
        free(delayed);
    }
}

static void look_delayed(void *ctx, const struct element *e)
{
    struct entry *entry = entry_new(e, SLICE_NONE, 0);
    assert_int_equal(entry->delayed, *(const bool *)ctx);
    entry_free(entry);
}

static void test_delayed(void **state)
{
    (void)state;
    bool yes = true, no = false;
    parse("<message><body>x</body><delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z'/></message>", look_delayed,
          &yes);
    parse("<message><body>x</body><delay xmlns='urn:other'/></message>", look_delayed, &no);
}

/* ---- classes ---- */

static void look_class(void *ctx, const struct element *e)
{
    *(enum stanza_class *)ctx = stanza_classify(e);
}

static void look_secret(void *ctx, const struct element *e)
{
    *(bool *)ctx = stanza_is_secret(e);
}

static void test_secrets(void **state)
{
    (void)state;
#define MUC "http://jabber.org/protocol/muc"
    static const struct {
        bool secret;
        const char *xml;
    } rows[] = {
        {true, "<presence to='r@s/n'><x xmlns='" MUC "'><password>p</password></x></presence>"},
        {true, "<presence to='r@s/n'><m:x xmlns:m='" MUC "'><m:history maxstanzas='0'/><m:password>p</m:password></m:x>"
               "</presence>"},
        {false, "<presence to='r@s/n'><x xmlns='" MUC "'/></presence>"},
        {false, "<presence to='r@s/n'><status>my password is lost</status></presence>"},
        {true, "<iq type='set' id='1'><query xmlns='jabber:iq:register'><password>p</password></query></iq>"},
        {true, "<iq type='set' id='1'><query xmlns='jabber:iq:register'><remove/></query></iq>"},
        {false, "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>"},
        {true, "<iq type='set' id='1'><query xmlns='jabber:iq:auth'><password>p</password></query></iq>"},
        {false, "<iq type='get' id='1'><query xmlns='jabber:iq:auth'><username>u</username></query></iq>"},
        {true, "<iq type='set' id='1' to='r@s'><query xmlns='" MUC "#owner'><x xmlns='jabber:x:data'/></query></iq>"},
        {false, "<iq type='set' id='1'><query xmlns='jabber:iq:roster'/></iq>"},
        {false, "<message><body>password</body><x xmlns='" MUC "'><password/></x></message>"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool secret = !rows[i].secret;
        parse(rows[i].xml, look_secret, &secret);
        if (secret != rows[i].secret)
            fail_msg("%s", rows[i].xml);
    }
}

static void test_classes(void **state)
{
    (void)state;
#define STATES "http://jabber.org/protocol/chatstates"
    static const struct {
        enum stanza_class class;
        const char *xml;
    } rows[] = {
        {CLASS_KEEP, "<message><body>x</body></message>"},
        {CLASS_KEEP, "<message type='normal'><body>x</body></message>"},
        {CLASS_KEEP, "<message type='chat'><body> </body></message>"},
        {CLASS_KEEP, "<message type='chat'><body>x</body><active xmlns='" STATES "'/></message>"},
        {CLASS_KEEP, "<message><received xmlns='urn:xmpp:receipts' id='1'/></message>"},
        {CLASS_KEEP, "<message><x xmlns='jabber:x:conference' jid='r@s'/></message>"},
        {CLASS_KEEP, "<message type='nonsense'><body>x</body></message>"},
        {CLASS_CHAT_STATE, "<message type='chat'><composing xmlns='" STATES "'/></message>"},
        {CLASS_CHAT_STATE, "<message type='chat'><thread>t</thread><paused xmlns='" STATES "'/></message>"},
        {CLASS_MESSAGE, "<message/>"},
        {CLASS_MESSAGE, "<message type='chat'><body/></message>"},
        {CLASS_MESSAGE, "<message type='error'><body>x</body><error type='cancel'/></message>"},
        {CLASS_MESSAGE, "<message type='headline'><body>x</body></message>"},
        {CLASS_MESSAGE,
         "<message><sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></sent></message>"},
        {CLASS_MESSAGE, "<message><received xmlns='urn:xmpp:carbons:2'/></message>"},
        {CLASS_MESSAGE, "<message><result xmlns='urn:xmpp:mam:2' id='1'/></message>"},
        {CLASS_GROUPCHAT, "<message type='groupchat'><body>x</body></message>"},
        {CLASS_GROUPCHAT, "<message type='groupchat'><composing xmlns='" STATES "'/></message>"},
        {CLASS_IQ_REQUEST, "<iq type='get' id='1'><q xmlns='urn:q'/></iq>"},
        {CLASS_IQ_REQUEST, "<iq type='set' id='1'><q xmlns='urn:q'/></iq>"},
        {CLASS_IQ_REPLY, "<iq type='result' id='1'/>"},
        {CLASS_IQ_REPLY, "<iq type='error' id='1'/>"},
        {CLASS_PRESENCE, "<presence/>"},
        {CLASS_PRESENCE, "<presence type='subscribe'/>"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum stanza_class class;
        parse(rows[i].xml, look_class, &class);
        if (class != rows[i].class)
            fail_msg("%s is of class %d, not %d", rows[i].xml, (int)class, (int)rows[i].class);
    }
}

static struct element message_of(const char *text)
{
    return (struct element){.kind = ELEMENT_MESSAGE, .bytes = slice_str(text), .close_at = strlen(text)};
}

/* What is given is taken again where it is large enough, and never more is held than was allowed. */
static void test_pool(void **state)
{
    (void)state;
    static const char text[] = "<message><body>a text of some length, so that it needs several steps</body></message>";
    struct element e = message_of(text), small = message_of("<message/>");
    struct entry_pool pool = {.most = 4 * ENTRY_STEP};
    struct entry *first = entry_take(&pool, &e, SLICE_NONE, 1);
    entry_give(&pool, first);
    assert_true(pool.bytes >= sizeof *first + e.bytes.n);
    struct entry *other = entry_take(&pool, &small, SLICE_NONE, 2), *again = entry_take(&pool, &e, SLICE_NONE, 3);
    assert_ptr_equal(again, first);
    assert_ptr_not_equal(other, first);
    assert_int_equal(again->arrived, 3);
    assert_true(slice_eq(entry_slice(again), e.bytes));
    assert_int_equal(pool.bytes, 0);
    for (int i = 0; i < 5; i++)
        entry_give(&pool, entry_new(&small, SLICE_NONE, 4));
    assert_in_range(pool.bytes, 1, pool.most);
    entry_give(&pool, other);
    entry_give(&pool, again);
    assert_in_range(pool.bytes, 1, pool.most);
    entry_pool_clear(&pool);
    assert_int_equal(pool.bytes, 0);
}

/* Nothing is held by one that was not told to, nor of entries that are larger than any step. */
static void test_pool_lets_go(void **state)
{
    (void)state;
    char large[ENTRY_STEP * ENTRY_CLASSES];
    memset(large, 'a', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    struct element e = message_of(large);
    struct entry_pool none = {0}, pool = {.most = 1 << 20};
    entry_give(&none, entry_take(&none, &e, SLICE_NONE, 1));
    entry_give(&pool, entry_take(&pool, &e, SLICE_NONE, 1));
    assert_int_equal(none.bytes + pool.bytes, 0);
    struct entry *mail = entry_take(&pool, &(struct element){.bytes = slice_str("<iq/>")}, SLICE_NONE, 1);
    mail->origin = mem_strdup("an origin of its own");
    entry_give(&pool, mail);
    assert_true(pool.bytes > 0);
    entry_pool_clear(&pool);
}

/* A clone comes into the pool too, and serves the largest of its step. */
static void test_pool_of_clones(void **state)
{
    (void)state;
    char text[ENTRY_STEP];
    memset(text, 'x', sizeof text);
    struct entry_pool pool = {.most = 1 << 20};
    for (size_t n = 1; n <= sizeof text; n++) {
        struct entry *made = entry_copy(slice_of(text, 1), 1), *clone;
        made->number = 7;
        made->origin = mem_strdup("a/1");
        clone = entry_clone(made);
        assert_int_equal(clone->number, 7);
        assert_string_equal(clone->origin, "a/1");
        assert_ptr_not_equal(clone->origin, made->origin);
        entry_free(made);
        entry_give(&pool, clone);
        struct element e = {.kind = ELEMENT_MESSAGE, .bytes = slice_of(text, n)};
        entry_give(&pool, entry_take(&pool, &e, SLICE_NONE, 1));
    }
    entry_pool_clear(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool),           cmocka_unit_test(test_pool_lets_go),
        cmocka_unit_test(test_pool_of_clones), cmocka_unit_test(test_order_and_numbers),
        cmocka_unit_test(test_numbers_go_on),  cmocka_unit_test(test_copies),
        cmocka_unit_test(test_delayed),        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
