/* Sessions over a clean stop of the node. */
#include "fixture.h"

static bool freeze(void *ctx, struct session *s)
{
    (void)ctx;
    if (!session_freeze(s))
        session_end(s, CLOSE_SHUTDOWN, GOODBYE_CUT);
    return true;
}

/* The node stops and starts again: nothing is left but the store. Gives the number of sessions that came back. */
static unsigned restart(struct fixture *f)
{
    char sid[SID_SIZE];
    unsigned back = 0;
    struct world *w = &f->w;
    for (int i = 0; i < WORLD_WORKERS; i++)
        registry_each(w->worker[i].registry, freeze, NULL);
    world_run(w);
    world_wait(w, 3 * USEC_S);
    for (int i = 0; i < WORLD_WORKERS; i++) {
        assert_int_equal(registry_count(w->worker[i].registry), 0);
        partings_end(&w->worker[i]);
        leftovers_end(&w->worker[i]);
    }
    world_run(w);
    struct store *store = w->worker[0].store;
    for (struct buf record = {0}; store->ops->session_take(store, sid, &record);) {
        assert_true(session_thaw(&w->worker[1], sid, buf_slice(&record)));
        buf_free(&record);
        back++;
    }
    world_run(w);
    f->s = client_session(&f->c);
    heard_clear(&f->c.heard);
    return back;
}

static void expect_resumed(struct client *c, uint32_t h)
{
    char wanted[200];
    snprintf(wanted, sizeof wanted, "<resumed xmlns='urn:xmpp:sm:3' previd='%s' h='%" PRIu32 "'/>", c->previd, h);
    client_expect(c, wanted);
}

/* Back on a fresh upstream leg; f->conn is that. */
static void come_back(struct fixture *f, uint32_t h)
{
    client_resume(&f->c, 0, "romeo", h);
    f->conn = server_newest(&f->server);
}

static void test_queues_come_back(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 3; i++)
        down(f, i);
    up(f, 1);
    client_forget_heard(&f->c);
    ack(&f->c, 1);
    world_run(&f->w);
    uint32_t before = f->c.h;
    assert_int_equal(restart(f), 1);
    assert_true(f->c.closed && !f->c.ended);
    assert_int_equal(f->s->state, SESSION_DETACHED);
    assert_int_equal(f->s->out.queue.count, 2);
    come_back(f, before - 1);
    expect_resumed(&f->c, 2);
    expect_down(&f->c, 3);
    client_hears_nothing(&f->c);
    server_hears(f, "<iq type='set' id='hfs-"); /* the session iq */
    server_hears(f, "<presence/>");             /* the setup log; what was confirmed is not sent again */
    server_hears_nothing(f);
    assert_int_equal(world_sum(&f->w, METRIC_resumes_rebuilt), 1);
}

static void test_the_last_confirmation_is_waited_for(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    up(f, 1);
    world_run(&f->w);
    registry_each(f->w.worker[0].registry, freeze, NULL);
    world_wait(&f->w, USEC_S);
    assert_non_null(client_session(&f->c));
    server_answer_pings(&f->server);
    world_run(&f->w);
    assert_null(client_session(&f->c));
    f->server.hold_pings = false;
    assert_int_equal(restart(f), 1);
    assert_int_equal(f->s->unconfirmed.count, 0);
    come_back(f, 0);
    expect_resumed(&f->c, 2);
}

static void test_what_was_not_confirmed_is_sent_again(void **state)
{
    struct fixture *f = *state;
    f->server.silent = true;
    up(f, 1);
    world_run(&f->w);
    assert_int_equal(restart(f), 1);
    assert_int_equal(f->s->unconfirmed.count, 1);
    f->server.silent = false;
    come_back(f, 0);
    expect_resumed(&f->c, 2);
    server_hears(f, "<iq type='set' id='hfs-");
    server_hears(f, "<presence/>");
    server_hears(f, "<message to='juliet@example.org' type='chat' id='u1'>");
}

static void test_parked_presence_comes_back(void **state)
{
    struct fixture *f = *state;
    server_send(f->conn, "<presence from='j@example.org/x'/>");
    client_forget_heard(&f->c);
    client_cut(&f->c);
    world_run(&f->w);
    server_send(f->conn, "<presence from='j@example.org/x' type='unavailable'/>");
    world_run(&f->w);
    assert_int_equal(restart(f), 1);
    come_back(f, 1);
    expect_resumed(&f->c, 1);
    client_expect(&f->c, "<presence from='j@example.org/x' type='unavailable'/>");
}

