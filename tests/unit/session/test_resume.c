/* Resumption: on the same worker and from another one, over a leg that seems alive, refused without harm, and too late.
 */
#include "fixture.h"

#define NOT_FOUND "><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"

static void lose_client(struct fixture *f)
{
    client_cut(&f->c);
    world_run(&f->w);
    heard_clear(&f->c.heard);
}

static void expect_resumed(struct client *c, uint32_t h)
{
    char wanted[200];
    snprintf(wanted, sizeof wanted, "<resumed xmlns='urn:xmpp:sm:3' previd='%s' h='%u'/>", c->previd, (unsigned)h);
    client_expect(c, wanted);
}

static void test_nothing_is_noticed(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    down(f, 2);
    up(f, 1);
    client_forget_heard(&f->c);
    expect_up(f, 1);
    lose_client(f);
    down(f, 3);
    world_run(&f->w);
    unsigned opened = f->server.opened;
    client_resume(&f->c, 0, "romeo", 1);
    expect_resumed(&f->c, 2);
    expect_down(&f->c, 2);
    expect_down(&f->c, 3);
    server_hears_nothing(f);
    assert_ptr_equal(client_session(&f->c), f->s);
    assert_int_equal(f->server.opened, opened + 1);
    assert_int_equal(server_count(&f->server), 1); /* the fresh upstream leg is of no more use */
    assert_int_equal(world_sum(&f->w, METRIC_resumes_local), 1);
    assert_int_equal(world_sum(&f->w, METRIC_stanzas_replayed), 1);
    up(f, 2);
    world_run(&f->w);
    expect_up(f, 2);
}

static void test_from_another_worker(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    lose_client(f);
    client_login(&f->c, 1, "romeo");
    assert_int_equal(world_sum(&f->w, METRIC_connections_tcp), 1);
    client_printf(&f->c, "<resume xmlns='urn:xmpp:sm:3' previd='%s' h='0'/><message id='behind'/>", f->c.previd);
    world_run(&f->w);
    assert_int_equal(f->w.moves, 1);
    expect_resumed(&f->c, 1);
    expect_down(&f->c, 1);
    server_hears(f, "<message id='behind'/>"); /* pipelined, and came along */
    assert_ptr_equal(f->c.wire->cx, &f->w.worker[0]);
    assert_true(list_is_empty(&f->w.worker[1].clients));
    assert_int_equal(world_sum(&f->w, METRIC_resumes_moved), 1);
    assert_int_equal(world_sum(&f->w, METRIC_connections_tcp), 1);
}

/* The leg breaks on its way to the other worker. */
static void test_lost_while_moving(void **state)
{
    struct fixture *f = *state;
    lose_client(f);
    client_login(&f->c, 1, "romeo");
    client_printf(&f->c, "<resume xmlns='urn:xmpp:sm:3' previd='%s' h='0'/>", f->c.previd);
    world_turn(&f->w, &f->w.worker[1]);
    assert_int_equal(f->w.moves, 1);
    client_cut(&f->c);
    server_cut(server_newest(&f->server)); /* its fresh upstream leg, too */
    world_run(&f->w);
    assert_int_equal(f->s->state, SESSION_DETACHED);
    assert_null(f->s->resuming);
    heard_clear(&f->c.heard);
    client_resume(&f->c, 1, "romeo", 0);
    expect_resumed(&f->c, 1);
}

/* The session ends while the leg is under way to it: its last h is told. */
static void test_session_ends_while_moving(void **state)
{
    struct fixture *f = *state;
    lose_client(f);
    client_login(&f->c, 1, "romeo");
    client_printf(&f->c, "<resume xmlns='urn:xmpp:sm:3' previd='%s' h='0'/>" CLIENT_BIND, f->c.previd);
    world_turn(&f->w, &f->w.worker[1]);
    session_end(f->s, CLOSE_ADMIN, GOODBYE_CUT);
    client_hears(&f->c, "<failed xmlns='urn:xmpp:sm:3' h='1'" NOT_FOUND);
    client_hears(&f->c, "<iq type='result' id='bind'>");
}

static void test_ten_in_a_row(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 10; i++) {
        down(f, i + 1);
        world_run(&f->w);
        lose_client(f);
        client_resume(&f->c, (int)(i % 2), "romeo", i);
        expect_resumed(&f->c, 1);
        expect_down(&f->c, i + 1);
    }
    assert_true(f->s->resumes == 10);
    assert_int_equal(server_count(&f->server), 1);
}

/* The old leg still seems alive: it gets a conflict, what was read from it counts, and its late words are nothing. */
static void test_old_leg_alive(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    up(f, 1);
    world_run(&f->w);
    strcpy(f->other.previd, f->c.previd);
    client_resume(&f->other, 1, "romeo", 0);
    heard_nothing(&f->other.heard, "the other"); /* h waits for the barrier */
    client_hears(&f->c, "<stream:error><conflict");
    client_expect(&f->c, "END");
    client_send(&f->c, "<message id='late'/></stream:stream>");
    server_answer_pings(&f->server);
    world_run(&f->w);
    expect_resumed(&f->other, 2);
    expect_up(f, 1);
    server_hears_nothing(f);
    assert_int_equal(f->s->state, SESSION_ATTACHED);
    assert_int_equal(world_sum(&f->w, METRIC_close_client_replaced), 1);
}

