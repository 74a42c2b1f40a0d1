/* XEP-0198 Stream Management, the arithmetic and the policy, towards a client: no sockets, no clock of its own.
 *
 * Counters inside are 64-bit, start at 0 (nothing counted yet) and never wrap; on the wire h is the counter modulo 2^32
 * (XEP-0198 4). Two halves that do not touch each other:
 *   sm_in   what the client sends: counted, and told as h once it is safe
 *   sm_out  what the client gets: the unacked queue, and when to ask for acks
 * What belongs to a connection and not to the session is apart, in sm_in_leg and sm_out_leg, and begins anew with each
 * connection (XEP-0198 5: only the sequence values are carried over). */
#ifndef HOLDFAST_XMPP_SM_H
#define HOLDFAST_XMPP_SM_H

#include "base/clock.h"
#include "xmpp/queue.h"
#include <stdbool.h>
#include <stdint.h>

/* Strict xs:unsignedInt in decimal: 1 to 10 digits, at most 4294967295. */
bool sm_parse_h(struct slice text, uint32_t *h_r);
/* xs:boolean `resume` of <enable/>. */
bool sm_parse_bool(struct slice text);
static inline uint32_t sm_wire(uint64_t count)
{
    return (uint32_t)count;
}

/* ---- from the client ---- */

struct sm_in {
    uint64_t received; /* stanzas handled by us since <enable/> */
    uint64_t safe;     /* of these, those that no single crash can lose: what h may tell */
    uint64_t told;     /* the highest h that was written; never goes back */
};

struct sm_in_leg {
    bool asked;          /* <r/> wait for their answer: one <a/> is for all that it covers */
    uint64_t asked_from; /* received at the time of the oldest: what the answer should cover at the least */
    uint64_t asked_upto; /* of the newest */
    usec answer_by;      /* then they are answered with what is safe */
    uint64_t owed; /* an answer went out short: an unasked <a/> follows when this much is safe; 0 = nothing owed */
};

/* <r/> arrived. */
void sm_in_request(const struct sm_in *in, struct sm_in_leg *leg, usec now, usec answer_delay);
/* Whether an <a/> is to be written now; if so its count is in->safe, and sm_in_told must follow. */
bool sm_in_due(const struct sm_in *in, const struct sm_in_leg *leg, usec now);
void sm_in_told(struct sm_in *in, struct sm_in_leg *leg, usec now, usec answer_delay);

/* ---- to the client ---- */

enum sm_ack { SM_ACK_OK, SM_ACK_OLD, SM_ACK_TOO_HIGH };

struct sm_out {
    struct queue queue; /* unacked; queue.last_number is the newest number */
    uint64_t acked;     /* everything up to it was acked and is gone from the queue */
    uint64_t written;   /* the highest number that was ever written to a client */
};

struct sm_out_leg {
    struct entry *next;  /* first entry not yet written on this connection; NULL = all are */
    uint64_t sent;       /* the highest number written on this connection */
    uint64_t asked;      /* the highest number that an <r/> of ours has covered */
    bool asking;         /* an <r/> is outstanding */
    usec asked_time;     /* when it was written */
    usec unasked_since;  /* when the first stanza beyond `asked` was written */
    usec ask_again_at;   /* the answer was short: ask again then; 0 = no */
    usec ask_again_wait; /* doubles */
};

/* A new connection: nothing of the queue is written on it yet. */
struct sm_out_leg sm_out_attach(const struct sm_out *out);
/* leg: NULL while there is no connection. */
void sm_out_append(struct sm_out *out, struct sm_out_leg *leg, struct entry *e);
/* The next entry to write on this connection, NULL when there is none; sm_out_wrote must follow. */
struct entry *sm_out_next(const struct sm_out_leg *leg);
void sm_out_wrote(struct sm_out *out, struct sm_out_leg *leg, usec now);
/* Turns an h from the wire into a count, relative to what was acked: OK is acked < *count_r <= written, or equal; OLD
 * is lower than what was acked (*count_r = acked); TOO_HIGH acknowledges what was never written. Changes nothing. */
enum sm_ack sm_out_check(const struct sm_out *out, uint32_t h, uint64_t *count_r);
/* The client has everything up to count. Entries come out by sm_out_take until NULL; the caller owns them. leg: as with
 * sm_out_append. */
void sm_out_acked(struct sm_out *out, struct sm_out_leg *leg, uint64_t count);
struct entry *sm_out_take(struct sm_out *out);
/* An <a/> arrived on this connection (after sm_out_acked): closes the open request, plans the next if it was short. */
void sm_out_answered(const struct sm_out *out, struct sm_out_leg *leg, usec now, usec request_delay, usec longest);
/* Whether an <r/> is due now: behind `every` stanzas or `delay` after the first that none covers yet, at most one open.
 */
bool sm_out_due(const struct sm_out_leg *leg, usec now, unsigned every, usec delay);
/* When sm_out_due may become true by time alone, -1 if it cannot. */
usec sm_out_due_at(const struct sm_out_leg *leg, usec delay);
void sm_out_asked(struct sm_out_leg *leg, usec now);

#endif
