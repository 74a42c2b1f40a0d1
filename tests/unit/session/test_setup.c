/* The setup log: what a fresh upstream leg is told to be equal to the old one; and the client's requests, each of which
 * gets one answer. */
#include "rebuild.h"

#define ROSTER_GET          "<iq type='get' id='ro'><query xmlns='jabber:iq:roster'/></iq>"
#define ROSTER              "<iq type='result' id='ro'><query xmlns='jabber:iq:roster'/></iq>"
#define CARBONS_ON          "<iq type='set' id='co'><enable xmlns='urn:xmpp:carbons:2'/></iq>"
#define CARBONS_OFF         "<iq type='set' id='cx'><disable xmlns='urn:xmpp:carbons:2'/></iq>"
#define BLOCKED             "<iq type='get' id='bl'><blocklist xmlns='urn:xmpp:blocking'/></iq>"
#define VERSION_OF(id, to)  "<iq type='get' id='" id "' to='" to "'><query xmlns='jabber:iq:version'/></iq>"
#define PRIVACY(id, active) "<iq type='set' id='" id "'><query xmlns='jabber:iq:privacy'>" active "</query></iq>"
#define TIMED_OUT                                                                                                      \
    "><error type='wait'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"

static void hears(struct fixture *f, const char *start)
{
    heard_expect(&f->conn->heard, "the server", start);
}

/* The client says it, the server hears it, and confirms it. */
static void say(struct fixture *f, const char *text)
{
    client_send(&f->c, text);
    world_run(&f->w);
    heard_clear(&f->conn->heard);
}

static void confirm_all(struct fixture *f)
{
    world_wait(&f->w, 2 * USEC_S);
    assert_true(f->s->in.safe == f->s->in.received);
    client_forget_heard(&f->c);
}

static void answer(struct fixture *f, const char *text)
{
    server_send(f->conn, text);
    world_run(&f->w);
}

/* ---- what is told again ---- */

/* All kinds, in the order of a login, and no answer reaches the client. */
static void test_everything(void **state)
{
    struct fixture *f = *state;
    say(f, "<presence to='juliet@example.org/x'><status>directed</status></presence>" BLOCKED CARBONS_ON
           "<presence><show>dnd</show></presence>" ROSTER_GET PRIVACY("pr", "<active name='invisible'/>"));
    answer(f, ROSTER "<iq type='result' id='co'/><iq type='result' id='bl'/><iq type='result' id='pr'/>");
    confirm_all(f);
    restart_and_come_back(f, 7);
    hears(f, PRIVACY("pr", "<active name='invisible'/>"));
    hears(f, ROSTER_GET);
    hears(f, BLOCKED);
    hears(f, CARBONS_ON);
    hears(f, "<presence><show>dnd</show></presence>");
    hears(f, "<presence to='juliet@example.org/x'>");
    server_hears_nothing(f);
    answer(f, ROSTER "<iq type='error' id='co'/><iq type='result' id='bl' from='romeo@example.org'/>"
                     "<iq type='result' id='pr' from='example.org'/>");
    client_hears_nothing(&f->c);
    answer(f, ROSTER); /* swallowed once */
    client_hears(&f->c, ROSTER);
}

/* What has changed in the roster meanwhile is pushed; the client's answers are not for the server. */
static void test_roster_changes_are_pushed(void **state)
{
    struct fixture *f = *state;
    say(f, ROSTER_GET);
    answer(f, "<iq type='result' id='ro'><query xmlns='jabber:iq:roster'><item jid='a@example.org' "
              "subscription='both'/><item jid='b@example.org' subscription='to'/>"
              "<item jid='c@example.org' subscription='none'/></query></iq>");
    confirm_all(f);
    restart_and_come_back(f, 2);
    hears(f, ROSTER_GET);
    hears(f, CLIENT_PRESENCE);
    answer(f, "<iq type='result' id='ro'><query xmlns='jabber:iq:roster'><item jid='a@example.org' "
              "subscription='both' name='A &amp; B'/><item jid='c@example.org' subscription='none'/>"
              "<item jid='d@example.org' subscription='from'/></query></iq>");
    for (int i = 0; i < 3; i++) {
        char *push = heard_take(&f->c.heard, "the client", "<iq type='set' id='hfs-");
        bool changed = strstr(push, "jid='a@example.org'") && strstr(push, "name='A &amp; B'");
        bool added = strstr(push, "jid='d@example.org'") && strstr(push, "subscription='from'");
        bool removed = strstr(push, "<item jid='b@example.org' subscription='remove'/>");
        assert_int_equal(changed + added + removed, 1);
        free(push);
    }
    client_hears_nothing(&f->c);
    uint64_t before = f->s->in.received;
    client_send(&f->c, "<iq type='result' id='hfs-0123-push-1'/>");
    server_hears_nothing(f);
    assert_true(f->s->in.received == before + 1); /* it counts as any other */
}

