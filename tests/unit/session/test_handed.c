/* Clients without stream management: messages to them are kept until a ping behind them is answered, or five seconds
 * have gone by for those that answer none; what is left when the connection breaks goes to the mailbox. */
#include "fixture.h"

#define PING  "<iq type='get' from='example.org' to='romeo@example.org/"
#define ASKED "<request xmlns='urn:xmpp:receipts'/>"

static int64_t sum(struct fixture *f, enum metric m)
{
    return world_sum(&f->w, m);
}

static void enter(struct fixture *f)
{
    client_login(&f->c, 0, "romeo");
    client_send(&f->c, CLIENT_BIND);
    world_run(&f->w);
    client_send(&f->c, CLIENT_PRESENCE);
    client_forget_heard(&f->c);
    f->conn = server_newest(&f->server);
    heard_clear(&f->conn->heard);
}

/* Romeo's session without stream management. */
static int setup_legacy(void **state)
{
    setup_world(state);
    struct fixture *f = *state;
    f->w.settings.receipts.confirm_legacy_clients = true;
    enter(f);
    return 0;
}

#define LEGACY(name) cmocka_unit_test_setup_teardown(name, setup_legacy, teardown)

/* The id of the ping that comes next; valid until the next call. */
static const char *pinged(struct fixture *f)
{
    static char id[64];
    world_run(&f->w);
    char *got = heard_take(&f->c.heard, "the client", PING);
    const char *start = strstr(got, " id='");
    assert_non_null(start);
    snprintf(id, sizeof id, "%.*s", (int)strcspn(start + 5, "'"), start + 5);
    assert_non_null(strstr(got, "'><ping xmlns='urn:xmpp:ping'/></iq>"));
    free(got);
    return id;
}

static void pong(struct fixture *f, const char *id)
{
    client_printf(&f->c, "<iq type='result' id='%s' to='example.org'/>", id);
    world_run(&f->w);
}

static void come_back(struct fixture *f)
{
    client_cut(&f->c);
    world_run(&f->w);
    enter(f);
}

static void test_ping_behind_messages(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    down(f, 2);
    world_run(&f->w);
    expect_down(&f->c, 1);
    expect_down(&f->c, 2);
    const char *id = pinged(f); /* one for both */
    down(f, 3);
    world_wait(&f->w, USEC_S);
    expect_down(&f->c, 3);
    client_hears_nothing(&f->c); /* one at a time */
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 3);
    pong(f, id);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 1);
    client_printf(&f->c, "<iq type='error' id='%s'/>", pinged(f)); /* proves as much */
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 0);
    assert_int_equal(sum(f, METRIC_down_acked), 3);
    assert_int_equal(sum(f, METRIC_legacy_confirmed), 3);
    assert_int_equal(sum(f, METRIC_client_pings_sent), 2);
    assert_int_equal(sum(f, METRIC_client_pings_answered), 2);
    assert_int_equal(sum(f, METRIC_up_swallowed), 2);
    server_hears_nothing(f);
    come_back(f);
    client_hears_nothing(&f->c);
}

static void test_what_is_not_worth_keeping_is_relayed(void **state)
{
    struct fixture *f = *state;
    server_send(f->conn, "<message from='x@example.org/1' type='groupchat'><body>x</body></message>"
                         "<message from='x@example.org/1' type='headline'><body>x</body></message>"
                         "<presence from='x@example.org/1'/>");
    client_hears(&f->c, "<message ");
    client_hears(&f->c, "<message ");
    client_hears(&f->c, "<presence ");
    client_hears_nothing(&f->c);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 0);
}

static void test_switched_off(void **state)
{
    struct fixture *f = *state;
    f->w.settings.receipts.confirm_legacy_clients = false;
    down(f, 1);
    world_run(&f->w);
    expect_down(&f->c, 1);
    client_hears_nothing(&f->c);
    assert_int_equal(sum(f, METRIC_down_relayed), 1);
    come_back(f);
    client_hears_nothing(&f->c);
}

/* Switched off while messages are under way, they go the way of clients that do not answer. */
static void test_switched_off_on_the_way(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    world_run(&f->w);
    expect_down(&f->c, 1);
    pong(f, pinged(f));
    down(f, 2);
    world_run(&f->w);
    f->w.settings.receipts.confirm_legacy_clients = false;
    world_wait(&f->w, 6 * USEC_S);
    down(f, 3);
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 0);
}

