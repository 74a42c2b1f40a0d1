/* The inside of a session, shared by the files of this folder that make it up: session.c (its life), identity.c, uplink.c,
 * downlink.c, rebuild.c, keeping.c, freeze.c, expiry.c, and one for each thing that it has to remember. */
#ifndef HOLDFAST_SESSION_SESSION_IMPL_H
#define HOLDFAST_SESSION_SESSION_IMPL_H

#include "session/fates.h"
#include "session/session.h"
#include "store/kept.h"

struct awaited;
struct echo;
struct record_reader;
struct resent;

/* A barrier: a ping to the server's domain, whose answer proves that all before it was processed. */
struct barrier {
    uint64_t upto;          /* the unconfirmed stanzas that it covers */
    uint64_t posted;        /* and messages of the outbox */
    usec sent;              /* when it was written */
    unsigned long long end; /* leg.bytes_out behind it */
    usec running;           /* since when the server's silence counts: reset while we do not listen to the server */
};

/* What the client has told the server, as far as we may have to repeat or stand in for it. */
struct told {
    bool available;    /* its last broadcast presence was available with priority >= 0 */
    bool csi_inactive; /* XEP-0352 */
    bool away;         /* by us, sm.detached_presence */
};

/* What a session with a copy in a store that outlives the node has beside that. */
struct keeping {
    uint64_t reserved;            /* numbers up to it may be written to the client */
    usec silent_at;               /* from then on nothing may be written to the client; 0 = not known */
    bool attaching;               /* the store has not answered yet that the session is attached */
    bool releasing;               /* another node is to have it */
    struct kept_claim *claimed;   /* while it is filled from one */
    struct queue to_mail, to_out; /* at its end, what goes to the account's boxes in one step with that */
};

/* There are many: what is needed at times only has a struct of its own, NULL meanwhile, and small fields stand side by
 * side. What belongs to a connection is its leg's (struct client_sm). */
struct session {
    struct grave grave; /* while it lives, its link is in context.dirty */
    struct context *cx;

    enum session_state state : 8;
    uint8_t order_probe; /* as uplink.c has it */
    bool rebuilt;        /* and not resumed since */
    bool catching_up;    /* rebuilt, and the server has not answered the first barrier yet */
    struct told told;
    bool mail_hinted;  /* more has come since the store was asked for mail */
    uint32_t barriers; /* so many were sent; in their ids */
    uint32_t resumes;

    uint32_t jid_n, account_n;
    char *jid; /* behind it, its domain: identity.c */
    struct previd_secret secret;
    char sid[SID_SIZE];
    char tag[17]; /* secret part of the ids of our own stanzas on this upstream leg */

    bool sm2;                   /* it speaks the older namespace of stream management */
    bool offered;               /* stream management was in the features */
    bool may_resume, resumable; /* could be granted; was granted with <enabled/> */
    bool mail_more;             /* the mailbox held more than the queue had room for */
    bool mail_asked;            /* the store was asked for mail and has not answered */

    struct client_leg *client; /* attached, NULL while detached */
    struct upstream_leg *up;
    struct client_leg *resuming; /* asks to be attached; waits until h is safe */

    usec born, changed; /* bind; last attach or detach */
    usec max;
    usec full_since; /* detached, and the queue full: since when; 0 = not */
    usec freeze_by;  /* to be kept over a stop: the latest time; 0 = not */
    struct timer timer;

    struct sm_in in;
    struct sm_out out;
    struct queue unconfirmed;
    struct queue *posted;    /* of the account's outbox, sent on this upstream leg and not confirmed; NULL: never any */
    struct queue *lingering; /* confirmed less than sm.confirm_linger ago; NULL: nothing is */
    struct barrier *barrier; /* that is open; NULL: none is */
    usec unconfirmed_since;  /* since when something is unconfirmed and no barrier covers it */
    uint64_t stamp_upto;     /* messages up to this number are written with a delay stamp */
    uint64_t stanzas_up, stanzas_down; /* in all, also without stream management */
    struct upstream_facts *probed;     /* where the result of the order probe belongs */

