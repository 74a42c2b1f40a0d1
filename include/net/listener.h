/* Bound ports. Each worker binds its own socket with SO_REUSEPORT; the kernel spreads connections. */
#ifndef HOLDFAST_NET_LISTENER_H
#define HOLDFAST_NET_LISTENER_H

#include "base/endpoint.h"
#include "net/loop.h"
#include "net/tls.h"
#include "net/transport.h"

struct listener;

struct listener_events {
    /* A new connection on the loop's thread; fd is non-blocking and the callee's. */
    void (*accepted)(void *ctx, int fd, const struct endpoint *peer);
};

/* Binds "address:port" or "[v6]:port", both literal; "*:port" and "port" alone mean all addresses of both families (one
 * dual-stack socket). NULL with *error_r (free it), e.g. "listen 0.0.0.0:5222: Address already in use"; that is also
 * told when the one who listens there would share the port (SO_REUSEPORT). Port 0 takes a free one. Does not accept
 * before listener_start, but the kernel queues connections. May be called on any thread before the loop runs. */
struct listener *listener_open(const char *address, char **error_r);
/* Takes over a listening TCP socket that someone else has bound, a service manager say. NULL with *error_r. */
struct listener *listener_adopt(int fd, char **error_r);
/* The port that was bound (useful with port 0). */
int listener_port(const struct listener *l);
const char *listener_address(const struct listener *l, char text[ENDPOINT_TEXT]); /* with the port; returns text */
/* A second socket on the same address for another worker; only valid for listeners opened by listener_open. */
struct listener *listener_clone(const struct listener *l, char **error_r);
void listener_start(struct listener *l, struct loop *loop, const struct listener_events *events, void *ctx);
/* Stops accepting and closes the socket; connections that the kernel had queued are accepted first. On the loop's
 * thread, also inside `accepted`; or before listener_start on any. NULL is fine. */
void listener_free(struct listener *l);
/* Running out of descriptors (EMFILE, ENFILE) pauses accepting for a moment instead of spinning; counted here. */
unsigned long long listener_exhausted(const struct listener *l);

#endif
