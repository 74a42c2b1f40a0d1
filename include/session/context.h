/* What a worker lends to the legs and sessions that live on it. session/ knows nothing of sockets, threads or TLS: what
 * it needs of them it asks for here. Simulations lend a context without any of that. */
#ifndef HOLDFAST_SESSION_CONTEXT_H
#define HOLDFAST_SESSION_CONTEXT_H

#include "base/bucket.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/counters.h"
#include "base/list.h"
#include "base/pace.h"
#include "base/timers.h"
#include "cluster/owner.h"
#include "net/transport.h"
#include "session/settings.h"
#include "store/store.h"
#include "xmpp/queue.h"
#include "xmpp/stream.h"
#include <stdatomic.h>

struct answered;
struct client_leg;
struct echoes;
struct fates;
struct session;
struct registry;
struct context;

/* Facts about one upstream server that all workers share. They stay valid for an hour after the last connection to the
 * server was freed. */
enum order_probe { ORDER_UNTRIED, ORDER_TRYING, ORDER_GOOD, ORDER_BAD };
struct upstream_facts {
    const char *name;      /* "host:port"; NULL: the service as a whole */
    _Atomic int order;     /* enum order_probe: does an answer to a ping prove that all before it was processed */
    _Atomic bool reported; /* a configuration fault of the server was logged */
    _Atomic bool down;     /* it cannot be reached; kept by who is told by upstream_noted */
    _Atomic usec broke;    /* monotonic time at which it failed last, or a connection of it broke; 0: never */
};

/* What a leg has learnt of the server that it is connected to. */
enum upstream_note {
    UPSTREAM_REACHED, /* it has answered with a stream header */
    UPSTREAM_FAILED,  /* it did not get so far */
    UPSTREAM_BROKE,   /* a session lost its connection: is the server still there? `down` tells a moment later */
};

/* What is spread over time for all workers together, at proxy.login_rate. */
struct pacing {
    struct pace logins; /* connections to the server for clients that log in */
    struct pace cuts;   /* clients that are sent away to come back */
};

/* A login that may be tried. */
struct login_pass {
    usec late;        /* it is to wait that long before the server hears of it */
    unsigned charged; /* the guard's own */
};
enum login_end { LOGIN_SUCCEEDED, LOGIN_FAILED, LOGIN_UNDECIDED };

/* The secret session id of <enabled/>: a tag, a dash, and the secret as hex digits. */
struct previd_secret {
    unsigned char byte[16];
};
#define PREVID_SIZE (TAG_SIZE + 2 * sizeof(struct previd_secret) + 1)

struct context_ops {
    /* A transport towards the upstream of that domain (its TLS is to be for the domain) that becomes ready or closed
     * later (never before this returns). Once connected, its `server` is the struct upstream_facts of the server that
     * was chosen; NULL stands for those of the context. client: whose connection it is, for a server that wants to know
     * (proxy.upstream_proxy_protocol); NULL = our own. */
    struct transport *(*dial)(struct context *cx, const char *domain, const struct endpoints *client);
    /* facts: those of the server, or of the context if none could be connected. */
    void (*upstream_noted)(struct context *cx, struct upstream_facts *facts, enum upstream_note note,
                           const char *detail);
    /* TLS over a transport that lives on this worker (RFC 6120 5). */
    void (*starttls_client)(struct context *cx, struct transport *t); /* we are the server */
    void (*starttls_upstream)(struct context *cx, struct transport *t, const char *domain);
    /* What a new previd is made of: the tag of its account, and 128 random bits. And the sid that stands for a previd
     * in keys, logs and figures; it begins with the same tag. */
    void (*previd_new)(struct context *cx, struct slice account, char tag[TAG_SIZE], struct previd_secret *secret_r);
    void (*sid_of)(struct context *cx, struct slice previd, char sid[SID_SIZE]);
    /* A transport towards the peer port of another node, as its heartbeat tells it: both sides prove that they belong
     * to the same cluster before it becomes ready. NULL: that is no address. Only with has_peer_port. */
    struct transport *(*dial_peer)(struct context *cx, const char *address);
    /* Hands a client leg (detached by client_leg_leave) to another worker, where client_leg_arrive follows. */
    void (*move)(struct context *cx, struct client_leg *leg, int worker);
    /* To the session of that id on that worker, if it still is there: expire it; deliver its account's mail. */
    void (*post_evict)(struct context *cx, const char *sid, int worker);
    void (*post_mail)(struct context *cx, const char *sid, int worker);
    /* To that worker: echo_told (session/echoes.h). */
    void (*post_echo)(struct context *cx, uint64_t key, int worker);
    /* Credentials are about to go to the server; account: for what they are, "" if that is not known. False: they must
     * not (limits.login_failures_per_ip and _per_account). */
    bool (*login_allowed)(struct context *cx, const char *peer, const char *account, struct login_pass *pass_r);
    /* What became of one that was allowed. */
    void (*login_ended)(struct context *cx, const char *peer, const char *account, const struct login_pass *pass,
                        enum login_end end);
    /* A client leg of that peer has ended. */
    void (*client_left)(struct context *cx, const char *peer);
};

