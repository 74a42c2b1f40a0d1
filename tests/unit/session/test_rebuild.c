/* A session outlives its upstream leg: stranded, rebuilt on the next login of its client, in order, and each step of it
 * may break. */
#include "rebuild.h"

#define RESUME_FAILED "<failed xmlns='urn:xmpp:sm:3'"

static void resume_only(struct fixture *f, struct client *c)
{
    client_printf(c, "<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%" PRIu32 "'/>", f->c.previd, f->c.h);
}

/* Up to the point where the server has been asked to bind the resource, and has not answered. */
static void begin_rebuild(struct fixture *f, struct client *c)
{
    client_login(c, 0, "romeo");
    f->server.hold_binds = true;
    resume_only(f, c);
    world_run(&f->w);
    assert_true(rebuild_is_binding(f->s));
}

static void end_binds(struct fixture *f)
{
    f->server.hold_binds = false;
    server_answer_binds(&f->server);
    world_run(&f->w);
}

/* ---- stranded ---- */

static void test_same_session(void **state)
{
    struct fixture *f = *state;
    char jid[128];
    strcpy(jid, f->c.jid);
    up(f, 1);
    down(f, 1);
    world_wait(&f->w, 2 * USEC_S);
    server_restarts(f);
    assert_int_equal(sum(f, METRIC_sessions_stranded), 1);
    assert_int_equal(sum(f, METRIC_sessions_detached), 1);
    come_back(f, 2);
    assert_string_equal(f->conn->resource, strchr(jid, '/') + 1);
    heard_expect(&f->conn->heard, "the server", "<presence/>");
    server_hears_nothing(f); /* the message was confirmed */
    client_hears_nothing(&f->c);
    assert_int_equal(sum(f, METRIC_resumes_rebuilt), 1);
    assert_int_equal(server_count(&f->server), 1);
    down(f, 2);
    world_run(&f->w);
    expect_down(&f->c, 2);
}

/* What was not confirmed goes out again, in order, and is counted when this server has confirmed it. */
static void test_unconfirmed_again(void **state)
{
    struct fixture *f = *state;
    server_hangs(f);
    for (unsigned i = 1; i <= 3; i++)
        up(f, i);
    client_send(&f->c, CLIENT_R);
    world_run(&f->w);
    client_forget_heard(&f->c);
    assert_int_equal(f->s->in.safe, 1);
    hung_server_restarts(f);
    f->server.hold_pings = true;
    client_resume(&f->c, 0, "romeo", f->c.h);
    heard_nothing(&f->c.heard, "the client"); /* not before it is confirmed */
    f->conn = server_newest(&f->server);
    heard_expect(&f->conn->heard, "the server", "<iq type='set' id='hfs-");
    heard_expect(&f->conn->heard, "the server", "<presence/>");
    for (unsigned i = 1; i <= 3; i++)
        expect_up(f, i);
    server_hears_nothing(f);
    f->server.hold_pings = false;
    server_answer_pings(&f->server);
    world_run(&f->w);
    expect_resumed(&f->c, 4);
    assert_int_equal(sum(f, METRIC_stanzas_repeated), 3);
    up(f, 4);
    server_hears(f, "<message to='juliet@example.org' type='chat' id='u4'>");
}

/* What the client sends while there is no server waits, is not acked, and goes out with the rest. */
static void test_said_while_stranded(void **state)
{
    struct fixture *f = *state;
    server_die(&f->server);
    world_run(&f->w);
    assert_true(rebuild_is_stranded(f->s) && f->s->state == SESSION_ATTACHED);
    up(f, 1);
    client_send(&f->c, CLIENT_R);
    world_run(&f->w);
    heard_nothing(&f->c.heard, "the client");
    world_wait(&f->w, USEC_S);
    client_forget_heard(&f->c);
    come_back(f, 2);
    heard_expect(&f->conn->heard, "the server", "<presence/>");
    expect_up(f, 1);
}

static void test_unacked_is_kept(void **state)
{
    struct fixture *f = *state;
    client_cut(&f->c);
    world_run(&f->w);
    for (unsigned i = 1; i <= 3; i++)
        down(f, i);
    world_run(&f->w);
    f->c.closed = true;
    server_restarts(f);
    assert_int_equal(sum(f, METRIC_unacked_stanzas), 3);
    come_back(f, 1);
    for (unsigned i = 1; i <= 3; i++)
        expect_down(&f->c, i);
    client_hears_nothing(&f->c);
}