static void test_cut_with_messages_on_the_way(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    world_run(&f->w);
    expect_down(&f->c, 1);
    pong(f, pinged(f));
    down(f, 2);
    down(f, 3);
    world_run(&f->w);
    client_cut(&f->c);
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_legacy_unconfirmed), 2);
    assert_int_equal(sum(f, METRIC_down_mailbox), 2);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 0);
    heard_clear(&f->c.heard);
    client_login(&f->c, 0, "romeo");
    client_send(&f->c, CLIENT_BIND);
    client_forget_heard(&f->c);
    client_send(&f->c, CLIENT_PRESENCE);
    world_run(&f->w);
    for (unsigned n = 2; n <= 3; n++) {
        char *got = heard_take(&f->c.heard, "the client", "<message from='juliet@example.org/x' type='chat' id=");
        char id[16];
        snprintf(id, sizeof id, "id='d%u'", n);
        assert_non_null(strstr(got, id));
        assert_non_null(strstr(got, "<delay xmlns='urn:xmpp:delay' from='example.org' stamp="));
        free(got);
    }
    pong(f, pinged(f));
    assert_int_equal(sum(f, METRIC_mailbox_lent), 0);
    come_back(f);
    client_hears_nothing(&f->c);
}

/* What is lent by the mailbox goes back there, and keeps its place. */
static void test_cut_again_and_again(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 1; n <= 5; n++) {
        down(f, n);
        world_run(&f->w);
        come_back(f);
    }
    heard_clear(&f->c.heard);
    client_cut(&f->c);
    world_run(&f->w);
    f->w.settings.receipts.confirm_legacy_clients = false;
    client_enter(&f->c, 0, "romeo");
    assert_int_equal(f->c.h, 5);
}

/* Each keeps its own place in the mailbox: those that were written, and those that the server still had. */
static void test_what_comes_behind_the_cut(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    world_run(&f->w);
    client_cut(&f->c);
    down(f, 2);
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_down_mailbox), 2);
    f->w.settings.receipts.confirm_legacy_clients = false;
    client_enter(&f->c, 0, "romeo");
    assert_int_equal(f->c.h, 2);
}

static void test_a_client_that_never_answers(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    world_run(&f->w);
    expect_down(&f->c, 1);
    const char *id = pinged(f);
    world_wait(&f->w, 4 * USEC_S);
    down(f, 2);
    world_run(&f->w);
    expect_down(&f->c, 2);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 2);
    world_wait(&f->w, USEC_S + USEC_MS);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 1);
    world_wait(&f->w, 5 * USEC_S);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 0);
    assert_int_equal(sum(f, METRIC_legacy_assumed), 2);
    assert_int_equal(sum(f, METRIC_client_pings_ignored), 1);
    for (unsigned n = 3; n < 20; n++) {
        down(f, n);
        world_wait(&f->w, 3 * USEC_S);
        expect_down(&f->c, n);
    }
    client_hears_nothing(&f->c); /* left alone */
    assert_true(sum(f, METRIC_unacked_stanzas) <= 4);
    /* a late answer makes it one that answers */
    pong(f, id);
    pong(f, pinged(f));
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 0);
    assert_int_equal(sum(f, METRIC_session_end_ack_timeout), 0);
}

/* Nor does time count while its TCP has not taken the message. */
static void test_a_hole(void **state)
{
    struct fixture *f = *state;
    client_abandon(&f->c, false);
    down(f, 1);
    world_wait(&f->w, 10 * USEC_S);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 1);
    world_wait(&f->w, 10 * USEC_S); /* the kernel gives up */
    assert_int_equal(sum(f, METRIC_down_mailbox), 1);
}

/* One that has answered so far, and from which nothing comes any more, is dead; one that speaks is not. */
static void test_a_client_that_stops_to_answer(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    world_run(&f->w);
    expect_down(&f->c, 1);
    pong(f, pinged(f));
    down(f, 2);
    world_run(&f->w);
    expect_down(&f->c, 2);
    pinged(f);
    for (int i = 0; i < 5; i++) {
        world_wait(&f->w, 14 * USEC_S);
        client_send(&f->c, " ");
    }
    world_wait(&f->w, USEC_S);
    assert_int_equal(sum(f, METRIC_client_pings_ignored), 1);
    world_wait(&f->w, 6 * USEC_S);
    assert_int_equal(sum(f, METRIC_legacy_assumed), 1);
    assert_false(f->c.closed);
}

