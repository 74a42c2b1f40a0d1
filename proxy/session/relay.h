/* A client of this node whose session another living node runs. Its elements go to that node as they come, and what the
 * session has for it comes back; nothing is counted or kept here. The other node is the owner: to it, the connection is
 * a client leg like any other. */
#ifndef HOLDFAST_SESSION_RELAY_H
#define HOLDFAST_SESSION_RELAY_H

#include "session/client_leg.h"

/* Why the owner has not taken the client. */
enum relay_failure {
    RELAY_UNREACHABLE, /* nobody listens there */
    RELAY_SILENT,      /* no answer in time */
    RELAY_REFUSED,     /* it answered that it will not */
    RELAY_BROKEN,      /* the connection was lost, or never trusted */
    RELAY_CLIENT_GONE,
};

/* Exactly one of them is told, once. */
struct relay_events {
    void (*taken)(void *ctx); /* the client is RELAYED */
    void (*failed)(void *ctx, enum relay_failure why);
};

/* Asks the node at that address for the session that the client wants to resume; its account is proved. False: there is
 * no way to ask it. */
bool relay_begin(struct client_leg *c, const char *address, const struct relay_events *events, void *ctx);

/* At either end: the stream goes on as if its header had come, for none is sent. */
void relay_open_stream(struct stream *stream);

/* From the client leg. */
void relay_from_client(struct relay *r, const struct element *e);
void relay_client_heard(struct relay *r); /* bytes, maybe of no element yet */
void relay_client_drained(struct relay *r);
void relay_client_ended(struct relay *r); /* </stream:stream>: the owner has the last word */
/* The client leg closes; with goodbye GOODBYE_END its session is to end too. Clears the leg's pointer. */
void relay_close(struct client_leg *c, enum client_goodbye goodbye);

#endif