static void test_stranded_expires(void **state)
{
    struct fixture *f = *state;
    server_hangs(f);
    up(f, 1);
    hung_server_restarts(f);
    world_wait(&f->w, 605 * USEC_S);
    assert_null(client_session(&f->c));
    assert_int_equal(sum(f, METRIC_session_end_expired), 1);
    client_resume(&f->c, 0, "romeo", f->c.h);
    client_expect(&f->c, RESUME_FAILED " h='1'>"); /* the message was never confirmed */
}

/* Clean end tag, error that names the server, silence: all the same to the client. */
static void test_ways_to_go(void **state)
{
    static const char *const last[] = {
        "</stream:stream>",
        "<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
        "<message", /* in the middle of a stanza */
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
        server_send(f->conn, last[i]);
        wire_end(f->conn->wire);
        server_restarts(f);
        come_back(f, 1);
        client_forget_heard(&f->c);
    }
    server_hangs(f);
    up(f, 1);
    world_wait(&f->w, 40 * USEC_S); /* sm.confirm_timeout */
    assert_int_equal(sum(f, METRIC_barriers_timeout), 1);
    f->server.silent = false;
    assert_true(f->c.closed && !f->c.ended);
    client_forget_heard(&f->c);
    come_back(f, 2);
}

/* A verdict on this client is final. */
static void test_kick_is_final(void **state)
{
    struct fixture *f = *state;
    server_send(f->conn, "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
    client_hears(&f->c, "<stream:error><not-authorized");
    client_expect(&f->c, "END");
    assert_null(client_session(&f->c));
    assert_int_equal(sum(f, METRIC_sessions_stranded), 0);
}

/* While the server is down clients are held, for there is nothing to come back to; but not for ever. */
static void test_held_while_down(void **state)
{
    struct fixture *f = *state;
    f->w.refuse_dial = true;
    server_die(&f->server);
    world_wait(&f->w, 59 * USEC_S);
    assert_false(f->c.closed);
    world_wait(&f->w, 2 * USEC_S);
    assert_true(f->c.closed && !f->c.ended);
    client_connect(&f->c, 0);
    client_send(&f->c, CLIENT_HEADER);
    world_wait(&f->w, 10 * USEC_S);
    assert_true(f->c.closed);
    f->w.refuse_dial = false;
    client_forget_heard(&f->c);
    come_back(f, 1);
}

static void test_let_go_when_back(void **state)
{
    struct fixture *f = *state;
    f->w.refuse_dial = true;
    server_die(&f->server);
    world_wait(&f->w, 20 * USEC_S);
    assert_false(f->c.closed);
    f->w.refuse_dial = false;
    f->w.upstream.down = false;
    world_wait(&f->w, USEC_S);
    assert_true(f->c.closed);
}

/* Those that cannot come back end with the server. */
static void test_cannot_strand(void **state)
{
    struct fixture *f = *state;
    client_login(&f->other, 1, "juliet");
    client_send(&f->other, CLIENT_BIND "<enable xmlns='urn:xmpp:sm:3'/>" CLIENT_PRESENCE);
    client_forget_heard(&f->other);
    server_die(&f->server);
    world_run(&f->w);
    assert_true(f->other.closed && !f->other.ended);
    assert_int_equal(sum(f, METRIC_sessions_stranded), 1);
    assert_int_equal(sum(f, METRIC_session_end_upstream_lost), 1);
    heard_clear(&f->other.heard);
    client_login(&f->other, 1, "juliet"); /* without stream management it gets an end tag */
    client_send(&f->other, CLIENT_BIND);
    client_forget_heard(&f->other);
    server_die(&f->server);
    client_hears(&f->other, "END");
}

/* The client says goodbye to a session that has no server: what was not confirmed is the client's. */
static void test_goodbye_while_stranded(void **state)
{
    struct fixture *f = *state;
    server_die(&f->server);
    world_run(&f->w);
    up(f, 1);
    client_send(&f->c, "</stream:stream>");
    client_hears(&f->c, "END");
    assert_null(client_session(&f->c));
    assert_int_equal(sum(f, METRIC_up_returned), 1);
}

/* The goodbye was held back, and is parsed when the leg is lost. */
static void test_goodbye_held_back(void **state)
{
    struct fixture *f = *state;
    leg_stop(&f->s->client->leg, STOP_SLOW);
    leg_input(&f->s->client->leg, "</stream:stream>", 16);
    server_die(&f->server);
    client_hears(&f->c, "END");
    assert_null(client_session(&f->c));
}

static void test_again_and_again(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 5; i++) {
        server_hangs(f);
        up(f, i);
        hung_server_restarts(f);
        come_back(f, i + 1);
        heard_expect(&f->conn->heard, "the server", "<presence/>");
        expect_up(f, i);
    }
    assert_int_equal(sum(f, METRIC_resumes_rebuilt), 5);
}

