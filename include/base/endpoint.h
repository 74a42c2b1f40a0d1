/* One end of a TCP connection, an address and a port, as plain bytes; and networks to compare it with. No sockets. */
#ifndef HOLDFAST_BASE_ENDPOINT_H
#define HOLDFAST_BASE_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

enum endpoint_family { ENDPOINT_NONE, ENDPOINT_V4 = 4, ENDPOINT_V6 = 6 };

struct endpoint {
    uint8_t family; /* enum endpoint_family; {0} is none */
    uint8_t ip[16]; /* in network order; IPv4 has the first four, the others are 0 */
    uint16_t port;
};

/* Both ends as the client sees them. */
struct endpoints {
    struct endpoint source, destination;
};

/* ip: 4 or 16 bytes. IPv4 inside IPv6 (from a dual-stack socket) becomes IPv4. */
struct endpoint endpoint_make(enum endpoint_family family, const void *ip, uint16_t port);
bool endpoint_eq(const struct endpoint *a, const struct endpoint *b);

#define ENDPOINT_TEXT 64
/* "192.0.2.1:5222", "[2001:db8::1]:5222", "" for none. Returns out. */
char *endpoint_text(const struct endpoint *e, char out[ENDPOINT_TEXT]);

struct network {
    struct endpoint first; /* its port does not matter */
    unsigned bits;
};

/* "192.0.2.0/24", "2001:db8::/32"; an address alone is a network of one. False for anything else, also where bits
 * behind the prefix are set. */
bool network_parse(struct network *out, const char *text);
bool network_holds(const struct network *n, const struct endpoint *e);

#endif
