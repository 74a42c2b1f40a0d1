/* A WebSocket as a transport, over a TCP transport with or without TLS (RFC 6455, server side): the request of a client
 * that wants one, and what follows. */
#ifndef HOLDFAST_NET_WEBSOCKET_H
#define HOLDFAST_NET_WEBSOCKET_H

#include "base/buf.h"
#include "net/http.h"
#include "net/loop.h"
#include "net/transport.h"

/* Whether the request is a proper one for a WebSocket of that subprotocol. 0, and the answer is added to out; else the
 * HTTP status to refuse it with, and *fault_r tells why. */
unsigned websocket_accept(const struct http_request *r, const char *protocol, struct buf *out, const char **fault_r);

/* Takes below over, on which the answer was written; early: what has come behind the request. */
struct transport *websocket_new(struct loop *l, struct transport *below, struct slice early);

#endif
