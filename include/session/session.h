/* A session: what outlives its legs. Its id, full JID, counters and queues; attach, detach, resume, end.
 *
 * The path of a stanza:
 *
 *   client -> upstream                                     upstream -> client
 *   net      tcp: bytes                                    net      tcp: bytes
 *   session  leg_input                                     session  leg_input
 *   xmpp     stream_feed: one whole stanza                 xmpp     stream_feed: one whole stanza
 *   session  client_leg: negotiation, or on to the session session  upstream_leg: on to its owner
 *   session  session_from_client   (uplink.c)              session  session_from_upstream  (downlink.c)
 *              counted, kept until confirmed                          classified, numbered, kept until acked
 *   net      upstream: transport_write                     session  session_turn: written if a client is attached
 *   session  session_turn: barrier, <a/>                   net      client: transport_write, with <r/> behind
 */
#ifndef HOLDFAST_SESSION_SESSION_H
#define HOLDFAST_SESSION_SESSION_H

#include "session/client_leg.h"
#include "session/upstream_leg.h"
#include "xmpp/sm.h"

/* UNMANAGED --enable--> ATTACHED <--resume, cut--> DETACHED; UNMANAGED, ATTACHED --end tag--> ENDING; any --> ENDED */
enum session_state {
    SESSION_UNMANAGED, /* the client has not enabled stream management: relayed as it is */
    SESSION_ATTACHED,
    SESSION_DETACHED,
    SESSION_ENDING, /* the client has said goodbye: the last confirmation is awaited for a moment */
    SESSION_ENDED,
};
const char *session_state_name(enum session_state state);

struct awaited;
struct session_origin {
    struct slice jid; /* full, as bound; empty if unknown (XEP-0078) */
    struct slice domain;
    const char *proof;       /* of the account, or NULL */
    bool offered;            /* stream management was in the features */
    bool resumable;          /* whether stream management may promise resumption */
    struct awaited *awaited; /* what its client may send again after a resumption that failed; taken over, or NULL */
};

/* Begins with the legs; the client leg has it from now on. */
struct session *session_new(struct context *cx, struct client_leg *client, struct upstream_leg *up,
                            const struct session_origin *origin);

/* The node stops, and the session is to outlive that: its client is cut, and when the server has confirmed what came
 * last it goes into the store. False when it cannot be resumed anyway. */
bool session_freeze(struct session *s);
/* The node stops, and time is short: what a store that outlives it has of the session stays there as it is. False: it
 * has nothing of it. */
bool session_abandon(struct session *s);
/* One that was kept, stranded now: its client may resume it. False when the record is not one. */
bool session_thaw(struct context *cx, const char *sid, struct slice record);

/* From the client leg. */
void session_from_client(struct session *s, const struct element *e);
void session_client_drained(struct session *s);
void session_client_ended(struct session *s);                          /* </stream:stream> */
void session_client_lost(struct session *s, enum close_reason reason); /* its connection is gone */

/* Asks to attach the leg in the place of whatever the session has. False: refused, nothing changed. True: the session
 * will call client_leg_resumed or client_leg_resume_failed, unless session_resume_cancel comes first. */
bool session_resume(struct session *s, struct client_leg *c, uint32_t h);
bool session_is_releasing(const struct session *s); /* another node is to have it: nobody can resume it here any more */
void session_resume_cancel(struct session *s, struct client_leg *c);

/* The last <a/> (XEP-0198 4 recommends one), ahead of an error that will end the session. */
void session_say_last(struct session *s);
/* Ends it: every stanza in it meets its fate, upstream is told, the client leg (if any) is closed with this goodbye. */
void session_end(struct session *s, enum close_reason reason, enum client_goodbye goodbye);
/* The client leg of a parting is gone before the server's last word. */
void parting_without_client(struct parting *p);
/* Cuts short what upstream legs of ended sessions still have to say (design: 10 s at most). */
void partings_end(struct context *cx);
/* Messages of ended sessions that wait whether the server survives them (sm.confirm_linger): forgotten. */
void leftovers_end(struct context *cx);
void leftovers_fire(void *ctx); /* context.leftover_timer; ctx: the context */
/* Mail for its account may be waiting. */
void session_fetch_mail(struct session *s);
/* Another node says that it has let this session go: clients that wait for it need not look for it by the clock. */
void takeovers_released(struct context *cx, const char *sid);
/* Some mail has come just now, or something for the outbox, by what others say: a hint. */
void session_hint_mail(struct session *s);
/* Of the account with that tag, whose session is on whatever worker of this node. */
void sessions_hint_mail(struct context *cx, const char *tag);

/* End-of-turn work; called by the context for dirty sessions. */
void session_turn(struct session *s);
struct session *session_of_dirty(struct list *link);

/* For the stats port. */
struct session_info {
    char sid[SID_SIZE];
    enum session_state state;
    const char *jid, *peer, *transport; /* valid until the next turn; NULL if none */
    const char *relay_node;             /* the node that the client is connected to, if it is not this one; likewise */
    usec age, since_attach;             /* since bind; since it was attached or detached last */
    size_t unacked, unacked_bytes, unconfirmed, unconfirmed_bytes, parked;
    uint64_t received, sent, resumes;
    usec oldest_unacked, oldest_unconfirmed; /* ages, 0 when none */
    usec ack_time; /* how long the attached client's last answer to an <r/> took; 0 = none yet */
    bool resumable, resuming;                /* was granted resumption; a client asks to resume it right now */
    bool available, inactive;                /* the client's last broadcast presence; XEP-0352 */
    usec max, expires_in;                    /* resumption window; what is left of it, -1 unless detached */
    uint64_t safe, told, acked;              /* of `received`: what h may tell, and has told; of `sent`: acked */
    size_t parked_bytes, handed;             /* handed: messages to a client without stream management, see handed.c */
    uint64_t stanzas_up, stanzas_down;       /* in all, also without stream management */
    usec barrier;                            /* since when a barrier is under way, -1 = none is */
    usec full;                               /* detached, and the queue full: since when, -1 = not */
    unsigned long long client_bytes_in, client_bytes_out, upstream_bytes_in, upstream_bytes_out;
    size_t client_buffered, upstream_buffered; /* written, and not yet taken by the kernel */
    usec client_silent, upstream_silent;       /* since its last byte */
    bool client_stopped, upstream_stopped;     /* reading from it is stopped */
    bool upstream;                             /* there is an upstream leg */
};
void session_info(const struct session *s, struct session_info *out);
/* Ages of the oldest stanza in either queue, 0 when there is none. Cheap: it is asked of all sessions at once. */
void session_ages(const struct session *s, usec *unacked_r, usec *unconfirmed_r);

/* The operator's word: cuts the client's connection; the session stays if it can be resumed. False: it has none. */
bool session_disconnect(struct session *s);

/* The sessions of one worker, by sid. */
struct registry *registry_new(void);
void registry_free(struct registry *r); /* must be empty */
struct session *registry_find(const struct registry *r, const char *sid);
size_t registry_count(const struct registry *r);
void registry_add(struct registry *r, struct session *s);
void registry_remove(struct registry *r, struct session *s);
/* Calls visit for each session until it returns false, in no order; visit may end the current session. */
void registry_each(struct registry *r, bool (*visit)(void *ctx, struct session *s), void *ctx);
const char *session_sid(const struct session *s);

#endif
