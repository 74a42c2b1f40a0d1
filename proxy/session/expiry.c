/* What becomes of the stanzas in a session that ends. Each meets exactly one fate, counted; one bad stanza cannot stop
 * the rest. */
#include "base/log.h"
#include "base/mem.h"
#include "chat_states.h"
#include "receipts.h"
#include "resent.h"
#include "session_impl.h"
#include "xmpp/stanza.h"
#include "xmpp/xml.h"
#include <inttypes.h>

static void tell(struct fate *f, enum fate_step step, const struct entry *e)
{
    fate_tell_of(f->cx, f->sid, step, f->reason, e);
}

static void to_mailbox(struct fate *f, struct entry *e)
{
    if (e->origin) {
        count_add(f->cx->counters, METRIC_mailbox_lent, -1); /* back where it came from */
    } else {
        count(f->cx->counters, METRIC_down_mailbox);
        if (!f->mail) /* else the store knows the epoch of that number */
            e->origin = mem_printf("%s/%s%" PRIu64, f->sid, f->series ? f->series : "", e->number);
    }
    e->stamp = false;
    tell(f, FATE_MAILBOX, e);
    if (f->mail)
        queue_move(f->mail, e);
    else
        f->cx->store->ops->box_put(f->cx->store, BOX_MAIL, f->account, e); /* takes it over */
}

/* Its sender waits for an answer: it is told that nobody is here any more (RFC 6120 8.3.3.13). */
static void bounce(struct fate *f, struct entry *e)
{
    struct buf out = {0};
    const struct node *iq;
    struct xml_tree *tree = xml_tree_parse(entry_slice(e), &iq);
    bool sent = f->up && tree;
    if (sent) {
        stanza_write_iq_error(&out, node_attr(iq, "id"), SLICE_NONE, node_attr(iq, "from"), "wait",
                              "recipient-unavailable");
        leg_write(&f->up->leg, buf_slice(&out));
    }
    xml_tree_free(tree);
    buf_free(&out);
    count(f->cx->counters, sent ? METRIC_down_bounced : METRIC_down_discarded_iq);
    tell(f, sent ? FATE_BOUNCED : FATE_DISCARDED, e);
    entry_free(e);
}

static void discard(struct fate *f, struct entry *e)
{
    static const enum metric fate[] = {
        [CLASS_KEEP] = METRIC_down_discarded_message, /* of a session without an account */
        [CLASS_MESSAGE] = METRIC_down_discarded_message,     [CLASS_CHAT_STATE] = METRIC_down_discarded_chat_state,
        [CLASS_GROUPCHAT] = METRIC_down_discarded_groupchat, [CLASS_IQ_REPLY] = METRIC_down_discarded_iq,
        [CLASS_PRESENCE] = METRIC_down_discarded_presence,
    };
    count(f->cx->counters, fate[e->class]);
    tell(f, FATE_DISCARDED, e);
    entry_free(e);
}

static void purge(struct fate *f, struct entry *e)
{
    count(f->cx->counters, METRIC_down_purged);
    tell(f, FATE_PURGED, e);
    entry_free(e);
}

void fate_meet(struct fate *f, struct entry *e)
{
    if (e->class == CLASS_KEEP && f->purge && !e->origin) /* what the mailbox lent is purged there */
        purge(f, e);
    else if (e->class == CLASS_KEEP && f->account.n)
        to_mailbox(f, e);
    else if (e->class == CLASS_IQ_REQUEST)
        bounce(f, e);
    else
        discard(f, e);
}

static struct entry *take_unacked(struct session *s)
{
    struct entry *e = queue_take(&s->out.queue, UINT64_MAX);
    if (s->client)
        s->client->sm.out.next = NULL;
    if (!e)
        return NULL;
    count_add(s->cx->counters, METRIC_unacked_stanzas, -1);
    count_add(s->cx->counters, METRIC_unacked_bytes, -(int64_t)entry_cost(e->n));
    context_memory(s->cx, -(int64_t)entry_cost(e->n));
    return e;
}

static struct entry *take_unconfirmed(struct session *s)
{
    struct entry *e = queue_take(&s->unconfirmed, UINT64_MAX);
    if (!e)
        return NULL;
    count_add(s->cx->counters, METRIC_unconfirmed_stanzas, -1);
    count_add(s->cx->counters, METRIC_unconfirmed_bytes, -(int64_t)entry_cost(e->n));
    context_memory(s->cx, -(int64_t)entry_cost(e->n));
    return e;
}

