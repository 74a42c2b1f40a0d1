/* Receipts on behalf of a client: when one is made, when not, and what becomes of the client's own. The rules that a
 * stanza alone decides are in xmpp/test_receipt.c.
 *
 * Rules that there is nothing to test for: service discovery is not touched (a client's caps hash would be wrong), so
 * that a client that announces receipts and sends none gets them like any other; that a receipt does not come means
 * nothing; none is made for recipients elsewhere, as only the recipient's own session makes any. */
#include "receipts.h"

#define REQUEST "<request xmlns='urn:xmpp:receipts'/>"

/* The same, with no more than a push known of the roster. */
static int setup_push(void **state)
{
    setup(state);
    struct fixture *f = *state;
    server_send(f->conn, "<iq type='set' id='push'><query xmlns='jabber:iq:roster'>"
                         "<item jid='juliet@example.org' subscription='from'/></query></iq>");
    client_hears(&f->c, "<iq type='set' id='push'>");
    ack(&f->c, f->c.h);
    world_run(&f->w);
    return 0;
}

#define RECEIPTS(name) cmocka_unit_test_setup_teardown(name, setup_contact, teardown)
#define PUSHED(name)   cmocka_unit_test_setup_teardown(name, setup_push, teardown)

static void ask(struct fixture *f, const char *from, const char *id)
{
    server_printf(f->conn, "<message from='%s' type='chat' id='%s'><body>x</body>" REQUEST "</message>", from, id);
    world_run(&f->w);
}

static void ask_n(struct fixture *f, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%u", i);
        ask(f, "juliet@example.org/x", id);
    }
}

/* The server gets exactly this receipt next. */
static void expect_receipt(struct fixture *f, const char *to, const char *id)
{
    char *got = heard_take(&f->conn->heard, "the server", "<message ");
    char *start = mem_printf("<message to='%s' type='chat' id='hfr-", to);
    char *end = mem_printf("'><received xmlns='urn:xmpp:receipts' id='%s'/></message>", id);
    if (strncmp(got, start, strlen(start)) != 0 || !strstr(got, end))
        fail_msg("%s\n is not %s…%s", got, start, end);
    free(got);
    free(start);
    free(end);
}

static void wait_receipt(struct fixture *f, const char *to, const char *id)
{
    world_wait(&f->w, GRACE + USEC_MS);
    expect_receipt(f, to, id);
    server_hears_nothing(f);
}

/* Barriers and the like do not matter here. */
static void own_receipt(struct fixture *f, const char *to, const char *id)
{
    client_printf(&f->c, "<message to='%s' type='chat'><received xmlns='urn:xmpp:receipts' id='%s'/></message>", to,
                  id);
    world_run(&f->w);
}

/* ---- when ---- */

static void test_after_ack_and_grace(void **state)
{
    struct fixture *f = *state;
    ask(f, "juliet@example.org/x", "d1");
    wait_nothing(f); /* written is not received */
    ack_all(f);
    world_wait(&f->w, GRACE - USEC_MS);
    server_hears_nothing(f);
    world_wait(&f->w, USEC_MS);
    expect_receipt(f, "juliet@example.org/x", "d1");
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_receipts_proxy), 1);
    assert_int_equal(f->s->in.received, f->s->in.safe); /* the client's counters know nothing of it */
    assert_int_equal(f->s->unconfirmed.count, 0);
}

static void test_acks_cover_what_they_cover(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 2);
    ack(&f->c, f->c.h - 1);
    wait_receipt(f, "juliet@example.org/x", "d1");
    ack_all(f);
    wait_receipt(f, "juliet@example.org/x", "d2");
}

static void test_odd_ids(void **state)
{
    struct fixture *f = *state;
    ask(f, "juliet@example.org/&lt;&apos;&gt;", "&apos;/&gt;&lt;x&amp;");
    ack_all(f);
    wait_receipt(f, "juliet@example.org/&lt;&apos;&gt;", "&apos;/&gt;&lt;x&amp;");
    char *endless = mem_zalloc(1200);
    memset(endless, 'i', 1100);
    ask(f, "juliet@example.org/x", endless);
    free(endless);
    ack_all(f);
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_receipts_withheld_limit), 1);
}