/* The last word of each kind. */
static void test_last_word(void **state)
{
    struct fixture *f = *state;
    say(f, CARBONS_ON PRIVACY("p1", "<active name='a'/>") PRIVACY(
               "p2", "<active name='b'/>") "<presence><priority>1</priority></presence>"
                                           "<presence><priority>2</priority></presence>"
                                           "<presence to='a@example.org/1'/><presence to='b@example.org/1'/>"
                                           "<presence to='a@example.org/1'><show>away</show></presence>" CARBONS_OFF);
    answer(f, "<iq type='result' id='co'/><iq type='result' id='p1'/><iq type='result' id='p2'/>"
              "<iq type='result' id='cx'/>");
    confirm_all(f);
    restart_and_come_back(f, 10);
    hears(f, PRIVACY("p2", "<active name='b'/>"));
    hears(f, "<presence><priority>2</priority></presence>");
    hears(f, "<presence to='a@example.org/1'><show>away</show></presence>");
    hears(f, "<presence to='b@example.org/1'/>");
    server_hears_nothing(f);
}

/* What is withdrawn is not told again. */
static void test_withdrawn(void **state)
{
    struct fixture *f = *state;
    say(f, PRIVACY("p1", "<active name='a'/>") PRIVACY("p2", "<active/>") "<presence to='a@example.org/1'/>"
                                                                          "<presence to='b@example.org/1'/>"
                                                                          "<presence to='a@example.org/1' "
                                                                          "type='unavailable'/>");
    answer(f, "<iq type='result' id='p1'/><iq type='result' id='p2'/>");
    confirm_all(f);
    restart_and_come_back(f, 6);
    hears(f, "<presence/>");
    hears(f, "<presence to='b@example.org/1'/>");
    server_hears_nothing(f);
    say(f, "<presence type='unavailable'/>");
    confirm_all(f);
    restart_and_come_back(f, 7);
    server_hears_nothing(f);
}

/* Those that look alike and are not: to somebody else, of another type, an answer, a subscription. */
static void test_not_in_the_log(void **state)
{
    struct fixture *f = *state;
    say(f, "<iq type='get' id='r1' to='juliet@example.org'><query xmlns='jabber:iq:roster'/></iq>"
           "<iq type='set' id='r2'><query xmlns='jabber:iq:roster'><item jid='x@example.org'/></query></iq>"
           "<iq type='result' id='r3'><query xmlns='jabber:iq:roster'/></iq>"
           "<iq type='set' id='r4'><query xmlns='jabber:iq:privacy'><default name='x'/></query></iq>"
           "<presence to='juliet@example.org' type='subscribe'/><presence type='probe' to='juliet@example.org'/>");
    answer(f, "<iq type='result' id='r1' from='juliet@example.org'/><iq type='result' id='r2'/>"
              "<iq type='result' id='r4'/>");
    confirm_all(f);
    restart_and_come_back(f, 7);
    hears(f, "<presence/>");
    server_hears_nothing(f);
}

