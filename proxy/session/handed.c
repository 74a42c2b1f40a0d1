/* Messages that were written to a client without stream management, kept until it is known to have them. A ping behind
 * them is the barrier on the client leg: the client reads its stream in order, so its answer, result or error, proves
 * that all before it has arrived (receipts.confirm_legacy_clients). One at most is under way, and a client that never
 * answers gets no second one: to it a message counts as delivered when its TCP has taken it and the leg has lived
 * ASSUMED_AFTER longer. What is still here when the connection breaks goes to the account's mailbox. Should the node
 * die, nobody can take such a session over: a store of many nodes has a copy of it in the mailbox all the while. */
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "receipts.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include "xmpp/xml.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ASSUMED_AFTER (5 * USEC_S)
#define LOOK_AGAIN    USEC_S /* its TCP has not taken all of it yet */
#define ID_START      "hfp-"
#define SERIES        "h" /* of numbers, in origins: those of a session with stream management are others */

struct handed {
    struct sm_out out; /* numbered on their own; a ping is what an <r/> is with stream management */
    struct sm_out_leg leg;
    char tag[17];      /* in the ids of the pings */
    uint64_t pinged;   /* what the last of them covers; its id names that */
    bool answers;      /* the client has answered a ping: it is judged by its answers */
    bool ignores;      /* it does not answer (any more): it gets none */
    struct {           /* those up to a number, that will count as delivered by time */
        uint64_t upto;
        usec at;                /* then; 0 = there are none */
        unsigned long long end; /* leg.bytes_out behind them */
    } batch;
};

static struct handed *handed_of(struct session *s)
{
    if (!s->handed) {
        s->handed = MEM_NEW(struct handed);
        random_hex(s->handed->tag, 8);
    }
    return s->handed;
}

void handed_forget(struct session *s)
{
    if (s->handed)
        queue_free(&s->handed->out.queue);
    free(s->handed);
    s->handed = NULL;
}

size_t handed_count(const struct session *s)
{
    return s->handed ? s->handed->out.queue.count : 0;
}

size_t handed_bytes(const struct session *s)
{
    return s->handed ? s->handed->out.queue.bytes : 0;
}

usec handed_oldest(const struct session *s)
{
    return handed_count(s) ? s->handed->out.queue.first->arrived : 0;
}

uint64_t handed_acked(const struct session *s)
{
    return s->handed ? s->handed->out.acked : 0;
}

static bool confirms(const struct session *s)
{
    return s->cx->settings->receipts.confirm_legacy_clients && s->state == SESSION_UNMANAGED;
}

static bool is_judged_by_answers(const struct session *s)
{
    return s->handed && s->handed->answers && confirms(s);
}

/* ---- written ---- */

bool handed_wants(const struct session *s, const struct element *e)
{
    return confirms(s) && s->account_n && stanza_classify(e) == CLASS_KEEP;
}

static void count_entry(struct session *s, const struct entry *e, int sign)
{
    struct counters *c = s->cx->counters;
    count_add(c, METRIC_unacked_stanzas, sign);
    count_add(c, METRIC_unacked_bytes, sign * (int64_t)entry_cost(e->n));
    context_memory(s->cx, sign * (int64_t)entry_cost(e->n));
}

static void begin_batch(struct session *s)
{
    struct handed *h = s->handed;
    h->batch.upto = h->out.queue.last_number;
    h->batch.at = h->out.queue.count ? s->cx->clock->mono + ASSUMED_AFTER : 0;
    h->batch.end = s->client ? s->client->leg.bytes_out : 0;
}

static bool has_copy(const struct session *s, const struct entry *e)
{
    return !e->origin && s->cx->store->ops->box_lend;
}

/* As the mailbox knows it when it is put there. */
static char *origin_of(const struct session *s, const struct entry *e)
{
    return mem_printf("%s/" SERIES "%" PRIu64, s->sid, e->number);
}

static void keep_copy(struct session *s, const struct entry *e)
{
    if (!has_copy(s, e))
        return;
    struct entry *copy = entry_clone(e);
    copy->origin = origin_of(s, e);
    s->cx->store->ops->box_lend(s->cx->store, BOX_MAIL, session_account(s), s->sid, copy);
}

