/* Rooms are joined again on a fresh upstream leg, without what the client has had; and who has left in the gap is told
 * to have left. */
#include "rebuild.h"

#define MUC            "<x xmlns='http://jabber.org/protocol/muc'/>"
#define JOIN           "<presence to='room@muc.example.org/me'>" MUC "</presence>"
#define USER           "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/>"
#define SELF           "<presence from='room@muc.example.org/me'>" USER "<status code='110'/></x></presence>"
#define OCCUPANT(nick) "<presence from='room@muc.example.org/" nick "'>" USER "</x></presence>"
#define SUBJECT(text)  "<message from='room@muc.example.org/boss' type='groupchat'><subject>" text "</subject></message>"
#define DELAY          "<delay xmlns='urn:xmpp:delay' stamp='2023-11-14T22:13:20Z'/>"
#define REJOIN         "<presence to='room@muc.example.org/me'><x xmlns='http://jabber.org/protocol/muc'><history since='"
#define ERROR                                                                                                          \
    "<presence from='room@muc.example.org/me' type='error'><error type='cancel'><conflict "                            \
    "xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
#define LEFT_ROOM "<presence type='unavailable' from='room@muc.example.org/me' to='romeo@example.org/r1'>"

static void hears(struct fixture *f, const char *start)
{
    heard_expect(&f->conn->heard, "the server", start);
}

static void say(struct fixture *f, const char *text)
{
    client_send(&f->c, text);
    world_run(&f->w);
    heard_clear(&f->conn->heard);
}

static void serve(struct fixture *f, const char *text)
{
    server_send(f->conn, text);
    world_run(&f->w);
}

static void settle(struct fixture *f)
{
    world_wait(&f->w, 2 * USEC_S);
    client_send(&f->c, CLIENT_R);
    ack(&f->c, f->c.h);
    client_forget_heard(&f->c);
    heard_clear(&f->conn->heard);
}

/* Without <r/> in between. */
static void no_requests(struct fixture *f)
{
    f->w.settings.sm.request_every = 100000;
    f->w.settings.sm.request_delay = 86400 * USEC_S;
}

/* In the room, with one other. */
static void enter_room(struct fixture *f)
{
    say(f, JOIN);
    serve(f, OCCUPANT("bob") SELF SUBJECT("topic"));
    settle(f);
}

/* A room message; history: as it comes again. */
static void talk(struct fixture *f, const char *nick, const char *id, const char *body, bool history)
{
    server_printf(f->conn, "<message from='room@muc.example.org/%s' type='groupchat'%s%s%s><body>%s</body>%s</message>",
                  nick, id ? " id='" : "", id ? id : "", id ? "'" : "", body, history ? DELAY : "");
    world_run(&f->w);
}

static void expect_talk(struct fixture *f, const char *body)
{
    char *text = heard_take(&f->c.heard, "the client", "<message from='room@muc.example.org/");
    if (!strstr(text, body))
        fail_msg("the client has heard %s, but should have: %s", text, body);
    free(text);
}

/* Back, in the room again: `hears` is where the rejoin is heard. */
static void restart(struct fixture *f)
{
    restart_and_come_back(f, sm_wire(f->s->in.safe));
    hears(f, "<presence/>");
}

/* ---- rooms ---- */