static void test_once_for_sender_and_id(void **state)
{
    struct fixture *f = *state;
    ask(f, "juliet@example.org/x", "d1");
    ask(f, "juliet@example.org/x", "d1"); /* while the first is unacked, */
    ack_all(f);
    ask(f, "juliet@example.org/x", "d1"); /* due, */
    ask(f, "juliet@example.org/y", "d1"); /* (another resource) */
    ack_all(f);
    world_wait(&f->w, GRACE + USEC_MS);
    expect_receipt(f, "juliet@example.org/x", "d1");
    expect_receipt(f, "juliet@example.org/y", "d1");
    ask(f, "juliet@example.org/x", "d1"); /* and sent */
    ack_all(f);
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_receipts_withheld_repeated), 3);
    /* ids are remembered for a while only */
    for (unsigned i = 0; i < 130; i += 10) {
        ask_n(f, 100 + i, 10);
        ack_all(f);
        world_wait(&f->w, 10 * USEC_S);
    }
    heard_clear(&f->conn->heard);
    ask(f, "juliet@example.org/x", "d1");
    ack_all(f);
    wait_receipt(f, "juliet@example.org/x", "d1");
}

static void test_off_and_on(void **state)
{
    struct fixture *f = *state;
    f->w.settings.receipts.synthesize = false;
    ask(f, "juliet@example.org/x", "d1");
    ack_all(f);
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_receipts_withheld_presence), 0);
    f->w.settings.receipts.synthesize = true;
    f->w.settings.receipts.grace = 0;
    ask(f, "juliet@example.org/x", "d2");
    ack_all(f);
    expect_receipt(f, "juliet@example.org/x", "d2");
}

/* ---- to whom ---- */

static void test_strangers_get_none(void **state)
{
    struct fixture *f = *state;
    ask(f, "mallory@example.org/x", "d1");
    ack_all(f);
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_receipts_withheld_presence), 1);
    client_send(&f->c, "<presence to='mallory@example.org/x'/>");
    world_run(&f->w);
    heard_clear(&f->conn->heard);
    ask(f, "mallory@example.org/x", "d2");
    ack_all(f);
    wait_receipt(f, "mallory@example.org/x", "d2");
    client_send(&f->c, "<presence to='mallory@example.org/x' type='unavailable'/>");
    world_run(&f->w);
    heard_clear(&f->conn->heard);
    ask(f, "mallory@example.org/x", "d3");
    ack_all(f);
    wait_nothing(f);
}

static void test_anyone(void **state)
{
    struct fixture *f = *state;
    f->w.settings.receipts.to = RECEIPTS_TO_ANYONE;
    ask(f, "mallory@example.org/x", "d1");
    ack_all(f);
    wait_receipt(f, "mallory@example.org/x", "d1");
    /* but nobody learns that an invisible client is there */
    client_send(&f->c, "<presence type='unavailable'/>");
    world_run(&f->w);
    heard_clear(&f->conn->heard);
    ask(f, "mallory@example.org/x", "d2");
    ask(f, "juliet@example.org/x", "d3");
    ack_all(f);
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_receipts_withheld_presence), 2);
}

static void test_rooms_and_self_get_none(void **state)
{
    struct fixture *f = *state;
    f->w.settings.receipts.to = RECEIPTS_TO_ANYONE;
    client_send(&f->c, "<presence to='r@muc.example.org/me'><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    world_run(&f->w);
    heard_clear(&f->conn->heard);
    ask(f, "r@muc.example.org/other", "d1"); /* a private message, as old services send it */
    ask(f, "romeo@example.org/other", "d2");
    ask(f, "romeo@example.org", "d3");
    ack_all(f);
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_receipts_withheld_presence), 0);
}

static char *roster_asked(struct fixture *f)
{
    char *got = heard_take(&f->conn->heard, "the server", "<iq type='get' id='hfc-");
    const char *start = strstr(got, " id='") + 5;
    char *id = mem_printf("%.*s", (int)strcspn(start, "'"), start);
    assert_non_null(strstr(got, "'><query xmlns='jabber:iq:roster'/></iq>"));
    free(got);
    return id;
}