    struct kept *kept;       /* its copy in the store; NULL: there is none */
    struct keeping *keeping; /* NULL: there has never been one */

    struct rebuild *rebuild; /* from stranded to settled, else NULL */
    struct setup *setup;     /* these four: NULL while there is nothing to remember */
    struct rooms *rooms;
    struct sightings *sightings;
    struct pending *pending;

    struct echo *echo;               /* NULL until the client sends a message */
    struct parking *parking;         /* what is kept beside the queue while detached; NULL: nothing */
    struct entry *held;              /* a presence that waits for mail */
    struct handed *handed;           /* messages written to a client without stream management; NULL: never any */
    struct contacts *contacts;       /* who may see that the client is there; NULL until something is known */
    struct receipts *receipts;       /* NULL until a message asks for one */
    struct chat_states *chat_states; /* NULL until the client tells one */
    struct resent *resent;   /* what the client may send again when the session is lost; NULL until it sends some */
    struct awaited *awaited; /* what it may send again of the session before; NULL: nothing */
};

static inline struct sm_out_leg *session_out_leg(const struct session *s)
{
    return s->client ? &s->client->sm.out : NULL;
}
/* Bare part of its JID; empty: not known (XEP-0078, or it is blank). */
static inline struct slice session_account(const struct session *s)
{
    return s->jid ? slice_of(s->jid, s->account_n) : SLICE_NONE;
}
static inline struct slice session_domain(const struct session *s)
{
    return slice_str(s->jid + s->jid_n + 1);
}
static inline const char *session_sm_ns(const struct session *s)
{
    return s->sm2 ? NS_SM2 : NS_SM3;
}
/* identity.c */
void session_name(struct session *s, struct slice jid, struct slice domain); /* once */
char *previd_write(const char *tag, const struct previd_secret *secret, char previd[PREVID_SIZE]);
bool previd_read(struct slice previd, struct previd_secret *secret_r); /* false: it is none */
static inline char *session_previd(const struct session *s, char previd[PREVID_SIZE])
{
    return previd_write(s->sid, &s->secret, previd);
}
void session_dirty(struct session *s);
void session_take_upstream(struct session *s, struct upstream_leg *up); /* its upstream leg from now on */
void session_left_alone(struct session *s);                             /* no client is there, or about to come */
void session_nonza(struct session *s, const struct element *e);         /* what the client sends that is no stanza */
/* uplink.c */
void uplink_turn(struct session *s); /* barrier, answers; may end the session */
bool uplink_is_safe(const struct session *s);
void uplink_confirmed(struct session *s, uint64_t upto);
bool uplink_take_answer(struct session *s, const struct element *e); /* true: it was ours */
void uplink_write(struct session *s, struct slice bytes);
void uplink_check_slow(struct session *s); /* behind a write on the client's behalf: it waits for a server that is slow */
void uplink_repeat(struct session *s); /* on a fresh upstream leg: what the server may not have */
/* The first of what lingers, or NULL. */
static inline struct entry *session_lingers(const struct session *s)
{
    return s->lingering ? s->lingering->first : NULL;
}
void uplink_forget_barrier(struct session *s); /* no answer to it is awaited any more */
usec uplink_due_at(const struct session *s);
bool session_confirms(const struct session *s); /* by barrier */
void uplink_request(struct session *s);         /* <r/> */
void uplink_tell(struct session *s);            /* writes <a/> with what is safe */
void uplink_give_up_probe(struct session *s);   /* the session ends: another one may try the server's order */
/* linger.c */
void linger_keep(struct session *s, struct entry *e); /* it is confirmed now; takes it over */
void linger_drop(struct session *s, usec confirmed_before);
void linger_end(struct session *s); /* what lingers stays behind with the worker, or goes to the outbox */
/* An entry of the outbox is confirmed; takes it over. left: NULL before the first of those that are together. */
struct leftover;
void linger_posted(struct session *s, struct leftover **left, struct entry *e);
/* downlink.c */
void session_from_upstream(struct session *s, const struct element *e);
void downlink_turn(struct session *s); /* writes what waits, asks for acks; may drop the client */
void downlink_count(struct context *cx, const struct element *e);
void downlink_append(struct session *s, struct entry *e);
/* A stanza of our own making, as if the server had sent it. */
void downlink_inject(struct session *s, enum stanza_class class, struct slice bytes);
void downlink_ack(struct session *s, const struct element *e);
void downlink_release(struct session *s, uint64_t upto); /* the client has everything up to it */
usec downlink_due_at(const struct session *s);
bool downlink_is_full(const struct session *s);
/* Of what was asked for with request_end behind it, an <r/> or a ping: since when the client's silence counts, -1 while
 * it does not. And when to look again. */
