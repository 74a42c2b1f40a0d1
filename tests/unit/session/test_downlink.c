/* Server to client: acks, requests, time-outs, back-pressure, what is kept for a client that is away, fates. */
#include "fixture.h"

#define R "<r xmlns='urn:xmpp:sm:3'/>"

static int64_t sum(struct fixture *f, enum metric m)
{
    return world_sum(&f->w, m);
}

/* ---- prefixes ---- */

/* Declared on the server's stream header, and some of them in the stanza again: what is kept stays well-formed. */
static void test_prefixes(void **state)
{
    struct fixture *f = *state;
    client_cut(&f->c);
    f->server.extra_ns = " xmlns:a='urn:a' xmlns:b='urn:b'";
    client_enter(&f->c, 0, "romeo");
    struct server_conn *conn = server_newest(&f->server);
    server_send(conn, "<message id='1' from='x@example.org'><a:x/></message>"
                      "<message id='2' xmlns:a='urn:own' from='x@example.org'><a:x/><b:y/></message>"
                      "<message id='3' from='x@example.org'/>");
    client_hears(&f->c, "<message xmlns:a='urn:a' xmlns:b='urn:b' id='1' ");
    client_expect(&f->c, "<message xmlns:b='urn:b' id='2' xmlns:a='urn:own' ");
    client_expect(&f->c, "<message id='3' ");
    client_cut(&f->c);
    world_run(&f->w);
    server_send(conn, "<presence xmlns:a='urn:own' from='x@example.org/1'><a:x/></presence>");
    client_resume(&f->c, 0, "romeo", 1);
    client_expect(&f->c, "<resumed ");
    client_expect(&f->c, "<message xmlns:b='urn:b' id='2' xmlns:a='urn:own' ");
    client_expect(&f->c, "<message id='3' ");
    client_expect(&f->c, "<presence xmlns:b='urn:b' xmlns:a='urn:own' ");
}

/* ---- requests and acks ---- */

static void test_request_by_count(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 5; i++)
        down(f, i);
    world_run(&f->w);
    for (unsigned i = 1; i <= 5; i++)
        expect_down(&f->c, i);
    client_hears(&f->c, R); /* behind the fifth */
    for (unsigned i = 6; i <= 20; i++)
        down(f, i);
    world_run(&f->w);
    for (unsigned i = 6; i <= 20; i++)
        expect_down(&f->c, i);
    client_hears_nothing(&f->c); /* one at a time */
    ack(&f->c, 5);
    client_hears(&f->c, R);
    ack(&f->c, 20);
    world_wait(&f->w, 10 * USEC_S);
    client_hears_nothing(&f->c); /* never twice for the same stanza */
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 0);
    assert_int_equal(sum(f, METRIC_down_acked), 20);
}

static void test_request_by_time(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    world_wait(&f->w, 990 * USEC_MS);
    expect_down(&f->c, 1);
    heard_nothing(&f->c.heard, "the client");
    world_wait(&f->w, 20 * USEC_MS);
    client_expect(&f->c, R);
}

static void test_short_answer_is_asked_again(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    down(f, 2);
    world_wait(&f->w, 1100 * USEC_MS);
    client_forget_heard(&f->c);
    usec wait = USEC_S;
    for (int i = 0; i < 3; i++, wait *= 2) {
        ack(&f->c, 1);
        world_wait(&f->w, wait - 20 * USEC_MS);
        heard_nothing(&f->c.heard, "the client");
        world_wait(&f->w, 40 * USEC_MS);
        client_expect(&f->c, R);
    }
}

static void expect_error(struct fixture *f, const char *part)
{
    world_run(&f->w);
    char *text = heard_take(&f->c.heard, "the client", "<");
    while (strncmp(text, "<stream:error", 13) != 0) { /* a last ack may come first */
        free(text);
        text = heard_take(&f->c.heard, "the client", "<");
    }
    assert_non_null(strstr(text, part));
    free(text);
    client_expect(&f->c, "END");
}

static void test_ack_too_high(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    client_hears(&f->c, "<message");
    ack(&f->c, 2);
    expect_error(f, "<handled-count-too-high xmlns='urn:xmpp:sm:3' h='2' send-count='1'/>");
    assert_int_equal(sum(f, METRIC_down_mailbox), 1); /* final, but nothing is lost */
    assert_int_equal(sum(f, METRIC_session_end_handled_too_high), 1);
}