/* The client does not want its roster: it is asked for when it matters, once, and stays with us. */
static void test_roster_that_the_client_does_not_want(void **state)
{
    struct fixture *f = *state;
    ask(f, "nurse@example.org/x", "d1");
    ask(f, "mallory@example.org/x", "d2");
    ack_all(f);
    server_hears_nothing(f);
    world_wait(&f->w, GRACE + USEC_MS);
    char *id = roster_asked(f);
    ask(f, "tybalt@example.org/x", "d3");
    ack_all(f);
    world_wait(&f->w, 10 * USEC_S);
    server_hears_nothing(f);
    server_printf(f->conn,
                  "<iq type='result' id='%s'><query xmlns='jabber:iq:roster'>"
                  "<item jid='nurse@example.org' subscription='both'/></query></iq>",
                  id);
    free(id);
    world_run(&f->w);
    expect_receipt(f, "nurse@example.org/x", "d1");
    assert_int_equal(sum(f, METRIC_receipts_withheld_presence), 2);
    server_send(f->conn, "<iq type='set' id='p1'><query xmlns='jabber:iq:roster'>"
                         "<item jid='tybalt@example.org' subscription='from'/></query></iq>");
    server_hears(f, "<iq type='result' id='p1'");
    client_hears_nothing(&f->c);
    ask(f, "tybalt@example.org/x", "d4");
    ack_all(f);
    wait_receipt(f, "tybalt@example.org/x", "d4");
    client_send(&f->c, "<iq type='get' id='get'><query xmlns='jabber:iq:roster'/></iq>");
    server_hears(f, "<iq type='get' id='get'>");
    server_send(f->conn, "<iq type='set' id='p2'><query xmlns='jabber:iq:roster'>"
                         "<item jid='tybalt@example.org' subscription='none'/></query></iq>");
    client_hears(&f->c, "<iq type='set' id='p2'>"); /* now they are its own */
}

/* A server that refuses is not asked again. */
static void test_roster_that_is_refused(void **state)
{
    struct fixture *f = *state;
    ask(f, "nurse@example.org/x", "d1");
    ack_all(f);
    world_wait(&f->w, GRACE + USEC_MS);
    char *id = roster_asked(f);
    server_printf(f->conn, "<iq type='error' id='%s'><error type='cancel'/></iq>", id);
    free(id);
    ask(f, "nurse@example.org/x", "d2");
    ack_all(f);
    wait_nothing(f);
    client_hears_nothing(&f->c);
    assert_int_equal(sum(f, METRIC_receipts_withheld_presence), 2);
}

/* A roster that comes behind the messages still counts; what is known is asked at once. */
static void test_roster_behind_the_message(void **state)
{
    struct fixture *f = *state;
    ask(f, "nurse@example.org/x", "d1");
    ack_all(f);
    client_send(&f->c, "<iq type='get' id='get'><query xmlns='jabber:iq:roster'/></iq>");
    server_hears(f, "<iq type='get' id='get'>");
    server_send(f->conn, "<iq type='result' id='get'><query xmlns='jabber:iq:roster'>"
                         "<item jid='nurse@example.org' subscription='both'/></query></iq>");
    world_run(&f->w);
    heard_clear(&f->c.heard);
    wait_receipt(f, "nurse@example.org/x", "d1");
    ask(f, "juliet@example.org/x", "d2"); /* is not in the roster any more */
    ack_all(f);
    assert_int_equal(sum(f, METRIC_receipts_withheld_presence), 1);
}

static void test_due_ones_go_before_the_client_is_invisible(void **state)
{
    struct fixture *f = *state;
    ask(f, "juliet@example.org/x", "d1");
    ack_all(f);
    client_send(&f->c, "<presence type='unavailable'/>");
    world_run(&f->w);
    expect_receipt(f, "juliet@example.org/x", "d1");
    server_hears(f, "<presence type='unavailable'/>");
    wait_nothing(f);
}

/* ---- the client's own ---- */

static void test_own_comes_first(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 3);
    ack_all(f);
    own_receipt(f, "juliet@example.org/x", "d1");
    server_hears(f, "<message to='juliet@example.org/x' type='chat'><received");
    wait_nothing(f); /* who answers one answers all */
    ask_n(f, 4, 2);
    own_receipt(f, "juliet@example.org/x", "d4");
    server_hears(f, "<message to='juliet@example.org/x' type='chat'><received");
    ack_all(f);
    wait_nothing(f);
    assert_int_equal(sum(f, METRIC_receipts_client), 2);
    assert_int_equal(sum(f, METRIC_receipts_proxy), 0);
    assert_int_equal(sum(f, METRIC_receipts_withheld_client), 5);
}

