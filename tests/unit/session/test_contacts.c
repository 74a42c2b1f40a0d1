/* Who may see the presence: rosters, pushes and directed presence that pass; and the packed table below. */
#include "../../../proxy/session/contacts.h"
#include "../../../proxy/session/jid_table.h"
#include "fixture.h"
#include "xmpp/xml.h"

#define QUERY(items) "<query xmlns='jabber:iq:roster'>" items "</query>"
#define GET          "<iq type='get' id='get'><query xmlns='jabber:iq:roster'/></iq>"

static bool sees(struct fixture *f, const char *jid)
{
    return contacts_sees(f->s->contacts, slice_str(jid));
}

static void from_server(struct fixture *f, const char *xml)
{
    server_send(f->conn, xml);
    client_forget_heard(&f->c);
}

static void from_client(struct fixture *f, const char *xml)
{
    client_send(&f->c, xml);
    world_run(&f->w);
    heard_clear(&f->conn->heard);
}

static void learn(struct fixture *f, const char *items)
{
    from_client(f, GET);
    server_printf(f->conn, "<iq type='result' id='get' to='%s'>%s</iq>", f->c.jid, items);
    client_hears(&f->c, "<iq type='result' id='get'");
}

/* ---- rosters ---- */

static void test_roster_result(void **state)
{
    struct fixture *f = *state;
    assert_false(contacts_is_known(f->s->contacts));
    assert_false(sees(f, "from@example.org/x"));
    learn(f, QUERY("<item jid='from@example.org' subscription='from'/><item jid='both@example.org' "
                   "subscription='both'/><item jid='to@example.org' subscription='to' ask='subscribe'/>"
                   "<item jid='none@example.org' subscription='none'/><item jid='gate.example.org' "
                   "subscription='both'/>"));
    assert_true(contacts_is_known(f->s->contacts));
    assert_true(sees(f, "from@example.org/x"));
    assert_true(sees(f, "both@example.org"));
    assert_true(sees(f, "Both@Example.ORG/Any"));
    assert_true(sees(f, "gate.example.org"));
    assert_false(sees(f, "to@example.org/x"));
    assert_false(sees(f, "none@example.org/x"));
    assert_false(sees(f, "who@gate.example.org"));
    assert_false(sees(f, "x"));
    assert_false(sees(f, ""));
    /* what is not in a later one is gone */
    learn(f, QUERY("<item jid='to@example.org' subscription='from'/>"));
    assert_true(sees(f, "to@example.org/x"));
    assert_false(sees(f, "both@example.org"));
    learn(f, QUERY(""));
    assert_false(sees(f, "to@example.org/x"));
    assert_true(contacts_is_known(f->s->contacts));
}

static void test_results_of_others_are_not_believed(void **state)
{
    struct fixture *f = *state;
#define BOTH(jid) QUERY("<item jid='" jid "' subscription='both'/>")
    from_server(f, "<iq type='result' id='get'>" BOTH("a@example.org") "</iq>"); /* nobody has asked */
    from_client(f, GET);
    from_server(f, "<iq type='result' id='get' from='evil@example.org/x'>" BOTH("b@example.org") "</iq>");
    from_server(f, "<iq type='result' id='get' from='romeo@example.org/other'>" BOTH("c@example.org") "</iq>");
    from_server(f, "<iq type='result' id='other'>" BOTH("d@example.org") "</iq>");
    from_server(f, "<iq type='error' id='get'>" BOTH("e@example.org") "<error type='cancel'/></iq>");
    assert_false(contacts_is_known(f->s->contacts));
    for (char jid[] = "a@example.org"; jid[0] <= 'e'; jid[0]++)
        assert_false(sees(f, jid));
    from_client(f, GET);
    from_server(f, "<iq type='result' id='get' from='romeo@example.org'>" BOTH("f@example.org") "</iq>");
    assert_true(sees(f, "f@example.org"));
}