/* Set up and answered, but not confirmed when the server died: it is not lost with the answer. */
static void test_answered_not_confirmed(void **state)
{
    struct fixture *f = *state;
    server_hangs(f);
    say(f, CARBONS_ON ROSTER_GET "<iq type='set' id='other'><query xmlns='jabber:iq:private'/></iq>");
    answer(f, ROSTER "<iq type='result' id='co'/><iq type='result' id='other'/>");
    client_forget_heard(&f->c);
    hung_server_restarts(f);
    come_back(f, 4);
    hears(f, "<presence/>");
    hears(f, CARBONS_ON);
    hears(f, ROSTER_GET);
    server_hears_nothing(f); /* the other one is done with */
    answer(f, ROSTER "<iq type='result' id='co'/>");
    client_hears_nothing(&f->c);
}

/* Neither answered nor confirmed: once, and the answer is for the client. */
static void test_neither(void **state)
{
    struct fixture *f = *state;
    server_hangs(f);
    say(f, ROSTER_GET);
    hung_server_restarts(f);
    come_back(f, 2);
    hears(f, "<presence/>");
    hears(f, ROSTER_GET);
    server_hears_nothing(f);
    answer(f, ROSTER);
    client_hears(&f->c, ROSTER);
    client_hears_nothing(&f->c);
}

/* Confirmed and not answered: asked again for the client, no error. */
static void test_confirmed_not_answered(void **state)
{
    struct fixture *f = *state;
    say(f, ROSTER_GET);
    confirm_all(f);
    restart_and_come_back(f, 2);
    client_hears_nothing(&f->c);
    hears(f, ROSTER_GET);
    hears(f, "<presence/>");
    restart_and_come_back(f, 2); /* again */
    hears(f, ROSTER_GET);
    answer(f, ROSTER);
    client_hears(&f->c, ROSTER);
}

/* What the log holds is told up to the first stanza that is sent again anyway. */
static void test_up_to_the_queue(void **state)
{
    struct fixture *f = *state;
    say(f, "<presence to='a@example.org/1'/>");
    confirm_all(f);
    server_hangs(f);
    say(f, "<presence to='b@example.org/1'/><presence><show>xa</show></presence>");
    hung_server_restarts(f);
    come_back(f, 4);
    hears(f, "<presence to='a@example.org/1'/>");
    hears(f, "<presence to='b@example.org/1'/>");
    hears(f, "<presence><show>xa</show></presence>");
    server_hears_nothing(f);
}

/* An answer that has not come is not waited for: the id may be used again. */
static void test_answer_that_never_comes(void **state)
{
    struct fixture *f = *state;
    say(f, CARBONS_ON);
    answer(f, "<iq type='result' id='co'/>");
    confirm_all(f);
    restart_and_come_back(f, 2);
    world_wait(&f->w, 11 * USEC_S);
    answer(f, "<iq type='result' id='co'/>");
    client_hears(&f->c, "<iq type='result' id='co'/>");
}

/* A stranger's answer is not the server's. */
static void test_stranger_answers(void **state)
{
    struct fixture *f = *state;
    say(f, ROSTER_GET);
    answer(f, ROSTER);
    confirm_all(f);
    restart_and_come_back(f, 2);
    answer(f, "<iq type='result' id='ro' from='eve@example.org/x'/>" ROSTER);
    client_hears(&f->c, "<iq type='result' id='ro' from='eve@example.org/x'/>");
    client_hears_nothing(&f->c);
}

