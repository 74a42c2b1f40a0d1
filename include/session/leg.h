/* A leg: one connection with its XML stream. The client leg and the upstream leg both begin with one. */
#ifndef HOLDFAST_SESSION_LEG_H
#define HOLDFAST_SESSION_LEG_H

#include "base/buf.h"
#include "base/slab.h"
#include "session/context.h"

/* Reasons for not taking input, one bit each: the leg listens when none is set. */
enum leg_stop {
    STOP_TURN = 1 << 0,   /* it is the other side's turn in a negotiation: what comes is held, not parsed */
    STOP_QUEUE = 1 << 1,  /* the queue that its stanzas go to is full */
    STOP_SLOW = 1 << 2,   /* the other leg's peer does not read fast enough */
    STOP_MAIL = 1 << 3,   /* waiting for the store */
    STOP_OUTPUT = 1 << 4, /* its own peer does not take our answers */
    STOP_RATE = 1 << 5,   /* it sends more than limits.*_per_second */
};

struct leg {
    struct context *cx;
    struct transport *transport; /* NULL once closed */
    struct stream *stream;
    struct buf *held; /* bytes that came while the leg did not listen; NULL: none */
    unsigned stopped; /* enum leg_stop; 0 = listening */
    bool feeding;     /* inside stream_feed */
    bool reading;     /* the transport reads */
    usec last_input, last_output;
    usec listening; /* since when it does without a break */
    unsigned long long bytes_in, bytes_out;
};

void leg_init(struct leg *leg, enum slab_life life, struct context *cx, struct transport *t,
              const struct stream_limits *limits, const struct stream_events *events, void *ctx);
void leg_input(struct leg *leg, const char *p, size_t n);
void leg_stop(struct leg *leg, enum leg_stop why);
/* Takes the reasons back; when these were the last ones, what was held is parsed and reading goes on. May call up. */
void leg_go(struct leg *leg, unsigned why);
/* The peer is gone: what it had said before, and was held, is parsed in spite of all reasons to stop. May call up. */
void leg_hear_out(struct leg *leg);
/* The value for stream upcalls to return: whether the stream is to stop behind this element. */
static inline enum stream_next leg_next(const struct leg *leg)
{
    return leg->stopped || !leg->transport ? STREAM_PAUSE : STREAM_GO;
}
/* One element, or several where the transport is not framed. */
void leg_write(struct leg *leg, struct slice s);
void leg_write_str(struct leg *leg, const char *text);
/* A stream header with these facts under our own prefixes; attributes that are absent in h stay absent. */
void leg_write_header(struct leg *leg, const struct stream_header *h);
/* The end of our stream; farewell is for transports that have a goodbye of their own. */
void leg_write_end(struct leg *leg, enum transport_farewell farewell);
/* Something that means nothing: keeps the connection alive, or makes a dead one show itself. */
void leg_keep_alive(struct leg *leg);
static inline bool leg_is_open(const struct leg *leg)
{
    return leg->transport != NULL;
}
/* Ends the connection; the stream is of no more use. Graceful: what was written still leaves. */
void leg_close(struct leg *leg, bool graceful);
/* Releases what it holds; after leg_close, when no upcall of its stream is on the stack. */
void leg_clear(struct leg *leg);
/* Between workers: off this one, on to that one. */
void leg_leave(struct leg *leg);
void leg_arrive(struct leg *leg, struct context *cx);

enum close_reason leg_reason(enum transport_end end);

/* Of the stream's extra namespace declarations, all if the bytes use one of their prefixes, else none: what must be put
 * into the root tag of a stanza that leaves its stream. */
struct slice leg_extra_ns(const struct leg *leg, const struct element *e);
/* The element as it is to be written on the other side: its own bytes, or a copy in scratch with declarations put in.
 */
struct slice leg_outside(const struct leg *leg, const struct element *e, struct buf *scratch);

#endif
