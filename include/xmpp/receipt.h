/* Delivery receipts (XEP-0184) and the message events that are older (XEP-0022): which messages ask for one that
 * somebody else than their client may send, and what one looks like. */
#ifndef HOLDFAST_XMPP_RECEIPT_H
#define HOLDFAST_XMPP_RECEIPT_H

#include "base/buf.h"
#include "xmpp/element.h"

/* What a sender can be told, one bit each. */
enum receipt_kind {
    RECEIPT_RECEIVED = 1 << 0,  /* XEP-0184: the client has it */
    RECEIPT_DELIVERED = 1 << 1, /* XEP-0022: the same */
    RECEIPT_OFFLINE = 1 << 2,   /* XEP-0022: it waits for a client */
};
#define RECEIPT_KINDS     3
#define RECEIPT_OF_CLIENT (RECEIPT_RECEIVED | RECEIPT_DELIVERED) /* a client tells them, too */

/* Of a message: its own and that of the receipt for it. */
enum receipt_type { RECEIPT_NO_TYPE, RECEIPT_NORMAL, RECEIPT_CHAT, RECEIPT_HEADLINE };

/* What a receipt is made of. */
struct receipt {
    struct slice to, id; /* who asked, and the id of the message */
    unsigned kinds;      /* what for */
    enum receipt_type type;
    bool no_copy, no_archive; /* the message carried XEP-0334 hints */
};

/* Why a message gets none. */
enum receipt_verdict {
    RECEIPT_DUE,
    RECEIPT_NOT_ASKED,
    RECEIPT_WITHOUT_ID,  /* or without a sender: nothing to answer to */
    RECEIPT_WRONG_TYPE,  /* groupchat, error */
    RECEIPT_LOOP,        /* it is a receipt or a delivered itself */
    RECEIPT_SECOND_HAND, /* a carbon copy or out of an archive: not the first time that it arrives */
    RECEIPT_FROM_ROOM,   /* private message of an occupant */
    RECEIPT_CALL,        /* would mean that a device rings */
    RECEIPT_OWN,         /* from the account itself */
};

/* Whether a message that a client gets asks for a receipt that may be sent on its behalf, as far as the stanza itself
 * tells. account: the client's bare JID. Fills out for RECEIPT_DUE; its slices are those of e. */
enum receipt_verdict receipt_judge(const struct element *e, struct slice account, struct receipt *out);

/* What a client's stanza tells of the message receipt_id, kinds of RECEIPT_OF_CLIENT; the old form of receipts counts
 * too. */
unsigned receipt_own_kinds(const struct element *e);

/* The receipt of that kind, as a stanza of the recipient's: each has one of its own, as both XEPs want. id: its own id,
 * without what must be escaped. */
void receipt_write(struct buf *out, const struct receipt *r, enum receipt_kind kind, const char *id);

#endif
