/* Confirmation by messages that are seen at their recipients (XEP-0198 without a ping of our own). */
#include "fixture.h"

#define A(h) "<a xmlns='urn:xmpp:sm:3' h='" h "'/>"

/* Juliet is there too, and the server answers pings only when it is told to. */
static int setup_two(void **state, int worker)
{
    setup(state);
    struct fixture *f = *state;
    client_enter(&f->other, worker, "juliet");
    world_wait(&f->w, 2 * USEC_S);
    client_forget_heard(&f->other);
    client_send(&f->c, CLIENT_R);
    client_hears(&f->c, A("1"));
    f->server.hold_pings = true;
    return 0;
}

static int setup_near(void **state)
{
    return setup_two(state, 0);
}

static int setup_apart(void **state)
{
    return setup_two(state, 1);
}

#define ECHO(name)  cmocka_unit_test_setup_teardown(name, setup_near, teardown)
#define APART(name) cmocka_unit_test_setup_teardown(name, setup_apart, teardown) /* on another worker */

static void say(struct fixture *f, const char *id)
{
    client_printf(&f->c, "<message to='juliet@example.org/x' type='chat' id='%s'><body>b</body></message>", id);
}

/* The server passes it on. */
static void pass_on(struct fixture *f, const char *id)
{
    char *jid = server_jid(f->conn);
    world_run(&f->w);
    server_printf(server_newest(&f->server),
                  "<message from='%s' to='juliet@example.org/x' type='chat' id='%s'><body>b</body></message>", jid, id);
    world_run(&f->w);
    free(jid);
}

static unsigned pings(struct fixture *f)
{
    world_run(&f->w);
    return f->conn->pings;
}

static void test_no_ping(void **state)
{
    struct fixture *f = *state;
    unsigned before = pings(f);
    say(f, "m1");
    pass_on(f, "m1");
    client_send(&f->c, CLIENT_R);
    client_hears(&f->c, A("2"));
    for (int i = 2; i < 200; i++) { /* now that it knows who answers at once */
        char id[16], answer[64];
        snprintf(id, sizeof id, "m%d", i);
        snprintf(answer, sizeof answer, A("%d"), i + 1);
        say(f, id);
        client_send(&f->c, CLIENT_R);
        client_hears_nothing(&f->c);
        pass_on(f, id);
        client_hears(&f->c, answer);
    }
    assert_int_equal(pings(f), before);
    assert_int_equal(world_sum(&f->w, METRIC_echoes_heard), 199);
    assert_int_equal(world_sum(&f->w, METRIC_echoes_missed), 0);
}

/* From then on its echo is waited for. */
static void get_near(struct fixture *f)
{
    say(f, "first");
    pass_on(f, "first");
    client_send(&f->c, CLIENT_R);
    client_hears(&f->c, A("2"));
    client_hears_nothing(&f->c);
}

static void test_never_heard_before(void **state)
{
    struct fixture *f = *state;
    unsigned before = pings(f);
    say(f, "m1");
    client_send(&f->c, CLIENT_R);
    assert_int_equal(pings(f), before + 1);
    pass_on(f, "m1"); /* while the ping is under way */
    client_hears(&f->c, A("2"));
    server_answer_pings(&f->server);
    client_hears_nothing(&f->c);
}

static void test_waits_no_longer_than_is_likely(void **state)
{
    struct fixture *f = *state;
    get_near(f);
    unsigned before = pings(f);
    say(f, "m1");
    client_send(&f->c, CLIENT_R);
    assert_int_equal(pings(f), before);
    world_wait(&f->w, 6 * USEC_MS);
    assert_int_equal(pings(f), before + 1);
    assert_int_equal(world_sum(&f->w, METRIC_echoes_missed), 1);
    server_answer_pings(&f->server);
    client_hears(&f->c, A("3"));
    say(f, "m2"); /* that one is not relied on any more */
    client_send(&f->c, CLIENT_R);
    assert_int_equal(pings(f), before + 2);
    server_answer_pings(&f->server);
    client_hears(&f->c, A("4"));
}

