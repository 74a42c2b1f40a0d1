/* What of a peer's address counts as one party: an IPv4 address, an IPv6 /64 (a host has a whole one to choose from).
 */
#ifndef HOLDFAST_RUN_PEER_PREFIX_H
#define HOLDFAST_RUN_PEER_PREFIX_H

#include "base/slice.h"

#define PEER_PREFIX_SIZE 64

/* peer as in struct transport, its port does not matter. The result lies in text, or is a part of peer. */
struct slice peer_prefix(const char *peer, char text[PEER_PREFIX_SIZE]);

#endif
