/* Credentials on their way to the server: asked about before, told about after, late and refused ones. */
#include "fixture.h"

#define AUTH(text) "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" text "</auth>"
#define GOOD       AUTH("AHJvbWVvAHNlY3JldA==") /* romeo, secret */
#define BAD        AUTH("AHJvbWVvAHdyb25n")     /* romeo, wrong */
#define LEGACY_AUTH                                                                                                    \
    "<iq type='set' id='a1'><query xmlns='jabber:iq:auth'><username>romeo</username><password>secret</password>"       \
    "<resource>r</resource></query></iq>"
#define REFUSED                                                                                                        \
    "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><temporary-auth-failure/><text xml:lang='en'>Too many"

static void begin(struct fixture *f)
{
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER);
    client_forget_heard(&f->c);
    f->conn = server_newest(&f->server);
    heard_clear(&f->conn->heard);
}

static void assert_ended(struct fixture *f, unsigned succeeded, unsigned failed, unsigned undecided)
{
    world_run(&f->w);
    assert_int_equal(f->w.logins_ended[LOGIN_SUCCEEDED], succeeded);
    assert_int_equal(f->w.logins_ended[LOGIN_FAILED], failed);
    assert_int_equal(f->w.logins_ended[LOGIN_UNDECIDED], undecided);
}

