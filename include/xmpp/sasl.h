/* Learns who logs in from a SASL exchange that is relayed. Keeps names alone; whatever was decoded is wiped.
 *
 * A name counts as known only where client, server and this reader cannot understand the messages differently:
 * anything odd (double attributes, a message too many) leaves it unknown. That the server believed it, its <success/>
 * must tell. */
#ifndef HOLDFAST_XMPP_SASL_H
#define HOLDFAST_XMPP_SASL_H

#include "base/buf.h"
#include "base/slice.h"
#include <stdbool.h>

enum sasl_mechanism { SASL_UNKNOWN, SASL_PLAIN, SASL_SCRAM, SASL_DIGEST_MD5, SASL_ANONYMOUS };

struct sasl_identity { /* {0} is a valid empty one */
    enum sasl_mechanism mechanism;
    char *authcid, *authzid, *realm; /* UTF-8; NULL when absent or empty; realm: DIGEST-MD5 only */
    bool known;                      /* authcid is there and unambiguous */
    bool anonymous;
    bool downgrade_hash; /* the server sent a XEP-0474 hash: clients that check it will refuse what the proxy cut out */
    unsigned messages;   /* of the client, empty ones not counted */
};

/* <auth mechanism='…'/>: a new exchange, the old one is forgotten. */
void sasl_begin(struct sasl_identity *id, struct slice mechanism);
/* The text of <auth/> or <response/>: base64, `=` for an empty message, nothing for none. */
void sasl_feed(struct sasl_identity *id, struct slice base64);
/* The text of <challenge/>. */
void sasl_feed_challenge(struct sasl_identity *id, struct slice base64);
void sasl_reset(struct sasl_identity *id); /* frees the names; back to {0} */

/* Strict RFC 4648 section 4: no white space, no missing padding, no bits behind the end. False leaves out as it was. */
bool sasl_base64_decode(struct buf *out, struct slice base64);

#endif
