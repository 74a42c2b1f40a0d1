/* Connections of HTTP clients, up to the answer to the one request that each may have: a document, or a WebSocket. What
 * there is to be had, the owner decides. */
#ifndef HOLDFAST_NET_WEB_H
#define HOLDFAST_NET_WEB_H

#include "base/buf.h"
#include "net/http.h"
#include "net/loop.h"
#include "net/tls.h"
#include "net/transport.h"

struct web; /* those of one loop that have not been answered */

enum web_end {
    WEB_ANSWERED,   /* with what the owner said */
    WEB_REFUSED,    /* no proper request: it was told so */
    WEB_LATE,       /* no request within the time */
    WEB_PROBE,      /* gone without a word: a health check */
    WEB_GONE,       /* gone with half a request */
    WEB_TLS_FAILED, /* no request, since the handshake failed */
};

/* Writes what the client gets into out, a whole response that says `Connection: close`. True: that is the answer to an
 * upgrade (net/websocket.h), and the connection goes on as a WebSocket. */
struct web_events {
    /* TLS is up. */
    void (*secured)(void *ctx);
    /* client: who asks; the owner may change it to who is behind that. */
    bool (*request)(void *ctx, const struct http_request *r, bool secure, struct endpoints *client, struct buf *out);
    /* Each connection ends with one of these. The WebSocket is the callee's. detail: for the log. */
    void (*upgraded)(void *ctx, struct transport *websocket);
    void (*over)(void *ctx, enum web_end end, const char *detail);
};

struct web *web_new(struct loop *l);
/* Takes over a connected, non-blocking socket; tls and told as for tcp_accept. The time is for handshake and request
 * each. */
void web_hold(struct web *w, int fd, struct tls_context *tls, usec timeout, const struct endpoints *told,
              const struct web_events *events, void *ctx);
/* Closes them all, as WEB_PROBE. */
void web_drop(struct web *w);
void web_free(struct web *w); /* NULL is fine; after web_drop */

/* A response with a body, if there is one, to a request of that method. more: header lines, each with its end, or "".
 */
void web_respond(struct buf *out, struct slice method, unsigned status, const char *more, const char *type,
                 struct slice body);

#endif