static void drop_copy(struct session *s, const struct entry *e)
{
    if (!has_copy(s, e))
        return;
    char *origin = origin_of(s, e);
    s->cx->store->ops->box_done(s->cx->store, BOX_MAIL, session_account(s), slice_str(origin));
    free(origin);
}

void handed_write(struct session *s, struct entry *e)
{
    struct handed *h = handed_of(s);
    sm_out_append(&h->out, &h->leg, e);
    fate_tell(s, e->origin ? FATE_FETCHED : FATE_QUEUED, e);
    count_entry(s, e, 1);
    keep_copy(s, e);
    count_add(s->cx->counters, METRIC_mailbox_lent, e->origin != NULL);
    leg_write(&s->client->leg, e->stamp && !e->delayed ? downlink_stamped(s, e) : entry_slice(e));
    sm_out_wrote(&h->out, &h->leg, s->cx->clock->mono);
    fate_tell(s, FATE_WRITTEN, e);
    if (!h->batch.at)
        begin_batch(s);
    downlink_check_full(s);
}

/* ---- delivered ---- */

static struct entry *take(struct session *s)
{
    struct entry *e = sm_out_take(&s->handed->out);
    if (e)
        count_entry(s, e, -1);
    return e;
}

static void delivered(struct session *s, struct entry *e, enum metric fate, enum metric how)
{
    fate_tell(s, how == METRIC_legacy_confirmed ? FATE_ACKED : FATE_TAKEN, e);
    if (e->origin)
        mail_delivered(s, e);
    else
        count(s->cx->counters, fate);
    drop_copy(s, e);
    count(s->cx->counters, how);
    entry_free(e);
}

static void release(struct session *s, uint64_t upto, enum metric fate, enum metric how)
{
    struct handed *h = s->handed;
    sm_out_acked(&h->out, &h->leg, upto);
    receipts_on_acked(s);
    for (struct entry *e; (e = take(s));)
        delivered(s, e, fate, how);
    begin_batch(s);
    downlink_check_full(s);
}

/* Nobody has said that it arrived: good enough to let go of it, not for a receipt. */
static void assumed(struct session *s, uint64_t upto)
{
    receipts_unproved(s, upto);
    release(s, upto, METRIC_down_relayed, METRIC_legacy_assumed);
}

/* ---- pings ---- */

static void ignored(struct session *s)
{
    s->handed->ignores = true;
    count(s->cx->counters, METRIC_client_pings_ignored);
    LOG(LOG_INFO, "the client does not answer pings", LF("sid", s->sid), LF("peer", transport_peer(s->client->leg.transport)));
}

static void ping(struct session *s)
{
    struct handed *h = s->handed;
    struct buf out = {0};
    sm_out_asked(&h->leg, s->cx->clock->mono);
    h->pinged = h->leg.asked;
    BUF_LIT(&out, "<iq type='get'");
    xml_attr(&out, "from", session_domain(s));
    xml_attr(&out, "to", slice_str(s->jid));
    buf_printf(&out, " id='" ID_START "%s-%" PRIu64 "'><ping xmlns='" NS_PING "'/></iq>", h->tag, h->pinged);
    leg_write(&s->client->leg, buf_slice(&out));
    buf_free(&out);
    s->client->sm.request_end = s->client->leg.bytes_out;
    s->client->sm.request_left = 0;
    count(s->cx->counters, METRIC_client_pings_sent);
}

bool handed_take_answer(struct session *s, const struct element *e)
{
    struct handed *h = s->handed;
    char id[64];
    if (!h || e->kind != ELEMENT_IQ || !slice_starts(e->id, SLICE_LIT(ID_START)) ||
        !(slice_eq_str(e->type, "result") || slice_eq_str(e->type, "error")) ||
        !slice_starts(slice_skip(e->id, sizeof ID_START - 1), slice_str(h->tag)) ||
        (e->to.n && !jid_domain_eq(e->to, session_domain(s))))
        return false;
    snprintf(id, sizeof id, ID_START "%s-%" PRIu64, h->tag, h->pinged);
    if (!h->leg.asking || !slice_eq_str(e->id, id))
        return true; /* too late to tell anything */
    count(s->cx->counters, METRIC_client_pings_answered);
    h->leg.asking = false;
    h->answers = true;
    h->ignores = false;
    release(s, h->pinged, METRIC_down_acked, METRIC_legacy_confirmed);
    session_dirty(s);
    return true;
}

