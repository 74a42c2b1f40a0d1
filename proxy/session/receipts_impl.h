/* The inside of receipts, shared by its files: receipts.c (what comes, and what becomes of it), receipts_notes.c (what
 * is noted), receipts_send.c (what is due, and whether the server has it), receipts_record.c (over a stop). */
#ifndef HOLDFAST_SESSION_RECEIPTS_IMPL_H
#define HOLDFAST_SESSION_RECEIPTS_IMPL_H

#include "base/hash.h"
#include "receipts.h"
#include "session_impl.h"
#include "xmpp/receipt.h"

#define DUE_MAX  500
#define ID_MAX   1024
#define FROM_MAX 3071
#define SENT_MAX 128    /* ours that are remembered: for late ones of the client, doubles and errors */
#define ID_START "hfr-" /* of ours */

/* A message that asks for a receipt or an event: waits for the client's ack first, then until the receipt is due, then
 * for the server to confirm it. That it is offline is told by another one, which goes ahead. */
struct request {
    struct request *next;
    struct entry *entry;              /* in the unacked queue; NULL once acked */
    uint64_t number;                  /* of that entry */
    usec due;                         /* then: when it was written */
    uint64_t ours;                    /* number of the last one of ours for it, once that was written */
    uint32_t offline_at, offline_end; /* in the entry: where it asks for that */
    uint16_t from_n, id_n;
    uint8_t kinds; /* what for, as far as it is still to be sent */
    uint8_t type;  /* enum receipt_type */
    bool handed;   /* its number is one of handed.c */
    bool no_copy, no_archive;
    char text[]; /* from, id */
};

struct requests { /* first in, first out */
    struct request *first, **end;
    size_t count;
};

/* One of ours that was sent, as hashes: of address and id of the message, of bare address and id, of bare address. */
struct sent {
    uint64_t full, bare, to;
    unsigned kind;
};

struct receipts {
    char tag[17];  /* in the ids of ours. Contacts see it, so it is not the session's */
    uint64_t last; /* number of ours that was sent last; its place in sent[] is that modulo SENT_MAX */
    struct requests unacked, due, written;
    uint64_t covered;   /* number of ours that the latest barrier covers */
    struct map *by_key; /* hash of bare address and id -> request, in whichever list */
    struct hash_key seed;
    struct sent *sent;
    bool waits;   /* for a roster: what the server says next brings it nearer */
    unsigned own; /* kinds that the client has sent of its own: from then on ours are not wanted */
    usec paid;    /* the rate: up to when it is used up */
    size_t bytes; /* told to the context */
};

/* receipts_notes.c */
struct receipts *receipts_of(struct session *s); /* made when there are none yet */
struct request *request_new(struct session *s, const struct receipt *asked);
/* The same, which a receipt of the client's own does not find. */
struct request *request_apart(struct session *s, const struct receipt *asked);
struct receipt request_receipt(const struct request *req); /* its slices are the request's */
struct slice request_from(const struct request *req);
struct slice request_id(const struct request *req);
void request_drop(struct session *s, struct request *req);
/* Those kinds are not to be sent any more. */
void request_withhold(struct session *s, struct request *req, unsigned kinds, enum metric reason);
void requests_add(struct requests *l, struct request *req);
struct request *requests_take(struct requests *l);
void receipts_count_withheld(struct session *s, unsigned kinds, enum metric reason);
void receipts_withhold_all(struct session *s, struct requests *l, enum metric reason);
/* What a receipt of the client's own would be for. Clients answer to the full or to the bare address. */
struct request *receipts_waiting_for(const struct receipts *r, struct slice address, struct slice id);
void receipts_remember(struct session *s, const struct request *req, enum receipt_kind kind); /* numbers it */
struct sent *receipts_sent(struct session *s);
/* Which of the kinds were sent of late. */
unsigned receipts_were_sent(const struct receipts *r, struct slice address, struct slice id, unsigned kinds);

/* receipts_send.c */
/* Whether the one who asks may learn that the client is there. */
bool receipts_may_have(const struct session *s, const struct request *req);
void receipts_add_due(struct session *s, struct request *req);
/* What is due, and with all = true what would be later: this is the last moment for it. */
void receipts_send_due(struct session *s, bool all);
/* The client has it, by its acks. */
bool receipts_is_acked(const struct session *s, const struct request *req);

#endif