/* ---- each step breaks ---- */

/* The client goes away while the resource is bound: the session has its server again, and waits. */
static void test_client_lost_mid_rebuild(void **state)
{
    struct fixture *f = *state;
    server_restarts(f);
    begin_rebuild(f, &f->c);
    client_cut(&f->c);
    world_run(&f->w);
    assert_null(f->s->resuming);
    end_binds(f);
    assert_non_null(f->s->up);
    assert_int_equal(f->s->state, SESSION_DETACHED);
    f->conn = server_newest(&f->server);
    down(f, 1);
    world_run(&f->w);
    client_resume(&f->c, 1, "romeo", f->c.h);
    expect_resumed(&f->c, 1);
    expect_down(&f->c, 1);
    assert_int_equal(server_count(&f->server), 1);
}

/* … and with sm.detached_presence = away it is shown as away. */
static void test_client_lost_mid_rebuild_away(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.detached_presence = PRESENCE_AWAY;
    server_restarts(f);
    begin_rebuild(f, &f->c);
    client_cut(&f->c);
    world_run(&f->w);
    end_binds(f);
    f->conn = server_newest(&f->server);
    heard_expect(&f->conn->heard, "the server", "<iq type='set' id='hfs-");
    heard_expect(&f->conn->heard, "the server", "<presence/>");
    heard_expect(&f->conn->heard, "the server", "<presence><show>away</show></presence>");
    client_resume(&f->c, 0, "romeo", f->c.h);
    expect_resumed(&f->c, 1);
    server_hears(f, "<presence/>");
    server_hears_nothing(f);
}

/* Away when the server died: the fresh leg is told the client's own presence, once. */
static void test_away_is_forgotten(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.detached_presence = PRESENCE_AWAY;
    client_cut(&f->c);
    f->c.closed = true;
    server_hears(f, "<presence><show>away</show></presence>");
    server_restarts(f);
    come_back(f, 1);
    heard_expect(&f->conn->heard, "the server", "<presence/>");
    server_hears_nothing(f);
}

/* A second client asks while the resource is bound: it gets the session on that leg. */
static void test_second_resume_mid_rebuild(void **state)
{
    struct fixture *f = *state;
    server_restarts(f);
    begin_rebuild(f, &f->c);
    client_login(&f->other, 1, "romeo");
    strcpy(f->other.previd, f->c.previd);
    resume_only(f, &f->other);
    client_hears(&f->c, "<stream:error><conflict");
    end_binds(f);
    expect_resumed(&f->other, 1);
    assert_int_equal(server_count(&f->server), 1); /* the other's own fresh leg is of no use */
}

/* … and the server does not give the resource: the client that waits is left with its own leg. */
static void test_second_resume_then_refused(void **state)
{
    struct fixture *f = *state;
    server_restarts(f);
    begin_rebuild(f, &f->c);
    client_login(&f->other, 1, "romeo");
    resume_only(f, &f->other);
    world_run(&f->w);
    f->server.refuse_bind = true;
    end_binds(f);
    f->server.refuse_bind = false;
    client_hears(&f->other, RESUME_FAILED " h='1'>");
    client_send(&f->other, CLIENT_BIND CLIENT_ENABLE);
    client_hears(&f->other, "<iq type='result' id='bind'>");
    client_expect(&f->other, "<enabled ");
    assert_int_equal(server_count(&f->server), 1);
}

/* … and the leg of the first breaks: the second one's serves. */
static void test_second_resume_then_broken(void **state)
{
    struct fixture *f = *state;
    server_restarts(f);
    begin_rebuild(f, &f->c);
    struct server_conn *first = server_newest(&f->server);
    client_login(&f->other, 1, "romeo");
    strcpy(f->other.previd, f->c.previd);
    resume_only(f, &f->other);
    world_run(&f->w);
    server_cut(first);
    world_run(&f->w);
    end_binds(f);
    expect_resumed(&f->other, 1);
}