static void test_joined_again(void **state)
{
    struct fixture *f = *state;
    no_requests(f);
    enter_room(f);
    f->w.clock.wall += 3600 * USEC_S;
    talk(f, "bob", "m1", "one", false);
    settle(f);
    f->w.clock.wall += 3600 * USEC_S;
    char stamp[CLOCK_STAMP_SIZE], since[200];
    usec heard = f->w.clock.wall - 3600 * USEC_S - 2 * USEC_S;
    snprintf(since, sizeof since, "%s%s'/></x></presence>", REJOIN, clock_stamp(stamp, heard - 120 * USEC_S));
    restart(f);
    hears(f, since);
    server_hears_nothing(f);
    /* of what it is told again nothing reaches the client but presence */
    serve(f, OCCUPANT("bob") SELF);
    talk(f, "bob", "m1", "one", true);
    serve(f, SUBJECT("topic"));
    client_hears(&f->c, OCCUPANT("bob"));
    client_expect(&f->c, SELF);
    client_hears_nothing(&f->c);
    /* and what it missed */
    talk(f, "bob", "m2", "two", true);
    expect_talk(f, "two");
    talk(f, "bob", "m3", "three", false);
    expect_talk(f, "three");
    client_hears_nothing(&f->c);
    world_wait(&f->w, 11 * USEC_S);
    client_hears_nothing(&f->c); /* nobody has left */
}

static void test_subject_changed(void **state)
{
    struct fixture *f = *state;
    enter_room(f);
    restart(f);
    serve(f, SELF);
    client_forget_heard(&f->c);
    serve(f, SUBJECT("another"));
    client_hears(&f->c, SUBJECT("another"));
    serve(f, "<message from='room@muc.example.org' id='s7' type='groupchat'><subject>another</subject></message>");
    client_hears_nothing(&f->c); /* the same again, whoever is said to have set it */
}

/* The last presence there is the one that joins, with what is in it. */
static void test_shown_as_before(void **state)
{
    struct fixture *f = *state;
    enter_room(f);
    say(f, "<presence to='room@muc.example.org/me'><show>dnd</show></presence>");
    settle(f);
    restart(f);
    hears(f, "<presence to='room@muc.example.org/me'><show>dnd</show><x xmlns='http://jabber.org/protocol/muc'>"
             "<history since=");
    server_hears_nothing(f);
}

static void test_password(void **state)
{
    struct fixture *f = *state;
    say(f, "<presence to='room@muc.example.org/me'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='3'/>"
           "<password>a &amp; b</password></x><status>s</status></presence>");
    serve(f, SELF);
    say(f, "<presence to='room@muc.example.org/me'/>");
    settle(f);
    restart(f);
    char *text = heard_take(&f->conn->heard, "the server", REJOIN);
    assert_non_null(strstr(text, "'/><password>a &amp; b</password></x></presence>"));
    free(text);
}

/* JIDs of rooms are told in more than one spelling. */
static void test_mixed_case(void **state)
{
    struct fixture *f = *state;
    say(f, "<presence to='Room@MUC.example.org/Me'>" MUC "</presence>");
    serve(f, "<presence from='room@muc.example.org/Me'>" USER "<status code='110'/></x></presence>");
    settle(f);
    restart(f);
    hears(f, "<presence to='Room@MUC.example.org/Me'><x xmlns='http://jabber.org/protocol/muc'><history since=");
    server_hears_nothing(f);
    say(f, "<presence to='ROOM@muc.example.org/Me' type='unavailable'/>");
    settle(f);
    restart(f);
    server_hears_nothing(f);
}

static void test_left(void **state)
{
    static const char *const last[] = {
        "<presence from='room@muc.example.org/me' type='unavailable'>" USER "<status code='307'/><status code='110'/>"
        "</x></presence>",
        "<presence from='room@muc.example.org/me' type='unavailable'/>",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
        enter_room(f);
        world_wait(&f->w, 11 * USEC_S); /* soon behind a restart it would be a farewell of the old leg */
        serve(f, last[i]);
        settle(f);
        restart(f);
        server_hears_nothing(f);
    }
    enter_room(f);
    say(f, "<presence to='room@muc.example.org/me' type='unavailable'/>");
    settle(f);
    restart(f);
    server_hears_nothing(f);
    enter_room(f);
    say(f, "<presence type='unavailable'/>"); /* from all of them */
    settle(f);
    restart_and_come_back(f, sm_wire(f->s->in.safe));
    server_hears_nothing(f);
}

