/* The server's stream features, as the client is to see them: what the proxy must own is cut out, what it offers
 * itself is added, and all else passes byte for byte. */
#ifndef HOLDFAST_XMPP_FEATURES_H
#define HOLDFAST_XMPP_FEATURES_H

#include "base/buf.h"
#include "xmpp/element.h"

/* What the server offered, whether or not it was cut. */
struct features_offer {
    bool starttls, starttls_required;
    unsigned mechanisms;      /* SASL mechanisms in all */
    unsigned mechanisms_left; /* those that the client still sees */
    bool plus_offered;        /* a -PLUS mechanism, or channel-binding types: no client can bind through the proxy */
    bool external_offered;
    bool sasl2;
    bool bind;
    bool session, session_optional; /* RFC 3921 session; optional: need not be asked for */
    bool sm2, sm3;
    bool old_ack; /* the pre-standard form of stream management */
    bool compression;
    bool iq_auth;       /* XEP-0078 */
    bool registration;  /* XEP-0077 */
};

struct features_change {
    bool add_starttls, starttls_required;
    bool add_sm;
    struct slice extra_ns; /* stream_header.extra_ns of the server's stream */
};

static inline bool features_is(const struct element *e)
{
    return element_is(e, NS_STREAMS, "features");
}

/* Reads the offer alone. */
void features_read(const struct element *e, struct features_offer *offer);
/* Reads the offer, and writes the client's copy: valid behind a header that declares xmlns='jabber:client' and
 * xmlns:stream. */
void features_rewrite(struct buf *out, const struct element *e, const struct features_change *change,
                      struct features_offer *offer);

#endif