static void test_fresh_leg_breaks(void **state)
{
    struct fixture *f = *state;
    for (int way = 0; way < 3; way++) {
        server_restarts(f);
        begin_rebuild(f, &f->c);
        struct server_conn *fresh = server_newest(&f->server);
        if (way == 0)
            server_cut(fresh);
        else if (way == 1)
            server_send(fresh, "</stream:stream>");
        else
            world_wait(&f->w, 31 * USEC_S); /* the bind is never answered */
        world_run(&f->w);
        assert_true(f->c.closed && !f->c.ended);
        assert_true(is_stranded(f->s));
        f->server.hold_binds = false;
        client_forget_heard(&f->c);
        come_back(f, 1);
    }
}

/* The fresh leg breaks when all was said on it and nothing confirmed: all of it is said again. */
static void test_breaks_before_confirmed(void **state)
{
    struct fixture *f = *state;
    server_hangs(f);
    up(f, 1);
    world_run(&f->w);
    server_restarts(f);
    client_resume(&f->c, 0, "romeo", f->c.h); /* still silent */
    heard_nothing(&f->c.heard, "the client");
    assert_non_null(f->s->resuming);
    f->server.silent = false;
    server_restarts(f);
    come_back(f, 2);
    heard_expect(&f->conn->heard, "the server", "<presence/>");
    expect_up(f, 1);
    assert_int_equal(sum(f, METRIC_sessions_stranded), 2);
}

static void test_resource_refused(void **state)
{
    struct fixture *f = *state;
    down(f, 1);
    server_restarts(f);
    f->server.refuse_bind = true;
    client_resume(&f->c, 1, "romeo", 0);
    client_expect(&f->c, RESUME_FAILED " h='1'>");
    f->server.refuse_bind = false;
    client_send(&f->c, CLIENT_BIND CLIENT_ENABLE);
    client_hears(&f->c, "<iq type='result' id='bind'>");
    client_expect(&f->c, "<enabled ");
    assert_int_equal(sum(f, METRIC_session_end_resource_taken), 1);
    assert_int_equal(sum(f, METRIC_down_mailbox), 1);
}

/* The server gives another resource: the client's own bind is answered with that one. */
static void test_other_resource(void **state)
{
    struct fixture *f = *state;
    server_restarts(f);
    f->server.ignore_resource = true;
    client_resume(&f->c, 1, "romeo", f->c.h);
    client_expect(&f->c, RESUME_FAILED " h='1'>");
    client_send(&f->c, CLIENT_BIND);
    client_hears(&f->c, "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>"
                        "romeo@example.org/r2</jid></bind></iq>");
    assert_int_equal(f->server.resources, 2);
    assert_int_equal(sum(f, METRIC_session_end_resource_taken), 1);
}

/* ---- logins that only a bind can prove ---- */

/* PLAIN with an authzid: romeo, perhaps as somebody else. */
static void login_with_authzid(struct client *c, int worker)
{
    client_connect(c, worker);
    client_send(c, CLIENT_HEADER "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' "
                                 "mechanism='PLAIN'>cm9tZW9AZXhhbXBsZS5vcmcAcm9tZW8Ac2VjcmV0</auth>" CLIENT_HEADER);
    client_forget_heard(c);
}

/* The bind that proves the account is the one that the session needs. */
static void test_proved_with_the_resource(void **state)
{
    struct fixture *f = *state;
    server_restarts(f);
    login_with_authzid(&f->c, 1);
    resume_only(f, &f->c);
    world_run(&f->w);
    expect_resumed(&f->c, 1);
    assert_int_equal(f->server.resources, 1);
    assert_int_equal(sum(f, METRIC_resumes_rebuilt), 1);
    f->conn = server_newest(&f->server);
    heard_expect(&f->conn->heard, "the server", "<iq type='set' id='hfs-");
    heard_expect(&f->conn->heard, "the server", "<presence/>");
    down(f, 1);
    world_run(&f->w);
    expect_down(&f->c, 1);
}

/* It gives another resource than was asked for: coming again would not change that. */
static void test_proved_with_another(void **state)
{
    struct fixture *f = *state;
    server_restarts(f);
    f->server.ignore_resource = true;
    login_with_authzid(&f->c, 1);
    resume_only(f, &f->c);
    client_hears(&f->c, RESUME_FAILED " h='1'>");
    client_send(&f->c, CLIENT_BIND CLIENT_ENABLE);
    client_hears(&f->c, "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>"
                        "romeo@example.org/r2</jid></bind></iq>");
    client_expect(&f->c, "<enabled ");
    assert_int_equal(sum(f, METRIC_session_end_resource_taken), 1);
}

