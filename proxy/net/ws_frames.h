/* The frames of a WebSocket on the server's side (RFC 6455 5): bytes of the client in, its messages out, with what has
 * to be answered; and the heads of our own frames. wslay does the frames, but for the plainest; here is what XMPP wants of them (RFC 7395):
 * text alone, no extensions. No sockets. */
#ifndef HOLDFAST_NET_WS_FRAMES_H
#define HOLDFAST_NET_WS_FRAMES_H

#include "base/bucket.h"
#include "base/buf.h"
#include <stdint.h>
#include <wslay/wslay.h>

enum ws_opcode { WS_TEXT = WSLAY_TEXT_FRAME, WS_CLOSE = WSLAY_CONNECTION_CLOSE, WS_PING = WSLAY_PING };

struct ws_frames {                 /* {0} is a valid fresh one */
    wslay_event_context_ptr wslay; /* only while something is incomplete: it is large */
    uint8_t opcode;                /* of the frame at hand */
    bool fin;
    bool fragmented;    /* a message has begun and not ended */
    uint64_t left;      /* of the frame's payload */
    size_t unread;      /* what wslay has taken of a head that is incomplete */
    struct bucket idle; /* frames that carry nothing of a message */
    bool alive;         /* such a frame has come */
    bool over;          /* the peer has closed, or broke the rules: nothing more is read */
    bool broken;        /* the latter */
    uint16_t code;      /* of the peer's Close or of ours; 0: none was given */
    /* While reading: */
    struct slice in;
    usec now;
    struct buf *messages, *answers;
};

/* Adds to messages: what has come of messages, with a TRANSPORT_MESSAGE_END behind each that is complete. Adds to
 * answers: frames for the client. */
void ws_frames_read(struct ws_frames *f, struct slice in, usec now, struct buf *messages, struct buf *answers);
void ws_frames_free(struct ws_frames *f);

#define WS_HEAD_MAX 10
/* The head of a whole frame of ours with a payload of n bytes, to be written ahead of these. Returns its size. */
size_t ws_frame_head(uint8_t head[WS_HEAD_MAX], enum ws_opcode opcode, uint64_t n);
/* A Close. */
void ws_frame_close(struct buf *out, uint16_t code);

#endif
