/* Server to client: each stanza is classified, numbered and kept until the client has acked it; what is kept is written
 * when a client is attached and takes it. The only place that writes stanzas to a client with stream management. */
#include "base/log.h"
#include "chat_states.h"
#include "contacts.h"
#include "echo.h"
#include "receipts.h"
#include "resent.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include "xmpp/stanza.h"
#include <inttypes.h>
#include <stdio.h>

static bool is_managed(const struct session *s)
{
    return s->state != SESSION_UNMANAGED;
}

void downlink_count(struct context *cx, const struct element *e)
{
    static const struct {
        enum metric stanzas, bytes;
    } by_kind[] = {[ELEMENT_MESSAGE] = {METRIC_stanzas_down_message, METRIC_stanza_bytes_down_message},
                   [ELEMENT_PRESENCE] = {METRIC_stanzas_down_presence, METRIC_stanza_bytes_down_presence},
                   [ELEMENT_IQ] = {METRIC_stanzas_down_iq, METRIC_stanza_bytes_down_iq}};
    count(cx->counters, by_kind[e->kind].stanzas);
    count_add(cx->counters, by_kind[e->kind].bytes, (int64_t)e->bytes.n);
}

/* ---- limits ---- */

bool downlink_is_full(const struct session *s)
{
    const struct settings *set = s->cx->settings;
    size_t times = s->barrier ? 2 : 1; /* the answer to a barrier must be read */
    if (s->barrier && s->resuming)
        return false; /* a client waits for it, to take what is queued */
    size_t queued = s->out.queue.count + handed_count(s), bytes = s->out.queue.bytes + handed_bytes(s);
    if (queued && context_memory_full(s->cx))
        return true; /* with nothing queued it may go on, a stanza at a time: nobody waits for others for ever */
    return queued >= times * set->sm.queue_stanzas || bytes >= times * set->sm.queue_bytes;
}

/* An attached client that is slow is met with back-pressure, never with a verdict; a detached one gets sm.full_grace.
 */
void downlink_check_full(struct session *s)
{
    if (!s->up)
        return;
    if (!downlink_is_full(s)) {
        s->full_since = 0;
        leg_go(&s->up->leg, STOP_QUEUE);
        return;
    }
    if (!(s->up->leg.stopped & STOP_QUEUE)) {
        count(s->cx->counters, context_memory_full(s->cx) ? METRIC_limit_memory : METRIC_limit_queue);
        count(s->cx->counters, METRIC_backpressure_upstream);
        LOG(LOG_INFO, "queue full, reading from the server stops", LF("sid", s->sid),
            LF_INT("unacked", s->out.queue.count + handed_count(s)),
            LF_INT("bytes", s->out.queue.bytes + handed_bytes(s)));
    }
    leg_stop(&s->up->leg, STOP_QUEUE);
    if (s->client)
        leg_go(&s->client->leg, STOP_SLOW);
    if (s->state == SESSION_DETACHED && !s->full_since)
        s->full_since = s->cx->clock->mono;
}

/* ---- stanzas of the server ---- */

void downlink_append(struct session *s, struct entry *e)
{
    sm_out_append(&s->out, session_out_leg(s), e);
    fate_tell(s, e->origin ? FATE_FETCHED : FATE_QUEUED, e);
    keeping_appended(s, KEPT_DOWN);
    count_add(s->cx->counters, METRIC_mailbox_lent, e->origin != NULL);
    count(s->cx->counters, METRIC_unacked_stanzas);
    count_add(s->cx->counters, METRIC_unacked_bytes, (int64_t)entry_cost(e->n));
    context_memory(s->cx, (int64_t)entry_cost(e->n));
}

void downlink_inject(struct session *s, enum stanza_class class, struct slice bytes)
{
    struct entry *e = entry_copy(bytes, s->cx->clock->wall);
    e->class = (uint8_t) class;
    count(s->cx->counters, METRIC_stanzas_injected);
    downlink_append(s, e);
    session_dirty(s);
}

