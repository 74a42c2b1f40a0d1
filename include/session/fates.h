/* What became of stanzas lately, for an operator who asks where a message is: a ring of notes for each worker, one for
 * each step of a stanza that has an id. Ids are kept as hashes, and nothing of what stanzas say. Who is full forgets
 * what is oldest. A context without a ring (limits.fates = 0) notes nothing. */
#ifndef HOLDFAST_SESSION_FATES_H
#define HOLDFAST_SESSION_FATES_H

#include "base/clock.h"
#include "base/counters.h"
#include "base/hash.h"
#include "store/store.h"
#include <stdbool.h>

enum fate_direction { FATE_UPLINK, FATE_DOWNLINK };

/* S(enum constant, word, direction) */
#define FATE_STEPS(S)                                                                                                  \
    S(FORWARDED, forwarded, UPLINK)    /* from the client, written to the server; with acks: until it is confirmed */  \
    S(RECEIVED, received, UPLINK)      /* from the client, while there is no server to write it to */                  \
    S(UP_SWALLOWED, swallowed, UPLINK) /* counted, and not for the server */                                           \
    S(KNOWN, known, UPLINK)            /* sent again, though the session before had counted it: not for the server */  \
    S(CONFIRMED, confirmed, UPLINK)    /* the server has processed it */                                               \
    S(REPEATED, repeated, UPLINK)      /* written once more, to a fresh upstream leg */                                \
    S(RETURNED, returned, UPLINK)      /* not acked, and the session has ended: the client is to send it again */      \
    S(UP_KEPT, kept, UPLINK)           /* goes along with its session: to another node, or over a stop */              \
    S(OUTBOX, outbox, UPLINK)          /* acked, and perhaps lost with the server: waits for the account's next leg */ \
    S(POSTED, posted, UPLINK)          /* out of the outbox, written to the server */                                  \
    S(QUEUED, queued, DOWNLINK)        /* from the server, into the unacked queue of a session */                      \
    S(FETCHED, fetched, DOWNLINK)      /* out of the account's mailbox, for a session */                               \
    S(PARKED, parked, DOWNLINK)        /* beside the queue of a detached session */                                    \
    S(DOWN_SWALLOWED, swallowed, DOWNLINK) /* answered by the proxy, or the client has had it */                       \
    S(RELAYED, relayed, DOWNLINK)          /* written to a client without stream management: that is all we know */    \
    S(WRITTEN, written, DOWNLINK)          /* to the client */                                                         \
    S(ACKED, acked, DOWNLINK)              /* the client has it */                                                     \
    S(TAKEN, taken, DOWNLINK)              /* as above, of one without stream management: its connection held */       \
    S(RECEIPT, receipt, DOWNLINK)          /* the proxy has sent a delivery receipt for it */                          \
    S(MAILBOX, mailbox, DOWNLINK)          /* its session has ended: waits for the account's next one */               \
    S(DOWN_KEPT, kept, DOWNLINK)           /* as above */                                                              \
    S(BOUNCED, bounced, DOWNLINK)          /* its sender was told that nobody is here */                               \
    S(PURGED, purged, DOWNLINK)            /* removed by the operator with all else of the account */                  \
    S(DISCARDED, discarded, DOWNLINK)      /* its session has ended, and one of its class is of no use later */

#define FATE_STEP_ENUM_(upper, lower, direction) FATE_##upper,
enum fate_step { FATE_STEPS(FATE_STEP_ENUM_) FATE_STEPS_COUNT };

const char *fate_step_name(enum fate_step step);
enum fate_direction fate_step_direction(enum fate_step step);

struct fate_note {
    usec at;             /* wall clock */
    uint64_t id;         /* hash of the stanza's id */
    uint64_t number;     /* in its queue, 0: in none */
    uint64_t leg;        /* the connection, as logs number it, 0: none */
    uint8_t step, class; /* enum fate_step, enum stanza_class */
    uint8_t reason;      /* enum close_reason of the session's end, CLOSE_REASON_COUNT: it has not ended */
    char sid[SID_SIZE];
};

struct fates;

/* For so many notes. All rings of a node have the same key. */
struct fates *fates_new(const struct hash_key *key, size_t size);
void fates_free(struct fates *f);                                 /* NULL is fine */
size_t fates_size(const struct fates *f);                         /* NULL: 0 */
uint64_t fates_hash(const struct hash_key *key, struct slice id); /* never 0 */
void fates_add(struct fates *f, const struct fate_note *note);
/* Calls visit for each note with that hash, oldest first. Returns since when nothing was forgotten, 0: nothing ever
 * was.
 */
usec fates_each(const struct fates *f, uint64_t id, void (*visit)(void *ctx, const struct fate_note *note), void *ctx);

#endif