static void test_time_goes_on_during_a_stop(void **state)
{
    struct fixture *f = *state;
    client_cut(&f->c);
    world_wait(&f->w, 599 * USEC_S);
    assert_int_equal(restart(f), 1);
    world_wait(&f->w, 5 * USEC_S);
    assert_null(client_session(&f->c));
    assert_int_equal(world_sum(&f->w, METRIC_session_end_expired), 1);
    client_resume(&f->c, 0, "romeo", 0);
    client_expect(&f->c, "<failed xmlns='urn:xmpp:sm:3' h='1'");
}

static void test_others_cannot_resume_it(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(restart(f), 1);
    strcpy(f->other.previd, f->c.previd);
    client_resume(&f->other, 0, "juliet", 0);
    client_expect(&f->other, "<failed ");
    come_back(f, 0);
    expect_resumed(&f->c, 1);
}

/* Mail that a session has in its queue is the session's, and comes once. */
static void test_lent_mail_comes_once(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    world_run(&f->w);
    session_end(f->s, CLOSE_ADMIN, GOODBYE_CUT);
    client_forget_heard(&f->c);
    client_enter(&f->c, 0, "romeo"); /* the mail comes with it, and is not acked */
    assert_int_equal(memory_store_figures(f->w.memory_store).messages, 1);
    assert_int_equal(restart(f), 1);
    assert_int_equal(memory_store_figures(f->w.memory_store).messages, 0);
    come_back(f, 0);
    expect_resumed(&f->c, 1);
    expect_down(&f->c, 1);
    client_hears_nothing(&f->c);
}

static void test_a_session_that_cannot_be_resumed_ends(void **state)
{
    struct fixture *f = *state;
    client_send(&f->c, "</stream:stream>");
    client_forget_heard(&f->c);
    client_login(&f->c, 0, "romeo");
    client_send(&f->c, CLIENT_BIND "<enable xmlns='urn:xmpp:sm:3'/>");
    client_forget_heard(&f->c);
    assert_int_equal(restart(f), 0);
}

