/* What a client leg needs until it has a session, and what the files of this folder that negotiate share: client_leg.c
 * (life, streams), negotiation.c (features, SASL, bind), resumption.c (resume). */
#ifndef HOLDFAST_SESSION_LOGIN_H
#define HOLDFAST_SESSION_LOGIN_H

#include "base/hash.h"
#include "session/client_leg.h"
#include "session/upstream_leg.h"
#include "xmpp/sasl.h"

struct login {
    struct upstream_leg *up;
    char *domain;                  /* as the client's header named it */
    struct sasl_identity identity; /* who logs in, as far as the exchange tells */
    bool authenticated;
    bool offers_session;                       /* the server wants a session iq (RFC 3921 3) */
    bool xep0078;                              /* the bind under way is a XEP-0078 set */
    char *pending_id;                          /* of the iq whose answer is awaited */
    char *pending_username, *pending_resource; /* of a XEP-0078 set */
    char *header;                              /* for the upstream leg, while QUEUED */
    char *bound_jid;                           /* of a throw-away bind */
    char *wished;                              /* the resource it was asked for, NULL: any */

    /* credentials that were given */
    char *tried; /* for whom, as context_ops.login_allowed takes it; NULL when nothing is open */
    struct login_pass pass;
    bool reached_server; /* the server has them */
    struct buf late;     /* else they wait here */
    struct timer late_timer;

    /* a resumption that is asked for */
    char *resume_ns;
    char resume_sid[SID_SIZE];
    uint32_t resume_h;
    usec resume_since;
    unsigned resumes_tried;
    struct hash_key resume_key; /* of what the session remembered */
    struct awaited *awaited;    /* what may be sent again, when it has failed; NULL: nothing */
    char *resume_account;       /* of the client, once it is proved; NULL before */
    bool moved;                 /* came from another worker for it */
};

void client_set_phase(struct client_leg *c, enum client_phase phase);
void client_write_str(struct client_leg *c, const char *text);
/* The other side is waited for, or it is the client's turn again. */
static inline void client_wait(struct client_leg *c)
{
    leg_stop(&c->leg, STOP_TURN);
}
static inline void client_turn(struct client_leg *c)
{
    leg_go(&c->leg, STOP_TURN);
}
/* The server failed while the client logs in. A client that comes to resume must not be told so: several drop their
 * session at a stream error or an end tag from us. */
static inline bool client_is_to_retry(const struct client_leg *c)
{
    return owner_any_stranded(c->leg.cx->owner);
}
/* At the end of the turn client_leg_settle goes on. */
void client_defer(struct client_leg *c, int moving_to);
void login_free(struct login **l, enum close_reason upstream_reason);

/* login_try.c */
/* Sends the element with the credentials to the server, perhaps late. False: the client is to be refused. user: NULL if
 * it is not known. */
bool login_try(struct client_leg *c, const struct element *e, const char *user);
void login_succeeded(struct client_leg *c);
void login_failed(struct client_leg *c, const struct node *failure); /* the element that holds the condition */
/* The leg is being closed. Who leaves before the server has answered has failed. */
void login_left(struct client_leg *c, enum close_reason reason);

/* negotiation.c */
void negotiation_from_client(struct client_leg *c, const struct element *e);
void negotiation_from_upstream(struct client_leg *c, const struct element *e);
void negotiation_header_from_upstream(struct client_leg *c, const struct stream_header *h);
/* The session begins on this leg, with this full JID (empty: unknown). */
void negotiation_bound(struct client_leg *c, struct slice jid);
/* What can be compared to tell that two logins are of one account; NULL when only a bind can tell. free() it. */
char *negotiation_proof(const struct client_leg *c);
/* The store may answer when the leg is gone: then leg is NULL. */
struct store_ask {
    struct client_leg *leg;
};
/* resumption.c */
void resumption_begin(struct client_leg *c, const struct element *e);
void resumption_proved(struct client_leg *c, struct slice jid); /* the throw-away bind has its answer; empty: refused */
void resumption_here(struct client_leg *c);                     /* the session is, or was, on this worker */
void resumption_look(struct client_leg *c);                     /* where it is, and whether it is this account's */
void resumption_refused(struct client_leg *c);
void resumption_not_found(struct client_leg *c); /* if there was one of this account, its last h is told */
/* Nothing but the server can tell whose login this is: a resource is bound for that. resource: the one that the session
 * needs, if it needs one. */
void resumption_prove(struct client_leg *c, const char *resource);
/* takeover.c */
void takeover_begin(struct client_leg *c); /* the session is not on this node */
void takeover_wait(struct client_leg *c);  /* soon it is not, this node is letting it go */
void write_failed(struct client_leg *c, const char *ns, const char *condition, const uint64_t *h);

#endif