static void test_old_and_bad_acks(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    down(f, 2);
    client_forget_heard(&f->c);
    ack(&f->c, 2);
    ack(&f->c, 1);
    ack(&f->c, 0);
    client_hears_nothing(&f->c);
    assert_true(f->s->out.acked == 2);
    client_send(&f->c, "<a xmlns='urn:xmpp:sm:3' h='-1'/>");
    expect_error(f, "bad-format");
}

static void test_wrap(void **state)
{
    struct fixture *f = *state;
    preset(f, 5, (UINT64_C(1) << 32) - 3);
    for (unsigned i = 1; i <= 6; i++)
        down(f, i);
    client_forget_heard(&f->c);
    assert_int_equal(f->c.h, 3);
    ack(&f->c, UINT32_MAX);
    world_run(&f->w);
    assert_int_equal(f->s->out.queue.count, 4);
    client_cut(&f->c);
    world_run(&f->w);
    client_resume(&f->c, 1, "romeo", 1);
    client_expect(&f->c, "<resumed ");
    expect_down(&f->c, 5);
    expect_down(&f->c, 6);
    ack(&f->c, 3);
    world_run(&f->w);
    assert_int_equal(f->s->out.queue.count, 0);
    assert_true(f->s->out.acked == (UINT64_C(1) << 32) + 3);
    ack(&f->c, 4);
    expect_error(f, "h='4' send-count='3'");
}

/* ---- is the client still there ---- */

static void test_ack_timeout(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    world_wait(&f->w, 59 * USEC_S);
    client_send(&f->c, " "); /* a sign of life */
    world_wait(&f->w, 59 * USEC_S);
    assert_false(f->c.closed);
    world_wait(&f->w, 3 * USEC_S);
    assert_true(f->c.closed && !f->c.ended);
    assert_int_equal(f->s->state, SESSION_DETACHED);
    assert_int_equal(sum(f, METRIC_close_client_ack_timeout), 1);
}

/* The time begins when the request has left: megabytes may be ahead of it. */
static void test_ack_timeout_of_a_slow_client(void **state)
{
    struct fixture *f = *state;
    f->c.wire->stuck = true;
    down(f, 1);
    world_wait(&f->w, 200 * USEC_S);
    assert_false(f->c.closed);
    f->c.wire->stuck = false;
    world_wait(&f->w, 58 * USEC_S);
    assert_false(f->c.closed);
    world_wait(&f->w, 5 * USEC_S);
    assert_true(f->c.closed);
}

/* It stands still while we do not read that client. */
static void test_ack_timeout_while_not_reading(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    world_wait(&f->w, 2 * USEC_S);
    leg_stop(&f->s->client->leg, STOP_SLOW);
    world_wait(&f->w, 200 * USEC_S);
    assert_false(f->c.closed);
    leg_go(&f->s->client->leg, STOP_SLOW);
    session_dirty(f->s);
    world_wait(&f->w, 58 * USEC_S);
    assert_false(f->c.closed);
    world_wait(&f->w, 4 * USEC_S);
    assert_true(f->c.closed);
}

static void test_probe(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.probe = 100 * USEC_S;
    world_wait(&f->w, 301 * USEC_S); /* the timer was set by the old value */
    client_expect(&f->c, R);
    world_wait(&f->w, 62 * USEC_S);
    assert_true(f->c.closed); /* no answer */
}

/* ---- back-pressure ---- */

static void test_slow_client_stops_the_server(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.queue_stanzas = 10;
    for (unsigned i = 1; i <= 40; i++)
        down(f, i);
    world_run(&f->w);
    assert_int_equal(f->s->out.queue.count, 10);
    assert_int_equal(sum(f, METRIC_backpressure_upstream), 1);
    world_wait(&f->w, 58 * USEC_S); /* no verdict: an attached one has its time */
    assert_int_equal(f->s->state, SESSION_ATTACHED);
    for (unsigned h = 10; h <= 40; h += 10) {
        ack(&f->c, h);
        world_run(&f->w);
    }
    assert_int_equal(f->c.h, 40);
    assert_int_equal(f->s->out.queue.count, 0);
}