static void test_old_form_counts(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 1);
    ack_all(f);
    client_send(&f->c,
                "<message to='juliet@example.org'><received xmlns='urn:xmpp:chat-markers:0' id='d1'/></message>");
    server_hears(f, "<message to='juliet@example.org'><received xmlns='urn:xmpp:chat-markers:0'");
    wait_nothing(f);
}

static void test_late_own_is_swallowed_and_counted(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 3);
    ack_all(f);
    world_wait(&f->w, GRACE + USEC_MS);
    for (unsigned i = 1; i <= 3; i++)
        free(heard_take(&f->conn->heard, "the server", "<message "));
    uint64_t received = f->s->in.received;
    client_forget_heard(&f->c);
    up(f, 1);
    own_receipt(f, "juliet@example.org/x", "d1");
    own_receipt(f, "juliet@example.org", "d2"); /* clients answer to the bare address, too */
    up(f, 2);
    client_send(&f->c, CLIENT_R);
    world_wait(&f->w, 2 * USEC_S);
    expect_up(f, 1);
    expect_up(f, 2);
    server_hears_nothing(f);
    char a[64];
    snprintf(a, sizeof a, "<a xmlns='urn:xmpp:sm:3' h='%u'/>", (unsigned)received + 4);
    client_expect(&f->c, a);
    assert_int_equal(sum(f, METRIC_receipts_swallowed_late), 2);
    assert_int_equal(sum(f, METRIC_up_swallowed), 2);
    /* one that says more goes on, and one for a message that ours were not for */
    client_send(&f->c, "<message to='juliet@example.org/x'><received xmlns='urn:xmpp:receipts' id='d3'/>"
                       "<body>got it</body></message>");
    server_hears(f, "<message to='juliet@example.org/x'><received");
    own_receipt(f, "juliet@example.org/y", "d3");
    server_hears(f, "<message to='juliet@example.org/y'");
    own_receipt(f, "nurse@example.org/x", "d1");
    server_hears(f, "<message to='nurse@example.org/x'");
}

/* Swallowed alone: still confirmed, and acked, though the server gets no stanza. */
static void test_swallowed_alone_is_acked(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 1);
    ack_all(f);
    wait_receipt(f, "juliet@example.org/x", "d1");
    own_receipt(f, "juliet@example.org/x", "d1");
    client_send(&f->c, CLIENT_R);
    world_wait(&f->w, 2 * USEC_S);
    server_hears_nothing(f);
    char a[64];
    snprintf(a, sizeof a, "<a xmlns='urn:xmpp:sm:3' h='%u'/>", (unsigned)f->s->in.received);
    client_expect(&f->c, a);
    assert_true(uplink_is_safe(f->s));
}

/* The client has told the sender so itself: its ack is not needed to know that it has the message. */
static void test_own_confirms_the_message(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 2);
    own_receipt(f, "juliet@example.org/x", "d1");
    client_cut(&f->c);
    world_wait(&f->w, 700 * USEC_S);
    assert_int_equal(sum(f, METRIC_session_end_expired), 1);
    assert_int_equal(sum(f, METRIC_down_mailbox), 1); /* the other one */
    assert_int_equal(sum(f, METRIC_receipts_withheld_unacked), 2);
}

/* ---- cuts ---- */

static void test_due_while_the_client_is_away(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 1);
    ack_all(f);
    client_cut(&f->c);
    wait_receipt(f, "juliet@example.org/x", "d1");
}

static void test_no_receipt_while_away_unacked(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 2);
    uint32_t h = f->c.h;
    client_cut(&f->c);
    wait_nothing(f);
    ask_n(f, 3, 1);
    wait_nothing(f);
    client_resume(&f->c, 1, "romeo", h - 1); /* acks the first */
    world_wait(&f->w, GRACE + USEC_MS);
    expect_receipt(f, "juliet@example.org/x", "d1");
    server_hears_nothing(f);
    f->c.h = h + 1;
    ack_all(f);
    world_wait(&f->w, GRACE + USEC_MS);
    expect_receipt(f, "juliet@example.org/x", "d2");
    expect_receipt(f, "juliet@example.org/x", "d3");
    server_hears_nothing(f);
}

