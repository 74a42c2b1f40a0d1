/* For the tests of receipts and of message events. */
#include "fixture.h"

#define GRACE (2 * USEC_S)

static inline int64_t sum(struct fixture *f, enum metric m)
{
    return world_sum(&f->w, m);
}

/* Romeo's session, with juliet as a contact, and nobody else. */
static inline int setup_contact(void **state)
{
    setup(state);
    struct fixture *f = *state;
    client_send(&f->c, "<iq type='get' id='get'><query xmlns='jabber:iq:roster'/></iq>");
    server_hears(f, "<iq type='get' id='get'>");
    server_send(f->conn, "<iq type='result' id='get'><query xmlns='jabber:iq:roster'>"
                         "<item jid='juliet@example.org' subscription='from'/></query></iq>");
    client_hears(&f->c, "<iq type='result' id='get'>");
    ack(&f->c, f->c.h);
    world_wait(&f->w, 2 * USEC_S);
    heard_clear(&f->conn->heard);
    return 0;
}

static inline void ack_all(struct fixture *f)
{
    world_run(&f->w);
    ack(&f->c, f->c.h);
    world_run(&f->w);
    heard_clear(&f->c.heard);
}

static inline void wait_nothing(struct fixture *f)
{
    world_wait(&f->w, 10 * USEC_S);
    server_hears_nothing(f);
}