/* The client has told its sender so; only its ack did not come. */
static void delivered(struct session *s, struct entry *e)
{
    fate_tell(s, FATE_ACKED, e);
    if (e->origin)
        mail_delivered(s, e);
    else
        count(s->cx->counters, METRIC_down_acked);
    entry_free(e);
}

static void spill_downlink(struct session *s, enum close_reason reason)
{
    struct fate fate = {
        .cx = s->cx, .up = s->up, .account = session_account(s), .purge = reason == CLOSE_PURGED, .reason = reason};
    if (s->kept)
        fate.mail = &s->keeping->to_mail;
    memcpy(fate.sid, s->sid, SID_SIZE);
    for (struct entry *e; (e = take_unacked(s));) {
        if (e->receipted)
            delivered(s, e);
        else
            fate_meet(&fate, e);
    }
}

/* What was not acked the client knows that it has to send again, if the server did not get it. What was acked, or is
 * told as handled by the tombstone's h, because the store had it, and what no server has, goes out some day. */
static void drop_uplink(struct session *s)
{
    for (struct entry *e; (e = take_unconfirmed(s));) {
        bool promised = s->kept && !s->up && e->number <= s->in.safe && e->class == CLASS_KEEP && e->n;
        count(s->cx->counters, promised ? METRIC_up_kept : METRIC_up_returned);
        fate_tell(s, promised ? FATE_OUTBOX : FATE_RETURNED, e);
        if (!promised && !s->up)
            resent_drop(s, e->number);
        if (promised)
            queue_move(&s->keeping->to_out, e);
        else
            entry_free(e);
    }
}

void expiry_keep(struct session *s)
{
    for (struct entry *e; (e = take_unacked(s));) {
        if (e->origin)
            mail_delivered(s, e); /* no mail any more: it is in the session's record */
        else
            count(s->cx->counters, METRIC_down_kept);
        fate_tell(s, FATE_DOWN_KEPT, e);
        entry_free(e);
    }
    for (struct entry *e; (e = take_unconfirmed(s));) {
        count(s->cx->counters, METRIC_up_kept);
        fate_tell(s, FATE_UP_KEPT, e);
        entry_free(e);
    }
    linger_drop(s, INT64_MAX);
}

void expiry_keep_upto(struct session *s, uint64_t upto, enum close_reason reason)
{
    struct fate fate = {.cx = s->cx, .account = session_account(s), .mail = &s->keeping->to_mail, .reason = reason};
    memcpy(fate.sid, s->sid, SID_SIZE);
    for (struct entry *e; (e = take_unacked(s));) {
        if (e->number > upto) {
            fate_meet(&fate, e);
            continue;
        }
        if (e->origin)
            count_add(s->cx->counters, METRIC_mailbox_lent, -1); /* to the session, wherever that is */
        else
            count(s->cx->counters, METRIC_down_kept);
        fate_tell(s, FATE_DOWN_KEPT, e);
        entry_free(e);
    }
    for (struct entry *e; (e = take_unconfirmed(s));) {
        bool there = e->number <= s->in.safe;
        count(s->cx->counters, there ? METRIC_up_kept : METRIC_up_returned);
        fate_tell(s, there ? FATE_UP_KEPT : FATE_RETURNED, e);
        entry_free(e);
    }
    linger_drop(s, INT64_MAX);
}

void expiry_forget(struct session *s)
{
    context_memory(s->cx, -(int64_t)(s->out.queue.bytes + s->unconfirmed.bytes));
    queue_free(&s->out.queue);
    queue_free(&s->unconfirmed);
    linger_drop(s, INT64_MAX);
}

void expiry_spill(struct session *s, enum close_reason reason)
{
    if (s->held) { /* a presence that waited for the mailbox: the server has not seen it */
        entry_free(s->held);
        s->held = NULL;
    }
    uplink_give_up_probe(s);
    if (s->barrier)
        count(s->cx->counters, METRIC_barriers_lost);
    handed_end(s, reason);
    receipts_end(s, reason);
    chat_states_end(s, reason);
    spill_downlink(s, reason);
    parking_discard_all(s);
    linger_end(s);
    drop_uplink(s);
    outbox_unsent(s);
}