static void test_none_ever_at_expiry(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 1);
    client_cut(&f->c);
    world_wait(&f->w, 700 * USEC_S);
    assert_int_equal(sum(f, METRIC_receipts_proxy), 0);
    assert_int_equal(sum(f, METRIC_receipts_withheld_unacked), 1);
    assert_int_equal(sum(f, METRIC_down_mailbox), 1);
    /* out of the mailbox it is received for the first time */
    client_enter(&f->c, 0, "romeo");
    world_wait(&f->w, USEC_S);
    f->s = client_session(&f->c);
    f->conn = server_newest(&f->server);
    heard_clear(&f->conn->heard);
    client_send(&f->c, "<presence to='juliet@example.org/x'/>");
    world_run(&f->w);
    heard_clear(&f->conn->heard);
    assert_int_equal(f->c.h, 1);
    wait_nothing(f);
    ack_all(f);
    wait_receipt(f, "juliet@example.org/x", "d1");
}

static void look_at_the_last_words(void *ctx, struct server_conn *conn)
{
    struct fixture *f = ctx;
    expect_receipt(f, "juliet@example.org/x", "d1");
    expect_receipt(f, "juliet@example.org/x", "d2");
    heard_expect(&conn->heard, "the server", "END");
    f->conn = NULL;
}

static void test_what_is_due_goes_ahead_of_the_end(void **state)
{
    struct fixture *f = *state;
    f->server.gone = look_at_the_last_words;
    f->server.ctx = f;
    ask_n(f, 1, 3);
    ack(&f->c, f->c.h - 1);
    client_send(&f->c, "</stream:stream>");
    world_run(&f->w);
    assert_null(f->conn);
    assert_int_equal(sum(f, METRIC_receipts_withheld_unacked), 1);
}

/* The session is rebuilt on a fresh leg; what the server hears there ahead of the receipts is not looked at. */
static void rebuild(struct fixture *f)
{
    uint32_t h = f->c.h;
    if (f->c.wire)
        client_cut(&f->c);
    world_wait(&f->w, USEC_S);
    client_resume(&f->c, 0, "romeo", h);
    assert_int_equal(sum(f, METRIC_resumes_rebuilt), 1);
    f->conn = server_newest(&f->server);
    heard_clear(&f->c.heard);
}

static void skip_to_messages(struct fixture *f)
{
    for (struct list *it; (it = list_first(&f->conn->heard));) {
        if (strncmp(CONTAINER_OF(it, struct heard, link)->text, "<message ", 9) == 0)
            return;
        free(heard_take(&f->conn->heard, "the server", ""));
    }
}

/* Due while there is no server: waits for the next leg. */
static void test_due_while_the_server_is_away(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 1);
    ack_all(f);
    server_cut(f->conn);
    world_wait(&f->w, 10 * USEC_S);
    assert_int_equal(sum(f, METRIC_receipts_proxy), 0);
    rebuild(f);
    skip_to_messages(f);
    expect_receipt(f, "juliet@example.org/x", "d1");
    wait_nothing(f);
}

/* Written, but nobody knows whether the server has processed it: once more, rather than not at all. */
static void test_server_that_dies_before_it_confirms(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 1);
    ack_all(f);
    world_wait(&f->w, GRACE + 2 * USEC_S);
    expect_receipt(f, "juliet@example.org/x", "d1");
    ask_n(f, 2, 1);
    ack_all(f);
    f->server.hold_pings = true;
    world_wait(&f->w, GRACE + USEC_MS);
    expect_receipt(f, "juliet@example.org/x", "d2");
    server_cut(f->conn);
    f->server.hold_pings = false;
    world_run(&f->w);
    rebuild(f);
    skip_to_messages(f);
    expect_receipt(f, "juliet@example.org/x", "d2"); /* and not the first one */
    wait_nothing(f);
}

static void test_server_that_never_comes_back(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 1);
    ack_all(f);
    server_cut(f->conn);
    f->w.refuse_dial = true;
    world_wait(&f->w, 2000 * USEC_S);
    assert_int_equal(sum(f, METRIC_receipts_proxy), 0);
    assert_int_equal(sum(f, METRIC_receipts_withheld_upstream), 1);
}

/* ---- limits ---- */