usec downlink_silent_since(struct session *s);
usec downlink_answer_due_at(const struct session *s);
void downlink_check_full(struct session *s);
/* The entry with a delay stamp of its arrival; valid until the context's scratch buffer is used again. */
struct slice downlink_stamped(struct session *s, const struct entry *e);
/* rebuild.c */
bool session_can_strand(const struct session *s);
void session_await_leg(struct session *s); /* it has no upstream leg: the directory knows what a fresh one has to bind */
/* The upstream leg is lost (closed here unless it has closed itself), the session goes on without. */
void session_strand(struct session *s, enum close_reason reason);
void session_note_broken(struct session *s, const char *detail); /* `up` is: is its server still there? */
/* With the upstream leg of the login of that client, which waits to be attached. If the leg is of no use for it, the
 * client is cut and comes again; if the server gave another resource than the session's, the session ends. */
void rebuild_begin(struct session *s, struct client_leg *c);
bool rebuild_take_answer(struct session *s, const struct element *e); /* true: it was ours */
bool rebuild_holds(struct session *s, const struct element *e);       /* true: it comes later */
void rebuild_caught_up(struct session *s);                            /* what was held goes into the queue */
void rebuild_turn(struct session *s);                                 /* may end the session or its client */
usec rebuild_due_at(const struct session *s);
bool rebuild_is_stranded(const struct session *s); /* it has no upstream leg */
bool rebuild_is_binding(const struct session *s);  /* its resource, on the fresh one that is to become `up` */
bool rebuild_is_settling(const struct session *s); /* who has not shown up again may still do so */
void rebuild_forget(struct session *s);
/* outbox.c */
void outbox_fetch(struct session *s); /* onto its upstream leg */
void outbox_confirmed(struct session *s, uint64_t upto);
bool outbox_waits(const struct session *s);      /* for a confirmation */
uint64_t outbox_posted(const struct session *s); /* the last number of all that was ever sent */
void outbox_forget(struct session *s);
/* Takes it over, with its number in that session unless it was in the box before. */
void outbox_keep(struct context *cx, const char *sid, struct slice account, struct entry *e);
void outbox_unsent(struct session *s); /* what was not confirmed on this upstream leg */
/* keeping.c: the session's copy in a store that outlives the node. All of it is nothing to do where the store has none.
 */
