/* A transport moves bytes both ways between a leg and its peer: a TCP socket, TLS over it, a WebSocket over either,
 * later a relay from another node. Header only: session/ sees this interface and nothing else of net/.
 *
 * Lifetime: the owner makes it (or gets it from a listener or dialer), sets its events, and calls transport_free once.
 * No upcall comes after transport_free, nor after `closed`. The memory is released after the callbacks of this loop
 * turn have returned, so an owner may free a transport inside any upcall.
 */
#ifndef HOLDFAST_NET_TRANSPORT_H
#define HOLDFAST_NET_TRANSPORT_H

#include "base/endpoint.h"
#include "base/slice.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct transport;

/* With more than this in a transport's buffer its owner should wait for `drained`. */
#define TRANSPORT_HIGH_WATER ((size_t)64 * 1024)

enum transport_end {
    TRANSPORT_FIN,     /* the peer closed in order (TCP FIN, TLS close_notify) */
    TRANSPORT_RESET,   /* RST, broken pipe, any socket error */
    TRANSPORT_TIMEOUT, /* the kernel gave up (TCP_USER_TIMEOUT), or a connect or handshake took too long */
    TRANSPORT_TLS,     /* TLS failure: handshake refused, bad record, peer not verified */
    TRANSPORT_REFUSED, /* could not connect at all (dialled transports) */
    TRANSPORT_BROKEN,  /* the peer broke the rules of the transport's protocol; it has been told which */
};

/* Upcalls to the owner, with the ctx given to transport_set_events. */
struct transport_events {
    /* Usable: connected, and where TLS was asked for, the handshake is done. Once per transport, and once more after
     * a STARTTLS on it. */
    void (*ready)(void *ctx);
    /* Bytes of the peer, valid during the call only. The owner takes them all (it may keep what it cannot use yet).
     * None, n == 0: the peer has shown in the transport's own way that it lives. Over a framed transport a byte
     * TRANSPORT_MESSAGE_END follows each message. */
    void (*bytes)(void *ctx, const char *p, size_t n);
    /* All that was written has left the transport's own buffer, after some of it had not in an earlier turn, or after
     * there had been more than TRANSPORT_HIGH_WATER in it: who stops at that mark is always called. */
    void (*drained)(void *ctx);
    /* The peer is gone; why, and a short text for the log (valid during the call). All that could be read has been
     * delivered, if reading was not stopped. */
    void (*closed)(void *ctx, enum transport_end end, const char *detail);
};

enum transport_kind {
    TRANSPORT_TCP,
    TRANSPORT_KIND_TLS,
    TRANSPORT_WS,
    TRANSPORT_WSS,
    TRANSPORT_RELAY,
    TRANSPORT_MEMORY
};

/* Cannot be in a message of XML. */
#define TRANSPORT_MESSAGE_END '\0'

/* What a framed transport gives its peer as the reason of an end (the close codes of RFC 6455 7.4.1). */
enum transport_farewell {
    FAREWELL_DONE = 1000,
    FAREWELL_AWAY = 1001,
    FAREWELL_POLICY = 1008,
    FAREWELL_TOO_LARGE = 1009,
    FAREWELL_FAULT = 1011,
};

struct transport_ops {
    /* Takes a copy; what is written in one loop turn leaves with one system call (one TLS record where it fits) at its
     * end. */
    void (*write)(struct transport *t, const char *p, size_t n);
    /* Of framed kinds alone. A message out of parts, one behind the other; `write` is one of a single part. */
    void (*write_message)(struct transport *t, const struct slice *parts, size_t n);
    /* Has the peer show that it lives. */
    void (*ping)(struct transport *t);
    /* No message follows: a graceful free will tell the peer so. Without it the connection just ends, as if cut. */
    void (*finish)(struct transport *t, enum transport_farewell farewell);