/* Its ping would take as long as the message does. */
static void test_a_slow_server_is_not_asked_for_what_it_will_show(void **state)
{
    struct fixture *f = *state;
    say(f, "first");
    world_wait(&f->w, 1500 * USEC_MS);
    assert_int_equal(pings(f), 2); /* nobody knows yet that it takes so long: one from the login, and one for this */
    pass_on(f, "first");
    server_answer_pings(&f->server);
    say(f, "m1");
    world_wait(&f->w, 1500 * USEC_MS);
    pass_on(f, "m1");
    client_send(&f->c, CLIENT_R);
    client_hears(&f->c, A("3"));
    say(f, "m2");
    client_send(&f->c, CLIENT_R);
    world_wait(&f->w, 1500 * USEC_MS);
    client_hears(&f->c, A("3")); /* sm.answer_delay */
    pass_on(f, "m2");
    client_hears(&f->c, A("4"));
    assert_int_equal(pings(f), 2);
    say(f, "m3"); /* which never comes */
    world_wait(&f->w, (1000 + 3 * 1500 + 5) * USEC_MS);
    assert_int_equal(pings(f), 3);
}

static void test_somebody_elses(void **state)
{
    struct fixture *f = *state;
    get_near(f);
    say(f, "m1");
    client_send(&f->c, CLIENT_R);
    world_run(&f->w);
    server_printf(server_newest(&f->server),
                  "<message from='mallory@example.org/x' type='chat' id='m1'><body>b</body></message>");
    client_hears_nothing(&f->c);
    assert_int_equal(world_sum(&f->w, METRIC_echoes_heard), 1);
}

static void test_the_same_id_again(void **state)
{
    struct fixture *f = *state;
    get_near(f);
    say(f, "m1");
    client_send(&f->c, CLIENT_R);
    pass_on(f, "m1");
    client_hears(&f->c, A("3"));
    unsigned before = pings(f);
    say(f, "m1"); /* which of the two comes now could not be told */
    client_send(&f->c, CLIENT_R);
    assert_int_equal(pings(f), before + 1);
    pass_on(f, "m1");
    client_hears_nothing(&f->c);
}

static void test_only_what_is_before_it(void **state)
{
    struct fixture *f = *state;
    get_near(f);
    say(f, "m1");
    client_send(&f->c, "<iq type='get' id='q' to='example.org'><query xmlns='jabber:iq:version'/></iq>");
    client_send(&f->c, CLIENT_R);
    unsigned before = pings(f);
    pass_on(f, "m1");
    assert_int_equal(world_sum(&f->w, METRIC_unconfirmed_stanzas), 2); /* one alone is of no use to anybody */
    assert_int_equal(before, f->conn->pings);
    client_hears_nothing(&f->c);
    server_answer_pings(&f->server);
    client_hears(&f->c, A("4"));
}

/* The first message goes to somebody who never shows. */
static void test_others_are_expected_later(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = false;
    client_send(&f->c, "<message to='nobody@example.org' type='chat' id='n'><body>b</body></message>" CLIENT_R);
    client_hears(&f->c, A("2"));
    world_wait(&f->w, 100 * USEC_MS);
    f->server.hold_pings = true;
    unsigned before = pings(f);
    say(f, "m1");
    pass_on(f, "m1");
    say(f, "m2");
    client_send(&f->c, CLIENT_R);
    pass_on(f, "m2");
    client_hears(&f->c, A("4"));
    assert_int_equal(pings(f), before);
}

static void test_without_a_request(void **state)
{
    struct fixture *f = *state;
    unsigned before = pings(f);
    say(f, "m1");
    pass_on(f, "m1");
    world_wait(&f->w, 2 * USEC_S); /* longer than sm.confirm_delay */
    assert_int_equal(pings(f), before);
    assert_int_equal(world_sum(&f->w, METRIC_unconfirmed_stanzas), 0);
}