/* A join that the room refused, or has not answered: the first is forgotten, the second asked for again as it was. */
static void test_not_joined(void **state)
{
    struct fixture *f = *state;
    say(f, JOIN);
    serve(f, ERROR);
    client_hears(&f->c, ERROR);
    settle(f);
    restart(f);
    server_hears_nothing(f);
    say(f, JOIN);
    settle(f);
    restart(f);
    hears(f, JOIN);
    serve(f, ERROR);
    client_hears(&f->c, ERROR); /* the client waits for it */
}

/* A join in the queue is sent from there. */
static void test_not_confirmed(void **state)
{
    struct fixture *f = *state;
    server_hangs(f);
    say(f, JOIN);
    hung_server_restarts(f);
    come_back(f, 2);
    hears(f, "<presence/>");
    hears(f, JOIN);
    server_hears_nothing(f);
}

/* Joined, and that not confirmed: once is enough. */
static void test_joined_not_confirmed(void **state)
{
    struct fixture *f = *state;
    server_hangs(f);
    say(f, JOIN "<presence to='room@muc.example.org/me'><show>away</show></presence>");
    serve(f, SELF);
    client_forget_heard(&f->c);
    hung_server_restarts(f);
    come_back(f, 3);
    hears(f, "<presence/>");
    hears(f, "<presence to='room@muc.example.org/me'><show>away</show><x ");
    hears(f, "<presence to='room@muc.example.org/me'><show>away</show></presence>");
    server_hears_nothing(f);
}

/* The room does not let us in again: the error is not for the client, who never asked. */
static void test_refused(void **state)
{
    struct fixture *f = *state;
    no_requests(f);
    enter_room(f);
    restart(f);
    serve(f, ERROR);
    char *text = heard_take(&f->c.heard, "the client", LEFT_ROOM);
    assert_non_null(strstr(text, "<status code='110'/><status code='333'/>"));
    free(text);
    client_hears_nothing(&f->c);
    heard_clear(&f->conn->heard);
    world_wait(&f->w, 11 * USEC_S);
    client_expect(&f->c, "<presence type='unavailable' from='room@muc.example.org/bob'");
    server_hears_nothing(f);
}

/* … while the client is away: it is told behind what was parked before. */
static void test_refused_while_away(void **state)
{
    struct fixture *f = *state;
    no_requests(f);
    enter_room(f);
    server_hangs(f);
    up(f, 1);
    world_run(&f->w);
    client_cut(&f->c);
    world_run(&f->w);
    serve(f, SELF); /* parked */
    f->c.closed = true;
    hung_server_restarts(f);
    f->server.hold_pings = true;
    client_login(&f->c, 0, "romeo");
    client_printf(&f->c, "<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%" PRIu32 "'/>", f->c.previd, f->c.h);
    world_run(&f->w);
    client_cut(&f->c); /* the rebuild goes on without it */
    world_run(&f->w);
    f->conn = server_newest(&f->server);
    serve(f, ERROR);
    f->server.hold_pings = false;
    server_answer_pings(&f->server);
    client_resume(&f->c, 0, "romeo", f->c.h);
    expect_resumed(&f->c, 3);
    client_expect(&f->c, SELF);
    heard_clear(&f->conn->heard);
    world_wait(&f->w, 11 * USEC_S);
    client_expect(&f->c, LEFT_ROOM);
    world_run(&f->w);
    heard_nothing(&f->conn->heard, "the server"); /* there is nothing to leave */
}

/* No answer at all: the client is out, and so are we. */
static void test_room_is_silent(void **state)
{
    struct fixture *f = *state;
    enter_room(f);
    restart(f);
    heard_clear(&f->conn->heard);
    world_wait(&f->w, 9 * USEC_S);
    client_hears_nothing(&f->c);
    world_wait(&f->w, 2 * USEC_S);
    client_expect(&f->c, LEFT_ROOM);
    client_expect(&f->c, "<presence type='unavailable' from='room@muc.example.org/bob' to='romeo@example.org/r1'>"
                         "<x xmlns='http://jabber.org/protocol/muc#user'>");
    hears(f, "<presence type='unavailable' to='room@muc.example.org/me'/>");
    settle(f);
    restart(f);
    server_hears_nothing(f);
}