static void test_pushes(void **state)
{
    struct fixture *f = *state;
    static const char *const good[] = {"", " from='romeo@example.org'", " from='example.org'", " from='EXAMPLE.org'"};
    static const char *const bad[] = {"evil@example.org", "evil@example.org/x", "romeo@example.org/other", "evil.org",
                                      "romeo@example.org.evil.org"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        server_printf(f->conn, "<iq type='set' id='p' from='%s'>" BOTH("evil@example.org") "</iq>", bad[i]);
        client_forget_heard(&f->c);
        assert_false(sees(f, "evil@example.org"));
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        server_printf(f->conn, "<iq type='set' id='p'%s>" BOTH("good@example.org") "</iq>", good[i]);
        client_forget_heard(&f->c);
        assert_true(sees(f, "good@example.org"));
        server_printf(f->conn,
                      "<iq type='set' id='p'%s><query xmlns='jabber:iq:roster'><item jid='good@example.org' "
                      "subscription='%s'/></query></iq>",
                      good[i], i % 2 ? "remove" : "to");
        client_forget_heard(&f->c);
        assert_false(sees(f, "good@example.org"));
    }
    assert_false(contacts_is_known(f->s->contacts));
}

/* A client with a cached roster gets an empty result (RFC 6121 2.6): the proxy asks for itself. */
static void test_versioned_roster(void **state)
{
    struct fixture *f = *state;
    int64_t down = world_sum(&f->w, METRIC_stanzas_down_iq);
    client_send(&f->c, "<iq type='get' id='get'><query xmlns='jabber:iq:roster' ver='7'/></iq>");
    server_hears(f, "<iq type='get' id='get'>");
    server_send(f->conn, "<iq type='result' id='get'/>");
    client_hears(&f->c, "<iq type='result' id='get'/>");
    char *own = heard_take(&f->conn->heard, "the server", "<iq type='get' id='hfc-");
    assert_non_null(strstr(own, "<query xmlns='jabber:iq:roster'/>"));
    char id[32];
    assert_int_equal(sscanf(own, "<iq type='get' id='%30[^']'", id), 1);
    free(own);
    server_printf(f->conn, "<iq type='result' id='%s' from='evil@example.org'>" BOTH("evil@example.org") "</iq>", id);
    client_hears(&f->c, "<iq type='result'"); /* not the answer: passed on like any other */
    server_printf(f->conn, "<iq type='result' id='%s'>" BOTH("f@example.org") "</iq>", id);
    client_hears_nothing(&f->c);
    assert_true(sees(f, "f@example.org"));
    assert_false(sees(f, "evil@example.org"));
    assert_int_equal(world_sum(&f->w, METRIC_stanzas_down_iq), down + 2); /* ours is nobody's stanza */
    /* once it is known, "unchanged" is enough */
    from_client(f, GET);
    server_send(f->conn, "<iq type='result' id='get'/>");
    client_hears(&f->c, "<iq type='result' id='get'/>");
    server_hears_nothing(f);
    assert_true(sees(f, "f@example.org"));
}

/* ---- presence ---- */

static void test_visibility(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *xml;
        bool visible;
    } steps[] = {
        {"<presence type='unavailable'/>", false},
        {"<presence><priority>-5</priority></presence>", true}, /* gets no messages to the bare JID, but is there */
        {"<presence type='invisible'/>", false},
        {"<presence type='subscribe' to='x@example.org'/>", false},
        {"<presence/>", true},
        {"<iq type='set' id='i'><invisible xmlns='urn:xmpp:invisible:0'/></iq>", false},
        {"<presence/>", false},
        {"<iq type='set' id='i'><visible xmlns='urn:xmpp:invisible:1'/></iq>", true},
        {"<iq type='set' id='l'><query xmlns='jabber:iq:privacy'><active name='hide'/></query></iq>", false},
        {"<iq type='set' id='l'><query xmlns='jabber:iq:privacy'><list name='hide'/></query></iq>", false},
        {"<iq type='set' id='l'><query xmlns='jabber:iq:privacy'><active/></query></iq>", true},
        {"<iq type='get' id='l'><query xmlns='jabber:iq:privacy'/></iq>", true},
    };
    learn(f, BOTH("j@example.org"));
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        from_client(f, steps[i].xml);
        if (sees(f, "j@example.org/x") != steps[i].visible)
            fail_msg("visible %d after %s", sees(f, "j@example.org/x"), steps[i].xml);
    }
}