static void test_a_client_that_falls_silent(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    world_run(&f->w);
    expect_down(&f->c, 1);
    pong(f, pinged(f));
    down(f, 2);
    world_wait(&f->w, 62 * USEC_S);
    assert_true(f->c.closed);
    assert_int_equal(sum(f, METRIC_down_mailbox), 1);
}

static void test_goodbye(void **state)
{
    struct fixture *f = *state;
    down(f, 1); /* has not answered a ping yet: what was taken counts */
    world_run(&f->w);
    client_send(&f->c, "</stream:stream>");
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_down_mailbox), 0);
    assert_int_equal(sum(f, METRIC_legacy_assumed), 1);
    world_wait(&f->w, 20 * USEC_S);
    f->c.wire = NULL;
    heard_clear(&f->c.heard);
    enter(f);
    down(f, 2);
    world_run(&f->w);
    expect_down(&f->c, 2);
    pong(f, pinged(f));
    down(f, 3); /* it would have answered, had it read so far */
    world_run(&f->w);
    client_send(&f->c, "</stream:stream>");
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_down_mailbox), 1);
}

/* The ping is older than the client's count, its answer is not. */
static void test_enable_with_a_ping_under_way(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    world_run(&f->w);
    expect_down(&f->c, 1);
    const char *id = pinged(f);
    client_send(&f->c, CLIENT_ENABLE);
    client_hears(&f->c, "<enabled ");
    down(f, 2);
    world_run(&f->w);
    expect_down(&f->c, 2);
    pong(f, id);
    assert_int_equal(sum(f, METRIC_legacy_confirmed), 1);
    client_send(&f->c, CLIENT_R);
    world_run(&f->w);
    client_expect(&f->c, "<a xmlns='urn:xmpp:sm:3' h='1'/>");
    ack(&f->c, 1);
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 0);
    client_hears_nothing(&f->c);
}

static void test_a_full_queue_waits_for_the_answer(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.queue_stanzas = 10;
    for (unsigned n = 1; n <= 20; n++)
        down(f, n);
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_backpressure_upstream), 1);
    assert_true(sum(f, METRIC_unacked_stanzas) <= 10);
    unsigned n = 1;
    while (n <= 20) {
        char *got = heard_take(&f->c.heard, "the client", "<");
        bool message = strncmp(got, "<message", 8) == 0;
        const char *id = strstr(got, " id='hfp-");
        if (!message)
            client_printf(&f->c, "<iq type='result' id='%.*s'/>", (int)strcspn(id + 5, "'"), id + 5);
        n += message;
        free(got);
        world_run(&f->w);
    }
    pong(f, pinged(f));
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 0);
}

/* ---- receipts ---- */

static void ask(struct fixture *f, unsigned n)
{
    server_printf(f->conn,
                  "<message from='juliet@example.org/x' type='chat' id='d%u'><body>x</body>" ASKED "</message>", n);
    world_run(&f->w);
    expect_down(&f->c, n);
}

static void let_juliet_see(struct fixture *f)
{
    client_send(&f->c, "<presence to='juliet@example.org/x'/>");
    world_run(&f->w);
    heard_clear(&f->conn->heard);
}

static void expect_receipt(struct fixture *f, unsigned n)
{
    char end[80];
    snprintf(end, sizeof end, "<received xmlns='urn:xmpp:receipts' id='d%u'/></message>", n);
    char *got = heard_take(&f->conn->heard, "the server", "<message to='juliet@example.org/x' type='chat' id='hfr-");
    assert_non_null(strstr(got, end));
    free(got);
}

static void test_receipts_rest_on_answers(void **state)
{
    struct fixture *f = *state;
    let_juliet_see(f);
    ask(f, 1);
    const char *id = pinged(f);
    world_wait(&f->w, 3 * USEC_S);
    server_hears_nothing(f);
    pong(f, id);
    world_wait(&f->w, 3 * USEC_S);
    expect_receipt(f, 1);
    /* its own, when ours was faster */
    client_send(&f->c, "<message to='juliet@example.org/x'><received xmlns='urn:xmpp:receipts' id='d1'/></message>");
    world_wait(&f->w, USEC_S);
    assert_int_equal(sum(f, METRIC_receipts_swallowed_late), 1);
    assert_int_equal(sum(f, METRIC_up_swallowed), 2);
}

static void test_time_proves_nothing(void **state)
{
    struct fixture *f = *state;
    let_juliet_see(f);
    ask(f, 1);
    const char *id = pinged(f);
    world_wait(&f->w, 6 * USEC_S);
    assert_int_equal(sum(f, METRIC_legacy_assumed), 1);
    assert_int_equal(sum(f, METRIC_receipts_withheld_unacked), 1);
    pong(f, id);
    world_wait(&f->w, 10 * USEC_S);
    server_hears_nothing(f);
}

