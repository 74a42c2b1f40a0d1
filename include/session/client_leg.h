/* The leg towards a client: its stream from the first header to the session, and everything that is negotiated on the
 * way (design: TLS, SASL, bind, or a resumption). From bind on it passes what it hears to its session. */
#ifndef HOLDFAST_SESSION_CLIENT_LEG_H
#define HOLDFAST_SESSION_CLIENT_LEG_H

#include "base/bucket.h"
#include "session/leg.h"
#include "xmpp/sm.h"
#include "xmpp/stream_error.h"

struct login;
struct peer_hello;
struct relay;
struct parting;
struct store_ask;
struct session;
struct upstream_leg;

/* OPENING --header--> [STARTTLS --<starttls/>--> HANDSHAKE --ready--> OPENING] --header--> DIALING
 * DIALING --server's header and features--> NEGOTIATING --SASL success--> RESTARTING --header--> REOPENING
 * REOPENING --features--> AUTHENTICATED --bind--> BINDING --result--> BOUND
 * OPENING --header--> [QUEUED -->] DIALING where the server has had enough logins for now
 * AUTHENTICATED --resume--> [PROVING -->] RESUMING --> BOUND, or back to AUTHENTICATED
 * AUTHENTICATED --resume of what another node runs--> RELAYED
 * NEGOTIATING --XEP-0078 set--> BINDING; BOUND --client's end tag--> ENDING; any --> CLOSED */
enum client_phase {
    CLIENT_ACCEPTED,      /* the transport is not ready yet (direct TLS) */
    CLIENT_OPENING,       /* the client's first header is awaited, in clear or inside TLS */
    CLIENT_STARTTLS,      /* we answered that header ourselves and wait for <starttls/> */
    CLIENT_HANDSHAKE,     /* STARTTLS goes on */
    CLIENT_QUEUED,        /* its turn to log in has not come: proxy.login_rate */
    CLIENT_DIALING,       /* the upstream leg is being opened; its header and features are awaited */
    CLIENT_NEGOTIATING,   /* features were relayed: SASL, registration, XEP-0078 */
    CLIENT_RESTARTING,    /* SASL succeeded: the client's new header is awaited */
    CLIENT_REOPENING,     /* that was relayed: the server's header and features are awaited */
    CLIENT_AUTHENTICATED, /* bind or resume may come */
    CLIENT_BINDING,       /* the answer to the client's bind (or XEP-0078 set) is awaited */
    CLIENT_PROVING,       /* the answer to a throw-away bind of ours is awaited */
    CLIENT_RESUMING,      /* the session is asked, perhaps on another worker */
    CLIENT_BOUND,         /* has a session */
    CLIENT_RELAYED,       /* another node has its session: it is passed on to there */
    CLIENT_ENDING,        /* said goodbye; it gets ours when the server has said its own */
    CLIENT_CLOSED,
    CLIENT_PHASES
};

/* What the client may still send, as limits.*_per_second allow it. */
struct client_allowance {
    struct bucket bucket;
    bool told; /* that it is used up, since it was full last */
};

/* Stream management as it belongs to this connection: its session's. */
struct client_sm {
    struct sm_in_leg in;
    struct sm_out_leg out;
    uint64_t replay_upto;           /* numbers up to it were carried over by the resumption */
    unsigned long long request_end; /* leg.bytes_out behind the open <r/>, or the ping that stands for one */
    usec request_left;              /* when that was found to have left the socket's buffer; 0 = not yet */
    usec ack_time;                  /* how long the last answer to an <r/> took; 0 = none yet */
};

struct client_leg {
    struct grave grave;
    struct leg leg;
    struct list in_clients;
    struct list in_deferred; /* context.deferred: client_leg_settle wants to be called at the end of the turn */
    int moving_to;           /* then: the worker to go to, -1 to begin TLS */
    enum client_phase phase;
    uint64_t number; /* in the logs: "leg" */
    usec born;
    char sid[SID_SIZE];               /* in the logs, once it has a session */
    bool header_sent;                 /* a stream header of ours or the server's went out */
    bool sent_too_large;              /* an element beyond a limit */
    enum transport_farewell farewell; /* what its transport is to say at the end, once that is known; else 0 */
    bool presented;                   /* counted in the gauge of its transport kind */
    enum transport_kind counted_as;
    struct timer timer; /* limits.login_timeout */
    struct {
        struct client_allowance bytes, stanzas;
        struct timer timer; /* ends STOP_RATE */
    } rate;
    struct login *login;     /* what only negotiation needs; NULL once bound */
    struct session *session; /* when BOUND, or the one that is asked when RESUMING */
    struct client_sm sm;
    struct parting *parting; /* when ENDING */
    struct relay *relay;     /* to the node that has its session: being asked for it, or RELAYED */
    char *relay_node;        /* the client is another node's, which relays it to here; NULL: it is ours */
    struct store_ask *ask;   /* the store is asked about an old session; NULL when not */
};

/* Takes the transport over. Nothing is called up before it has returned. */
struct client_leg *client_leg_new(struct context *cx, struct transport *t);

/* The same for a client of another node, whose greeting tells all about it: it goes on to the session at once. A
 * refusal is an element of its own (cluster/peer.h), and the end. */
void client_leg_relayed(struct context *cx, struct transport *t, const struct peer_hello *hello);

/* How it ends towards the client: decides whether the client keeps its session (XEP-0198 5 and 7). */
enum client_goodbye {
    GOODBYE_CUT, /* the connection breaks without an end tag: clients resume */
    GOODBYE_END, /* </stream:stream> */
};
/* Closes and buries it. A session it still has is told first that it lost its client. */
void client_leg_close(struct client_leg *c, enum close_reason reason, enum client_goodbye goodbye);
/* A stream error, then the end (RFC 6120 4.9). extra: an application's own condition or NULL. A session it has ends. */
void client_leg_fail(struct client_leg *c, enum close_reason reason, enum stream_error error, const char *text,
                     const char *extra);

/* Called by sessions. */
/* The session is over, its upstream leg has the last word: p will close the leg. */
void client_leg_ending(struct client_leg *c, struct parting *p);
/* It has the session now; negotiation is over. rebuilt: on the upstream leg of its login. */
void client_leg_resumed(struct client_leg *c, struct session *s, bool rebuilt);
/* A rebuild has no use for the upstream leg: the login goes on with it. jid: what was bound on it, or empty. */
void client_leg_take_back(struct client_leg *c, struct upstream_leg *up, struct slice jid);
/* Another node has it, and answers for it from now on. */
void client_leg_passed_on(struct client_leg *c);
void client_leg_resume_failed(struct client_leg *c); /* back to where a bind may come */

/* What could not be done while its stream was on the stack: STARTTLS, or the move to another worker. */
void client_leg_settle(struct client_leg *c);
struct client_leg *client_leg_of_deferred(struct list *link);
/* Off this worker, on to another; in between nobody touches it. */
void client_leg_leave(struct client_leg *c);
void client_leg_arrive(struct client_leg *c, struct context *cx);

const char *client_phase_name(enum client_phase phase);

#endif
