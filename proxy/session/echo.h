/* Confirmation without a ping. A server works off what a client says in order; so a message that it has passed on to
 * its recipient proves that it has processed all that its sender had said up to that message. If the recipient's
 * session lives on this node, we see that message come: its echo. Each session has one message at a time that is
 * expected so; what is heard is put to use when the session wants something confirmed. Another worker that hears it
 * leaves a note, and tells only who waits.
 *
 * An echo is known by the sender's full JID, which only the server can have written, and the id of the message, which
 * is to be unique within a stream (RFC 6120 8.1.3). A message with the id of the one before is never expected. Where
 * nothing is noted of fates (limits.fates = 0) there are no hashes of ids, and no echoes. */
#ifndef HOLDFAST_SESSION_ECHO_H
#define HOLDFAST_SESSION_ECHO_H

#include "session/session.h"

struct echo;
struct entry;

/* The client's message e went to the server, kept as that entry. */
void echo_expect(struct session *s, const struct element *e, const struct entry *kept);
/* A message from the server, whoever it is for; id: its hash. One that the server had stored is no echo: what it has
 * from before a crash does not prove that it has the rest of that time. */
void echo_hear(struct context *cx, const struct element *e, uint64_t id);
uint64_t echo_heard(struct session *s); /* all up to this number is processed */
/* An echo that proves that much will come at once, by all that is known: the last one was its recipient's. From then on
 * it is waited for, but no longer than a few times what that one took (echo_turn). */
bool echo_is_near(struct session *s, uint64_t upto);
/* By how much longer than sm.confirm_delay something may stay unconfirmed: a server that takes long to pass a message on
 * takes as long for a ping, and is not to be asked for what it will show. */
usec echo_slack(const struct session *s);
void echo_turn(struct session *s);         /* gives up what has been waited for too long */
void echo_rest(struct session *s);         /* nothing is waited for */
usec echo_due_at(const struct session *s); /* of echo_turn, -1: nothing is waited for */
void echo_forget(struct session *s);

#endif