/* Prefixes that were declared on the stream's header go along. */
static void test_prefixes(void **state)
{
    static const char header[] = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
                                 "xmlns:q='urn:q' xmlns:ca='urn:xmpp:carbons:2' to='example.org' version='1.0'>";
    struct fixture *f = *state;
    client_cut(&f->c);
    client_connect(&f->c, 0);
    client_send(&f->c, header);
    client_auth(&f->c, "romeo");
    client_send(&f->c, header);
    client_send(&f->c, CLIENT_BIND CLIENT_ENABLE);
    world_run(&f->w);
    f->s = client_session(&f->c);
    f->conn = server_newest(&f->server);
    say(f, "<presence><q:mood/></presence><presence to='a@example.org/1'><q:x/></presence>"
           "<presence to='r@muc.example.org/me'><x xmlns='http://jabber.org/protocol/muc'/><q:y/></presence>"
           "<iq type='set' id='co'><ca:enable/></iq>");
    answer(f, "<iq type='result' id='co'/><presence from='r@muc.example.org/me'/>");
    confirm_all(f);
    restart_and_come_back(f, 4); /* server.h fails on what is no XMPP */
    hears(f, "<iq xmlns:q='urn:q' xmlns:ca='urn:xmpp:carbons:2' type='set' id='co'>");
    hears(f, "<presence xmlns:q='urn:q' xmlns:ca='urn:xmpp:carbons:2'>");
    hears(f, "<presence xmlns:q='urn:q' xmlns:ca='urn:xmpp:carbons:2' to='a@example.org/1'>");
    hears(f, "<presence xmlns:q='urn:q' xmlns:ca='urn:xmpp:carbons:2' to='r@muc.example.org/me'>");
    answer(f, "<iq type='result' id='co'/>");
    client_hears_nothing(&f->c);
}

/* A client may show itself to as many as its queue may hold stanzas. */
static void test_directed_limit(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.queue_stanzas = 50;
    for (unsigned i = 0; i < 60; i++) {
        client_printf(&f->c, "<presence to='c%u@example.org/1'/>", i);
        if (i % 10 == 9)
            confirm_all(f);
    }
    heard_clear(&f->conn->heard);
    restart_and_come_back(f, 61);
    hears(f, "<presence/>");
    for (unsigned i = 0; i < 50; i++)
        hears(f, "<presence to='c");
    server_hears_nothing(f);
}

/* ---- one answer for each request ---- */

static void test_lost_answers(void **state)
{
    struct fixture *f = *state;
    say(f, VERSION_OF("v1", "juliet@example.org/x") VERSION_OF("v2", "example.org") "<iq type='get' id='v3'/>");
    answer(f, "<iq type='result' id='v2' from='example.org'/>");
    confirm_all(f);
    server_hangs(f);
    say(f, VERSION_OF("v4", "juliet@example.org/x") VERSION_OF("v5", "juliet@example.org/x"));
    answer(f, "<iq type='error' id='v5' from='juliet@example.org/x'/>");
    client_forget_heard(&f->c);
    hung_server_restarts(f);
    come_back(f, 6);
    client_hears(&f->c, "<iq type='error' id='v1' from='juliet@example.org/x' to='romeo@example.org/r1'" TIMED_OUT);
    client_hears(&f->c, "<iq type='error' id='v3' to='romeo@example.org/r1'" TIMED_OUT);
    hears(f, "<presence/>");
    hears(f, "<iq type='get' id='v4'"); /* was not confirmed: asked again */
    server_hears_nothing(f);
    answer(f, "<iq type='result' id='v4' from='juliet@example.org/x'/>");
    client_hears(&f->c, "<iq type='result' id='v4'");
    client_hears_nothing(&f->c);
    assert_int_equal(sum(f, METRIC_stanzas_injected), 2);
    client_send(&f->c, CLIENT_R);
    ack(&f->c, f->c.h);
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 0); /* our own count for the client like any other */
    restart_and_come_back(f, 6);
    client_hears_nothing(&f->c);
}

/* An id is not unique, and no secret: the answer has to come from whom was asked. */
static void test_equal_ids(void **state)
{
    struct fixture *f = *state;
    server_hangs(f);
    say(f, VERSION_OF("1", "a@example.org/x") VERSION_OF("1", "b@example.org/x") VERSION_OF("1", "b@example.org/x"));
    answer(f, "<iq type='result' id='1' from='eve@example.org/x'/><iq type='result' id='1' from='B@example.org/x'/>");
    client_forget_heard(&f->c);
    hung_server_restarts(f);
    come_back(f, 4);
    hears(f, "<presence/>");
    hears(f, "<iq type='get' id='1' to='a@example.org/x'");
    hears(f, "<iq type='get' id='1' to='b@example.org/x'");
    server_hears_nothing(f);
    confirm_all(f);
    restart_and_come_back(f, 4);
    client_hears(&f->c, "<iq type='error' id='1' from='a@example.org/x'");
    client_hears(&f->c, "<iq type='error' id='1' from='b@example.org/x'");
    client_hears_nothing(&f->c);
}

