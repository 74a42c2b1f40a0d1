/* What a client sends again when its session is lost, though it was counted. */
#include "fixture.h"

/* Its connection breaks, and it comes back too late; h: what it is told. It binds anew on that stream. */
static void lose_session(struct fixture *f, uint32_t h)
{
    char failed[100];
    world_wait(&f->w, 2 * USEC_S);
    client_cut(&f->c);
    world_wait(&f->w, f->w.settings.sm.max + 3 * USEC_S);
    assert_null(client_session(&f->c));
    client_resume(&f->c, 1, "romeo", f->c.h);
    snprintf(failed, sizeof failed, "<failed xmlns='urn:xmpp:sm:3' h='%" PRIu32 "'>", h);
    client_expect(&f->c, failed);
    client_send(&f->c, CLIENT_BIND CLIENT_ENABLE);
    client_forget_heard(&f->c);
    f->conn = server_newest(&f->server);
    f->s = client_session(&f->c);
    heard_clear(&f->conn->heard);
}

static void expect_only(struct fixture *f, unsigned n)
{
    world_run(&f->w);
    expect_up(f, n);
    server_hears_nothing(f);
}

static void expect_known(struct fixture *f, unsigned n)
{
    server_hears_nothing(f);
    assert_int_equal(world_sum(&f->w, METRIC_resent_known), n);
}

static void test_they_are_swallowed_and_counted(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 3; i++)
        up(f, i);
    lose_session(f, 4); /* with the presence */
    for (unsigned i = 2; i <= 3; i++)
        up(f, i); /* it has had an ack of the first */
    expect_known(f, 2);
    up(f, 4);
    expect_only(f, 4);
    client_send(&f->c, CLIENT_R);
    client_hears(&f->c, "<a xmlns='urn:xmpp:sm:3' h='3'/>");
    assert_int_equal(world_sum(&f->w, METRIC_up_swallowed), 2);
    assert_null(f->s->awaited);
}

static void test_what_else_it_says_passes(void **state)
{
    struct fixture *f = *state;
    up(f, 1);
    up(f, 2);
    client_send(&f->c, "<iq type='get' id='i1' to='example.org'><query xmlns='jabber:iq:version'/></iq>");
    client_send(&f->c, "<message to='juliet@example.org' type='chat'><body>ok</body></message>");
    lose_session(f, 5);
    client_send(&f->c, "<presence id='u1'/>");
    server_hears(f, "<presence id='u1'/>");
    up(f, 1);
    expect_known(f, 1);
    client_send(&f->c, "<iq type='get' id='i1' to='example.org'><query xmlns='jabber:iq:version'/></iq>");
    server_hears(f, "<iq type='get' id='i1'");
    client_send(&f->c, "<message to='juliet@example.org' type='chat'><body>ok</body></message>");
    server_hears(f, "<message to='juliet@example.org' type='chat'><body>ok</body>"); /* without an id nobody can tell */
    up(f, 2);
    expect_known(f, 2);
}

/* Each of these is new, and ends it: what follows is new as well. */
static void test_what_differs_is_new(void **state)
{
    static const char *const others[] = {
        "<message to='juliet@example.org' type='chat' id='v1'><body>1</body></message>",
        "<message to='juliet@example.org' type='chat' id='u1'><body>2</body></message>",
        "<message to='nurse@example.org' type='chat' id='u1'><body>1</body></message>",
        "<message to='juliet@example.org' id='u1'><body>1</body></message>",
        "<message to='juliet@example.org' type='chat' id='u1'><body>1</body><x xmlns='y'/></message>",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        up(f, 1);
        up(f, 2);
        lose_session(f, i == 0 ? 3 : 4);
        client_send(&f->c, others[i]);
        server_hears(f, others[i]);
        up(f, 1);
        expect_only(f, 1);
        expect_known(f, 0);
        assert_null(f->s->awaited);
        client_send(&f->c, CLIENT_R); /* acks are seen: nothing of it comes again */
        client_forget_heard(&f->c);
    }
}

