/* One element at stream level (a child of the stream): its bytes as they came, and the few facts that were noted while
 * expat went over them, so that nothing is parsed twice. Valid during the upcall that delivers it. */
#ifndef HOLDFAST_XMPP_ELEMENT_H
#define HOLDFAST_XMPP_ELEMENT_H

#include "base/slice.h"
#include <stdbool.h>
#include <stdint.h>

/* Namespaces are compared as these texts. */
#define NS_CLIENT "jabber:client"
#define NS_STREAMS "http://etherx.jabber.org/streams"
#define NS_STREAM_ERRORS "urn:ietf:params:xml:ns:xmpp-streams"
#define NS_STANZA_ERRORS "urn:ietf:params:xml:ns:xmpp-stanzas"
#define NS_TLS "urn:ietf:params:xml:ns:xmpp-tls"
#define NS_SASL "urn:ietf:params:xml:ns:xmpp-sasl"
#define NS_SASL2 "urn:xmpp:sasl:2"
#define NS_BIND "urn:ietf:params:xml:ns:xmpp-bind"
#define NS_BIND2 "urn:xmpp:bind:0"
#define NS_SESSION "urn:ietf:params:xml:ns:xmpp-session"
#define NS_IQ_AUTH "jabber:iq:auth"
#define NS_IQ_AUTH_FEATURE "http://jabber.org/features/iq-auth"
#define NS_REGISTER "jabber:iq:register"
#define NS_ROSTER "jabber:iq:roster"
#define NS_PRIVACY "jabber:iq:privacy"
#define NS_BLOCKING "urn:xmpp:blocking"
#define NS_SM2 "urn:xmpp:sm:2"
#define NS_SM3 "urn:xmpp:sm:3"
#define NS_OLD_ACK "http://www.xmpp.org/extensions/xep-0198.html#ns"
#define NS_COMPRESS_FEATURE "http://jabber.org/features/compress"
#define NS_COMPRESS "http://jabber.org/protocol/compress"
#define NS_SASL_CB "urn:xmpp:sasl-cb:0"
#define NS_PING "urn:xmpp:ping"
#define NS_DELAY "urn:xmpp:delay"
#define NS_RECEIPTS "urn:xmpp:receipts"
#define NS_CARBONS "urn:xmpp:carbons:2"
#define NS_MAM2 "urn:xmpp:mam:2"
#define NS_CHAT_STATES "http://jabber.org/protocol/chatstates"
#define NS_EVENT "jabber:x:event"
#define NS_CSI "urn:xmpp:csi:0"
#define NS_MUC "http://jabber.org/protocol/muc"
#define NS_MUC_USER "http://jabber.org/protocol/muc#user"
#define NS_MUC_OWNER "http://jabber.org/protocol/muc#owner"
#define NS_HINTS "urn:xmpp:hints"
#define NS_CHAT_MARKERS "urn:xmpp:chat-markers:0"
#define NS_CALLS "urn:xmpp:jingle-message:0"
#define NS_INVISIBLE "urn:xmpp:invisible:" /* and a digit */
#define NS_FRAMING "urn:ietf:params:xml:ns:xmpp-framing"

enum element_kind { ELEMENT_OTHER, ELEMENT_MESSAGE, ELEMENT_PRESENCE, ELEMENT_IQ }; /* the last three: jabber:client */

