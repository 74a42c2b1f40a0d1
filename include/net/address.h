/* Socket addresses of both families, as text and back. */
#ifndef HOLDFAST_NET_ADDRESS_H
#define HOLDFAST_NET_ADDRESS_H

#include "base/endpoint.h"
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

struct address {
    union {
        struct sockaddr sa;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    };
    socklen_t n;
};

#define ADDRESS_TEXT ENDPOINT_TEXT

/* A literal address without brackets; false for anything else. */
bool address_parse(struct address *out, const char *host, int port);
/* A copy of the system's; false for families other than IPv4 and IPv6. */
bool address_copy(struct address *out, const struct sockaddr *sa, socklen_t n);
int address_port(const struct address *a);
void address_set_port(struct address *a, int port);
/* "192.0.2.1:5222", "[2001:db8::1]:5222"; IPv4 inside IPv6 (from a dual-stack socket) as IPv4. Returns out. */
char *address_text(const struct address *a, char out[ADDRESS_TEXT]);
struct endpoint address_endpoint(const struct address *a);
/* The ends of a connected socket: the peer's is the source. None where there is none. */
struct endpoints address_ends(int fd);

#endif
