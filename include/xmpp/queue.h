/* Stanzas that are kept until the other side has taken responsibility for them: the unacked queue towards a client, the
 * unconfirmed queue towards the server. Numbers are contiguous, start at 1, never wrap and are never reused: nothing
 * numbered is ever taken out but from the front. All operations are O(1). */
#ifndef HOLDFAST_XMPP_QUEUE_H
#define HOLDFAST_XMPP_QUEUE_H

#include "base/clock.h"
#include "base/slice.h"
#include "xmpp/element.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a downlink stanza is worth when its session expires. */
enum stanza_class {
    CLASS_KEEP,       /* chat or normal message with something to keep: goes to the mailbox */
    CLASS_MESSAGE,    /* headline, error, carbon copy, archive result: out of date later */
    CLASS_CHAT_STATE, /* message with nothing but a chat state */
    CLASS_GROUPCHAT,
    CLASS_IQ_REQUEST, /* get or set: its sender waits for an answer */
    CLASS_IQ_REPLY,
    CLASS_PRESENCE,
};

/* A stanza out of its stream: bytes that need no context but the two standard namespaces. */
struct entry {
    struct entry *next;
    uint64_t number;
    usec arrived;   /* wall clock */
    usec confirmed; /* monotonic: when an uplink stanza was, while it lingers */
    uint64_t id;    /* hash of the stanza's id, for notes of its fate; 0: none are made of it */
    char *origin;   /* mailbox entry that it came from, owned; NULL for all others */
    uint32_t n;
    uint32_t name_end, open_end, close_at; /* offsets as in struct element */
    uint8_t class;                         /* enum stanza_class */
    bool delayed;                          /* carries a delay element */
    bool stamp;                            /* is to be written with a delay stamp, whenever it is written */
    bool receipted;                        /* the client has sent a receipt of its own for it: it has it */
    bool secret;                           /* its bytes are never given to a store: passwords */
    char bytes[];
};

/* Entries that were freed, for those to come: in a burst of stanzas each takes one and gives one back. A worker has a
 * pool of its own; entries need not come from the one they go to. {0} is a valid one that holds nothing. */
#define ENTRY_STEP    64 /* the room of entries grows in such steps: those of one step serve one another */
#define ENTRY_CLASSES 24
struct entry_pool {
    struct entry *free[ENTRY_CLASSES];
    size_t bytes, most;
};

struct queue {
    struct entry *first, *last;
    uint64_t last_number; /* of the newest entry ever appended */
    size_t count, bytes;  /* of what is in it now; bytes counts what an entry costs in memory */
};

/* What an entry of n bytes counts against limits. */
static inline size_t entry_cost(size_t n)
{
    return sizeof(struct entry) + n;
}
static inline size_t queue_cost(const struct queue *q)
{
    return q->bytes;
}

/* A copy of the stanza. extra_ns: declarations of its stream's header to put into the root tag (usually empty). */
struct entry *entry_new(const struct element *e, struct slice extra_ns, usec arrived);
struct entry *entry_copy(struct slice bytes, usec arrived); /* no bytes: one that counts, and is never written */
struct entry *entry_clone(const struct entry *e); /* the same in no list, with its number, stamps and origin */
void entry_free(struct entry *e);                 /* NULL is fine */
/* The same as entry_new and entry_free, by way of a pool. */
struct entry *entry_take(struct entry_pool *pool, const struct element *e, struct slice extra_ns, usec arrived);
void entry_give(struct entry_pool *pool, struct entry *e);
void entry_pool_clear(struct entry_pool *pool);
static inline struct slice entry_slice(const struct entry *e)
{
    return slice_of(e->bytes, e->n);
}

enum stanza_class stanza_classify(const struct element *e);
/* Whether it brings a password from the client: a join of a locked room, the configuration of a room, registration
 * (XEP-0077), a login by XEP-0078. For entry.secret of uplink stanzas. */
bool stanza_is_secret(const struct element *e);

/* Numbers the entry and takes it over. */
void queue_append(struct queue *q, struct entry *e);
/* The same with the number that it has. */
void queue_move(struct queue *q, struct entry *e);
/* Unlinks and returns the first entry if its number is <= upto, else NULL; the caller owns it. */
struct entry *queue_take(struct queue *q, uint64_t upto);
void queue_free(struct queue *q);

#endif