static void test_limit_in_bytes(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.queue_bytes = 3000;
    for (unsigned i = 1; i <= 40; i++)
        down(f, i);
    world_run(&f->w);
    assert_true(f->s->out.queue.bytes >= 3000 && f->s->out.queue.bytes < 3300);
}

static void test_limit_of_the_node(void **state)
{
    struct fixture *f = *state;
    f->w.settings.limits.memory = 1000;
    f->w.memory += 2000;
    for (unsigned i = 1; i <= 5; i++)
        down(f, i);
    world_run(&f->w);
    assert_int_equal(f->s->out.queue.count, 1);
    ack(&f->c, 1);
    world_run(&f->w);
    assert_int_equal(f->c.h, 2); /* one at a time */
    f->w.memory -= 2000;
    world_wait(&f->w, 2 * USEC_S);
    assert_int_equal(f->c.h, 5);
    ack(&f->c, 5);
    world_run(&f->w);
}

/* A barrier that is under way has its answer read, up to twice the limit. */
static void test_barrier_in_flight(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.queue_stanzas = 10;
    f->server.hold_pings = true;
    up(f, 1);
    client_send(&f->c, CLIENT_R);
    world_run(&f->w);
    assert_non_null(f->s->barrier);
    for (unsigned i = 1; i <= 15; i++)
        down(f, i);
    server_answer_pings(&f->server);
    world_run(&f->w);
    assert_true(f->s->in.safe == 2);
    assert_int_equal(f->s->out.queue.count, 15);
    assert_true(f->s->up->leg.stopped & STOP_QUEUE);
    up(f, 2);
    client_send(&f->c, CLIENT_R);
    world_wait(&f->w, 5 * USEC_S);
    assert_null(f->s->barrier); /* none is begun while nobody listens */
    ack(&f->c, 15);
    world_run(&f->w);
    assert_non_null(f->s->barrier);
    for (unsigned i = 16; i <= 40; i++)
        down(f, i);
    world_run(&f->w);
    assert_int_equal(f->s->out.queue.count, 20); /* twice */
}

static void test_client_that_reads_slowly(void **state)
{
    struct fixture *f = *state;
    f->c.wire->stuck = true;
    f->c.wire->window = 1000;
    for (unsigned i = 1; i <= 2000; i++)
        down(f, i);
    world_run(&f->w);
    assert_true(f->c.wire->out.n < 2 * TRANSPORT_HIGH_WATER);
    assert_int_equal(f->s->out.queue.count, 2000);
    f->c.wire->stuck = false;
    f->c.wire->window = 0;
    world_run(&f->w);
    assert_int_equal(f->c.h, 2000);
}

/* ---- while the client is away ---- */

static void go_away(struct fixture *f)
{
    client_cut(&f->c);
    world_run(&f->w);
    heard_clear(&f->c.heard);
    assert_int_equal(f->s->state, SESSION_DETACHED);
}

static void come_back(struct fixture *f, uint32_t h)
{
    client_resume(&f->c, 0, "romeo", h);
    client_expect(&f->c, "<resumed ");
}

static void test_server_pings_are_answered(void **state)
{
    struct fixture *f = *state;
    go_away(f);
    server_send(f->conn, "<iq type='get' id='p1' from='example.org'><ping xmlns='urn:xmpp:ping'/></iq>"
                         "<iq type='get' id='p2'><ping xmlns='urn:xmpp:ping'/></iq>"
                         "<iq type='get' id='p3' from='juliet@example.org/x'><ping xmlns='urn:xmpp:ping'/></iq>");
    server_hears(f, "<iq type='result' id='p1' to='example.org'/>");
    server_hears(f, "<iq type='result' id='p2'/>");
    server_hears_nothing(f);
    assert_int_equal(sum(f, METRIC_down_swallowed), 2);
    come_back(f, 0);
    client_expect(&f->c, "<iq type='get' id='p3'");
    client_hears_nothing(&f->c);
}

#define STATE(s)                                                                                                       \
    "<message from='juliet@example.org/x' type='chat'><" s " xmlns='http://jabber.org/protocol/chatstates'/></"        \
    "message>"