/* A client that gives every request the same id: its roster is not the answer to something else. */
static void test_same_id_as_the_roster(void **state)
{
    struct fixture *f = *state;
    say(f, ROSTER_GET);
    answer(f, ROSTER);
    say(f, VERSION_OF("ro", "juliet@example.org/x"));
    confirm_all(f);
    restart_and_come_back(f, 3);
    client_hears(&f->c, "<iq type='error' id='ro' from='juliet@example.org/x'");
    hears(f, ROSTER_GET);
    answer(f, ROSTER);
    client_hears_nothing(&f->c);
}

/* Without an id, or with an empty one, nobody can tell whether it was answered: it is sent again. */
static void test_without_id(void **state)
{
    struct fixture *f = *state;
    server_hangs(f);
    say(f, "<iq type='get'><query xmlns='jabber:iq:version'/></iq><iq type='get' id=''><query "
           "xmlns='jabber:iq:version'/></iq><iq type='get' id='&#160;'/><iq type='get'><query "
           "xmlns='jabber:iq:roster'/></iq>");
    answer(f, "<iq type='result'/><iq type='result' id=''/>");
    client_forget_heard(&f->c);
    hung_server_restarts(f);
    come_back(f, 5);
    hears(f, "<presence/>");
    for (int i = 0; i < 4; i++)
        hears(f, "<iq type='get'");
    server_hears_nothing(f);
    confirm_all(f);
    restart_and_come_back(f, 5);
    client_hears(&f->c, "<iq type='error' id='\302\240' to=");
    client_hears_nothing(&f->c);
}

/* More than are remembered: the oldest are not taken for answered. */
static void test_many_requests(void **state)
{
    struct fixture *f = *state;
    enum { N = 1010, REMEMBERED = 1000 };
    server_hangs(f);
    for (unsigned i = 0; i < N; i++)
        client_printf(&f->c, "<iq type='get' id='m%u' to='a@example.org/x'/>", i);
    world_run(&f->w);
    answer(f, "<iq type='result' id='m5' from='a@example.org/x'/><iq type='result' id='m20' from='a@example.org/x'/>");
    client_forget_heard(&f->c);
    hung_server_restarts(f);
    come_back(f, N + 1);
    hears(f, "<presence/>");
    for (unsigned i = 0; i < N; i++) {
        char start[64];
        snprintf(start, sizeof start, "<iq type='get' id='m%u'", i);
        if (i != 20)
            hears(f, start);
    }
    server_hears_nothing(f);
    confirm_all(f);
    server_restarts(f);
    client_resume(&f->c, 0, "romeo", f->c.h);
    world_wait(&f->w, USEC_S);
    assert_int_equal(sum(f, METRIC_stanzas_injected), REMEMBERED - 1);
}

/* An iq set by the proxy in the client's name is answered to the proxy. */
static void test_session_iq(void **state)
{
    struct fixture *f = *state;
    server_restarts(f);
    client_resume(&f->c, 0, "romeo", f->c.h);
    expect_resumed(&f->c, 1);
    f->conn = server_newest(&f->server);
    server_printf(f->conn, "<iq type='result' id='hfs-%s-session'/>", f->s->tag);
    client_hears_nothing(&f->c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_everything),       TEST(test_roster_changes_are_pushed),
        TEST(test_last_word),        TEST(test_withdrawn),
        TEST(test_not_in_the_log),   TEST(test_answered_not_confirmed),
        TEST(test_neither),          TEST(test_confirmed_not_answered),
        TEST(test_up_to_the_queue),  TEST(test_answer_that_never_comes),
        TEST(test_stranger_answers), TEST(test_prefixes),
        TEST(test_directed_limit),   TEST(test_lost_answers),
        TEST(test_equal_ids),        TEST(test_same_id_as_the_roster),
        TEST(test_without_id),       TEST(test_many_requests),
        TEST(test_session_iq),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