    /* Stops and starts the upcall `bytes`. Transports start with reading stopped. A peer's FIN or RST may be
     * noticed late while reading is stopped. */
    void (*read_stop)(struct transport *t);
    void (*read_start)(struct transport *t);
    /* Whether its bytes are read behind those of all that do not yield, and for a part of each turn only: for
     * connections that are on their way in, of which anybody can make thousands. New ones do not yield. NULL: the kind
     * cannot. */
    void (*yield)(struct transport *t, bool yields);
    /* Bytes accepted by write that are still in the transport's own buffer. Cheap. */
    size_t (*buffered)(const struct transport *t);
    /* buffered plus what the kernel holds that the peer has not acknowledged yet (SIOCOUTQ; with TLS in its own larger
     * bytes). SIZE_MAX once the connection has failed. A system call. */
    size_t (*outstanding)(const struct transport *t);
    /* Ends it. No upcall comes any more; t is gone for the owner.
     *   graceful: flushes what was written, says goodbye (TLS close_notify, FIN) and waits for the peer's, all of it
     *     bounded in time; what the peer still sends is dropped. Also right after `closed` with TRANSPORT_FIN: a last
     *     answer leaves. Before `ready` of a dialled one, and during a TLS handshake, it is just closed.
     *   not graceful: reset at once (TCP RST), what was buffered here and what the kernel still held are lost. */
    void (*free)(struct transport *t, bool graceful);
    /* Takes it off its loop, so that another thread can put it on its own: between the two calls there are no upcalls
     * and no system calls; what is buffered goes along. Reading is stopped by detach; after attach the owner starts it,
     * and bytes that wait inside (TLS) are delivered then. `loop` is a struct loop *. Not while it is being dialled.
     * In between it may be freed as well; it is then closed at once, without the graces of its loop. */
    void (*detach)(struct transport *t);
    void (*attach)(struct transport *t, void *loop);
};

/* Who is at the other end of an accepted one. */
struct transport_client {
    char peer[ENDPOINT_TEXT]; /* "192.0.2.1:5222", "[2001:db8::1]:5222", for logs and limits per address */
    /* The client's address, which `peer` is the text of, and the one that it connected to; as a load balancer told them
     * where one did. */
    struct endpoints ends;
};

/* What every transport begins with. */
struct transport {
    const struct transport_ops *ops;
    const struct transport_events *events;
    void *ctx;    /* the owner's, for the upcalls */
    void *server; /* of those that were dialled over routes (net/dialer.h): whose, once connected; else NULL */
    struct transport_client *client; /* NULL: it was dialled */
    enum transport_kind kind;
};

static inline void transport_set_events(struct transport *t, const struct transport_events *events, void *ctx)
{
    t->events = events;
    t->ctx = ctx;
}
/* NULL of a dialled one. */
static inline const struct endpoints *transport_ends(const struct transport *t)
{
    return t->client ? &t->client->ends : NULL;
}
/* "" of a dialled one. */
static inline const char *transport_peer(const struct transport *t)
{
    return t->client ? t->client->peer : "";
}
static inline void transport_write(struct transport *t, struct slice s)
{
    t->ops->write(t, s.p, s.n);
}
/* It delimits messages; the other kinds carry a stream of bytes. */
static inline bool transport_is_framed(const struct transport *t)
{
    return t->kind == TRANSPORT_WS || t->kind == TRANSPORT_WSS;
}
/* STARTTLS is possible: not over TLS, and not where TLS is below the messages (RFC 7395 3.9). */
static inline bool transport_may_starttls(const struct transport *t)
{
    return t->kind != TRANSPORT_KIND_TLS && !transport_is_framed(t);
}
static inline const char *transport_kind_name(const struct transport *t)
{
    static const char *const name[] = {"tcp", "tls", "ws", "wss", "relay", "memory"};
    return name[t->kind];
}
static inline void transport_read_stop(struct transport *t)
{
    t->ops->read_stop(t);
}
static inline void transport_read_start(struct transport *t)
{
    t->ops->read_start(t);
}
static inline void transport_yield(struct transport *t, bool yields)
{
    if (t->ops->yield)
        t->ops->yield(t, yields);
}
static inline size_t transport_buffered(const struct transport *t)
{
    return t->ops->buffered(t);
}
static inline void transport_detach(struct transport *t)
{
    t->ops->detach(t);
}
static inline void transport_attach(struct transport *t, void *loop)
{
    t->ops->attach(t, loop);
}
static inline size_t transport_outstanding(const struct transport *t)
{
    return t->ops->outstanding(t);
}
/* NULL is fine; clears the caller's pointer first. */
static inline void transport_free(struct transport **t, bool graceful)
{
    struct transport *gone = *t;
    *t = NULL;
    if (gone)
        gone->ops->free(gone, graceful);
}

#endif