/* ---- nicks ---- */

#define RENAMED(from, to)                                                                                              \
    "<presence from='room@muc.example.org/" from "' type='unavailable'><x "                                            \
    "xmlns='http://jabber.org/protocol/muc#user'><item nick='" to "'/><status code='303'/><status code='110'/></x>"    \
    "</presence>"
#define SELF_AS(nick) "<presence from='room@muc.example.org/" nick "'>" USER "<status code='110'/></x></presence>"

static void test_nick_changed(void **state)
{
    struct fixture *f = *state;
    no_requests(f);
    enter_room(f);
    say(f, "<presence to='room@muc.example.org/you'><show>away</show></presence>");
    serve(f, RENAMED("me", "you") SELF_AS("you"));
    settle(f);
    restart(f);
    hears(f, "<presence to='room@muc.example.org/you'><show>away</show><x xmlns='http://jabber.org/protocol/muc'>");
    server_hears_nothing(f);
    serve(f, SELF_AS("you"));
    client_forget_heard(&f->c);
    world_wait(&f->w, 11 * USEC_S);
    client_expect(&f->c, "<presence type='unavailable' from='room@muc.example.org/bob'");
    client_hears_nothing(&f->c); /* it is in the room */
}

static void test_nick_refused(void **state)
{
    struct fixture *f = *state;
    enter_room(f);
    say(f, "<presence to='room@muc.example.org/you'/>");
    serve(f, "<presence from='room@muc.example.org/you' type='error'/>");
    settle(f);
    restart(f);
    hears(f, REJOIN);
    server_hears_nothing(f);
}

/* Thrown out while another nick was asked for. */
static void test_kicked_while_asking(void **state)
{
    struct fixture *f = *state;
    enter_room(f);
    say(f, "<presence to='room@muc.example.org/you'/>");
    serve(f, "<presence from='room@muc.example.org/me' type='unavailable'>" USER "<status code='307'/></x></presence>");
    settle(f);
    restart(f);
    server_hears_nothing(f);
}

/* The room renames us, or gives another nick from the start. */
static void test_nick_of_the_room(void **state)
{
    struct fixture *f = *state;
    enter_room(f);
    serve(f, RENAMED("me", "guest-1") SELF_AS("guest-1"));
    settle(f);
    restart(f);
    hears(f, "<presence to='room@muc.example.org/guest-1'><x xmlns='http://jabber.org/protocol/muc'>");
    server_hears_nothing(f);
    say(f, "<presence to='room@muc.example.org/guest-1' type='unavailable'/>" JOIN);
    serve(f, SELF_AS("guest-2"));
    settle(f);
    restart(f);
    hears(f, "<presence to='room@muc.example.org/guest-2'><x xmlns='http://jabber.org/protocol/muc'>");
    server_hears_nothing(f);
}

/* A new nick that was asked for and not confirmed: the old one joins, then the new one is asked for again. */
static void test_nick_not_confirmed(void **state)
{
    struct fixture *f = *state;
    enter_room(f);
    server_hangs(f);
    say(f, "<presence to='room@muc.example.org/you'/>");
    hung_server_restarts(f);
    come_back(f, 3);
    hears(f, "<presence/>");
    hears(f, REJOIN);
    hears(f, "<presence to='room@muc.example.org/you'/>");
    serve(f, SELF RENAMED("me", "you") SELF_AS("you"));
    settle(f);
    restart(f);
    hears(f, "<presence to='room@muc.example.org/you'><x xmlns='http://jabber.org/protocol/muc'>");
    server_hears_nothing(f);
}

/* ---- history ---- */

