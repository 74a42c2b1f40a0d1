/* A worker: a thread with its own loop, listeners, TLS contexts and sessions. Workers share nothing on the stanza path;
 * what one wants of another goes through its inbox. */
#ifndef HOLDFAST_RUN_WORKER_H
#define HOLDFAST_RUN_WORKER_H

#include "base/counters.h"
#include "net/listener.h"
#include "run/admission.h"
#include "run/config.h"
#include "run/inbox.h"
#include "run/login_guard.h"
#include "run/upstreams.h"
#include "session/context.h"
#include "store/memory.h"
#include <stdatomic.h>

struct worker;

/* What all workers of a node share. */
struct proxy_node {
    struct config *config; /* in force; main thread only */
    struct worker **workers;
    unsigned worker_count;
    struct owner *owner;
    struct memory_store *store;
    struct admission *admission;
    struct login_guard *login_guard;
    struct upstreams *upstreams;
    struct pacing pacing;
    _Atomic int64_t memory;
    _Atomic bool draining;
    _Atomic int64_t certificate_expiry; /* seconds since 1970, 0 = no certificate */
    _Atomic size_t memory_limit, connections_limit;
    _Atomic bool confirm_none;
    struct tls_tickets *tickets;
    struct counters *counters; /* what no worker counts; written by the stats port's thread */
    char *name;
    char secret[32]; /* for tags */
};

/* The TLS contexts of one worker; those that the configuration does not want are NULL. False with *error_r (free it).
 */
bool worker_tls(const struct config *config, struct tls_tickets *tickets, struct tls_context **server_r,
                struct tls_context **upstream_r, char **error_r);
/* NULL with *error_r (free it) when TLS cannot be set up. */
struct worker *worker_new(struct proxy_node *node, unsigned index, char **error_r);
/* Before worker_start. The listener is taken over. shared: it is the only one on its address, and this worker accepts
 * for all. */
void worker_add_listener(struct worker *w, struct listener *l, bool tls, bool shared);
void worker_start(struct worker *w);
/* Waits for its thread, which ends when worker_stop was handled. */
void worker_join(struct worker *w);
/* When all workers were joined: until then they may post to each other. */
void worker_free(struct worker *w);

/* From any thread: */
/* New settings and certificates; config must outlive the worker. NULL tls contexts keep the old ones. */
void worker_reload(struct worker *w, const struct config *config, struct tls_context *server,
                   struct tls_context *upstream);
/* Of the first one: a check of the upstreams may be due. */
void worker_check_upstreams(struct worker *w);
void worker_close_listeners(struct worker *w);
/* Cuts so many client legs, those without a client to notice first: detached sessions need nothing, idle legs come
 * next. */
void worker_shed(struct worker *w, size_t legs);
/* Ends all sessions and the loop, when what was written has left, within a few seconds. */
void worker_stop(struct worker *w);
/* When its loop turned last (monotonic). It turns at least once a second. */
usec worker_last_turn(const struct worker *w);
struct counters *worker_counters(struct worker *w);
struct inbox *worker_inbox(struct worker *w);
/* Sessions now; any thread, approximate. */
size_t worker_sessions(const struct worker *w);

/* On the worker's thread: */
struct context *worker_context(struct worker *w);
/* Before worker_start. What its clients are served with; NULL without certificates. */
const struct tls_context *worker_tls_server(const struct worker *w);

#endif