static void test_own_receipt_confirms(void **state)
{
    struct fixture *f = *state;
    let_juliet_see(f);
    ask(f, 1);
    client_send(&f->c, "<message to='juliet@example.org/x'><received xmlns='urn:xmpp:receipts' id='d1'/></message>");
    server_hears(f, "<message to='juliet@example.org/x'><received ");
    client_cut(&f->c);
    world_run(&f->w);
    assert_int_equal(sum(f, METRIC_down_mailbox), 0);
    assert_int_equal(sum(f, METRIC_legacy_confirmed), 1);
}

static void test_receipts_behind_enable(void **state)
{
    struct fixture *f = *state;
    let_juliet_see(f);
    ask(f, 1);
    const char *id = pinged(f);
    client_send(&f->c, CLIENT_ENABLE);
    client_hears(&f->c, "<enabled ");
    ask(f, 2);
    ack(&f->c, 1);
    world_wait(&f->w, 3 * USEC_S);
    heard_clear(&f->conn->heard);
    pong(f, id);
    world_wait(&f->w, 3 * USEC_S);
    expect_receipt(f, 1);
    expect_receipt(f, 2);
}

static void look_for_offline(void *ctx, struct server_conn *conn)
{
    struct fixture *f = ctx;
    char *got = heard_take(&conn->heard, "the server", "<message to='juliet@example.org/x'");
    assert_non_null(strstr(got, "<x xmlns='jabber:x:event'><offline/><id>d1</id></x>"));
    free(got);
    heard_expect(&conn->heard, "the server", "END");
    f->conn = NULL;
}

/* What goes to the mailbox waits for a client (XEP-0022). */
static void test_offline_for_what_is_not_confirmed(void **state)
{
    struct fixture *f = *state;
    let_juliet_see(f);
    world_wait(&f->w, 2 * USEC_S);
    heard_clear(&f->conn->heard);
    f->server.gone = look_for_offline;
    f->server.ctx = f;
    server_printf(f->conn, "<message from='juliet@example.org/x' id='d1'><body>x</body>"
                           "<x xmlns='jabber:x:event'><offline/><delivered/></x></message>");
    client_hears(&f->c, "<message from='juliet@example.org/x' id='d1'>");
    client_cut(&f->c);
    world_run(&f->w);
    assert_null(f->conn);
    assert_int_equal(sum(f, METRIC_down_mailbox), 1);
}

/* ---- what is no answer ---- */

static void test_answers_of_others(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    world_run(&f->w);
    expect_down(&f->c, 1);
    char id[64];
    snprintf(id, sizeof id, "%s", pinged(f));
    client_printf(&f->c, "<iq type='result' id='%s' to='juliet@example.org/x'/>", id);
    server_hears(f, "<iq type='result' id='hfp-");
    client_printf(&f->c, "<iq type='get' id='%s'><query xmlns='x'/></iq>", id);
    server_hears(f, "<iq type='get' id='hfp-");
    client_send(&f->c, "<iq type='result' id='hfp-0123456789abcdef-1'/>");
    server_hears(f, "<iq type='result' id='hfp-0123456789abcdef-1'/>");
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 1);
    pong(f, id);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 0);
    pong(f, id); /* twice: ours, and nothing new */
    server_hears_nothing(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEGACY(test_ping_behind_messages),
        LEGACY(test_what_is_not_worth_keeping_is_relayed),
        LEGACY(test_switched_off),
        LEGACY(test_switched_off_on_the_way),
        LEGACY(test_cut_with_messages_on_the_way),
        LEGACY(test_cut_again_and_again),
        LEGACY(test_what_comes_behind_the_cut),
        LEGACY(test_a_client_that_never_answers),
        LEGACY(test_a_hole),
        LEGACY(test_a_client_that_stops_to_answer),
        LEGACY(test_a_client_that_falls_silent),
        LEGACY(test_goodbye),
        LEGACY(test_enable_with_a_ping_under_way),
        LEGACY(test_a_full_queue_waits_for_the_answer),
        LEGACY(test_receipts_rest_on_answers),
        LEGACY(test_time_proves_nothing),
        LEGACY(test_own_receipt_confirms),
        LEGACY(test_receipts_behind_enable),
        LEGACY(test_offline_for_what_is_not_confirmed),
        LEGACY(test_answers_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