/* Whatever is wrong with a record, it is refused, and nothing of it stays. */
static void test_damaged_records(void **state)
{
    struct fixture *f = *state;
    char sid[SID_SIZE];
    struct store *store = f->w.worker[0].store;
    down(f, 1);
    client_send(&f->c, "<presence to='room@muc/nick'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
                       "<presence to='friend@example.org'/><iq type='get' id='q' to='x@example.org'/>"
                       "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
    server_send(f->conn, "<presence from='j@example.org/x'/>");
    world_run(&f->w);
    freeze(NULL, f->s);
    world_wait(&f->w, 3 * USEC_S);
    struct buf record = {0};
    assert_true(store->ops->session_take(store, sid, &record));
    int64_t memory = f->w.memory;
    for (size_t n = 0; n < record.n; n++) {
        char *cut = mem_copy(record.data + record.off, n + 1);
        assert_false(session_thaw(&f->w.worker[0], sid, slice_of(cut, n)));
        free(cut);
        assert_true(f->w.memory == memory);
    }
    assert_true(session_thaw(&f->w.worker[0], sid, buf_slice(&record)));
    buf_free(&record);
    client_forget_heard(&f->c);
    come_back(f, 2);
    expect_resumed(&f->c, 5);
}

/* ---- receipts ---- */

static void befriend_juliet(struct fixture *f)
{
    client_send(&f->c, "<iq type='get' id='get'><query xmlns='jabber:iq:roster'/></iq>");
    server_hears(f, "<iq type='get' id='get'>");
    server_send(f->conn, "<iq type='result' id='get'><query xmlns='jabber:iq:roster'>"
                         "<item jid='juliet@example.org' subscription='from'/></query></iq>");
    client_hears(&f->c, "<iq type='result' id='get'>");
}

static void ask(struct fixture *f, unsigned n)
{
    server_printf(f->conn,
                  "<message from='juliet@example.org/x' type='chat' id='d%u'><body>%u</body>"
                  "<request xmlns='urn:xmpp:receipts'/></message>",
                  n, n);
    world_run(&f->w);
}

static void ack_all(struct fixture *f)
{
    ack(&f->c, f->c.h);
    client_forget_heard(&f->c);
}

/* Of the messages that the server has heard, the next one is the receipt for that. */
static void expect_receipt(struct fixture *f, unsigned n)
{
    char *got, *part = mem_printf("<received xmlns='urn:xmpp:receipts' id='d%u'/>", n);
    while (strncmp(got = heard_take(&f->conn->heard, "the server", "<"), "<message", 8) != 0)
        free(got);
    assert_non_null(strstr(got, part));
    free(got);
    free(part);
}

/* Without a server what is due goes into the record, as does who may have it. */
static void test_receipts_come_back(void **state)
{
    struct fixture *f = *state;
    befriend_juliet(f);
    f->w.settings.receipts.grace = 60 * USEC_S;
    ask(f, 1);
    ack_all(f);
    ask(f, 2); /* unacked */
    uint32_t h = f->c.h - 1;
    server_die(&f->server);
    f->w.refuse_dial = true;
    assert_int_equal(restart(f), 1);
    f->w.refuse_dial = false;
    f->w.settings.receipts.grace = 0;
    come_back(f, h);
    world_wait(&f->w, USEC_S);
    expect_receipt(f, 1);
    f->c.h = h + 1;
    ack_all(f);
    expect_receipt(f, 2);
    assert_int_equal(world_sum(&f->w, METRIC_receipts_proxy), 2);
    heard_clear(&f->conn->heard);
}

static void look_for_a_receipt(void *ctx, struct server_conn *conn)
{
    struct fixture *f = ctx;
    if (conn != f->conn)
        return;
    expect_receipt(f, 1);
    f->conn = NULL;
}

static void test_what_is_due_goes_out_before_the_stop(void **state)
{
    struct fixture *f = *state;
    befriend_juliet(f);
    f->w.settings.receipts.grace = 60 * USEC_S;
    ask(f, 1);
    ack_all(f);
    f->server.gone = look_for_a_receipt;
    f->server.ctx = f;
    assert_int_equal(restart(f), 1);
    assert_null(f->conn);
    f->server.gone = NULL;
    come_back(f, f->c.h);
    world_wait(&f->w, 100 * USEC_S);
    assert_int_equal(world_sum(&f->w, METRIC_receipts_proxy), 1);
}

/* A late receipt of the client's own, swallowed but not confirmed: it counts, and is nothing to send. */
static void test_swallowed_stanzas_count_after_a_stop(void **state)
{
    struct fixture *f = *state;
    befriend_juliet(f);
    f->w.settings.receipts.grace = 0;
    ask(f, 1);
    ack_all(f);
    world_wait(&f->w, 3 * USEC_S);
    f->server.silent = true;
    client_send(&f->c, "<message to='juliet@example.org/x'><received xmlns='urn:xmpp:receipts' id='d1'/></message>");
    world_run(&f->w);
    uint32_t received = (uint32_t)f->s->in.received;
    assert_int_equal(restart(f), 1);
    assert_int_equal(f->s->unconfirmed.count, 1);
    f->server.silent = false;
    come_back(f, f->c.h);
    expect_resumed(&f->c, received);
    world_wait(&f->w, 3 * USEC_S);
    assert_int_equal(world_sum(&f->w, METRIC_up_swallowed), 1);
    server_hears(f, "<iq type='set' id='hfs-");
    server_hears(f, "<iq type='get' id='get'>");
    server_hears(f, "<presence/>");
    server_hears_nothing(f);
    ask(f, 2); /* whoever answers once answers for itself, also after a stop */
    ack_all(f);
    server_hears_nothing(f);
}

/* Nor is it something for the outbox, should the server die. */
static void test_swallowed_stanzas_are_not_said_again(void **state)
{
    struct fixture *f = *state;
    befriend_juliet(f);
    f->w.settings.sm.confirm_linger = 6 * USEC_S;
    f->w.settings.receipts.grace = 0;
    ask(f, 1);
    ack_all(f);
    world_wait(&f->w, 10 * USEC_S);
    client_send(&f->c, "<message to='juliet@example.org/x'><received xmlns='urn:xmpp:receipts' id='d1'/></message>");
    client_send(&f->c, CLIENT_R);
    world_run(&f->w);
    assert_int_equal(world_sum(&f->w, METRIC_up_swallowed), 1);
    assert_non_null(session_lingers(f->s));
    client_cut(&f->c);
    server_die(&f->server);
    world_wait(&f->w, 601 * USEC_S);
    assert_null(client_session(&f->c));
    assert_int_equal(memory_store_figures(f->w.memory_store).outbox, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_queues_come_back),
        TEST(test_the_last_confirmation_is_waited_for),
        TEST(test_what_was_not_confirmed_is_sent_again),
        TEST(test_parked_presence_comes_back),
        TEST(test_time_goes_on_during_a_stop),
        TEST(test_others_cannot_resume_it),
        TEST(test_lent_mail_comes_once),
        TEST(test_a_session_that_cannot_be_resumed_ends),
        TEST(test_damaged_records),
        TEST(test_receipts_come_back),
        TEST(test_what_is_due_goes_out_before_the_stop),
        TEST(test_swallowed_stanzas_count_after_a_stop),
        TEST(test_swallowed_stanzas_are_not_said_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