static void test_directed_presence(void **state)
{
    struct fixture *f = *state;
    from_client(f, "<presence type='unavailable'/><presence to='a@example.org/x'/><presence to='b@example.org'/>");
    assert_true(sees(f, "a@example.org/x"));
    assert_true(sees(f, "A@Example.org/x"));
    assert_false(sees(f, "a@example.org/X"));
    assert_false(sees(f, "a@example.org"));
    assert_true(sees(f, "b@example.org/any"));
    assert_true(sees(f, "b@example.org"));
    from_client(f, "<presence to='a@example.org/x' type='unavailable'/><presence to='c@e' type='subscribed'/>");
    assert_false(sees(f, "a@example.org/x"));
    assert_true(sees(f, "b@example.org/any"));
    assert_false(sees(f, "c@e"));
    from_client(f, "<presence/>"); /* takes nothing back */
    assert_true(sees(f, "b@example.org/any"));
    from_client(f, "<presence type='unavailable'/>"); /* takes all back */
    assert_false(sees(f, "b@example.org/any"));
    for (unsigned i = 0; i < 1500; i++)
        client_printf(&f->c, "<presence to='c%u@example.org'/>", i);
    world_run(&f->w);
    assert_true(sees(f, "c0@example.org"));
    assert_true(sees(f, "c999@example.org"));
    assert_false(sees(f, "c1000@example.org")); /* bounded */
    heard_clear(&f->conn->heard);
}