/* Servers kick clients that do not answer pings: while the client is away, or has a queue to read first, we answer. */
static bool answer_ping(struct session *s, const struct element *e)
{
    const struct sm_out_leg *leg = session_out_leg(s);
    bool away = s->state == SESSION_DETACHED || (is_managed(s) && leg && sm_out_next(leg));
    if (!away || e->kind != ELEMENT_IQ || !(e->facts & FACT_PING) || !slice_eq_str(e->type, "get"))
        return false;
    if (e->from.n && !jid_domain_eq(e->from, session_domain(s)) && !slice_eq(e->from, session_account(s)))
        return false;
    struct buf out = {0};
    stanza_write_pong(&out, e->id, SLICE_NONE, e->from);
    uplink_write(s, buf_slice(&out));
    buf_free(&out);
    count(s->cx->counters, METRIC_answered_for_client);
    return true;
}

static void relay(struct session *s, const struct element *e)
{
    if (!s->client)
        return;
    context_relayed(s->cx, METRIC_relay_down, 0);
    if (handed_wants(s, e)) {
        struct entry *entry = entry_new(e, leg_extra_ns(&s->up->leg, e), s->cx->clock->wall);
        entry->id = fate_id(s->cx, e->id);
        echo_hear(s->cx, e, entry->id);
        handed_write(s, entry);
        receipts_on_append(s, entry, e, true);
    } else {
        count(s->cx->counters, METRIC_down_relayed);
        fate_tell_element(s, FATE_RELAYED, e);
        leg_write(&s->client->leg, leg_outside(&s->up->leg, e, &s->cx->scratch));
    }
    if (transport_buffered(s->client->leg.transport) > TRANSPORT_HIGH_WATER) {
        count(s->cx->counters, METRIC_backpressure_upstream);
        leg_stop(&s->up->leg, STOP_SLOW);
    }
}

/* What must be known when the upstream leg is lost one day. True: the stanza is not for the client. */
static bool note(struct session *s, const struct element *e)
{
    if (!s->may_resume)
        return false;
    if (e->kind != ELEMENT_MESSAGE || slice_eq_str(e->type, "groupchat"))
        keeping_changed(s, false);
    if (e->kind == ELEMENT_IQ)
        pending_answered(s, e);
    if (e->kind == ELEMENT_MESSAGE)
        return rooms_hear_message(s, e);
    if (e->kind != ELEMENT_PRESENCE)
        return false;
    if (rooms_hear_presence(s, e))
        return true;
    sightings_note(s, e);
    return false;
}

void session_from_upstream(struct session *s, const struct element *e)
{
    if (uplink_take_answer(s, e) || rebuild_take_answer(s, e) || receipts_take_error(s, e) ||
        chat_states_take_error(s, e) || contacts_from_upstream(s, e))
        return;
    downlink_count(s->cx, e);
    s->stanzas_down++;
    if (answer_ping(s, e) || note(s, e)) {
        count(s->cx->counters, METRIC_down_swallowed);
        fate_tell_element(s, FATE_DOWN_SWALLOWED, e);
        return;
    }
    if (!is_managed(s)) {
        relay(s, e);
        return;
    }
    if (rebuild_holds(s, e))
        return;
    if (s->state == SESSION_DETACHED && parking_wants(e)) {
        parking_park(s, e);
        return;
    }
    if (s->parking)
        parking_forget_chat_state(s, e);
    struct entry *entry = entry_take(&s->cx->entries, e, leg_extra_ns(&s->up->leg, e), s->cx->clock->wall);
    entry->id = fate_id(s->cx, e->id);
    echo_hear(s->cx, e, entry->id);
    downlink_append(s, entry);
    receipts_on_append(s, entry, e, false);
    downlink_check_full(s);
}

/* ---- acks of the client ---- */

void downlink_release(struct session *s, uint64_t upto)
{
    keeping_releasing(s, KEPT_DOWN, upto);
    sm_out_acked(&s->out, session_out_leg(s), upto);
    receipts_on_acked(s);
    for (struct entry *e; (e = sm_out_take(&s->out));) {
        fate_tell(s, FATE_ACKED, e);
        if (e->origin)
            mail_delivered(s, e);
        else
            count(s->cx->counters, METRIC_down_acked);
        count_add(s->cx->counters, METRIC_unacked_stanzas, -1);
        count_add(s->cx->counters, METRIC_unacked_bytes, -(int64_t)entry_cost(e->n));
        context_memory(s->cx, -(int64_t)entry_cost(e->n));
        entry_give(&s->cx->entries, e);
    }
    downlink_check_full(s);
}