void keeping_begin(struct session *s);
void keeping_appended(struct session *s, enum kept_queue which); /* an entry, to the end of that queue */
/* Entries up to it leave that queue: to be called before they do. */
void keeping_releasing(struct session *s, enum kept_queue which, uint64_t upto);
void keeping_confirmed(struct session *s, uint64_t upto); /* by the server; they may linger */
void keeping_changed(struct session *s, bool urgent);     /* what a rebuild needs beside the queues */
void keeping_attaching(struct session *s);                /* a client is about to resume it */
void keeping_detached(struct session *s);
bool keeping_may_write(const struct session *s, const struct entry *e); /* to the client */
void keeping_turn(struct session *s);                                   /* may drop the client */
usec keeping_due_at(const struct session *s);
bool keeping_is_attaching(const struct session *s);                    /* the store has not agreed yet */
bool keeping_may_save(const struct session *s, const struct entry *e); /* into the record */
void keeping_end(struct session *s, const struct tombstone *t);        /* with what goes to the account's boxes */
void keeping_release(struct session *s); /* to another node: detached, and all is confirmed */
/* What a claim has brought fills the blank session. False: it cannot be read. */
bool keeping_adopt(struct session *s, struct kept_claim *claim);
struct kept_origin keeping_origin(struct session *s, const char *proof); /* valid as long as the session's own */
/* freeze.c */
void freeze_turn(struct session *s);
void freeze_head(const struct session *s, struct buf *out); /* of the record: what is ahead of the queues */
void freeze_rest(struct session *s, struct buf *out);       /* and behind them */
/* Fills a blank session from a record; queues: reads, or brings, what is between. */
bool thaw(struct session *s, struct slice record, void (*queues)(struct session *s, struct record_reader *in));
/* What freeze.c needs of session.c. */
struct session *session_blank(struct context *cx);           /* without an identity; nobody knows it */
void session_drop_blank(struct session *s);                  /* at once, with all that is in it */
void session_stand_by(struct session *s, const char *proof); /* stranded, for its client to resume */
void session_put_away(struct session *s);                    /* the store has it: gone, without any fates */
/* Another node has it: out of here, with its client cut and nothing told to the store. */
void session_leave(struct session *s, enum close_reason reason);
/* setup.c. number: of the stanza in the uplink, 0 before stream management. */
/* What a slot holds, counted as memory: takes e over, NULL forgets. */
void setup_replace(struct session *s, struct entry **slot, struct entry *e);
void setup_note(struct session *s, const struct element *e, uint64_t number);
const struct entry *setup_presence(const struct session *s); /* the last broadcast, NULL: unavailable */
void setup_replay(struct session *s, uint64_t before);       /* what came before that stanza */
bool setup_take_answer(struct session *s, const struct element *e);
bool setup_takes_reply(const struct element *e); /* from the client; true: it answers a push of ours */
bool setup_has(const struct session *s, struct slice id, uint64_t number); /* that request is in the log */
void setup_settle(struct session *s); /* answers that have not come are not waited for */
void setup_save(const struct session *s, struct buf *out);
void setup_load(struct session *s, struct record_reader *in);
void setup_forget(struct session *s);
/* rooms.c */
bool rooms_note_presence(struct session *s, const struct element *e, uint64_t number); /* true: it was to a room */
bool rooms_hear_presence(struct session *s, const struct element *e);                  /* true: not for the client */
bool rooms_hear_message(struct session *s, const struct element *e);                   /* true: it has had it */
void rooms_replay(struct session *s, uint64_t before);
bool rooms_rejoined(const struct session *s, uint64_t number); /* that join is done with: another one stands for it */
void rooms_settle(struct session *s);                          /* those that have not answered are left */
void rooms_save(const struct session *s, struct buf *out);
void rooms_load(struct session *s, struct record_reader *in);
void rooms_forget(struct session *s);
/* sightings.c */
void sightings_note(struct session *s, const struct element *e);
void sightings_rebuilt(struct session *s);
void sightings_settle(struct session *s);
void sightings_drop(struct session *s, struct slice jid);
void sightings_save(const struct session *s, struct buf *out);
void sightings_load(struct session *s, struct record_reader *in);
void sightings_forget(struct session *s);
/* pending.c */
void pending_note(struct session *s, const struct element *e, uint64_t number);
void pending_answered(struct session *s, const struct element *e);
bool pending_waits(const struct session *s, struct slice id, uint64_t number); /* false: the client has its answer */
bool session_is_self(const struct session *s, struct slice jid); /* who speaks for the account; none: the server */
void pending_lost(struct session *s, uint64_t upto);             /* no answer will come to stanzas up to it */
void pending_save(const struct session *s, struct buf *out);
void pending_load(struct session *s, struct record_reader *in);
void pending_forget(struct session *s);
/* parking.c */
bool parking_wants(const struct element *e);
void parking_park(struct session *s, const struct element *e);
void parking_forget_chat_state(struct session *s, const struct element *e);
void parking_append_all(struct session *s); /* into the queue, at a resumption */
void parking_discard_all(struct session *s);
size_t parking_count(const struct session *s);
size_t parking_bytes(const struct session *s);
/* expiry.c */
/* Who a stanza without a recipient belonged to. */
struct fate {
    struct context *cx;
    struct upstream_leg *up; /* to answer senders on; NULL: they get no answer */
    struct slice account;    /* empty: has no mailbox */
    uint64_t last_number;
    bool purge;               /* nothing of it goes to the mailbox: the account is being purged */
    const char *series;       /* numbers of the session that are not its unacked queue's; NULL: they are */
    enum close_reason reason; /* why its session has ended */
    struct queue *mail;       /* where what goes to the mailbox is collected; NULL: it is put there */
    char sid[SID_SIZE];
};
void fate_meet(struct fate *f, struct entry *e); /* takes it over */
void expiry_keep(struct session *s);             /* the store has them: their fate is to be kept */
/* Of the unacked queue only those numbers; what is above goes into to_mail. */
void expiry_keep_upto(struct session *s, uint64_t upto, enum close_reason reason);
void expiry_forget(struct session *s); /* as if they had never been there */
void expiry_spill(struct session *s, enum close_reason reason);
/* fates.c: a stanza that has no id is not noted, nor is anything where there is no ring. */
uint64_t fate_id(const struct context *cx, struct slice id); /* for entry.id */
void fate_mark(const struct context *cx, struct entry *e);   /* the same, of one that came as bytes */
void fate_mark_queue(const struct context *cx, const struct queue *q);
void fate_note_step(struct session *s, enum fate_step step, const struct entry *e);
void fate_note_of(struct context *cx, const char *sid, uint64_t leg, enum fate_step step, enum close_reason reason,
                  const struct entry *e);