/* Equal words without an id are not one message: as many as were heard are dropped, at each rebuild anew. */
static void test_equal_words(void **state)
{
    struct fixture *f = *state;
    enter_room(f);
    talk(f, "bob", NULL, "ok", false);
    talk(f, "bob", NULL, "ok", false);
    settle(f);
    for (unsigned missed = 1; missed <= 2; missed++) {
        restart(f);
        serve(f, SELF);
        client_forget_heard(&f->c);
        for (unsigned i = 0; i < 2 + missed; i++)
            talk(f, "bob", NULL, "ok", true);
        expect_talk(f, "ok");
        client_hears_nothing(&f->c);
        settle(f);
    }
}

/* With an id it is known however often the room tells it; of another sender it is another one. */
static void test_equal_ids(void **state)
{
    struct fixture *f = *state;
    enter_room(f);
    talk(f, "bob", "1", "one", false);
    settle(f);
    restart(f);
    serve(f, SELF);
    client_forget_heard(&f->c);
    talk(f, "bob", "1", "one", true);
    talk(f, "bob", "1", "one", true);
    client_hears_nothing(&f->c);
    talk(f, "eve", "1", "two", true);
    expect_talk(f, "two");
    talk(f, "bob", "1", "one", false); /* live */
    expect_talk(f, "one");
}

/* As many as are remembered. */
static void test_long_history(void **state)
{
    struct fixture *f = *state;
    no_requests(f);
    enum { REMEMBERED = 128, N = 150 };
    char id[16];
    enter_room(f);
    for (unsigned i = 0; i < N; i++) {
        snprintf(id, sizeof id, "m%u", i);
        talk(f, "bob", id, id, false);
        ack(&f->c, f->c.h);
    }
    settle(f);
    restart(f);
    serve(f, SELF);
    client_forget_heard(&f->c);
    for (unsigned i = 0; i < N; i++) {
        snprintf(id, sizeof id, "m%u", i);
        talk(f, "bob", id, id, true);
        if (i < N - REMEMBERED) /* not known any more */
            expect_talk(f, id);
        client_hears_nothing(&f->c);
    }
    talk(f, "bob", "new", "new", true);
    expect_talk(f, "new");
}

/* A client that joins again by itself wants the history. */
static void test_joins_by_itself(void **state)
{
    struct fixture *f = *state;
    enter_room(f);
    talk(f, "bob", "m1", "one", false);
    settle(f);
    restart(f);
    say(f, JOIN);
    serve(f, SELF);
    client_forget_heard(&f->c);
    talk(f, "bob", "m1", "one", true);
    expect_talk(f, "one");
}

/* ---- who has left ---- */

#define HERE(who) "<presence from='" who "'/>"
#define GONE(who) "<presence type='unavailable' from='" who "' to='romeo@example.org/r1'/>"

static void test_left_in_the_gap(void **state)
{
    struct fixture *f = *state;
    no_requests(f);
    serve(f, HERE("a@example.org/1") HERE("b@example.org/1") HERE("c@example.org/1") HERE("romeo@example.org/other")
                 HERE("romeo@example.org/r1") "<presence from='d@example.org/1' type='subscribe'/>"
                                              "<presence from='e@example.org'/>"
                                              "<presence from='c@example.org/1' type='unavailable'/>");
    settle(f);
    restart(f);
    serve(f, HERE("b@example.org/1") HERE("f@example.org/1"));
    client_forget_heard(&f->c);
    world_wait(&f->w, 8 * USEC_S);
    client_forget_heard(&f->c);
    world_wait(&f->w, 2 * USEC_S);
    client_expect(&f->c, GONE("a@example.org/1"));
    client_expect(&f->c, GONE("romeo@example.org/other"));
    world_wait(&f->w, 30 * USEC_S);
    client_hears_nothing(&f->c);
    settle(f);
    restart(f); /* told once */
    world_wait(&f->w, 30 * USEC_S);
    client_expect(&f->c, GONE("b@example.org/1"));
    client_expect(&f->c, GONE("f@example.org/1"));
}