/* Two want the same session at once: the later one gets it. */
static void test_two_at_once(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    up(f, 1);
    world_run(&f->w);
    lose_client(f);
    client_resume(&f->c, 0, "romeo", 0);
    strcpy(f->other.previd, f->c.previd);
    client_resume(&f->other, 1, "romeo", 0);
    client_hears(&f->c, "<stream:error><conflict");
    server_answer_pings(&f->server);
    world_run(&f->w);
    expect_resumed(&f->other, 2);
}

/* Who asks goes away again while h is awaited. */
static void test_cancelled(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    up(f, 1);
    world_run(&f->w);
    lose_client(f);
    client_resume(&f->c, 0, "romeo", 0);
    assert_non_null(f->s->resuming);
    lose_client(f);
    assert_null(f->s->resuming);
    assert_int_equal(f->s->state, SESSION_DETACHED);
    server_answer_pings(&f->server);
    f->server.hold_pings = false;
    world_run(&f->w);
    client_resume(&f->c, 0, "romeo", 0);
    expect_resumed(&f->c, 2);
}

/* The server stays silent: the session cannot tell h, and ends; the last safe one is told. */
static void test_server_silent_while_resuming(void **state)
{
    struct fixture *f = *state;
    f->server.silent = true;
    up(f, 1);
    world_run(&f->w);
    lose_client(f);
    client_resume(&f->c, 0, "romeo", 0);
    world_run(&f->w);
    f->server.silent = false; /* towards others; what it did not answer it never will */
    world_wait(&f->w, 31 * USEC_S);
    expect_resumed(&f->c, 2);
    assert_int_equal(world_sum(&f->w, METRIC_resumes_rebuilt), 1);
}

/* The first answer is taken for "caught up": it comes behind the replay. */
static void test_answer_behind_the_replay(void **state)
{
    struct fixture *f = *state;
    f->c.wire->stuck = true;
    for (unsigned i = 1; i <= 2000; i++)
        down(f, i);
    world_run(&f->w);
    lose_client(f);
    client_login(&f->c, 0, "romeo");
    f->c.wire->window = 1000;
    f->c.wire->stuck = true;
    client_printf(&f->c, "<resume xmlns='urn:xmpp:sm:3' previd='%s' h='0'/>" CLIENT_R, f->c.previd);
    world_run(&f->w);
    f->c.wire->stuck = false;
    world_run(&f->w);
    expect_resumed(&f->c, 1);
    bool answered = false;
    unsigned messages = 0;
    for (struct list *it; (it = list_first(&f->c.heard));) {
        char *text = heard_take(&f->c.heard, "the client", "<");
        messages += strncmp(text, "<message", 8) == 0;
        if (strncmp(text, "<a ", 3) == 0) {
            assert_true(messages >= f->s->client->sm.replay_upto);
            answered = true;
        }
        free(text);
    }
    assert_true(answered);
    assert_int_equal(messages, 2000);
}

/* ---- refused ---- */

static void assert_unchanged(struct fixture *f, const struct session *before)
{
    assert_ptr_equal(client_session(&f->c), f->s);
    assert_int_equal(f->s->state, before->state);
    assert_true(f->s->out.acked == before->out.acked && f->s->out.queue.count == before->out.queue.count);
    assert_true(f->s->in.safe == before->in.safe && f->s->in.received == before->in.received);
    assert_ptr_equal(f->s->client, before->client);
    assert_null(f->s->resuming);
}

static void refused_for(struct fixture *f, const char *user, uint32_t h)
{
    struct session before = *f->s;
    strcpy(f->other.previd, f->c.previd);
    client_resume(&f->other, 1, user, h);
    client_expect(&f->other, "<failed xmlns='urn:xmpp:sm:3'" NOT_FOUND);
    assert_unchanged(f, &before);
    client_send(&f->other, CLIENT_BIND CLIENT_ENABLE);
    client_hears(&f->other, "<iq type='result' id='bind'>");
    client_expect(&f->other, "<enabled ");
    client_send(&f->other, "</stream:stream>");
    world_run(&f->w);
    heard_clear(&f->other.heard);
    assert_unchanged(f, &before);
}

static void test_refused(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    client_forget_heard(&f->c);
    refused_for(f, "juliet", 0); /* as an unknown previd */
    refused_for(f, "romeo", 2);  /* more than was written */
    refused_for(f, "romeo", UINT32_MAX);
    client_cut(&f->c);
    world_run(&f->w);
    refused_for(f, "juliet", 0);
    refused_for(f, "romeo", 2);
    assert_int_equal(world_sum(&f->w, METRIC_resumes_refused), 5);
    heard_clear(&f->c.heard);
    client_resume(&f->c, 0, "romeo", 1);
    expect_resumed(&f->c, 1);
}

