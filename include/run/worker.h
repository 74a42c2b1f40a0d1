/* A worker: a thread with its own loop, listeners, TLS contexts and sessions. Workers share nothing on the stanza path;
 * what one wants of another goes through its inbox. */
#ifndef HOLDFAST_RUN_WORKER_H
#define HOLDFAST_RUN_WORKER_H

#include "base/counters.h"
#include "base/hash.h"
#include "net/listener.h"
#include "run/admission.h"
#include "run/config.h"
#include "run/inbox.h"
#include "run/login_guard.h"
#include "run/upstreams.h"
#include "session/context.h"
#include <stdatomic.h>

struct worker;
struct storage; /* proxy/run/storage.h */

enum drain_stage {
    DRAIN_NONE,
    DRAIN_GRACE,   /* /readyz fails; clients are still let in */
    DRAIN_CUTTING, /* none is; those who are here are sent away */
    DRAIN_OVER,
};

/* What clients speak on a port; the last is for other nodes. */
enum port_kind { PORT_STARTTLS, PORT_TLS, PORT_WS, PORT_WSS, PORT_PEER, PORT_KINDS };

/* What all workers of a node share. */
struct proxy_node {
    struct config *config; /* in force; main thread only */
    struct worker **workers;
    unsigned worker_count;
    struct owner *owner;
    struct storage *storage;
    struct admission *admission;
    struct login_guard *login_guard;
    struct upstreams *upstreams;
    struct pacing pacing;
    struct answered *answered;
    struct echoes *echoes;
    struct hash_key fates_key; /* of the ids in notes of what became of stanzas */
    _Atomic int64_t memory;
    struct {
        _Atomic int stage;     /* enum drain_stage */
        _Atomic int64_t until; /* monotonic: the latest end */
    } drain;
    _Atomic int64_t certificate_expiry; /* seconds since 1970, 0 = no certificate */
    struct {                            /* in force: for the figures */
        _Atomic size_t memory, connections, connections_per_ip, sessions_per_account, queue_stanzas, queue_bytes;
    } limits;
    _Atomic bool confirm_none;
    struct tls_tickets *tickets;
    struct counters *counters; /* of the main thread */
    struct inbox *inbox;       /* of the main thread; its owner is for node_orders.h */
    usec started;              /* monotonic */
    char *name;
};

/* The TLS contexts of one worker; those that the configuration does not want are NULL. False with *error_r (free it).
 */
bool worker_tls(const struct config *config, struct tls_tickets *tickets, struct tls_context **server_r,
                struct tls_context **upstream_r, char **error_r);
/* NULL with *error_r (free it) when TLS cannot be set up. */
struct worker *worker_new(struct proxy_node *node, unsigned index, char **error_r);
/* Before worker_start. The listener is taken over. shared: it is the only one on its address, and this worker accepts
 * for all. */
void worker_add_listener(struct worker *w, struct listener *l, enum port_kind kind, bool shared);
void worker_start(struct worker *w);
/* Waits for its thread, which ends when worker_stop was handled. */
void worker_join(struct worker *w);
/* When all workers were joined: until then they may post to each other. */
void worker_free(struct worker *w);

/* From any thread: */
/* New settings and certificates. NULL tls contexts keep the old ones. When the worker has them, and looks at the old
 * configuration no more, taken(owner of node->inbox, arg) is called on the main thread; not if the worker stops first.
 */
void worker_reload(struct worker *w, const struct config *config, struct tls_context *server,
                   struct tls_context *upstream, void (*taken)(void *owner, void *arg), void *arg);
/* Another key seals what goes to Redis: what the worker keeps there is sealed with it, soon. */
void worker_reseal(struct worker *w);
/* Of the first one: a check of the upstreams may be due. */
void worker_check_upstreams(struct worker *w);
/* No new connections, and no streams on those that have not begun one. */
void worker_refuse(struct worker *w);
/* Cuts so many client legs, those that have been silent for a while first. Detached sessions have none to cut. */
void worker_shed(struct worker *w, size_t legs);
/* Ends all sessions and the loop, when what was written has left, within a few seconds. */
void worker_stop(struct worker *w);
/* When its loop turned last (monotonic). It turns at least once a second. */
usec worker_last_turn(const struct worker *w);
struct counters *worker_counters(struct worker *w);
struct inbox *worker_inbox(struct worker *w);
/* Sessions now; any thread, approximate. */
size_t worker_sessions(const struct worker *w);
/* Client connections, likewise. */
size_t worker_clients(const struct worker *w);

/* On the worker's thread: */
struct context *worker_context(struct worker *w);
/* Before worker_start. What its clients are served with; NULL without certificates. */
const struct tls_context *worker_tls_server(const struct worker *w);

#endif