/* The leg is lost between the proof and the resumption: what was bound is of no use, the client comes again. */
static void test_stranded_behind_the_proof(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    up(f, 1);
    world_run(&f->w);
    client_cut(&f->c);
    world_run(&f->w);
    login_with_authzid(&f->c, 0);
    resume_only(f, &f->c);
    world_run(&f->w); /* h waits for the barrier */
    server_cut(f->conn);
    world_run(&f->w);
    assert_true(f->c.closed && !f->c.ended);
    f->server.hold_pings = false;
    client_forget_heard(&f->c);
    login_with_authzid(&f->c, 0);
    resume_only(f, &f->c);
    world_run(&f->w);
    expect_resumed(&f->c, 2);
}

/* The leg is lost while a client waits for h: the client's own fresh leg takes its place. */
static void test_lost_while_resuming(void **state)
{
    struct fixture *f = *state;
    f->server.hold_pings = true;
    up(f, 1);
    world_run(&f->w);
    client_cut(&f->c);
    world_run(&f->w);
    client_resume(&f->c, 1, "romeo", f->c.h);
    heard_nothing(&f->c.heard, "the client");
    f->server.hold_pings = false;
    server_cut(f->conn);
    world_run(&f->w);
    expect_resumed(&f->c, 2);
    assert_int_equal(sum(f, METRIC_resumes_rebuilt), 1);
}

/* ---- other workers, evictions, the end ---- */

static void test_from_another_worker(void **state)
{
    struct fixture *f = *state;
    server_restarts(f);
    client_resume(&f->c, 1, "romeo", f->c.h);
    expect_resumed(&f->c, 1);
    assert_int_equal(f->w.moves, 1);
    assert_int_equal(sum(f, METRIC_resumes_rebuilt), 1);
    f->conn = server_newest(&f->server);
    assert_ptr_equal(f->conn->wire->cx, &f->w.worker[0]);
}

/* Too many detached sessions: one that is being rebuilt is none of them, though the eviction is on its way already. */
static void test_not_evicted_mid_rebuild(void **state)
{
    struct fixture *f = *state;
    server_restarts(f);
    begin_rebuild(f, &f->c);
    world_op_evict(&f->w.worker[1], f->s->sid, 0);
    end_binds(f);
    expect_resumed(&f->c, 1);
    server_restarts(f);
    world_op_evict(&f->w.worker[1], f->s->sid, 0);
    world_run(&f->w);
    assert_null(client_session(&f->c));
    assert_int_equal(sum(f, METRIC_session_end_evicted), 1);
}

/* The node stops in the middle of it; world_free checks the books. */
static void test_shutdown_mid_rebuild(void **state)
{
    struct fixture *f = *state;
    server_restarts(f);
    begin_rebuild(f, &f->c);
    world_stop(&f->w);
    assert_true(f->c.closed);
    assert_int_equal(sum(f, METRIC_sessions_detached), 0);
}

/* An answer to what was asked on the old leg is none to what is asked on the new one. */
static void test_other_tag(void **state)
{
    struct fixture *f = *state;
    char tag[17];
    memcpy(tag, f->s->tag, sizeof tag);
    restart_and_come_back(f, 1);
    assert_string_not_equal(tag, f->s->tag);
}

/* CSI is active on a fresh leg by itself. */
static void test_csi(void **state)
{
    struct fixture *f = *state;
    client_send(&f->c, "<inactive xmlns='urn:xmpp:csi:0'/>");
    server_hears(f, "<inactive");
    restart_and_come_back(f, 1);
    heard_expect(&f->conn->heard, "the server", "<presence/>");
    server_hears_nothing(f);
    assert_false(f->s->told.csi_inactive);
}

/* ---- sm.confirm_linger ---- */