/* While a ping is under way that covers the rest: the time until the next one begins with what comes later. */
static void test_leaves_no_delay_behind(void **state)
{
    struct fixture *f = *state;
    unsigned before = pings(f);
    say(f, "m1");
    client_send(&f->c, CLIENT_R "<iq type='get' id='q' to='example.org'><query xmlns='jabber:iq:version'/></iq>");
    pass_on(f, "m1");
    client_hears(&f->c, A("2"));
    assert_int_equal(world_sum(&f->w, METRIC_unconfirmed_stanzas), 1);
    server_answer_pings(&f->server);
    world_wait(&f->w, 5 * USEC_S); /* much longer than sm.confirm_delay */
    assert_int_equal(pings(f), before + 1);
    say(f, "m2");
    assert_int_equal(pings(f), before + 1);
    world_wait(&f->w, 2 * USEC_S);
    assert_int_equal(pings(f), before + 2);
}

static void test_rooms_do_not_count(void **state)
{
    struct fixture *f = *state;
    client_send(&f->c, "<message to='room@example.org' type='groupchat' id='g'><body>b</body></message>");
    assert_null(f->s->echo);
}

/* The server may have crashed since. */
static void test_what_was_stored_does_not_count(void **state)
{
    struct fixture *f = *state;
    char *jid = server_jid(f->conn);
    say(f, "m1");
    world_run(&f->w);
    server_printf(server_newest(&f->server),
                  "<message from='%s' to='juliet@example.org/x' type='chat' id='m1'><body>b</body>"
                  "<delay xmlns='urn:xmpp:delay' stamp='2020-01-01T00:00:00Z'/></message>",
                  jid);
    world_run(&f->w);
    client_send(&f->c, CLIENT_R);
    client_hears_nothing(&f->c);
    assert_int_equal(world_sum(&f->w, METRIC_echoes_heard), 0);
    server_answer_pings(&f->server);
    client_hears(&f->c, A("2"));
    free(jid);
}

/* Another session's message is expected in the same place. */
static void test_place_is_taken(void **state)
{
    struct fixture *f = *state;
    get_near(f);
    say(f, "m1");
    client_send(&f->c, CLIENT_R);
    world_run(&f->w);
    for (size_t i = 0; i < ECHO_SLOTS; i++)
        f->s->cx->expected[i].session = NULL;
    pass_on(f, "m1");
    client_hears_nothing(&f->c);
    world_wait(&f->w, 6 * USEC_MS);
    server_answer_pings(&f->server);
    client_hears(&f->c, A("3"));
}

static void test_session_is_gone(void **state)
{
    struct fixture *f = *state;
    get_near(f);
    say(f, "m1");
    char *jid = server_jid(f->conn);
    const struct context *cx = f->s->cx;
    client_send(&f->c, "</stream:stream>");
    world_run(&f->w);
    server_answer_pings(&f->server);
    world_wait(&f->w, 2 * USEC_S);
    f->server.hold_pings = false;
    world_wait(&f->w, 20 * USEC_S);
    for (size_t i = 0; i < ECHO_SLOTS; i++)
        assert_null(cx->expected[i].session);
    server_printf(server_newest(&f->server), "<message from='%s' type='chat' id='m1'><body>b</body></message>", jid);
    world_run(&f->w);
    free(jid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ECHO(test_no_ping),
        ECHO(test_never_heard_before),
        ECHO(test_waits_no_longer_than_is_likely),
        ECHO(test_a_slow_server_is_not_asked_for_what_it_will_show),
        ECHO(test_somebody_elses),
        ECHO(test_the_same_id_again),
        ECHO(test_only_what_is_before_it),
        ECHO(test_others_are_expected_later),
        ECHO(test_without_a_request),
        ECHO(test_leaves_no_delay_behind),
        ECHO(test_rooms_do_not_count),
        ECHO(test_what_was_stored_does_not_count),
        ECHO(test_place_is_taken),
        ECHO(test_session_is_gone),
        APART(test_no_ping),
        APART(test_waits_no_longer_than_is_likely),
        APART(test_somebody_elses),
        APART(test_the_same_id_again),
        APART(test_others_are_expected_later),
        APART(test_without_a_request),
        APART(test_what_was_stored_does_not_count),
        APART(test_place_is_taken),
        APART(test_session_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