/* A session without resumption has no name to ask for, and ends with its client. */
static void test_not_resumable(void **state)
{
    struct fixture *f = *state;
    client_login(&f->other, 0, "romeo");
    client_send(&f->other, CLIENT_BIND "<enable xmlns='urn:xmpp:sm:3'/>");
    client_forget_heard(&f->other);
    assert_string_equal(f->other.previd, ""); /* no id was told */
    assert_int_equal(world_sum(&f->w, METRIC_sessions_attached), 2);
    client_cut(&f->other);
    world_run(&f->w);
    assert_int_equal(world_sum(&f->w, METRIC_sessions_attached), 1);
    assert_int_equal(world_sum(&f->w, METRIC_session_end_client_gone), 1);
}

/* ---- too late ---- */

static void test_tombstones(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 4; i++)
        up(f, i);
    world_run(&f->w);
    lose_client(f);
    world_wait(&f->w, 601 * USEC_S);
    assert_null(client_session(&f->c));
    strcpy(f->other.previd, f->c.previd);
    client_resume(&f->other, 1, "juliet", 0);
    client_expect(&f->other, "<failed xmlns='urn:xmpp:sm:3'" NOT_FOUND); /* nobody else learns anything */
    client_resume(&f->c, 0, "romeo", 0);
    client_expect(&f->c, "<failed xmlns='urn:xmpp:sm:3' h='5'" NOT_FOUND);
    assert_int_equal(world_sum(&f->w, METRIC_resumes_expired), 1);
    assert_int_equal(world_sum(&f->w, METRIC_resumes_unknown), 1);
    client_send(&f->c, CLIENT_BIND CLIENT_ENABLE);
    client_hears(&f->c, "<iq type='result' id='bind'>");
    client_expect(&f->c, "<enabled ");
}

static void test_after_the_server_died(void **state)
{
    struct fixture *f = *state;
    f->server.silent = true;
    up(f, 1);
    world_run(&f->w);
    server_die(&f->server);
    world_run(&f->w);
    assert_false(f->c.closed);
    world_wait(&f->w, USEC_S); /* whether the server is there again is looked at first */
    assert_true(f->c.closed && !f->c.ended);
    heard_clear(&f->c.heard);
    f->server.silent = false;
    client_resume(&f->c, 1, "romeo", 0);
    expect_resumed(&f->c, 2);
    assert_int_equal(world_sum(&f->w, METRIC_resumes_rebuilt), 1);
}

/* ---- who it is, only the server can tell ---- */

/* PLAIN with an authzid: romeo, perhaps as somebody else. */
static void login_with_authzid(struct client *c, int worker)
{
    client_connect(c, worker);
    client_send(c, CLIENT_HEADER "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' "
                                 "mechanism='PLAIN'>cm9tZW9AZXhhbXBsZS5vcmcAcm9tZW8Ac2VjcmV0</auth>" CLIENT_HEADER);
    client_forget_heard(c);
}

static void test_proved_by_bind(void **state)
{
    struct fixture *f = *state;
    lose_client(f);
    login_with_authzid(&f->c, 1);
    client_printf(&f->c, "<resume xmlns='urn:xmpp:sm:3' previd='%s' h='0'/>", f->c.previd);
    world_run(&f->w);
    expect_resumed(&f->c, 1);
    assert_int_equal(f->server.resources, 2); /* a throw-away one */
    assert_int_equal(server_count(&f->server), 1);
}

/* It fails: the client's own bind is answered with the resource that was bound. */
static void test_bound_once(void **state)
{
    struct fixture *f = *state;
    login_with_authzid(&f->other, 1);
    client_send(&f->other, "<resume xmlns='urn:xmpp:sm:3' previd='unknown' h='0'/>");
    client_hears(&f->other, "<failed xmlns='urn:xmpp:sm:3'" NOT_FOUND);
    client_send(&f->other, "<resume xmlns='urn:xmpp:sm:3' previd='unknown' h='0'/>"); /* not proved twice */
    client_hears(&f->other, "<failed xmlns='urn:xmpp:sm:3'" NOT_FOUND);
    client_send(&f->other, CLIENT_BIND CLIENT_ENABLE);
    client_hears(&f->other, "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>"
                            "romeo@example.org/r2</jid></bind></iq>");
    client_expect(&f->other, "<enabled ");
    assert_int_equal(f->server.resources, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_noticed),
        TEST(test_from_another_worker),
        TEST(test_lost_while_moving),
        TEST(test_session_ends_while_moving),
        TEST(test_ten_in_a_row),
        TEST(test_old_leg_alive),
        TEST(test_two_at_once),
        TEST(test_cancelled),
        TEST(test_server_silent_while_resuming),
        TEST(test_answer_behind_the_replay),
        TEST(test_refused),
        TEST(test_not_resumable),
        TEST(test_tombstones),
        TEST(test_after_the_server_died),
        TEST(test_proved_by_bind),
        TEST(test_bound_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