static void test_linger(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.confirm_linger = 5 * USEC_S;
    up(f, 1);
    world_wait(&f->w, 2 * USEC_S);
    up(f, 2);
    world_wait(&f->w, 4 * USEC_S); /* of the first nothing is kept any more */
    client_send(&f->c, CLIENT_R);
    client_forget_heard(&f->c);
    server_hangs(f);
    up(f, 3);
    hung_server_restarts(f);
    world_wait(&f->w, 60 * USEC_S); /* what lingers waits for the next server */
    come_back(f, 4);
    heard_expect(&f->conn->heard, "the server", "<presence/>");
    expect_up(f, 2);
    expect_up(f, 3);
    server_hears_nothing(f);
    assert_true(f->w.memory > 0);
    world_wait(&f->w, 6 * USEC_S);
    assert_null(f->s->lingering);
}

/* ---- clients without stream management, then with ---- */

/* Roster and presence came before <enable/>: they are in the log all the same. */
static void test_enabled_late(void **state)
{
    struct fixture *f = *state;
    client_cut(&f->c);
    client_login(&f->c, 0, "romeo");
    client_send(&f->c, CLIENT_BIND);
    client_send(&f->c, "<iq type='get' id='ro'><query xmlns='jabber:iq:roster'/></iq><presence><priority>3</priority>"
                       "</presence>");
    world_run(&f->w);
    f->conn = server_newest(&f->server);
    server_send(f->conn, "<iq type='result' id='ro'><query xmlns='jabber:iq:roster'/></iq>");
    client_forget_heard(&f->c);
    client_send(&f->c, CLIENT_ENABLE);
    client_forget_heard(&f->c);
    f->s = client_session(&f->c);
    restart_and_come_back(f, 0);
    heard_expect(&f->conn->heard, "the server", "<iq type='get' id='ro'>");
    heard_expect(&f->conn->heard, "the server", "<presence><priority>3</priority>");
    server_send(f->conn, "<iq type='result' id='ro'><query xmlns='jabber:iq:roster'/></iq>");
    client_hears_nothing(&f->c);
}

/* Without resumption nothing has to be remembered. */
static void test_enabled_without_resumption(void **state)
{
    struct fixture *f = *state;
    client_login(&f->other, 0, "juliet");
    client_send(&f->other, CLIENT_BIND);
    client_forget_heard(&f->other);
    int64_t before = f->w.memory;
    client_send(&f->other, "<iq type='get' id='ro'><query xmlns='jabber:iq:roster'/></iq>" CLIENT_PRESENCE
                           "<presence to='room@muc.example.org/j'><x xmlns='http://jabber.org/protocol/muc'/>"
                           "</presence>");
    server_printf(server_newest(&f->server), "<presence from='x@example.org/y'/>");
    world_run(&f->w);
    assert_true(f->w.memory > before);
    client_send(&f->other, "<enable xmlns='urn:xmpp:sm:3'/>");
    world_run(&f->w);
    assert_in_range(f->w.memory - before, 0,
                    240); /* its contacts, with whom it has told of its presence: for receipts */
    before = f->w.memory;
    client_send(&f->other, CLIENT_PRESENCE "<iq type='get' id='v'><query xmlns='jabber:iq:version'/></iq>" CLIENT_R);
    world_wait(&f->w, 2 * USEC_S);
    assert_int_equal(f->w.memory, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_same_session),
        TEST(test_unconfirmed_again),
        TEST(test_said_while_stranded),
        TEST(test_unacked_is_kept),
        TEST(test_stranded_expires),
        TEST(test_ways_to_go),
        TEST(test_kick_is_final),
        TEST(test_held_while_down),
        TEST(test_let_go_when_back),
        TEST(test_cannot_strand),
        TEST(test_goodbye_while_stranded),
        TEST(test_goodbye_held_back),
        TEST(test_again_and_again),
        TEST(test_client_lost_mid_rebuild),
        TEST(test_client_lost_mid_rebuild_away),
        TEST(test_away_is_forgotten),
        TEST(test_second_resume_mid_rebuild),
        TEST(test_second_resume_then_refused),
        TEST(test_second_resume_then_broken),
        TEST(test_fresh_leg_breaks),
        TEST(test_breaks_before_confirmed),
        TEST(test_resource_refused),
        TEST(test_other_resource),
        TEST(test_proved_with_the_resource),
        TEST(test_proved_with_another),
        TEST(test_stranded_behind_the_proof),
        TEST(test_lost_while_resuming),
        TEST(test_from_another_worker),
        TEST(test_not_evicted_mid_rebuild),
        TEST(test_shutdown_mid_rebuild),
        TEST(test_other_tag),
        TEST(test_csi),
        TEST(test_linger),
        TEST(test_enabled_late),
        TEST(test_enabled_without_resumption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
