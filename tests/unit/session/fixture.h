/* A world with a server, one client that has a session, and a second one; what the tests of sessions share. */
#ifndef HOLDFAST_TESTS_SESSION_FIXTURE_H
#define HOLDFAST_TESTS_SESSION_FIXTURE_H

#include "../../../proxy/session/session_impl.h"
#include "../../sim/client.h"
#include "../../sim/server.h"

struct fixture {
    struct world w;
    struct server server;
    struct client c, other;
    struct session *s;        /* of c */
    struct server_conn *conn; /* of that session */
};

static inline int setup_world(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    world_init(&f->w);
    server_init(&f->server, &f->w);
    client_init(&f->c, &f->w);
    client_init(&f->other, &f->w);
    f->w.upstream.order = ORDER_GOOD;
    *state = f;
    return 0;
}

/* Romeo's session on worker 0: managed, available, nothing open. */
static inline int setup(void **state)
{
    setup_world(state);
    struct fixture *f = *state;
    client_enter(&f->c, 0, "romeo");
    world_wait(&f->w, 2 * USEC_S);
    client_forget_heard(&f->c);
    f->s = client_session(&f->c);
    f->conn = server_newest(&f->server);
    heard_clear(&f->conn->heard);
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    client_free(&f->c);
    client_free(&f->other);
    world_free(&f->w);
    server_free(&f->server);
    free(f);
    return 0;
}

static inline void server_hears(struct fixture *f, const char *start)
{
    world_run(&f->w);
    heard_expect(&f->conn->heard, "the server", start);
}

static inline void server_hears_nothing(struct fixture *f)
{
    world_run(&f->w);
    heard_nothing(&f->conn->heard, "the server");
}

/* A message of juliet's, and one of ours; n is its id and body. */
static inline void down(struct fixture *f, unsigned n)
{
    server_printf(f->conn, "<message from='juliet@example.org/x' type='chat' id='d%u'><body>%u</body></message>", n, n);
}

static inline void up(struct fixture *f, unsigned n)
{
    client_printf(&f->c, "<message to='juliet@example.org' type='chat' id='u%u'><body>%u</body></message>", n, n);
}

static inline void expect_down(struct client *c, unsigned n)
{
    char start[100];
    snprintf(start, sizeof start, "<message from='juliet@example.org/x' type='chat' id='d%u'>", n);
    client_expect(c, start);
}

static inline void expect_up(struct fixture *f, unsigned n)
{
    char start[100];
    snprintf(start, sizeof start, "<message to='juliet@example.org' type='chat' id='u%u'>", n);
    heard_expect(&f->conn->heard, "the server", start);
}

static inline void ack(struct client *c, uint32_t h)
{
    client_printf(c, "<a xmlns='urn:xmpp:sm:3' h='%" PRIu32 "'/>", h);
}

/* The counters of the session as if that many had gone by. */
static inline void preset(struct fixture *f, uint64_t in, uint64_t out)
{
    struct session *s = f->s;
    assert_int_equal(s->unconfirmed.count, 0);
    assert_int_equal(s->out.queue.count, 0);
    s->in.received = s->in.safe = s->in.told = s->unconfirmed.last_number = in;
    s->out.queue.last_number = s->out.acked = s->out.written = out;
    s->client->sm.out = sm_out_attach(&s->out);
    f->c.h = (uint32_t)out;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
