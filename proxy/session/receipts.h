/* Delivery receipts (XEP-0184) and delivered (XEP-0022) on behalf of clients: made when the client has acked a message
 * that asks for one, and has not sent its own within receipts.grace. And offline (XEP-0022), as a server tells it of
 * what it stores: when a message has waited for a detached client for that long, or goes to the mailbox. */
#ifndef HOLDFAST_SESSION_RECEIPTS_H
#define HOLDFAST_SESSION_RECEIPTS_H

#include "session/session.h"

struct receipts;

/* The entry has been numbered and is in the unacked queue, or in that of handed.c; e is the stanza. */
void receipts_on_append(struct session *s, struct entry *entry, const struct element *e, bool handed);
/* The same for an entry out of the mailbox. */
void receipts_on_mail(struct session *s, struct entry *entry, bool handed);
/* What s->out.acked and handed_acked cover is the client's; called before those entries are freed. */
void receipts_on_acked(struct session *s);
/* Of those written without stream management (handed.c): nobody will know whether the client has them. */
void receipts_unproved(struct session *s, uint64_t upto);

/* A stanza of the client's, before anybody else looks at it. True: it is not to go to the server, which has had ours.
 */
bool receipts_from_client(struct session *s, const struct element *e);
/* True: an error that came back to one of ours. */
bool receipts_take_error(struct session *s, const struct element *e);

/* Writes what is due. Needs an upstream leg that is bound; without one everything waits. */
void receipts_turn(struct session *s);
usec receipts_due_at(const struct session *s);
/* Ours that the server may not have processed yet go by the barriers of the uplink (session_impl.h): one is wanted by
 * then, -1 for none; one was sent; it was answered. On a fresh upstream leg, what no barrier has confirmed is due
 * again. */
usec receipts_barrier_at(const struct session *s);
void receipts_barrier_sent(struct session *s);
void receipts_confirmed(struct session *s);
void receipts_repeat(struct session *s);
/* What the client has not acked is about to go to the mailbox: of the unacked queue, or of handed.c. */
void receipts_on_spill(struct session *s, enum close_reason reason, bool handed);
/* The session ends: what is due goes out if the server still listens; what the client has not acked never does. Called
 * while the unacked queue is whole. */
void receipts_end(struct session *s, enum close_reason reason);
/* The session leaves this node: what is due goes out if there is a server. */
void receipts_last_call(struct session *s);
/* What is due, and what was sent of late, in the session's record. Loaded when queue and contacts are there; where the
 * session was taken over, what its client has acked only to the new owner becomes due. */
struct record_reader;
void receipts_save(const struct session *s, struct buf *out);
void receipts_load(struct session *s, struct record_reader *in);
void receipts_forget(struct session *s); /* without a word */

#endif