static void test_only_in_their_order(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 3; i++)
        up(f, i);
    lose_session(f, 4);
    up(f, 2);
    expect_known(f, 1);
    up(f, 1);
    expect_only(f, 1);
    up(f, 3);
    expect_only(f, 3);
}

static void test_each_once(void **state)
{
    struct fixture *f = *state;
    up(f, 1);
    up(f, 1); /* a sloppy client */
    lose_session(f, 3);
    up(f, 1);
    up(f, 1);
    expect_known(f, 2);
    up(f, 1);
    expect_only(f, 1);
}

/* It has answered a request of ours that came behind the ack. */
static void test_whose_ack_was_seen_is_new(void **state)
{
    struct fixture *f = *state;
    up(f, 1);
    client_send(&f->c, CLIENT_R);
    client_hears(&f->c, "<a xmlns='urn:xmpp:sm:3' h='2'/>");
    down(f, 1);
    world_wait(&f->w, 2 * USEC_S);
    ack(&f->c, f->c.h);
    up(f, 2);
    lose_session(f, 3);
    up(f, 1);
    expect_only(f, 1);
    assert_int_equal(world_sum(&f->w, METRIC_resent_known), 0);
}

static void test_it_is_over_in_time(void **state)
{
    struct fixture *f = *state;
    up(f, 1);
    lose_session(f, 2);
    world_wait(&f->w, 61 * USEC_S);
    up(f, 1);
    expect_only(f, 1);
}

static void test_only_after_a_resumption_that_failed(void **state)
{
    struct fixture *f = *state;
    up(f, 1);
    lose_session(f, 2);
    char previd[PREVID_SIZE];
    strcpy(previd, f->c.previd);
    client_enter(&f->other, 0, "romeo");
    struct server_conn *conn = server_newest(&f->server);
    heard_clear(&conn->heard);
    client_send(&f->other, "<message to='juliet@example.org' type='chat' id='u1'><body>1</body></message>");
    world_run(&f->w);
    heard_expect(&conn->heard, "the server", "<message to='juliet@example.org' type='chat' id='u1'>");
}

static void test_nobody_elses(void **state)
{
    struct fixture *f = *state;
    up(f, 1);
    world_wait(&f->w, 2 * USEC_S);
    client_cut(&f->c);
    world_wait(&f->w, f->w.settings.sm.max + 3 * USEC_S);
    strcpy(f->other.previd, f->c.previd);
    client_resume(&f->other, 1, "juliet", 0);
    client_expect(&f->other, "<failed xmlns='urn:xmpp:sm:3'><item-not-found");
    client_send(&f->other, CLIENT_BIND CLIENT_ENABLE);
    client_forget_heard(&f->other);
    f->conn = server_newest(&f->server);
    heard_clear(&f->conn->heard);
    client_send(&f->other, "<message to='juliet@example.org' type='chat' id='u1'><body>1</body></message>");
    expect_only(f, 1);
}

/* xmpp.js does so. */
static void test_a_delay_that_was_added(void **state)
{
    struct fixture *f = *state;
    up(f, 1);
    up(f, 2);
    lose_session(f, 3);
    client_send(&f->c,
                "<message to='juliet@example.org' type='chat' id='u1'><body>1</body>"
                "<delay xmlns='urn:xmpp:delay' from='romeo@example.org/x' stamp='2024-01-01T00:00:00Z'/></message>");
    client_send(&f->c, "<message id='u2' type=\"chat\" to='juliet@example.org'>"
                       "<delay xmlns='urn:xmpp:delay' stamp='2024-01-01T00:00:00Z'/><body>2</body></message>");
    expect_known(f, 2);
}

/* The server went away with it: it is not in h, and welcome again. */
static void test_what_was_not_counted_is_welcome(void **state)
{
    struct fixture *f = *state;
    up(f, 1);
    world_wait(&f->w, 2 * USEC_S);
    f->server.silent = true;
    up(f, 2);
    world_run(&f->w);
    server_die(&f->server);
    world_run(&f->w);
    f->server.silent = false;
    world_wait(&f->w, USEC_S);
    client_forget_wire(&f->c);
    world_wait(&f->w, f->w.settings.sm.max + 3 * USEC_S);
    client_resume(&f->c, 0, "romeo", f->c.h);
    heard_clear(&f->c.heard);
    client_send(&f->c, CLIENT_BIND CLIENT_ENABLE);
    client_forget_heard(&f->c);
    f->conn = server_newest(&f->server);
    heard_clear(&f->conn->heard);
    up(f, 1);
    expect_known(f, 1);
    up(f, 2);
    expect_only(f, 2);
}