static void test_parking(void **state)
{
    struct fixture *f = *state;
    go_away(f);
    server_send(f->conn, "<presence from='a@example.org/1'><show>away</show></presence>"
                         "<presence from='b@example.org/1'/>" STATE("composing"));
    down(f, 1);
    server_send(f->conn,
                "<presence from='a@example.org/1' type='unavailable'/>"
                "<presence from='c@example.org' type='subscribe'/>"
                "<message from='z@example.org/x' type='chat'><paused xmlns='http://jabber.org/protocol/chatstates'/>"
                "</message>");
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_parked_stanzas), 3);
    assert_int_equal(sum(f, METRIC_down_discarded_presence), 1);
    assert_int_equal(sum(f, METRIC_down_discarded_chat_state), 1); /* a real message of juliet's ended it */
    assert_int_equal(f->s->out.queue.count, 2);
    come_back(f, 0);
    expect_down(&f->c, 1);
    client_expect(&f->c, "<presence from='c@example.org' type='subscribe'/>");
    client_expect(&f->c, "<presence from='b@example.org/1'/>");
    client_expect(&f->c, "<presence from='a@example.org/1' type='unavailable'/>"); /* the newest */
    client_expect(&f->c, "<message from='z@example.org/x'");
    client_hears(&f->c, R);
    client_hears_nothing(&f->c);
    ack(&f->c, 5);
    world_run(&f->w);
    assert_int_equal(f->s->out.queue.count, 0);
}

static void test_parked_senders_are_limited(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.queue_stanzas = 10;
    go_away(f);
    for (unsigned i = 0; i < 25; i++)
        server_printf(f->conn, "<presence from='a%u@example.org/1'/>", i);
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_parked_stanzas), 10);
    assert_int_equal(sum(f, METRIC_down_discarded_presence), 15);
    come_back(f, 0);
    client_expect(&f->c, "<presence from='a15@example.org/1'/>");
}

static void test_delay_stamps(void **state)
{
    struct fixture *f = *state;
    go_away(f);
    down(f, 1);
    server_send(f->conn, "<message from='juliet@example.org/x' id='d2'><body>2</body>"
                         "<delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z'/></message>"
                         "<iq type='result' id='i1' from='juliet@example.org/x'/>");
    usec arrived = f->w.clock.wall;
    world_wait(&f->w, 10 * USEC_S);
    come_back(f, 0);
    char stamp[CLOCK_STAMP_SIZE], wanted[300];
    snprintf(wanted, sizeof wanted,
             "<message from='juliet@example.org/x' type='chat' id='d1'><body>1</body>"
             "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='%s'/></message>",
             clock_stamp(stamp, arrived));
    client_expect(&f->c, wanted);
    char *second = heard_take(&f->c.heard, "the client", "<message");
    assert_non_null(strstr(second, "2002-09-10T23:08:25Z'/></message>"));
    assert_null(strstr(strstr(second, "<delay") + 1, "<delay"));
    free(second);
    client_expect(&f->c, "<iq type='result' id='i1' from='juliet@example.org/x'/>");
    down(f, 3);
    world_run(&f->w);
    heard_clear(&f->c.heard);
}

static void test_no_stamps_after_a_short_while(void **state)
{
    struct fixture *f = *state;
    go_away(f);
    down(f, 1);
    world_wait(&f->w, 2 * USEC_S);
    come_back(f, 0);
    client_expect(&f->c, "<message from='juliet@example.org/x' type='chat' id='d1'><body>1</body></message>");
}

static void test_detached_presence_away(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.detached_presence = PRESENCE_AWAY;
    client_send(&f->c, "<presence><status>here</status></presence>");
    server_hears(f, "<presence><status>here</status></presence>");
    go_away(f);
    server_hears(f, "<presence><show>away</show></presence>");
    come_back(f, 0);
    server_hears(f, "<presence><status>here</status></presence>");
    client_send(&f->c, "<presence type='unavailable'/>");
    server_hears(f, "<presence type='unavailable'/>");
    go_away(f);
    server_hears_nothing(f); /* it was not there anyway */
    come_back(f, 0);
    server_hears_nothing(f);
}

static void test_csi_is_active_again(void **state)
{
    struct fixture *f = *state;
    client_send(&f->c, "<inactive xmlns='urn:xmpp:csi:0'/>");
    server_hears(f, "<inactive xmlns='urn:xmpp:csi:0'/>");
    go_away(f);
    come_back(f, 0);
    server_hears(f, "<active xmlns='urn:xmpp:csi:0'/>");
}

