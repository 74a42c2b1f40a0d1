/* The leg towards the legacy server: opens, does STARTTLS there if asked, relays the client's stream header, and hands
 * what the server says to its owner: the client leg while it negotiates, the session from bind on. */
#ifndef HOLDFAST_SESSION_UPSTREAM_LEG_H
#define HOLDFAST_SESSION_UPSTREAM_LEG_H

#include "session/leg.h"

enum upstream_phase {
    UPSTREAM_DIALING,   /* the transport is not ready yet */
    UPSTREAM_STARTTLS,  /* our own header went out in clear, to get at STARTTLS */
    UPSTREAM_HANDSHAKE, /* TLS */
    UPSTREAM_OPENING,   /* the client's header went out, the server's is awaited */
    UPSTREAM_OPEN,
    UPSTREAM_CLOSED,
};

struct upstream_leg;

/* What its owner gets told. */
struct upstream_events {
    void (*header)(void *ctx, const struct stream_header *h);
    void (*element)(void *ctx, const struct element *e);
    void (*drained)(void *ctx);
    /* The leg is over: by the server's end tag (clean), or broken. It is closed and buried when this returns. */
    void (*ended)(void *ctx, enum close_reason reason, const char *detail);
};

struct upstream_leg {
    struct grave grave;
    struct leg leg;
    const struct upstream_events *events;
    void *ctx;
    uint64_t number;              /* the client leg's number in the logs that it was opened for */
    struct upstream_facts *facts; /* of the server that it is connected to; those of the context before */
    struct upstream_opening *opening; /* until its stream header was sent; NULL: nothing waits to be */
    const char *sid;                  /* in the logs, once it has a session, whose it is; else NULL */
    enum upstream_phase phase : 8;
    bool reached;  /* its server has answered */
    bool is_check; /* opened to see whether the server lives: not among the figures of connections */
};

/* Dials, on behalf of that client (the ends of its transport; NULL = there is none). Nothing is called up before it has
 * returned. */
struct upstream_leg *upstream_leg_open(struct context *cx, struct slice domain, const struct endpoints *client,
                                       uint64_t number, const struct upstream_events *events, void *ctx);
/* The same over a transport that is being dialled; it is taken over. */
struct upstream_leg *upstream_leg_open_on(struct context *cx, struct transport *t, struct slice domain, uint64_t number,
                                          const struct upstream_events *events, void *ctx);
void upstream_leg_set_events(struct upstream_leg *up, const struct upstream_events *events, void *ctx);
/* Sends this stream header (canonical, from stream_header_canonical; taken over) as soon as the leg is ready for it; a
 * second one restarts the stream. */
void upstream_leg_header(struct upstream_leg *up, char *header);
/* Closes and buries it: with `</stream:stream>` when end_stream and the stream is open. Clears the caller's pointer. */
void upstream_leg_close(struct upstream_leg **up, enum close_reason reason, bool end_stream);
void upstream_leg_leave(struct upstream_leg *up);
void upstream_leg_arrive(struct upstream_leg *up, struct context *cx);

/* Its server, for logs. */
const char *upstream_leg_server(const struct upstream_leg *up);

/* A stream header with the given facts under our own prefixes. Attributes that are absent in h stay absent. free() it.
 */
char *stream_header_canonical(const struct stream_header *h);

#endif