/* ---- time ---- */

static void batch_turn(struct session *s)
{
    struct handed *h = s->handed;
    const struct leg *leg = &s->client->leg;
    usec now = s->cx->clock->mono;
    if (!h->batch.at || now < h->batch.at || is_judged_by_answers(s))
        return;
    if (transport_outstanding(leg->transport) > leg->bytes_out - h->batch.end) {
        h->batch.at = now + LOOK_AGAIN;
        return;
    }
    if (h->leg.asking && !h->ignores)
        ignored(s);
    assumed(s, h->batch.upto);
}

/* One that has answered so far, and now lets a ping wait for sm.ack_timeout: with not a byte more from it, its
 * connection is dead; otherwise it is one that has stopped to answer, and waiting on would fill its queue. True: it is
 * gone. */
static bool judge_silence(struct session *s)
{
    struct handed *h = s->handed;
    usec now = s->cx->clock->mono, timeout = s->cx->settings->sm.ack_timeout;
    if (!h->leg.asking || !is_judged_by_answers(s))
        return false;
    usec since = downlink_silent_since(s);
    if (since >= 0 && now - since >= timeout) {
        client_leg_close(s->client, CLOSE_ACK_TIMEOUT, GOODBYE_CUT);
        return true;
    }
    if (since >= 0 && now - s->client->sm.request_left >= timeout) {
        ignored(s);
        h->answers = false;
        begin_batch(s);
    }
    return false;
}

/* The queue is full, so the server is not listened to, and does not listen either; the answer that would free the queue
 * may lie behind what the server is to take. */
static bool break_deadlock(struct session *s)
{
    if (!s->up || !(s->up->leg.stopped & STOP_QUEUE) ||
        transport_buffered(s->up->leg.transport) < s->cx->settings->sm.queue_bytes)
        return false;
    client_leg_close(s->client, CLOSE_QUEUE_FULL, GOODBYE_CUT);
    return true;
}

void handed_turn(struct session *s)
{
    struct handed *h = s->handed;
    if (!h || !s->client || judge_silence(s) || (s->state == SESSION_UNMANAGED && break_deadlock(s)))
        return;
    batch_turn(s);
    if (confirms(s) && !h->ignores && sm_out_due(&h->leg, s->cx->clock->mono, 1, 0))
        ping(s);
}

usec handed_due_at(const struct session *s)
{
    const struct handed *h = s->handed;
    if (!h || !s->client || !h->out.queue.count)
        return -1;
    if (!is_judged_by_answers(s))
        return h->batch.at;
    return h->leg.asking ? downlink_answer_due_at(s) : -1;
}

/* ---- the end ---- */

/* Numbers of ours are not those of a session that has begun to count, or of what is still to come from the server. */
static void spill(struct session *s, enum close_reason reason)
{
    struct fate fate = {
        .cx = s->cx,
        .account = session_account(s),
        .series = SERIES,
        .purge = reason == CLOSE_PURGED,
        .reason = reason,
    };
    memcpy(fate.sid, s->sid, SID_SIZE);
    sm_out_acked(&s->handed->out, &s->handed->leg, s->handed->out.queue.last_number);
    for (struct entry *e; (e = take(s));) {
        if (e->receipted) {
            delivered(s, e, METRIC_down_acked, METRIC_legacy_confirmed);
            continue;
        }
        count(s->cx->counters, METRIC_legacy_unconfirmed);
        if (fate.purge)
            drop_copy(s, e);
        fate_meet(&fate, e);
    }
}

/* A client that says goodbye with nothing on its way to it has all of it; but one that answers pings would have told
 * so, had it read that far. */
void handed_end(struct session *s, enum close_reason reason)
{
    if (!s->handed)
        return;
    bool clean = reason == CLOSE_CLIENT_END && s->client && transport_outstanding(s->client->leg.transport) == 0;
    bool assume = clean && !is_judged_by_answers(s);
    if (!assume)
        receipts_on_spill(s, reason, true);
    receipts_unproved(s, UINT64_MAX);
    if (assume)
        release(s, s->handed->out.queue.last_number, METRIC_down_relayed, METRIC_legacy_assumed);
    else
        spill(s, reason);
    handed_forget(s);
}
