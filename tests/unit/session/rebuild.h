/* What the tests of the rebuild share: a server that dies and is there again, a client that comes back. */
#ifndef HOLDFAST_TESTS_SESSION_REBUILD_H
#define HOLDFAST_TESTS_SESSION_REBUILD_H

#include "fixture.h"

static inline int64_t sum(struct fixture *f, enum metric m)
{
    return world_sum(&f->w, m);
}

static inline bool is_stranded(const struct session *s)
{
    return !s->up && s->state == SESSION_DETACHED && !rebuild_is_binding(s);
}

/* The server restarts: the session is stranded, and its client has been cut. */
static inline void server_restarts(struct fixture *f)
{
    client_forget_heard(&f->c);
    server_die(&f->server);
    f->conn = NULL;
    world_wait(&f->w, USEC_S);
    assert_true(f->c.closed && !f->c.ended);
    assert_true(is_stranded(f->s));
    client_forget_heard(&f->c);
}

static inline void expect_resumed(struct client *c, uint32_t h)
{
    char wanted[200];
    snprintf(wanted, sizeof wanted, "<resumed xmlns='urn:xmpp:sm:3' previd='%s' h='%u'/>", c->previd, (unsigned)h);
    client_expect(c, wanted);
}

/* Its client comes back and resumes; h is what the session is to tell. */
static inline void come_back(struct fixture *f, uint32_t h)
{
    client_resume(&f->c, 0, "romeo", f->c.h);
    f->conn = server_newest(&f->server);
    expect_resumed(&f->c, h);
    assert_ptr_equal(client_session(&f->c), f->s);
    heard_expect(&f->conn->heard, "the server", "<iq type='set' id='hfs-"); /* the session iq */
}

static inline void restart_and_come_back(struct fixture *f, uint32_t h)
{
    server_restarts(f);
    come_back(f, h);
}

/* Everything the server gets is put on hold, as if it had died a moment ago: nothing is confirmed from now on. */
static inline void server_hangs(struct fixture *f)
{
    f->server.silent = true;
}

/* Dies with what it has not confirmed, and is there again. */
static inline void hung_server_restarts(struct fixture *f)
{
    world_run(&f->w);
    f->server.silent = false;
    server_restarts(f);
}

#endif
