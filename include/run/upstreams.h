/* The upstream servers of the node: which there are, which are up, how many sessions each has. Shared by all workers
 * and safe on any thread; asked once for each login, never on the way of a stanza. */
#ifndef HOLDFAST_RUN_UPSTREAMS_H
#define HOLDFAST_RUN_UPSTREAMS_H

#include "base/clock.h"
#include "net/dialer.h"
#include "session/context.h"

struct buf;
struct upstreams;

/* sooner(ctx) is called, on any thread, when a check is due earlier than upstreams_next_check had told. */
struct upstreams *upstreams_new(void (*sooner)(void *ctx), void *ctx);
void upstreams_free(struct upstreams *u); /* when no transport to a server is left */

/* ---- which there are: told by who reads the configuration and asks the name servers ---- */

struct upstream_entry {
    const char *host; /* name or address, without brackets */
    int port;
    unsigned priority, weight;       /* RFC 2782 */
    const struct address *addresses; /* with the port */
    size_t n;
    const char *why; /* there are none */
};

/* Replaces the list. A server that was on it before keeps its state, also if it left and comes back soon; the sessions
 * of one that is no longer on it stay. why: for what reason the list is empty, if it is. */
void upstreams_set(struct upstreams *u, const struct upstream_entry *entries, size_t n, const char *why);
/* Whether the list was set once. */
bool upstreams_known(const struct upstreams *u);
/* Whether a listed server of that host is down; any at all with NULL. */
bool upstreams_is_down(struct upstreams *u, const char *host);

/* ---- dials ---- */

#define UPSTREAM_ROUTES     16 /* a dial tries at most */
#define UPSTREAM_ROUTES_ONE 4  /* of them for one server */
#define UPSTREAM_WHY        200

/* The routes of a new dial; if there are none, the reason is written to why. Their `server` is the struct
 * upstream_facts of each. */
size_t upstreams_routes(struct upstreams *u, struct dial_route routes[UPSTREAM_ROUTES], char why[UPSTREAM_WHY]);
/* For such routes: keeps the count of sessions, and notes which servers could not be connected. */
const struct dial_events *upstreams_dial_events(void);
/* As context_ops.upstream_noted. */
void upstreams_note(struct upstreams *u, struct upstream_facts *facts, enum upstream_note note, const char *detail);
/* Of the service as a whole; `down` while no server can be reached. */
struct upstream_facts *upstreams_service(struct upstreams *u);

/* ---- checks ---- */

struct upstream_check {
    struct upstream_facts *facts;
    char *host; /* free it */
    struct dial_route routes[UPSTREAM_ROUTES_ONE];
    size_t n;
};

usec upstreams_next_check(struct upstreams *u); /* when, monotonic; INT64_MAX = none */
/* One that is due now; false if there is none. It is not due again before upstreams_checked. */
bool upstreams_take_check(struct upstreams *u, struct upstream_check *out);
void upstreams_checked(struct upstreams *u, struct upstream_facts *facts, bool good, const char *detail);

/* ---- the operator ---- */

/* A drained server gets no new sessions. False if none has that name ("host:port"). */
bool upstreams_set_drained(struct upstreams *u, const char *name, bool drained);
/* Whether clients can be served; else why not, a line for each server. */
bool upstreams_ready(struct upstreams *u, struct buf *reasons);

struct upstream_info {
    char *name;
    bool listed, up, drained;
    size_t sessions;
    int64_t dials_ok, dials_failed; /* of sessions, not of checks */
};
/* Those on the list, and others that still have sessions. */
struct upstream_info *upstreams_info(struct upstreams *u, size_t *n_r);
void upstreams_info_free(struct upstream_info *info, size_t n);
/* Whether a listed one answers pings ahead of earlier messages (ORDER_BAD). */
bool upstreams_any_unordered(struct upstreams *u);

#endif
