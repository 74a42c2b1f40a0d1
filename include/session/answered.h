/* Which requests for receipts this node has answered of late. A server may give one message to several clients of an
 * account; whoever has sent it needs one answer for it, whichever workers these clients are on. */
#ifndef HOLDFAST_SESSION_ANSWERED_H
#define HOLDFAST_SESSION_ANSWERED_H

#include "xmpp/receipt.h"

/* Any thread may use it. It is bounded, and forgets; then a second answer goes out, which XEP-0184 allows. */
struct answered;

struct answered *answered_new(void);
void answered_free(struct answered *a);

/* The session sid of that account answers to what r asks, in that kind. False: another session of it has. */
bool answered_note(struct answered *a, struct slice account, const char *sid, const struct receipt *r,
                   enum receipt_kind kind);

#endif