static void test_rooms(void **state)
{
    struct fixture *f = *state;
    struct contacts *c = f->s->contacts;
    from_client(f, "<presence to='r@muc.example.org/me'><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    assert_true(contacts_is_room(c, SLICE_LIT("r@muc.example.org/other")));
    assert_true(contacts_is_room(c, SLICE_LIT("R@muc.example.org")));
    assert_false(contacts_is_room(c, SLICE_LIT("s@muc.example.org/other")));
    from_client(f, "<presence to='r@muc.example.org/me'><show>away</show></presence>");
    from_client(f, "<presence to='r@muc.example.org/me' type='unavailable'/>");
    assert_false(contacts_is_room(c, SLICE_LIT("r@muc.example.org/other")));
}

/* ---- differences ---- */

struct differences {
    struct buf text;
};

static void on_changed(void *ctx, struct slice xml)
{
    struct differences *t = ctx;
    buf_printf(&t->text, "+%.*s\n", SLICE_ARG(xml));
}

static void on_removed(void *ctx, struct slice jid)
{
    struct differences *t = ctx;
    buf_printf(&t->text, "-%.*s\n", SLICE_ARG(jid));
}

static const struct contacts_changes changes = {on_changed, on_removed};

static void compare(struct fixture *f, const char *items, const char *differences)
{
    struct differences told = {0};
    const struct node *root;
    char *xml = mem_printf("<iq type='result' id='1'><query xmlns='jabber:iq:roster'>%s</query></iq>", items);
    struct xml_tree *tree = xml_tree_parse(slice_str(xml), &root);
    assert_non_null(tree);
    assert_true(contacts_compare(f->s, xml_tree_element(tree), &changes, &told));
    char *text = buf_steal(&told.text);
    assert_string_equal(text ? text : "", differences);
    free(text);
    xml_tree_free(tree);
    free(xml);
}

static void test_differences(void **state)
{
    struct fixture *f = *state;
#define A "<item jid='a@e' subscription='both'><group>x</group><group>y</group></item>"
#define B "<item jid='b@e' subscription='to'/>"
#define C "<item jid='c@e' name='c' subscription='from'/>"
    compare(f, A B, ""); /* nothing was known: nothing can be told */
    compare(f, B "<item subscription='both' jid='a@e'><group>y</group><group>x</group></item>", "");
    compare(f, A C, "+<item jid='c@e' name='c' subscription='from'></item>\n-b@e\n");
    compare(f, "<item jid='a@e' subscription='both'><group>x</group></item>" C,
            "+<item jid='a@e' subscription='both'><group>x</group></item>\n");
    assert_true(sees(f, "a@e"));
    compare(f, "", "-a@e\n-c@e\n");
    compare(f, A, "+<item jid='a@e' subscription='both'><group>x</group><group>y</group></item>\n");
    /* a push counts as known */
    from_server(f, "<iq type='set' id='p'><query xmlns='jabber:iq:roster'>" B "</query></iq>");
    compare(f, A B, "");
}

static void test_memory_is_counted_and_small(void **state)
{
    struct fixture *f = *state;
    struct buf items = {0};
    int64_t before = f->w.memory;
    for (unsigned i = 0; i < 3000; i++)
        buf_printf(&items, "<item jid='contact%u@example.org' subscription='both'/>", i);
    char *text = buf_steal(&items);
    compare(f, text, "");
    free(text);
    int64_t bytes = f->w.memory - before;
    assert_in_range(bytes, 3000 * 23, 3000 * 64);
    assert_true(sees(f, "contact0@example.org"));
    assert_true(sees(f, "contact2999@example.org"));
}

/* ---- the table, against a simple model ---- */

enum { NAMES = 300 };

static void test_table(void **state)
{
    (void)state;
    struct world w = {.seed = 12345};
    struct hash_key seed = {{7, 8}};
    struct jid_table t = {0};
    unsigned digest[NAMES] = {0}; /* 0: not in */
    for (unsigned step = 1; step < 20000; step++) {
        char jid[64];
        unsigned n = world_random(&w, NAMES), count = 0;
        snprintf(jid, sizeof jid, "name%u@example.org/R", n);
        struct jid_row *row = jid_table_get(&t, &seed, slice_str(jid));
        assert_int_equal(row ? row->digest : 0, digest[n]);
        if (world_random(&w, 2)) {
            row = jid_table_put(&t, &seed, slice_str(jid));
            row->digest = digest[n] = step;
        } else if (row) {
            jid_table_remove(&t, row);
            digest[n] = 0;
        }
        if (step % 997 == 0)
            jid_table_trim(&t);
        for (row = NULL; step % 100 == 0 && (row = jid_table_next(&t, row));) {
            snprintf(jid, sizeof jid, "%.*s", (int)row->n, row->jid); /* it does not end with a NUL */
            assert_int_equal(sscanf(jid, "name%u@", &n), 1);
            assert_int_equal(row->digest, digest[n]);
            count++;
        }
        if (step % 100 == 0)
            assert_int_equal(count, t.count);
        assert_true(jid_table_bytes(&t) < NAMES * 200);
    }
    jid_table_clear(&t);
    assert_null(jid_table_get(&t, &seed, SLICE_LIT("a")));
    assert_null(jid_table_next(&t, NULL));
    assert_null(jid_table_put(&t, &seed, SLICE_NONE));
    char *endless = mem_zalloc(4000);
    assert_null(jid_table_put(&t, &seed, slice_of(endless, 4000)));
    assert_null(jid_table_get(&t, &seed, slice_of(endless, 4000)));
    free(endless);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_roster_result),
        TEST(test_results_of_others_are_not_believed),
        TEST(test_pushes),
        TEST(test_versioned_roster),
        TEST(test_visibility),
        TEST(test_directed_presence),
        TEST(test_rooms),
        TEST(test_differences),
        TEST(test_memory_is_counted_and_small),
        cmocka_unit_test(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
