/* Messages that a client sends again when its session is lost, though they were counted: it did not get the ack, or
 * does not look at the h of <failed/> (Smack, applications of xmpp.js). A session remembers a digest of each message
 * that has an id and whose ack its client may not have seen; they outlive it in its tombstone. Where the account has
 * bound anew on the stream on which the resumption failed, they are known when they come again, and swallowed.
 *
 * Who types the same once more has another id for it, or none: nothing is known but by id, recipient, type and content
 * together, each once, in the order of the old session, and only while the new session's messages are such ones: the
 * first with an id that is not known ends it. */
#ifndef HOLDFAST_SESSION_RESENT_H
#define HOLDFAST_SESSION_RESENT_H

#include "base/hash.h"
#include "session/session.h"

struct record_reader;

/* ---- of a session that lives ---- */
void resent_remember(struct session *s, const struct element *e, uint64_t number);
/* An <r/> goes out; the client has answered it: what was told before is no news to it. */
void resent_asked(struct session *s);
void resent_answered(struct session *s);
void resent_drop(struct session *s, uint64_t number); /* the server does not have that one: it is welcome again */
/* For the tombstone, of numbers up to h. */
void resent_write(const struct session *s, uint64_t h, struct buf *out);
void resent_forget(struct session *s);
void resent_save(const struct session *s, struct buf *out);
void resent_load(struct session *s, struct record_reader *in);

/* ---- after a resumption that has failed ---- */
struct awaited;
struct hash_key resent_key(struct slice previd); /* of the digests of that session */
/* written: by resent_write. NULL: nothing is awaited. */
struct awaited *awaited_new(const struct hash_key *key, struct slice written);
void awaited_free(struct awaited *a);
/* Whether it was counted in the session before; then it is not for the server. */
bool resent_is_known(struct session *s, const struct element *e);

#endif
