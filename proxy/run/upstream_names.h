/* Looks up the names of proxy.upstream, keeps the answers for as long as they are valid, asks again by itself, and
 * tells the upstreams which servers there are. So a dial never waits for a name server, however slow that is, and any
 * number of logins costs no question. Lives on one loop.
 *
 * An answer that there is no such name is believed. When name servers fail, the last answer stays in use. */
#ifndef HOLDFAST_RUN_UPSTREAM_NAMES_H
#define HOLDFAST_RUN_UPSTREAM_NAMES_H

#include "base/counters.h"
#include "net/loop.h"
#include "run/config.h"
#include "run/upstreams.h"

#define NAMES_TTL_MIN (5 * USEC_S)    /* shorter ones are taken for this */
#define NAMES_TTL_MAX (3600 * USEC_S) /* longer ones as well */
#define NAMES_WAIT    (5 * USEC_S)    /* a list goes into use without the names that have no answer by then */

struct upstream_names;

/* resolver: name servers as resolver_set_servers takes them, NULL = the system's. */
struct upstream_names *upstream_names_new(struct loop *l, const char *resolver, struct upstreams *upstreams,
                                          struct counters *counters);
void upstream_names_free(struct upstream_names *names); /* NULL is fine */
/* What to look up from now on; copied. The old list stays in use until the names of the new one have answers. direct:
 * SRV records of servers that speak TLS from the first byte. known is called, perhaps at once, when upstreams_set was
 * called for it. */
void upstream_names_use(struct upstream_names *names, const struct config_servers *servers, bool direct,
                        void (*known)(void *ctx), void *ctx);

#endif