/* Smack sends them ahead of <enable/> where the server is slow. */
static void test_before_stream_management(void **state)
{
    struct fixture *f = *state;
    up(f, 1);
    world_wait(&f->w, 2 * USEC_S);
    client_cut(&f->c);
    world_wait(&f->w, f->w.settings.sm.max + 3 * USEC_S);
    client_resume(&f->c, 0, "romeo", f->c.h);
    client_send(&f->c, CLIENT_BIND);
    world_run(&f->w);
    f->conn = server_newest(&f->server);
    heard_clear(&f->conn->heard);
    up(f, 1);
    expect_known(f, 1);
    assert_int_equal(world_sum(&f->w, METRIC_up_swallowed), 1);
}

static void test_the_last_ones_alone(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.recognize_stanzas = 20;
    for (unsigned i = 1; i <= 50; i++)
        up(f, i);
    lose_session(f, 51);
    for (unsigned i = 31; i <= 50; i++)
        up(f, i);
    expect_known(f, 20);
    lose_session(f, 20); /* they are that session's now */
    up(f, 30);
    expect_only(f, 30);
}

static void test_again_and_again(void **state)
{
    struct fixture *f = *state;
    up(f, 1);
    up(f, 2);
    lose_session(f, 3);
    up(f, 1);
    up(f, 2);
    expect_known(f, 2);
    lose_session(f, 2); /* without an ack once more */
    up(f, 1);
    up(f, 2);
    expect_known(f, 4);
}

static void test_it_can_be_turned_off(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.recognize_resent = false;
    up(f, 1);
    assert_null(f->s->resent);
    lose_session(f, 2);
    up(f, 1);
    expect_only(f, 1);
}

static bool freeze(void *ctx, struct session *s)
{
    (void)ctx;
    assert_true(session_freeze(s));
    return true;
}

static void test_over_a_stop_of_the_node(void **state)
{
    struct fixture *f = *state;
    char sid[SID_SIZE];
    struct buf record;
    up(f, 1);
    up(f, 2);
    world_run(&f->w);
    registry_each(f->w.worker[0].registry, freeze, NULL);
    world_wait(&f->w, 3 * USEC_S);
    partings_end(&f->w.worker[0]);
    client_forget_wire(&f->c);
    struct store *store = f->w.worker[1].store;
    assert_true(store->ops->session_take(store, sid, &record));
    assert_true(session_thaw(&f->w.worker[1], sid, buf_slice(&record)));
    buf_free(&record);
    world_wait(&f->w, f->w.settings.sm.max + 3 * USEC_S);
    client_resume(&f->c, 1, "romeo", f->c.h);
    client_send(&f->c, CLIENT_BIND CLIENT_ENABLE);
    client_forget_heard(&f->c);
    f->conn = server_newest(&f->server);
    heard_clear(&f->conn->heard);
    up(f, 1);
    up(f, 2);
    expect_known(f, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_they_are_swallowed_and_counted),
        TEST(test_what_else_it_says_passes),
        TEST(test_what_differs_is_new),
        TEST(test_only_in_their_order),
        TEST(test_each_once),
        TEST(test_whose_ack_was_seen_is_new),
        TEST(test_it_is_over_in_time),
        TEST(test_only_after_a_resumption_that_failed),
        TEST(test_nobody_elses),
        TEST(test_a_delay_that_was_added),
        TEST(test_what_was_not_counted_is_welcome),
        TEST(test_before_stream_management),
        TEST(test_the_last_ones_alone),
        TEST(test_again_and_again),
        TEST(test_it_can_be_turned_off),
        TEST(test_over_a_stop_of_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
