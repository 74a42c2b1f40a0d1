/* Chat states (XEP-0085) of a client that has vanished: whoever was told that it is composing, in a chat with one
 * other, is told that it has paused, and that it is gone when its session ends without it. A client that ends its
 * stream says so itself. */
#ifndef HOLDFAST_SESSION_CHAT_STATES_H
#define HOLDFAST_SESSION_CHAT_STATES_H

#include "session/session.h"

struct chat_states;

/* A message of the client's that goes to the server. */
void chat_states_from_client(struct session *s, const struct element *e);
/* True: an error that came back to one of ours. */
bool chat_states_take_error(struct session *s, const struct element *e);
void chat_states_turn(struct session *s); /* the client is away: says what is due */
usec chat_states_due_at(const struct session *s);
void chat_states_end(struct session *s, enum close_reason reason);
/* Chats in the session's record, without their state: it is old, and a client that is back tells it anew. */
struct record_reader;
void chat_states_save(const struct session *s, struct buf *out);
void chat_states_load(struct session *s, struct record_reader *in);
void chat_states_forget(struct session *s); /* without a word */

#endif