/* Only stanzas and stream management's own go to a client that counts. */
static void test_other_elements_are_kept_away(void **state)
{
    struct fixture *f = *state;
    server_send(f->conn, "<x xmlns='urn:unknown'/>");
    client_hears_nothing(&f->c);
}

/* ---- fates ---- */

static const struct {
    const char *stanza;
    enum metric fate;
} fates[] = {
    {"<message from='j@example.org/x' type='chat'><body>1</body></message>", METRIC_down_mailbox},
    {"<message from='j@example.org/x'><body>2</body></message>", METRIC_down_mailbox},
    {"<message from='j@example.org/x'><received xmlns='urn:xmpp:receipts' id='1'/></message>", METRIC_down_mailbox},
    {"<message from='j@example.org/x' type='headline'><body>3</body></message>", METRIC_down_discarded_message},
    {"<message from='j@example.org/x' type='error'><body>3</body></message>", METRIC_down_discarded_message},
    {"<message from='romeo@example.org'><sent xmlns='urn:xmpp:carbons:2'/></message>", METRIC_down_discarded_message},
    {"<message from='romeo@example.org'><result xmlns='urn:xmpp:mam:2'/></message>", METRIC_down_discarded_message},
    {"<message from='r@muc.example.org/n' type='groupchat'><body>4</body></message>", METRIC_down_discarded_groupchat},
    {"<iq type='get' id='q1' from='j@example.org/x'><query xmlns='jabber:iq:version'/></iq>", METRIC_down_bounced},
    {"<iq type='set' id='q&lt;2' from='j@example.org/x'><query xmlns='urn:x'/></iq>", METRIC_down_bounced},
    {"<iq type='result' id='q3' from='j@example.org/x'/>", METRIC_down_discarded_iq},
    {"<iq type='error' id='q3' from='j@example.org/x'/>", METRIC_down_discarded_iq},
    {"<presence from='j@example.org/x' type='subscribe'/>", METRIC_down_discarded_presence},
    {"<presence from='j@example.org/y'/>", METRIC_down_discarded_presence},
    {STATE("active"), METRIC_down_discarded_chat_state},
};

static void send_all_fates(struct fixture *f)
{
    for (size_t i = 0; i < sizeof fates / sizeof *fates; i++)
        server_send(f->conn, fates[i].stanza);
    world_run(&f->w);
}

static void check_fates(struct fixture *f, bool answered)
{
    static const enum metric all[] = {
        METRIC_down_mailbox,      METRIC_down_discarded_message,  METRIC_down_discarded_groupchat,
        METRIC_down_discarded_iq, METRIC_down_discarded_presence, METRIC_down_discarded_chat_state,
        METRIC_down_bounced,
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int64_t wanted = 0;
        for (size_t k = 0; k < sizeof fates / sizeof *fates; k++) {
            enum metric fate =
                fates[k].fate == METRIC_down_bounced && !answered ? METRIC_down_discarded_iq : fates[k].fate;
            wanted += fate == all[i];
        }
        if (sum(f, all[i]) != wanted)
            fail_msg("fate %zu: %d, not %d", i, (int)sum(f, all[i]), (int)wanted);
    }
}

static void test_fates_at_expiry(void **state)
{
    struct fixture *f = *state;
    go_away(f);
    send_all_fates(f);
    f->conn->wire->stuck = true; /* its last words are to be looked at */
    world_wait(&f->w, 599 * USEC_S);
    assert_int_equal(f->s->state, SESSION_DETACHED);
    world_wait(&f->w, 2 * USEC_S);
    assert_int_equal(sum(f, METRIC_session_end_expired), 1);
    check_fates(f, true);
    struct slice said = buf_slice(&f->conn->wire->kernel);
    assert_non_null(memmem(
        said.p, said.n, "<iq type='error' id='q1' to='j@example.org/x'><error type='wait'><recipient-unavailable", 83));
    assert_non_null(memmem(said.p, said.n, "id='q&lt;2'", 11));
    f->conn->wire->stuck = false;
    world_run(&f->w);
    heard_clear(&f->c.heard);
    client_enter(&f->c, 1, "romeo");
    assert_int_equal(f->c.h, 3); /* the mailbox */
}