/* One stanza of a turn in each direction, for the relay time. The worker observes it when the turn's bytes have left:
 * one look at the clock in a turn, however many stanzas passed. */
struct relay_sample {
    bool taken;
    usec waited; /* before this turn began */
};

/* A message that a session of this worker expects to see at its recipient (proxy/session/echo.h). */
#define ECHO_SLOTS 4096
struct echo_slot {
    uint64_t key;
    struct session *session; /* NULL: free */
};

struct context {
    const struct context_ops *ops;
    const struct settings *settings; /* may be replaced between turns */
    const struct clock *clock;
    struct timers *timers;
    struct counters *counters;
    struct store *store;
    struct owner *owner;
    struct fates *fates;       /* notes of what became of stanzas; NULL: none are made */
    struct answered *answered; /* by any session of the node */
    struct echoes *echoes;     /* that any session of the node expects */
    struct parser_pool *parsers;
    struct entry_pool entries; /* of the queues */
    struct registry *registry;
    struct upstream_facts *upstream; /* of the service as a whole: for who is not connected to a server of it */
    struct pacing *pacing;
    _Atomic int64_t *memory; /* bytes in queues and mailboxes of the node; all workers write there */
    int64_t memory_here;     /* of them, what was not told there yet */
    int worker;              /* index; the number of workers is workers, 0 counts as 1 */
    unsigned workers;
    const char *node;   /* this node's name */
    bool has_peer_port; /* it relays clients to other nodes, and takes theirs */
    void *loop;         /* opaque here: handed to transports that arrive from another worker */

    struct list dirty;     /* sessions that want session_turn at the end of this turn */
    struct list graveyard; /* objects to free when the callbacks of this turn have returned */
    struct list clients;   /* all client legs */
    struct list takeovers; /* of sessions of other nodes, under way */
    struct list partings;  /* upstream legs of ended sessions, until the server has ended them too */
    struct list leftovers; /* what lingered in sessions that have ended (sm.confirm_linger) */
    struct timer leftover_timer;
    uint64_t last_leg;     /* legs begun here, for their numbers in logs */
    struct buf scratch;    /* for one stanza that must be changed on its way */
    struct list deferred;  /* client legs with something to do when no callback is on the stack */
    struct {
        struct bucket bucket;
        uint64_t left_out;
    } talk; /* of context_may_tell */
    struct relay_sample relay[2];
    struct echo_slot expected[ECHO_SLOTS];
};

/* An object that is freed at the end of the turn. */
struct grave {
    struct list link;
    void (*free)(struct grave *g);
};

void context_init(struct context *cx);
/* Once per turn, when all callbacks have returned: settles the sessions, then frees what died. */
void context_turn_end(struct context *cx);
static inline void context_bury(struct context *cx, struct grave *g, void (*free_)(struct grave *g))
{
    g->free = free_;
    list_append(&cx->graveyard, &g->link);
}
/* Whether there is to be a line in the log about somebody who has not logged in: anybody can cause those, and in
 * numbers that would fill a disk. What is left out is told as a number. */
bool context_may_tell(struct context *cx);
/* A stanza is on its way out: METRIC_relay_up or METRIC_relay_down. */
static inline void context_relayed(struct context *cx, enum metric direction, usec waited)
{
    struct relay_sample *sample = &cx->relay[direction - METRIC_relay_up];
    if (!sample->taken)
        *sample = (struct relay_sample){true, waited};
}
/* Bytes held for sessions went up or down. Told to the other workers at the end of the turn, or when it is much: a line
 * that all write to with each stanza would go from one processor to the other. */
#define CONTEXT_MEMORY_STEP 65536
static inline void context_memory_tell(struct context *cx)
{
    if (cx->memory_here)
        atomic_fetch_add_explicit(cx->memory, cx->memory_here, memory_order_relaxed);
    cx->memory_here = 0;
}
static inline void context_memory(struct context *cx, int64_t n)
{
    cx->memory_here += n;
    if (cx->memory_here > CONTEXT_MEMORY_STEP || cx->memory_here < -CONTEXT_MEMORY_STEP)
        context_memory_tell(cx);
}
static inline bool context_memory_full(const struct context *cx)
{
    return cx->settings->limits.memory && atomic_load_explicit(cx->memory, memory_order_relaxed) + cx->memory_here >
                                              (int64_t)cx->settings->limits.memory;
}

#endif