/* Of a session that has ended, for that reason. */
static inline void fate_tell_of(struct context *cx, const char *sid, enum fate_step step, enum close_reason reason,
                                const struct entry *e)
{
    if (e->id && cx->fates)
        fate_note_of(cx, sid, 0, step, reason, e);
}
static inline void fate_tell(struct session *s, enum fate_step step, const struct entry *e)
{
    if (e->id && s->cx->fates)
        fate_note_step(s, step, e);
}
void fate_note_element(struct session *s, enum fate_step step, const struct element *e); /* that is not queued */
static inline void fate_tell_element(struct session *s, enum fate_step step, const struct element *e)
{
    if (e->id.n && s->cx->fates)
        fate_note_element(s, step, e);
}
/* parting.c */
/* Takes the upstream leg over, and the client leg (or NULL) that is to be closed when the server has ended. */
void parting_begin(struct session *s, struct client_leg *c, enum close_reason reason);
/* mail.c */
bool mail_before_presence(struct session *s, const struct element *e); /* true: the presence is held */
/* Another session of the account may be able to deliver what was put into the mailbox. */
void mail_tell_others(struct context *cx, struct slice account);
void mail_turn(struct session *s);
/* The client has it: out of the mailbox. */
void mail_delivered(struct session *s, const struct entry *e);
/* handed.c */
bool handed_wants(const struct session *s, const struct element *e); /* it is to be written by handed_write */
void handed_write(struct session *s, struct entry *e);               /* takes it over */
bool handed_take_answer(struct session *s,
                        const struct element *e); /* from the client; true: it answers a ping of ours */
void handed_turn(struct session *s);              /* may end the session */
usec handed_due_at(const struct session *s);
/* The client is gone, or the session ends: what the client is not known to have goes to the mailbox. */
void handed_end(struct session *s, enum close_reason reason);
void handed_forget(struct session *s);
size_t handed_count(const struct session *s);
size_t handed_bytes(const struct session *s);
usec handed_oldest(const struct session *s);    /* when it arrived, 0 = there is none */
uint64_t handed_acked(const struct session *s); /* the client has them up to it */

static inline usec earlier(usec a, usec b)
{
    return a < 0 ? b : b < 0 || a < b ? a : b;
}

#endif
