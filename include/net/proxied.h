/* Connections of load balancers, which begin with a PROXY protocol header: each is held back until the header has come
 * in full. Not a byte behind it is read. */
#ifndef HOLDFAST_NET_PROXIED_H
#define HOLDFAST_NET_PROXIED_H

#include "base/proxy_header.h"
#include "net/loop.h"

struct proxied; /* those of one loop that are held back */

enum proxied_result {
    PROXIED_TOLD,  /* a client's */
    PROXIED_LOCAL, /* the load balancer's own (LOCAL, UNKNOWN), and it has more to say */
    PROXIED_PROBE, /* it said nothing, but LOCAL or UNKNOWN maybe, and is gone: a health check */
    PROXIED_CUT,   /* gone with half a header */
    PROXIED_LATE,  /* no header within the time */
    PROXIED_BAD,   /* something else, or a malformed one */
};

struct proxied_events {
    /* Once for each connection. TOLD and LOCAL: fd is the callee's, ends are the client's (none = not told: those of
     * the connection hold). The others: it is closed; detail says why. */
    void (*result)(void *ctx, enum proxied_result result, int fd, const struct endpoints *ends, const char *detail);
};

struct proxied *proxied_new(struct loop *l);
/* Takes over a connected, non-blocking socket. */
void proxied_hold(struct proxied *p, int fd, usec timeout, const struct proxied_events *events, void *ctx);
/* Closes what is held back, as PROXIED_PROBE. */
void proxied_drop(struct proxied *p);
void proxied_free(struct proxied *p); /* NULL is fine; after proxied_drop */

#endif