static void fail_too_high(struct session *s, uint32_t h)
{
    char extra[128], text[128];
    uint32_t sent = sm_wire(s->out.written);
    snprintf(extra, sizeof extra,
             "<handled-count-too-high xmlns='" NS_SM3 "' h='%" PRIu32 "' send-count='%" PRIu32 "'/>", h, sent);
    snprintf(text, sizeof text, "You acknowledged %" PRIu32 " stanzas, but only %" PRIu32 " were sent to you so far.",
             h, sent);
    client_leg_fail(s->client, CLOSE_HANDLED_TOO_HIGH, STREAM_UNDEFINED_CONDITION, text, extra);
}

void downlink_ack(struct session *s, const struct element *e)
{
    uint32_t h;
    uint64_t upto;
    usec now = s->cx->clock->mono;
    struct client_sm *sm = &s->client->sm;
    count(s->cx->counters, METRIC_acks_received);
    if (!sm_parse_h(node_attr(e->tree, "h"), &h)) {
        client_leg_fail(s->client, CLOSE_BAD_STREAM, STREAM_BAD_FORMAT, "h of <a/> must be a number of 32 bits", NULL);
        return;
    }
    if (sm_out_check(&s->out, h, &upto) == SM_ACK_TOO_HIGH) {
        fail_too_high(s, h);
        return;
    }
    if (sm->out.asking) {
        sm->ack_time = now - sm->out.asked_time;
        count_observe(s->cx->counters, METRIC_ack_round_trip, sm->ack_time);
        resent_answered(s);
    }
    downlink_release(s, upto);
    sm_out_answered(&s->out, &sm->out, now, s->cx->settings->sm.request_delay, s->cx->settings->sm.ack_timeout);
}

/* ---- writing ---- */

static bool wants_stamp(const struct session *s, const struct entry *e)
{
    bool message = e->class == CLASS_KEEP || e->class == CLASS_MESSAGE || e->class == CLASS_CHAT_STATE ||
                   e->class == CLASS_GROUPCHAT;
    return message && !e->delayed && (e->stamp || e->number <= s->stamp_upto);
}

struct slice downlink_stamped(struct session *s, const struct entry *e)
{
    char stamp[CLOCK_STAMP_SIZE];
    struct stanza_bytes bytes = {entry_slice(e), e->open_end, e->close_at, e->name_end};
    buf_clear(&s->cx->scratch);
    stanza_write_delayed(&s->cx->scratch, &bytes, session_domain(s), clock_stamp(stamp, e->arrived));
    return buf_slice(&s->cx->scratch);
}

static void write_entry(struct session *s, const struct entry *e)
{
    if (!wants_stamp(s, e)) {
        leg_write(&s->client->leg, entry_slice(e));
        return;
    }
    leg_write(&s->client->leg, downlink_stamped(s, e));
}

/* What came before its client did waited for that one, not for us. */
static void note_relayed(struct session *s, const struct entry *e)
{
    usec waited = s->cx->clock->wall - e->arrived;
    if (!e->stamp && waited <= s->cx->clock->mono - s->changed)
        context_relayed(s->cx, METRIC_relay_down, waited);
}

static void write_waiting(struct session *s)
{
    struct client_sm *sm = &s->client->sm;
    for (struct entry *e; (e = sm_out_next(&sm->out)) != NULL;) {
        if (transport_buffered(s->client->leg.transport) > TRANSPORT_HIGH_WATER)
            return; /* goes on when drained */
        if (!keeping_may_write(s, e))
            return; /* goes on when the store has answered */
        if (e->number <= sm->replay_upto)
            count(s->cx->counters, METRIC_stanzas_replayed);
        note_relayed(s, e);
        write_entry(s, e);
        fate_tell(s, FATE_WRITTEN, e);
        sm_out_wrote(&s->out, &sm->out, s->cx->clock->mono);
    }
}

