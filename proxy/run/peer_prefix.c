#include "peer_prefix.h"
#include <arpa/inet.h>
#include <stdio.h>

struct slice peer_prefix(const char *peer, char text[PEER_PREFIX_SIZE])
{
    struct in6_addr a;
    const char *colon = strrchr(peer, ':');
    struct slice host = colon ? slice_of(peer, (size_t)(colon - peer)) : slice_str(peer);
    if (host.n < 3 || host.n >= PEER_PREFIX_SIZE || host.p[0] != '[')
        return host;
    snprintf(text, PEER_PREFIX_SIZE, "%.*s", (int)host.n - 2, host.p + 1);
    if (inet_pton(AF_INET6, text, &a) != 1)
        return host;
    memset(&a.s6_addr[8], 0, 8);
    inet_ntop(AF_INET6, &a, text, PEER_PREFIX_SIZE);
    return slice_str(text);
}
