/* Names to addresses and SRV records without blocking the loop: c-ares on libev. Honours /etc/hosts, as the system
 * does. Keeps no answers: whoever asks often keeps them for as long as they are told to be valid. */
#ifndef HOLDFAST_NET_RESOLVER_H
#define HOLDFAST_NET_RESOLVER_H

#include "net/address.h"
#include "net/loop.h"
#include <stddef.h>

struct resolver;

enum resolve_result {
    RESOLVE_OK,
    RESOLVE_NOT_FOUND, /* the name servers say that there is no such name, or nothing of the kind that was asked for */
    RESOLVE_TIMEOUT,
    RESOLVE_FAILED, /* the name servers, or the way there, have a fault */
};

struct resolver *resolver_new(struct loop *l);
void resolver_free(struct resolver *r); /* open lookups are answered with RESOLVE_FAILED first */
/* Asks these, "192.0.2.1:53,[2001:db8::1]:53", instead of the system's; false if they cannot be parsed. */
bool resolver_set_servers(struct resolver *r, const char *servers);

/* Addresses in the order in which they should be tried, valid during the call; ttl: seconds for which they are valid;
 * text: why there are none. */
typedef void resolved_fn(void *ctx, enum resolve_result result, const struct address *addresses, size_t n, unsigned ttl,
                         const char *text);
/* Calls back exactly once, possibly before it returns. A lookup cannot be taken back. */
void resolver_lookup(struct resolver *r, const char *host, int port, resolved_fn *resolved, void *ctx);

/* RFC 2782. */
struct srv_record {
    char *host; /* letters, digits, '.', '-' and '_' alone; "." says that there is no such service */
    int port;
    unsigned priority, weight;
};
/* Records in no particular order, valid during the call; n is 0 unless RESOLVE_OK. */
typedef void srv_resolved_fn(void *ctx, enum resolve_result result, const struct srv_record *records, size_t n,
                             unsigned ttl, const char *text);
/* As resolver_lookup; name as "_xmpp-client._tcp.example.org". */
void resolver_lookup_srv(struct resolver *r, const char *name, srv_resolved_fn *resolved, void *ctx);

#endif