/* Facts about the direct children of a stanza, one bit each. */
enum element_fact {
    FACT_BODY = 1 << 0,            /* body with at least one character of text */
    FACT_SUBJECT = 1 << 1,
    FACT_DELAY = 1 << 2,           /* urn:xmpp:delay */
    FACT_CHAT_STATE = 1 << 3,      /* XEP-0085, or composing and its end of XEP-0022 */
    FACT_RECEIPT_REQUEST = 1 << 4, /* XEP-0184 */
    FACT_RECEIPT = 1 << 5,         /* XEP-0184 received */
    FACT_CARBON = 1 << 6,          /* XEP-0280 sent or received */
    FACT_ARCHIVED = 1 << 7,        /* XEP-0313 result, of its older versions too */
    FACT_EVENT = 1 << 8,           /* XEP-0022 */
    FACT_MUC_JOIN = 1 << 9,        /* presence with x of muc */
    FACT_MUC_USER = 1 << 10,       /* x of muc#user */
    FACT_ERROR = 1 << 11,          /* error child */
    FACT_PING = 1 << 12,           /* XEP-0199 */
    FACT_BIND = 1 << 13,
    FACT_ROSTER = 1 << 14,
    FACT_NO_STORE = 1 << 15,       /* XEP-0334 no-store or no-permanent-store */
    FACT_NO_COPY = 1 << 16,
    /* Something to keep: a body with at least one character of text (white space counts), or any other child except
     * chat states, thread, XEP-0334 hints, XEP-0203 delay, jabber:x:delay, XEP-0359 origin-id, stanza-id. */
    FACT_PAYLOAD = 1 << 17,
    FACT_IQ_AUTH = 1 << 18,        /* XEP-0078 query */
    FACT_REGISTER = 1 << 19,       /* XEP-0077 query */
    FACT_STREAM_ERROR = 1 << 20,
    FACT_OLD_RECEIPT = 1 << 21,    /* received of XEP-0333 before version 0.5: a receipt in all but name */
    FACT_CALL = 1 << 22,           /* XEP-0353 */
    FACT_ASKS_DELIVERED = 1 << 23, /* XEP-0022, as are the next: to be told when the client has it */
    FACT_ASKS_OFFLINE = 1 << 24,   /* or when it waits for a client */
    FACT_DELIVERED = 1 << 25,      /* the answer to the first */
};

/* XEP-0085; none as well for one that nobody knows. */
enum chat_state { CHAT_NONE, CHAT_ACTIVE, CHAT_COMPOSING, CHAT_PAUSED, CHAT_INACTIVE, CHAT_GONE };

/* A node of the small tree that is built for every element but messages and presence. Lives as long as the element. The tree has
 * ELEMENT_NODES at the most, those that come first: a node takes many times the bytes of `<a/>`. */
#define ELEMENT_NODES 1024
struct node {
    struct slice ns, name, text;       /* text: the direct character data, entities resolved */
    struct slice bytes;                /* from its `<` to behind its end tag, inside element.bytes */
    const struct node_attr *attrs;     /* ends with name.p == NULL */
    struct node *first_child, *next;
};
struct node_attr {
    struct slice ns, name, value; /* ns is empty for plain attributes */
};

struct element {
    enum element_kind kind;
    struct slice ns, name;
    struct slice bytes;              /* as it came; needs no other context but the stream header's namespaces */
    struct slice id, to, from, type; /* attribute values, entities resolved; .p == NULL when absent */
    uint32_t facts;                  /* enum element_fact */
    int8_t priority;                 /* of a presence; 0 when absent or bad */
    size_t open_end;                 /* offset in bytes behind the root's start tag (behind `/>` when it is empty) */
    size_t close_at;                 /* offset in bytes of the root's end tag; bytes.n when the root is `<empty/>` */
    size_t name_end;                 /* offset in bytes behind the root's name: where an attribute can be put in */
    struct slice receipt_id;         /* id of a received, XEP-0184 or the old form, or of a delivered */
    bool beside_receipt;             /* more to it than such receipts: other payload, a chat state, another id */
    enum chat_state chat_state;      /* of a message */
    struct slice thread;             /* of a message; .p == NULL when absent */
    size_t offline_at, offline_end;  /* offsets in bytes of the `<offline/>` of FACT_ASKS_OFFLINE */
    const struct node *tree;         /* NULL for messages and presence */
    bool tree_cut;                   /* it had more than ELEMENT_NODES */
};

/* Helpers on trees; all take NULL and give NULL or the empty slice. */
const struct node *node_child(const struct node *n, const char *ns, const char *name);
struct slice node_attr(const struct node *n, const char *name); /* plain attribute; .p == NULL when absent */

static inline bool element_is(const struct element *e, const char *ns, const char *name)
{
    return slice_eq_str(e->name, name) && slice_eq_str(e->ns, ns);
}
static inline bool element_is_stanza(const struct element *e)
{
    return e->kind != ELEMENT_OTHER;
}

#endif
