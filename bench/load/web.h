/* XMPP over WebSocket (RFC 7395) as a client speaks it: the handshake, and one frame for each element. Pure: bytes in,
 * bytes out. Extensions, fragments and pings of the other side are not expected. */
#ifndef BENCH_WEB_H
#define BENCH_WEB_H

#include "base/buf.h"
#include <stdint.h>

struct web {
    bool open;        /* the other side has agreed */
    uint8_t head[10]; /* of a frame, as far as it is there */
    unsigned have;    /* bytes of it */
    uint64_t left;    /* of the frame's payload */
};

void web_ask(struct buf *wire);
/* Takes the answer to that out of what came. False when it was refused; w->open tells whether it is there. */
bool web_agree(struct web *w, struct slice *bytes, struct buf *incomplete);
/* Whole elements, as they are written on a TCP stream, become frames. */
void web_wrap(struct buf *wire, struct slice elements);
/* What frames hold. False when the other side closes. */
bool web_unwrap(struct web *w, struct slice bytes, struct buf *text);

#endif