static void test_fates_when_the_server_dies(void **state)
{
    struct fixture *f = *state;
    go_away(f);
    send_all_fates(f);
    server_cut(f->conn);
    world_run(&f->w);
    assert_int_equal(f->s->state, SESSION_DETACHED); /* its client may log in anew */
    assert_int_equal(sum(f, METRIC_sessions_stranded), 1);
    world_wait(&f->w, 601 * USEC_S);
    check_fates(f, false);
    assert_int_equal(sum(f, METRIC_session_end_expired), 1);
}

static void test_fates_at_a_clean_end(void **state)
{
    struct fixture *f = *state;
    send_all_fates(f);
    client_send(&f->c, "</stream:stream>");
    world_run(&f->w);
    assert_true(f->c.ended && f->c.closed);
    check_fates(f, true);
}

/* A conflict: someone else has taken the resource. */
static void test_conflict(void **state)
{
    struct fixture *f = *state;
    go_away(f);
    down(f, 1);
    server_send(f->conn,
                "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>");
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_session_end_upstream_conflict), 1);
    assert_int_equal(sum(f, METRIC_down_mailbox), 1);
}

static void test_full_grace(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.queue_stanzas = 10;
    go_away(f);
    for (unsigned i = 1; i <= 15; i++)
        down(f, i);
    world_wait(&f->w, 29 * USEC_S);
    assert_int_equal(f->s->state, SESSION_DETACHED);
    world_wait(&f->w, 2 * USEC_S);
    assert_int_equal(sum(f, METRIC_session_end_queue_full), 1);
    assert_int_equal(sum(f, METRIC_down_mailbox), 15); /* also what had not been read by then */
}

/* What the proxy had read but not looked at when the server died. */
static void test_held_when_the_server_dies(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.queue_stanzas = 10;
    for (unsigned i = 1; i <= 30; i++)
        down(f, i);
    world_run(&f->w);
    assert_non_null(f->s->up->leg.held);
    server_cut(f->conn);
    world_run(&f->w);
    assert_int_equal(f->s->out.queue.count, 30);
}

static void test_eviction(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.sessions_per_account = 1;
    go_away(f);
    client_enter(&f->other, 1, "romeo");
    client_cut(&f->other);
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_session_end_evicted), 1);
    assert_null(client_session(&f->c));
    assert_non_null(client_session(&f->other));
}

/* An account's other session gets what spilled. */
static void test_mail_to_another_session(void **state)
{
    struct fixture *f = *state;
    client_enter(&f->other, 1, "romeo");
    f->s->max = 50 * USEC_S;
    go_away(f);
    down(f, 1);
    world_wait(&f->w, 51 * USEC_S);
    char *mail = NULL;
    while (!mail || strncmp(mail, "<message", 8) != 0) {
        free(mail);
        mail = heard_take(&f->other.heard, "the other", "<");
    }
    assert_non_null(strstr(mail, "id='d1'"));
    assert_non_null(strstr(mail, "<delay "));
    free(mail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_prefixes),
        TEST(test_request_by_count),
        TEST(test_request_by_time),
        TEST(test_short_answer_is_asked_again),
        TEST(test_ack_too_high),
        TEST(test_old_and_bad_acks),
        TEST(test_wrap),
        TEST(test_ack_timeout),
        TEST(test_ack_timeout_of_a_slow_client),
        TEST(test_ack_timeout_while_not_reading),
        TEST(test_probe),
        TEST(test_slow_client_stops_the_server),
        TEST(test_limit_in_bytes),
        TEST(test_limit_of_the_node),
        TEST(test_barrier_in_flight),
        TEST(test_client_that_reads_slowly),
        TEST(test_server_pings_are_answered),
        TEST(test_parking),
        TEST(test_parked_senders_are_limited),
        TEST(test_delay_stamps),
        TEST(test_no_stamps_after_a_short_while),
        TEST(test_detached_presence_away),
        TEST(test_csi_is_active_again),
        TEST(test_other_elements_are_kept_away),
        TEST(test_fates_at_expiry),
        TEST(test_fates_when_the_server_dies),
        TEST(test_fates_at_a_clean_end),
        TEST(test_conflict),
        TEST(test_full_grace),
        TEST(test_held_when_the_server_dies),
        TEST(test_eviction),
        TEST(test_mail_to_another_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
