/* Addresses (RFC 7622) as slices: split and compare, no normalisation: the legacy server's own spelling counts. */
#ifndef HOLDFAST_XMPP_JID_H
#define HOLDFAST_XMPP_JID_H

#include "base/slice.h"

struct jid {
    struct slice local, domain, resource; /* .p == NULL for parts that are absent */
    struct slice bare;                    /* local@domain, or the domain alone */
};

/* Points into text. False for what cannot be a JID: empty or over-long parts (RFC 7622 3.1: 1023 bytes each). */
bool jid_parse(struct slice text, struct jid *out);
struct slice jid_bare(struct slice text); /* up to the first '/', text itself without one */
static inline char jid_lower(char c)      /* ASCII alone */
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}
/* Equal up to ASCII case: domains are case-insensitive (RFC 7622 3.2). */
bool jid_domain_eq(struct slice a, struct slice b);

#endif