static void test_rate(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 45);
    ack_all(f);
    world_wait(&f->w, GRACE);
    assert_int_equal(sum(f, METRIC_receipts_proxy), 20); /* at once, */
    world_wait(&f->w, 2 * USEC_S);
    assert_int_equal(sum(f, METRIC_receipts_proxy), 30); /* then five a second, */
    world_wait(&f->w, 60 * USEC_S);
    assert_int_equal(sum(f, METRIC_receipts_proxy), 45); /* and none is lost */
    for (unsigned i = 1; i <= 45; i++) {
        char id[16];
        snprintf(id, sizeof id, "d%u", i);
        expect_receipt(f, "juliet@example.org/x", id);
    }
}

static void test_bounded(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 700; i += 100) {
        ask_n(f, 1 + i, 100);
        ack_all(f);
    }
    assert_int_equal(sum(f, METRIC_receipts_withheld_limit), 200);
    world_wait(&f->w, 200 * USEC_S);
    assert_int_equal(sum(f, METRIC_receipts_proxy), 500);
    heard_clear(&f->conn->heard);
}

/* ---- errors ---- */

static void test_errors_are_swallowed(void **state)
{
    struct fixture *f = *state;
    ask_n(f, 1, 1);
    ack_all(f);
    world_wait(&f->w, GRACE + USEC_MS);
    char *receipt = heard_take(&f->conn->heard, "the server", "<message "), id[40], other[40];
    assert_int_equal(sscanf(receipt, "<message to='juliet@example.org/x' type='chat' id='%38[^']'", id), 1);
    free(receipt);
    int64_t down = sum(f, METRIC_stanzas_down_message);
#define ERROR "<message from='%s' id='%s' type='error'><error type='cancel'/></message>"
    server_printf(f->conn, ERROR, "juliet@example.org/x", id);
    server_printf(f->conn, ERROR, "juliet@example.org", id);
    client_hears_nothing(&f->c);
    assert_int_equal(sum(f, METRIC_receipts_swallowed_error), 2);
    assert_int_equal(sum(f, METRIC_stanzas_down_message), down);
    server_printf(f->conn, ERROR, "mallory@example.org", id); /* not from whom it went to */
    client_hears(&f->c, "<message from='mallory@example.org'");
    snprintf(other, sizeof other, "%.*s9", (int)strlen(id) - 1, id); /* never sent */
    server_printf(f->conn, ERROR, "juliet@example.org/x", other);
    client_hears(&f->c, "<message from='juliet@example.org/x'");
    server_printf(f->conn, ERROR, "juliet@example.org/x", "hfr-x");
    client_hears(&f->c, "<message from='juliet@example.org/x'");
    server_printf(f->conn, "<message from='juliet@example.org/x' id='%s'><body>x</body></message>", id);
    client_hears(&f->c, "<message from='juliet@example.org/x'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RECEIPTS(test_after_ack_and_grace),
        RECEIPTS(test_acks_cover_what_they_cover),
        RECEIPTS(test_odd_ids),
        RECEIPTS(test_once_for_sender_and_id),
        RECEIPTS(test_off_and_on),
        RECEIPTS(test_strangers_get_none),
        RECEIPTS(test_anyone),
        RECEIPTS(test_rooms_and_self_get_none),
        PUSHED(test_roster_that_the_client_does_not_want),
        PUSHED(test_roster_that_is_refused),
        PUSHED(test_roster_behind_the_message),
        RECEIPTS(test_due_ones_go_before_the_client_is_invisible),
        RECEIPTS(test_own_comes_first),
        RECEIPTS(test_old_form_counts),
        RECEIPTS(test_late_own_is_swallowed_and_counted),
        RECEIPTS(test_swallowed_alone_is_acked),
        RECEIPTS(test_own_confirms_the_message),
        RECEIPTS(test_due_while_the_client_is_away),
        RECEIPTS(test_no_receipt_while_away_unacked),
        RECEIPTS(test_none_ever_at_expiry),
        RECEIPTS(test_what_is_due_goes_ahead_of_the_end),
        RECEIPTS(test_due_while_the_server_is_away),
        RECEIPTS(test_server_that_dies_before_it_confirms),
        RECEIPTS(test_server_that_never_comes_back),
        RECEIPTS(test_rate),
        RECEIPTS(test_bounded),
        RECEIPTS(test_errors_are_swallowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
