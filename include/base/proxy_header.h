/* The PROXY protocol (haproxy.org, proxy-protocol.txt), versions 1 and 2: what a load balancer puts ahead of a
 * connection to tell whose it is. Bytes in, addresses out, and back. */
#ifndef HOLDFAST_BASE_PROXY_HEADER_H
#define HOLDFAST_BASE_PROXY_HEADER_H

#include "base/buf.h"
#include "base/endpoint.h"
#include "base/slice.h"

#define PROXY_HEADER_MAX 4096 /* a longer one is refused; they have some 30 to 500 bytes */

enum proxy_header_result {
    PROXY_HEADER_MORE, /* all these bytes belong to it, and it is not complete */
    PROXY_HEADER_DONE,
    PROXY_HEADER_BAD,
};

struct proxy_header {
    size_t size; /* what follows belongs to the client */
    bool local;  /* LOCAL or UNKNOWN: of the sender itself, a health check mostly */
    /* Of the client; none where the header does not tell (those of the connection hold then). Both are told or none. */
    struct endpoints ends;
    const char *fault; /* what is wrong with a bad one */
};

/* Looks at the bytes from the connection's beginning; writes *out if done (all but fault) or bad (fault). What version
 * 2 has behind the addresses (TLVs) is skipped. */
enum proxy_header_result proxy_header_parse(struct slice bytes, struct proxy_header *out);

/* Appends a header of that version (1 or 2) for the client's connection; NULL, or an end that is none: for one of our
 * own (UNKNOWN, LOCAL). */
void proxy_header_write(struct buf *out, int version, const struct endpoints *client);

#endif