static void test_each_login_is_asked_about_and_told(void **state)
{
    struct fixture *f = *state;
    begin(f);
    client_send(&f->c, BAD);
    client_hears(&f->c, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/>");
    assert_string_equal(f->w.login_account, "example.org\nromeo");
    assert_ended(f, 0, 1, 0);
    client_send(&f->c, GOOD);
    client_hears(&f->c, "<success");
    assert_ended(f, 1, 1, 0);
    assert_int_equal(f->w.logins_tried, 2);
}

/* PLAIN without an initial response: the account is known with the second element. */
static void test_who_it_is_may_be_told_later(void **state)
{
    struct fixture *f = *state;
    begin(f);
    f->conn->wire->delayed = true;
    client_send(&f->c, AUTH(""));
    world_run(&f->w);
    assert_int_equal(f->w.logins_tried, 0);
    f->conn->wire->delayed = false;
    client_forget_heard(&f->c);
    f->w.login_refused = true;
    client_send(&f->c, "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AHJvbWVvAHNlY3JldA==</response>");
    client_hears(&f->c, REFUSED);
    assert_string_equal(f->w.login_account, "");
    assert_int_equal(f->w.logins_tried, 1);
}

static void test_an_account_that_cannot_be_told_has_no_name(void **state)
{
    struct fixture *f = *state;
    begin(f);
    client_send(&f->c, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X-SCRIPTED'>eHl6</auth>");
    world_run(&f->w);
    assert_int_equal(f->w.logins_tried, 1);
    assert_string_equal(f->w.login_account, "");
}

static void test_a_refused_login_does_not_reach_the_server(void **state)
{
    struct fixture *f = *state;
    begin(f);
    f->w.login_refused = true;
    client_send(&f->c, GOOD);
    client_hears(&f->c, REFUSED);
    client_hears(&f->c, "END");
    assert_true(f->c.closed && f->c.in_order);
    assert_int_equal(server_count(&f->server), 0);
    assert_ended(f, 0, 0, 0);
    assert_int_equal(world_sum(&f->w, METRIC_logins_refused), 1);
    assert_int_equal(WORLD_SUM(&f->w, METRIC_logins_success, METRIC_logins_failure), 0);
    assert_int_equal(world_sum(&f->w, METRIC_close_client_limit), 1);
}

static void test_a_refused_legacy_login_does_not_reach_the_server(void **state)
{
    struct fixture *f = *state;
    begin(f);
    f->w.login_refused = true;
    client_send(&f->c, LEGACY_AUTH);
    client_hears(&f->c, "<iq type='error' id='a1'><error code='500' type='wait'><resource-constraint");
    client_hears(&f->c, "END");
    assert_string_equal(f->w.login_account, "example.org\nromeo");
    assert_int_equal(server_count(&f->server), 0);
}

static void test_a_legacy_login_is_told(void **state)
{
    struct fixture *f = *state;
    begin(f);
    client_send(&f->c, LEGACY_AUTH);
    client_hears(&f->c, "<iq type='result' id='a1'/>");
    assert_ended(f, 1, 0, 0);
}

static void test_a_late_login_reaches_the_server_late_and_whole(void **state)
{
    struct fixture *f = *state;
    begin(f);
    f->w.login_late = 4 * USEC_S;
    client_send(&f->c, GOOD CLIENT_HEADER);
    client_hears_nothing(&f->c);
    world_wait(&f->w, 4 * USEC_S - 1);
    client_hears_nothing(&f->c);
    world_wait(&f->w, 1);
    client_hears(&f->c, "<success");
    assert_ended(f, 1, 0, 0);
    client_hears(&f->c, "HEADER");
}

static void test_a_late_legacy_login_reaches_the_server_late(void **state)
{
    struct fixture *f = *state;
    begin(f);
    f->w.login_late = 4 * USEC_S;
    client_send(&f->c, LEGACY_AUTH);
    client_hears_nothing(&f->c);
    world_wait(&f->w, 4 * USEC_S);
    client_hears(&f->c, "<iq type='result' id='a1'/>");
}

/* Whoever leaves before the answer may have learned from its absence. */
static void test_who_leaves_before_the_answer_has_failed(void **state)
{
    struct fixture *f = *state;
    begin(f);
    f->conn->wire->delayed = true;
    client_send(&f->c, BAD);
    world_run(&f->w);
    client_cut(&f->c);
    assert_ended(f, 0, 1, 0);
}

static void test_who_leaves_before_a_late_login_has_tried_nothing(void **state)
{
    struct fixture *f = *state;
    begin(f);
    f->w.login_late = 4 * USEC_S;
    client_send(&f->c, BAD);
    world_run(&f->w);
    client_cut(&f->c);
    assert_ended(f, 0, 0, 1);
    world_wait(&f->w, 5 * USEC_S);
}

static void test_a_server_that_dies_holds_nothing_against_the_client(void **state)
{
    struct fixture *f = *state;
    begin(f);
    f->conn->wire->delayed = true;
    client_send(&f->c, GOOD);
    world_run(&f->w);
    server_cut(f->conn);
    assert_ended(f, 0, 0, 1);
    client_forget_heard(&f->c);
    begin(f);
    f->w.login_late = 4 * USEC_S;
    client_send(&f->c, GOOD);
    world_run(&f->w);
    server_cut(f->conn);
    assert_ended(f, 0, 0, 2);
    world_wait(&f->w, 5 * USEC_S);
}

/* A server that answers what it was not asked yet. */
static void test_an_answer_ends_what_was_late(void **state)
{
    struct fixture *f = *state;
    begin(f);
    f->w.login_late = 4 * USEC_S;
    client_send(&f->c, GOOD);
    world_run(&f->w);
    server_printf(f->conn, "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    stream_restart(f->conn->stream);
    client_hears(&f->c, "<success");
    client_send(&f->c, CLIENT_HEADER);
    client_forget_heard(&f->c);
    f->conn->account = mem_strdup("romeo@example.org");
    client_send(&f->c, CLIENT_BIND);
    client_hears(&f->c, "<iq type='result' id='bind'>");
    world_wait(&f->w, 5 * USEC_S);
    heard_nothing(&f->conn->heard, "the server");
}

static void test_what_is_not_about_the_credentials_is_no_failure(void **state)
{
    struct fixture *f = *state;
    static const char *const condition[] = {"temporary-auth-failure", "aborted", "mechanism-too-weak"};
    for (size_t i = 0; i < sizeof condition / sizeof *condition; i++) {
        begin(f);
        client_send(&f->c, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X-SCRIPTED'>eHl6</auth>");
        client_forget_heard(&f->c);
        server_printf(f->conn, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><%s/></failure>", condition[i]);
        client_hears(&f->c, "<failure");
        assert_ended(f, 0, 0, (unsigned)i + 1);
        client_cut(&f->c);
        world_run(&f->w);
    }
}

/* An authenticated client asks for one session after the other. */
static void test_resumptions_are_not_tried_without_end(void **state)
{
    struct fixture *f = *state;
    client_login(&f->c, 0, "romeo");
    for (int i = 0; i < 10; i++) {
        client_send(&f->c, "<resume xmlns='urn:xmpp:sm:3' previd='nothing' h='0'/>");
        client_hears(&f->c, "<failed xmlns='urn:xmpp:sm:3'><item-not-found");
    }
    client_send(&f->c, "<resume xmlns='urn:xmpp:sm:3' previd='nothing' h='0'/>");
    client_hears(&f->c, "<stream:error><policy-violation");
    client_hears(&f->c, "END");
}

#define LOGIN_TEST(name) cmocka_unit_test_setup_teardown(name, setup_world, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOGIN_TEST(test_each_login_is_asked_about_and_told),
        LOGIN_TEST(test_who_it_is_may_be_told_later),
        LOGIN_TEST(test_an_account_that_cannot_be_told_has_no_name),
        LOGIN_TEST(test_a_refused_login_does_not_reach_the_server),
        LOGIN_TEST(test_a_refused_legacy_login_does_not_reach_the_server),
        LOGIN_TEST(test_a_legacy_login_is_told),
        LOGIN_TEST(test_a_late_login_reaches_the_server_late_and_whole),
        LOGIN_TEST(test_a_late_legacy_login_reaches_the_server_late),
        LOGIN_TEST(test_who_leaves_before_the_answer_has_failed),
        LOGIN_TEST(test_who_leaves_before_a_late_login_has_tried_nothing),
        LOGIN_TEST(test_a_server_that_dies_holds_nothing_against_the_client),
        LOGIN_TEST(test_an_answer_ends_what_was_late),
        LOGIN_TEST(test_what_is_not_about_the_credentials_is_no_failure),
        LOGIN_TEST(test_resumptions_are_not_tried_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