/* The server dies again before it was time: those who were not seen since are still missing. */
static void test_dies_before_settled(void **state)
{
    struct fixture *f = *state;
    no_requests(f);
    serve(f, HERE("a@example.org/1") HERE("b@example.org/1"));
    settle(f);
    restart(f);
    serve(f, HERE("b@example.org/1"));
    world_wait(&f->w, 5 * USEC_S);
    restart(f);
    serve(f, HERE("b@example.org/1"));
    client_forget_heard(&f->c);
    world_wait(&f->w, 11 * USEC_S);
    client_expect(&f->c, GONE("a@example.org/1"));
    client_hears_nothing(&f->c);
}

/* The client is away when it is time: it is told when it is back, behind what was parked. */
static void test_settled_later(void **state)
{
    struct fixture *f = *state;
    serve(f, HERE("a@example.org/1") HERE("b@example.org/1"));
    settle(f);
    restart(f);
    client_cut(&f->c);
    world_wait(&f->w, 20 * USEC_S);
    serve(f, HERE("b@example.org/1"));
    client_resume(&f->c, 0, "romeo", f->c.h);
    expect_resumed(&f->c, 1);
    client_expect(&f->c, HERE("b@example.org/1"));
    client_expect(&f->c, GONE("a@example.org/1"));
    client_hears_nothing(&f->c);
}

/* A client that is not available sees nobody. */
static void test_unavailable(void **state)
{
    struct fixture *f = *state;
    serve(f, HERE("a@example.org/1"));
    say(f, "<presence type='unavailable'/>");
    settle(f);
    restart_and_come_back(f, 2);
    world_wait(&f->w, 30 * USEC_S);
    client_hears_nothing(&f->c);
}

/* More than are remembered: those seen longest ago make room. */
static void test_many_contacts(void **state)
{
    struct fixture *f = *state;
    no_requests(f);
    enum { SIGHTINGS_MAX = 20000, N = SIGHTINGS_MAX + 10 };
    int64_t before = f->w.memory;
    for (unsigned i = 0; i < N; i++) {
        server_printf(f->conn, "<presence from='c%05u@example.org/1'/>", i);
        if (i % 1000 == 999) {
            world_run(&f->w);
            ack(&f->c, f->c.h);
            client_forget_heard(&f->c);
        }
    }
    settle(f);
    assert_true(f->w.memory > before);
    restart(f);
    world_wait(&f->w, 9990 * USEC_MS);
    client_forget_heard(&f->c);
    unsigned told = 0;
    world_wait(&f->w, 20 * USEC_MS);
    for (struct list *it; (it = list_first(&f->c.heard)); told++) {
        char start[80];
        snprintf(start, sizeof start, "<presence type='unavailable' from='c%05u@example.org/1'", told + 10);
        client_expect(&f->c, start);
    }
    assert_int_equal(told, SIGHTINGS_MAX);
    ack(&f->c, f->c.h);
    settle(f);
    assert_int_equal(f->w.memory, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_joined_again),     TEST(test_subject_changed),     TEST(test_shown_as_before),
        TEST(test_password),         TEST(test_mixed_case),          TEST(test_left),
        TEST(test_not_joined),       TEST(test_not_confirmed),       TEST(test_joined_not_confirmed),
        TEST(test_refused),          TEST(test_refused_while_away),  TEST(test_room_is_silent),
        TEST(test_nick_changed),     TEST(test_nick_refused),        TEST(test_kicked_while_asking),
        TEST(test_nick_of_the_room), TEST(test_nick_not_confirmed),  TEST(test_equal_words),
        TEST(test_equal_ids),        TEST(test_long_history),        TEST(test_joins_by_itself),
        TEST(test_left_in_the_gap),  TEST(test_dies_before_settled), TEST(test_settled_later),
        TEST(test_unavailable),      TEST(test_many_contacts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
