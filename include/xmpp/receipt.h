/* Delivery receipts (XEP-0184): which messages ask for one that somebody else than their client may send, and what one
 * looks like. */
#ifndef HOLDFAST_XMPP_RECEIPT_H
#define HOLDFAST_XMPP_RECEIPT_H

#include "base/buf.h"
#include "xmpp/element.h"

/* Of a message: its own and that of the receipt for it. */
enum receipt_type { RECEIPT_NO_TYPE, RECEIPT_NORMAL, RECEIPT_CHAT, RECEIPT_HEADLINE };

/* What a receipt is made of. */
struct receipt {
    struct slice to, id; /* who asked, and the id of the message */
    enum receipt_type type;
    bool no_copy, no_archive; /* the message carried XEP-0334 hints */
};

/* Why a message gets none. */
enum receipt_verdict {
    RECEIPT_DUE,
    RECEIPT_NOT_ASKED,
    RECEIPT_WITHOUT_ID,  /* or without a sender: nothing to answer to */
    RECEIPT_WRONG_TYPE,  /* groupchat, error */
    RECEIPT_LOOP,        /* it is a receipt itself */
    RECEIPT_SECOND_HAND, /* a carbon copy or out of an archive: not the first time that it arrives */
    RECEIPT_FROM_ROOM,   /* private message of an occupant */
    RECEIPT_CALL,        /* would mean that a device rings */
    RECEIPT_OWN,         /* from the account itself */
};

/* Whether a message that a client gets asks for a receipt that may be sent on its behalf, as far as the stanza itself
 * tells. account: the client's bare JID. Fills out for RECEIPT_DUE; its slices are those of e. */
enum receipt_verdict receipt_judge(const struct element *e, struct slice account, struct receipt *out);

/* Whether a client's stanza is a receipt of its own, for the message receipt_id; the old form counts too. */
bool receipt_is_own(const struct element *e);

/* The receipt, as a stanza of the recipient's. id: its own id, without what must be escaped. */
void receipt_write(struct buf *out, const struct receipt *r, const char *id);

#endif