static void write_request(struct session *s)
{
    struct buf *r = &s->cx->scratch;
    struct client_sm *sm = &s->client->sm;
    buf_clear(r);
    BUF_LIT(r, "<r xmlns='");
    buf_add_str(r, session_sm_ns(s));
    BUF_LIT(r, "'/>");
    leg_write(&s->client->leg, buf_slice(r));
    sm_out_asked(&sm->out, s->cx->clock->mono);
    resent_asked(s);
    sm->request_end = s->client->leg.bytes_out;
    sm->request_left = 0;
    count(s->cx->counters, METRIC_ack_requests_sent);
}

/* ---- is the client still there ---- */

/* When the client's silence began to count: when the <r/> had left the socket's buffer, and not before its last byte;
 * -1 while it does not count: megabytes may be ahead of the request. (A peer that takes no bytes at all is
 * TCP_USER_TIMEOUT's case.) */
usec downlink_silent_since(struct session *s)
{
    struct leg *leg = &s->client->leg;
    struct client_sm *sm = &s->client->sm;
    if (leg->stopped)
        return -1; /* we do not read it: whatever it says cannot be heard */
    if (!sm->request_left) {
        bool left = transport_outstanding(leg->transport) <= leg->bytes_out - sm->request_end;
        sm->request_left = left ? s->cx->clock->mono : 0;
    }
    if (!sm->request_left)
        return -1;
    return sm->request_left > leg->last_input ? sm->request_left : leg->last_input;
}

static bool is_dead(struct session *s)
{
    usec since = s->client->sm.out.asking ? downlink_silent_since(s) : -1;
    return since >= 0 && s->cx->clock->mono - since >= s->cx->settings->sm.ack_timeout;
}

/* Something that makes a dead connection show itself. */
static void probe(struct session *s)
{
    struct leg *leg = &s->client->leg;
    usec quiet = s->cx->settings->sm.probe, now = s->cx->clock->mono;
    if (now - leg->last_input < quiet)
        return;
    if (s->state == SESSION_ATTACHED && !s->client->sm.out.asking)
        write_request(s);
    else if (s->state == SESSION_UNMANAGED && now - leg->last_output >= quiet)
        leg_keep_alive(leg);
}

void downlink_turn(struct session *s)
{
    if (s->up && (s->up->leg.stopped & STOP_QUEUE))
        downlink_check_full(s);
    if (!s->client || s->state == SESSION_ENDING)
        return;
    if (s->state == SESSION_ATTACHED) {
        write_waiting(s);
        if (is_dead(s)) {
            client_leg_close(s->client, CLOSE_ACK_TIMEOUT, GOODBYE_CUT);
            return;
        }
        /* where reading from the server waits for acks they are asked for at once */
        unsigned every = s->up && (s->up->leg.stopped & STOP_QUEUE) ? 1 : s->cx->settings->sm.request_every;
        if (sm_out_due(&s->client->sm.out, s->cx->clock->mono, every, s->cx->settings->sm.request_delay))
            write_request(s);
    }
    probe(s);
}

/* When to look whether it has left, then when the client's time is up. */
usec downlink_answer_due_at(const struct session *s)
{
    usec now = s->cx->clock->mono, timeout = s->cx->settings->sm.ack_timeout;
    usec left = s->client->sm.request_left, heard = s->client->leg.last_input;
    if (!left || s->client->leg.stopped)
        return now + (timeout < 4 * USEC_S ? timeout / 4 : USEC_S);
    return (left > heard ? left : heard) + timeout;
}

usec downlink_due_at(const struct session *s)
{
    const struct settings *set = s->cx->settings;
    /* full because the node is: nobody tells us when that ends */
    bool look_again = s->up && (s->up->leg.stopped & STOP_QUEUE) && context_memory_full(s->cx);
    usec at = look_again ? s->cx->clock->mono + USEC_S : -1;
    if (!s->client || s->state == SESSION_ENDING)
        return at;
    if (s->state == SESSION_ATTACHED && s->client->sm.out.asking)
        return earlier(at, downlink_answer_due_at(s));
    if (s->state == SESSION_ATTACHED)
        at = earlier(at, sm_out_due_at(&s->client->sm.out, set->sm.request_delay));
    usec heard = s->client->leg.last_input + set->sm.probe, spoke = s->client->leg.last_output + set->sm.probe;
    return earlier(at, s->state == SESSION_UNMANAGED && spoke > heard ? spoke : heard);
}
