/* Outgoing connections: resolves without blocking the loop (c-ares), tries the addresses in order (both
 * families, RFC 8305 without the race: next one on failure or after a share of the time), connects without blocking.
 * Also to UNIX sockets. */
#ifndef HOLDFAST_NET_DIALER_H
#define HOLDFAST_NET_DIALER_H

#include "base/clock.h"
#include "net/address.h"
#include "net/loop.h"
#include "net/tls.h"
#include "net/transport.h"

struct dialer; /* one per loop: the resolver's channel and its cache-free state */

struct dialer *dialer_new(struct loop *l);
void dialer_free(struct dialer *d); /* open dials must have been freed */

/* Asks these name servers, "192.0.2.1:53,[2001:db8::1]:53", instead of the system's; false if they cannot be parsed. */
bool dialer_set_servers(struct dialer *d, const char *servers);

/* Source addresses, literal ones: each connection takes the next one of its target's family, and another one where that
 * has no port left. For a family without any the system chooses. NULL-terminated; false if one is no address. */
bool dialer_set_sources(struct dialer *d, char *const *sources);

/* One way to a service that several servers offer. Ways to the same server stand behind each other. */
struct dial_route {
    struct address address;
    void *server; /* for the events; NULL: nobody wants to know */
};

/* Told of the servers that a dial over routes tries, on the thread of its loop, also before dialer_dial has returned:
 * each `entered` is followed by one of the other two, `left` maybe on another thread, where the transport is then. */
struct dial_events {
    void (*entered)(void *server);
    /* None of its addresses could be connected; why is as in transport_events.closed. */
    void (*failed)(void *server, enum transport_end end, const char *detail);
    /* The transport that was connected to it is freed, or its owner gave up before. */
    void (*left)(void *server);
};

struct dial_target {
    const char *host; /* name or literal address, without brackets */
    int port;
    struct tls_context *tls; /* direct TLS when set; STARTTLS is the owner's business */
    const char *tls_name;    /* SNI and the name to verify; NULL = host */
    usec timeout;            /* for all of it: resolving, connecting, the handshake */
    /* With host = NULL: tried in this order until one can be connected. */
    const struct dial_route *routes;
    size_t route_count;
    const struct dial_events *events; /* must outlive the transport */
    const char *no_route;             /* what `closed` tells if there is none */
    const char *path;                 /* with host = NULL and no routes: of a UNIX socket */
    int proxy_header;        /* a PROXY protocol header of that version goes ahead of all else, also of TLS; 0 = none */
    struct endpoints client; /* whom it tells of; an end that is none: of the connection itself */
};

/* A transport at once, not usable before `ready`; failures come as `closed` with TRANSPORT_REFUSED, TRANSPORT_TIMEOUT
 * or TRANSPORT_TLS and a text such as "connect 127.0.0.1:5222: Connection refused" or "resolve xmpp.example: not
 * found". Never calls up before it has returned. Writing before `ready` is kept and sent then. The target's strings and
 * routes are copied. Once connected over a route, the transport's `server` is that route's. */
struct transport *dialer_dial(struct dialer *d, const struct dial_target *target);

#endif
