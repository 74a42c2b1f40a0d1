/* The peer port of one worker: takes clients that other nodes relay to here, and dials other nodes. Who connects has to
 * prove that it knows the cluster's secret (TLS by a pre-shared key), and to greet (cluster/peer.h), within a bound of
 * time, bytes and number. */
#ifndef HOLDFAST_RUN_PEERS_H
#define HOLDFAST_RUN_PEERS_H

#include "cluster/peer.h"
#include "net/listener.h"
#include "net/tls.h"
#include "session/context.h"

struct peers;

struct peers_events {
    /* A client of another node. t is the callee's; hello is valid during the call. False: refused by a limit, t is not
     * taken. */
    bool (*arrived)(void *ctx, struct transport *t, const struct peer_hello *hello);
};

/* cx: with loop, clock, timers and counters. resolver: proxy.resolver, or NULL. */
struct peers *peers_new(struct context *cx, const unsigned char key[TLS_PSK_SIZE], const char *resolver,
                        const struct peers_events *events, void *ctx);
void peers_add_listener(struct peers *p, struct listener *l); /* takes it over; before peers_start */
void peers_start(struct peers *p);                            /* on the loop's thread, likewise all that follows */
/* A drain: other nodes are told that no more clients are taken. */
void peers_refuse(struct peers *p);
/* Closes the ports and the connections that have not brought a client. */
void peers_stop(struct peers *p);
void peers_free(struct peers *p); /* NULL is fine; after peers_stop, and without relays */

/* As context_ops.dial_peer. */
struct transport *peers_dial(struct peers *p, const char *address);

#endif
