/* Names to addresses without blocking the loop: c-ares on libev. Honours /etc/hosts, as the system does. */
#ifndef HOLDFAST_NET_RESOLVER_H
#define HOLDFAST_NET_RESOLVER_H

#include "address.h"
#include "net/loop.h"
#include <stddef.h>

struct resolver;

enum resolve_result { RESOLVE_OK, RESOLVE_NOT_FOUND, RESOLVE_TIMEOUT, RESOLVE_FAILED };

struct resolver *resolver_new(struct loop *l);
void resolver_free(struct resolver *r); /* open lookups are answered with RESOLVE_FAILED first */
bool resolver_set_servers(struct resolver *r, const char *servers);

/* Addresses in the order in which they should be tried, valid during the call; text: why there are none. */
typedef void resolved_fn(void *ctx, enum resolve_result result, const struct address *addresses, size_t n,
                         const char *text);
/* Calls back exactly once, possibly before it returns. A lookup cannot be taken back. */
void resolver_lookup(struct resolver *r, const char *host, int port, resolved_fn *resolved, void *ctx);

#endif
