/* Client to server: each stanza is counted, kept until the server has confirmed that it processed it, and passed on.
 * The server has no acks, so confirmation is got by a barrier: a ping to its domain behind a batch of stanzas. */
#include "base/log.h"
#include "base/mem.h"
#include "chat_states.h"
#include "contacts.h"
#include "echo.h"
#include "receipts.h"
#include "resent.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include "xmpp/xml.h"

/* Without barriers: how often we look whether the server's TCP has taken everything. */
#define TCP_CHECK (20 * USEC_MS)

#define BARRIER_ID "hfb-"

enum { PROBE_NONE, PROBE_SENT, PROBE_OVERTAKEN, PROBE_DONE };

static struct upstream_facts *facts_of(const struct session *s)
{
    return s->up ? s->up->facts : s->cx->upstream;
}

bool session_confirms(const struct session *s)
{
    return s->cx->settings->sm.confirm == CONFIRM_PING && atomic_load(&facts_of(s)->order) != ORDER_BAD;
}

bool uplink_is_safe(const struct session *s)
{
    return s->in.safe == s->in.received;
}

void uplink_write(struct session *s, struct slice bytes)
{
    if (s->up)
        leg_write(&s->up->leg, bytes);
}

static bool is_managed(const struct session *s)
{
    return s->client && s->state == SESSION_ATTACHED;
}

/* ---- stanzas ---- */

static void count_stanza(struct session *s, const struct element *e)
{
    static const struct {
        enum metric stanzas, bytes;
    } by_kind[] = {[ELEMENT_MESSAGE] = {METRIC_stanzas_up_message, METRIC_stanza_bytes_up_message},
                   [ELEMENT_PRESENCE] = {METRIC_stanzas_up_presence, METRIC_stanza_bytes_up_presence},
                   [ELEMENT_IQ] = {METRIC_stanzas_up_iq, METRIC_stanza_bytes_up_iq}};
    count(s->cx->counters, by_kind[e->kind].stanzas);
    count_add(s->cx->counters, by_kind[e->kind].bytes, (int64_t)e->bytes.n);
}

/* A node that is full stops a client that adds to it, but not one that has nothing here: what it says next may be what
 * frees memory (a presence that fetches mail), and no session is to wait for others for ever. */
static bool is_full(const struct session *s)
{
    return s->unconfirmed.count >= s->cx->settings->sm.queue_stanzas ||
           s->unconfirmed.bytes >= s->cx->settings->sm.queue_bytes ||
           (s->unconfirmed.count && context_memory_full(s->cx));
}

/* The queue is full: stanzas are not read any more. But while the other direction is stopped too, the client's acks,
 * which come behind its stanzas, are what frees it: then reading goes on up to twice the limit. */
static void check_full(struct session *s)
{
    bool needs_acks = s->up && (s->up->leg.stopped & STOP_QUEUE);
    bool hard = s->unconfirmed.bytes >= 2 * s->cx->settings->sm.queue_bytes;
    if (!s->client)
        return;
    if (is_full(s) && (!needs_acks || hard)) {
        if (!(s->client->leg.stopped & STOP_QUEUE)) {
            count(s->cx->counters, METRIC_backpressure_client);
            count(s->cx->counters, context_memory_full(s->cx) ? METRIC_limit_memory : METRIC_limit_queue);
        }
        leg_stop(&s->client->leg, STOP_QUEUE);
    } else {
        leg_go(&s->client->leg, STOP_QUEUE);
    }
}

/* Both queues are at their limits: the acks that would free the one lie behind what the other cannot take, and its
 * barrier behind what cannot be read. Nothing moves any more, so the client is to come back: it begins with its h. */
static void break_deadlock(struct session *s)
{
    if (!s->client || !s->up || s->unconfirmed.bytes < 2 * s->cx->settings->sm.queue_bytes ||
        !(s->client->leg.stopped & STOP_QUEUE) || !(s->up->leg.stopped & STOP_QUEUE))
        return;
    LOG(LOG_WARN, "both queues are full", LF("sid", s->sid), LF_INT("unacked", s->out.queue.count),
        LF_INT("unconfirmed", s->unconfirmed.count));
    client_leg_close(s->client, CLOSE_QUEUE_FULL, GOODBYE_CUT);
}

/* One that is not for the server counts like any other and is confirmed with those before it; nothing is kept of it
 * that could be sent again, some day from an outbox least of all. */
static const struct entry *keep(struct session *s, const struct element *e, bool swallowed)
{
    struct entry *entry;
    if (swallowed) {
        entry = entry_copy(SLICE_NONE, s->cx->clock->wall);
        entry->class = CLASS_MESSAGE;
    } else {
        entry = entry_take(&s->cx->entries, e, leg_extra_ns(&s->client->leg, e), s->cx->clock->wall);
        entry->secret = stanza_is_secret(e);
    }
    entry->id = fate_id(s->cx, e->id);
    if (!s->unconfirmed_since)
        s->unconfirmed_since = s->cx->clock->mono;
    queue_append(&s->unconfirmed, entry);
    keeping_appended(s, KEPT_UP);
    s->in.received = entry->number;
    count(s->cx->counters, METRIC_unconfirmed_stanzas);
    count_add(s->cx->counters, METRIC_unconfirmed_bytes, (int64_t)entry_cost(entry->n));
    context_memory(s->cx, (int64_t)entry_cost(entry->n));
    return entry;
}

static void note_presence(struct session *s, const struct element *e)
{
    bool unavailable = slice_eq_str(e->type, "unavailable");
    if (e->to.n || (e->type.p && !unavailable))
        return;
    bool available = !unavailable && e->priority >= 0;
    if (available != s->told.available)
        owner_set_available(s->cx->owner, s->sid, available);
    s->told.available = available;
}

/* While there is no upstream leg it waits to be repeated. */
static void note_forwarded(struct session *s, const struct element *e, const struct entry *kept)
{
    enum fate_step step = s->up ? FATE_FORWARDED : FATE_RECEIVED;
    if (kept)
        fate_tell(s, step, kept);
    else
        fate_tell_element(s, step, e);
}

/* While the server waits for us to read, the client's acks free what we wait for: the queue's limit has to do. */
void uplink_check_slow(struct session *s)
{
    bool acks_needed = s->up && (s->up->leg.stopped & STOP_QUEUE);
    if (s->up && !acks_needed && transport_buffered(s->up->leg.transport) > TRANSPORT_HIGH_WATER) {
        count(s->cx->counters, METRIC_backpressure_client);
        leg_stop(&s->client->leg, STOP_SLOW);
    }
}

void session_from_client(struct session *s, const struct element *e)
{
    if (s->state == SESSION_ENDED || s->state == SESSION_ENDING)
        return;
    if (!element_is_stanza(e)) {
        session_nonza(s, e);
        return;
    }
    session_dirty(s);
    count_stanza(s, e);
    s->stanzas_up++;
    bool known = resent_is_known(s, e);
    bool swallowed = known || handed_take_answer(s, e) || receipts_from_client(s, e) || setup_takes_reply(e);
    contacts_from_client(s, e);
    if (!swallowed)
        chat_states_from_client(s, e);
    const struct entry *kept = is_managed(s) ? keep(s, e, swallowed) : NULL;
    if (kept)
        resent_remember(s, e, kept->number);
    else
        count(s->cx->counters, swallowed ? METRIC_up_swallowed : METRIC_up_relayed);
    if (e->kind != ELEMENT_MESSAGE) {
        setup_note(s, e, s->in.received);
        keeping_changed(s, true);
    }
    if (e->kind == ELEMENT_PRESENCE) {
        bool was = s->told.available;
        note_presence(s, e);
        if (s->told.available && !was && s->up && mail_before_presence(s, e))
            return;
    }
    if (s->up && !swallowed)
        context_relayed(s->cx, METRIC_relay_up, 0);
    if (!swallowed)
        uplink_write(s, leg_outside(&s->client->leg, e, &s->cx->scratch));
    if (kept && !swallowed && s->up)
        echo_expect(s, e, kept);
    if (swallowed)
        fate_tell_element(s, known ? FATE_KNOWN : FATE_UP_SWALLOWED, e);
    else
        note_forwarded(s, e, kept);
    uplink_check_slow(s);
    if (is_managed(s))
        check_full(s);
}

/* ---- again, on a fresh upstream leg ---- */

/* A request that was answered is done with, though a barrier has not confirmed it yet. But what it has set up for the
 * resource is to be set up again. */
static bool is_done(const struct session *s, const struct entry *e)
{
    const struct node *iq;
    if (e->class == CLASS_PRESENCE)
        return rooms_rejoined(s, e->number);
    if (e->class != CLASS_IQ_REQUEST)
        return false;
    struct xml_tree *tree = xml_tree_parse(entry_slice(e), &iq);
    struct slice id = tree ? node_attr(iq, "id") : SLICE_NONE;
    bool done = !pending_waits(s, id, e->number) && !setup_has(s, id, e->number);
    xml_tree_free(tree);
    return done;
}

static void repeat(struct session *s, const struct entry *e)
{
    if (!e->n || is_done(s, e))
        return;
    count(s->cx->counters, METRIC_stanzas_repeated);
    fate_tell(s, FATE_REPEATED, e);
    uplink_write(s, entry_slice(e));
}

void uplink_repeat(struct session *s)
{
    for (struct entry *e = session_lingers(s); e; e = e->next) {
        e->confirmed = s->cx->clock->mono; /* this server has to hold it as long as any */
        repeat(s, e);
    }
    for (const struct entry *e = s->unconfirmed.first; e; e = e->next)
        repeat(s, e);
}

/* ---- confirmation ---- */

void uplink_confirmed(struct session *s, uint64_t upto)
{
    keeping_confirmed(s, upto);
    for (struct entry *e; (e = queue_take(&s->unconfirmed, upto));) {
        count(s->cx->counters, e->n ? METRIC_up_confirmed : METRIC_up_swallowed);
        if (e->n)
            fate_tell(s, FATE_CONFIRMED, e);
        count_add(s->cx->counters, METRIC_unconfirmed_stanzas, -1);
        count_add(s->cx->counters, METRIC_unconfirmed_bytes, -(int64_t)entry_cost(e->n));
        linger_keep(s, e);
    }
    if (!s->kept && s->in.safe < upto)
        s->in.safe = upto;
    if (is_managed(s))
        check_full(s);
    session_dirty(s);
}

/* ---- the order probe: does an answer to a ping prove anything with this server ---- */

static void probe_order(struct session *s)
{
    int untried = ORDER_UNTRIED;
    if (s->order_probe != PROBE_NONE || !s->told.available)
        return;
    if (!atomic_compare_exchange_strong(&facts_of(s)->order, &untried, ORDER_TRYING))
        return;
    s->probed = facts_of(s);
    struct buf out = {0};
    BUF_LIT(&out, "<message type='headline'");
    xml_attr(&out, "to", slice_str(s->jid));
    buf_printf(&out, " id='hfo-%s'/>", s->tag);
    uplink_write(s, buf_slice(&out));
    buf_free(&out);
    s->order_probe = PROBE_SENT;
}

static void probe_result(struct session *s, enum order_probe result)
{
    s->order_probe = PROBE_DONE;
    atomic_store(&s->probed->order, result);
    if (result == ORDER_BAD)
        LOG(LOG_ERROR,
            "the server answers pings ahead of earlier messages: acks rest on its TCP alone, so that its crash may "
            "lose "
            "what was acked",
            LF("upstream", s->probed->name ? s->probed->name : s->cx->settings->upstream));
}

void uplink_give_up_probe(struct session *s)
{
    if (s->order_probe == PROBE_SENT || s->order_probe == PROBE_OVERTAKEN)
        probe_result(s, ORDER_UNTRIED);
}

static bool take_headline(struct session *s, const struct element *e)
{
    if (e->kind != ELEMENT_MESSAGE || s->order_probe == PROBE_NONE || !slice_starts(e->id, SLICE_LIT("hfo-")) ||
        !slice_eq_str(slice_skip(e->id, 4), s->tag))
        return false;
    if (s->order_probe == PROBE_SENT)
        probe_result(s, ORDER_GOOD);
    else if (s->order_probe == PROBE_OVERTAKEN)
        probe_result(s, ORDER_BAD);
    return true;
}

/* ---- barriers ---- */

static void write_id(const struct session *s, struct buf *out)
{
    BUF_LIT(out, BARRIER_ID);
    buf_add_str(out, s->tag);
    BUF_LIT(out, "-");
    buf_add_number(out, s->barriers);
}

static void barrier_send(struct session *s)
{
    probe_order(s);
    struct buf *out = &s->cx->scratch;
    s->barriers++;
    buf_clear(out);
    BUF_LIT(out, "<iq type='get' id='");
    write_id(s, out);
    BUF_LIT(out, "'");
    xml_attr(out, "to", session_domain(s));
    BUF_LIT(out, "><ping xmlns='" NS_PING "'/></iq>");
    uplink_write(s, buf_slice(out));
    usec now = s->cx->clock->mono;
    s->barrier = mem_check(slab_alloc(SLAB_SESSION, sizeof *s->barrier));
    *s->barrier = (struct barrier){.upto = s->unconfirmed.last_number,
                                   .posted = outbox_posted(s),
                                   .sent = now,
                                   .end = s->up->leg.bytes_out,
                                   .running = now};
    receipts_barrier_sent(s);
    s->unconfirmed_since = 0;
}

static usec unconfirmed_until(const struct session *s)
{
    return s->unconfirmed_since + s->cx->settings->sm.confirm_delay + echo_slack(s);
}

/* Somebody waits for it, or it has waited long enough: an ack to the client aside. */
static bool is_due(const struct session *s)
{
    const struct settings *set = s->cx->settings;
    return s->state != SESSION_ATTACHED || (s->client->leg.stopped & STOP_QUEUE) ||
           s->unconfirmed.count >= set->sm.confirm_every ||
           (s->unconfirmed_since && s->cx->clock->mono >= unconfirmed_until(s));
}

/* The stanza that the client wants to be told of; 0: none that is not confirmed yet. */
static uint64_t asked_upto(const struct session *s)
{
    const struct sm_in_leg *in = s->client ? &s->client->sm.in : NULL;
    uint64_t upto = !in ? 0 : in->asked ? in->asked_upto : in->owed;
    return s->unconfirmed.count && s->unconfirmed.first->number <= upto ? upto : 0;
}

static bool barrier_wanted(struct session *s)
{
    usec receipts = receipts_barrier_at(s);
    if (s->barrier || s->held)
        return false; /* a presence that is held has not gone to the server yet: its answer would prove nothing */
    if (s->catching_up || outbox_waits(s))
        return true;
    if (receipts >= 0 && s->cx->clock->mono >= receipts)
        return true;
    if (!s->unconfirmed.count)
        return false;
    return is_due(s) || (asked_upto(s) && !echo_is_near(s, asked_upto(s)));
}

/* Echoes are put to use no sooner than that is of use: each confirmation may be a command to a store. */
static bool is_of_use(const struct session *s, uint64_t upto)
{
    if (is_due(s))
        return true;
    const struct sm_in_leg *in = &s->client->sm.in; /* it is attached, or a barrier would be due */
    return (in->asked && upto >= in->asked_from) || (in->owed && upto >= in->owed);
}

static void confirm_by_echo(struct session *s)
{
    if (!s->unconfirmed.count)
        return;
    uint64_t heard = echo_heard(s);
    if (heard < s->unconfirmed.first->number || !is_of_use(s, heard))
        return;
    uplink_confirmed(s, heard);
    bool uncovered = s->unconfirmed.count && !(s->barrier && s->unconfirmed.last_number == s->barrier->upto);
    s->unconfirmed_since = uncovered ? s->cx->clock->mono : 0;
}

void uplink_forget_barrier(struct session *s)
{
    slab_free(s->barrier);
    s->barrier = NULL;
}

static void barrier_answered(struct session *s)
{
    struct barrier barrier = *s->barrier;
    uplink_forget_barrier(s);
    count(s->cx->counters, METRIC_barriers_answered);
    count_observe(s->cx->counters, METRIC_barrier_lag, s->cx->clock->mono - barrier.sent);
    if (s->order_probe == PROBE_SENT)
        s->order_probe = PROBE_OVERTAKEN;
    else if (s->order_probe == PROBE_OVERTAKEN) {
        /* the headline never came: that says nothing about order; another session may try */
        probe_result(s, ORDER_UNTRIED);
    }
    outbox_confirmed(s, barrier.posted);
    uplink_confirmed(s, barrier.upto);
    receipts_confirmed(s);
    if (s->catching_up)
        rebuild_caught_up(s);
    downlink_check_full(s);
}

bool uplink_take_answer(struct session *s, const struct element *e)
{
    struct buf *id = &s->cx->scratch;
    if (e->kind == ELEMENT_MESSAGE)
        return take_headline(s, e);
    if (e->kind != ELEMENT_IQ || !s->barrier || !slice_starts(e->id, SLICE_LIT(BARRIER_ID)))
        return false;
    buf_clear(id);
    write_id(s, id);
    bool answer = slice_eq_str(e->type, "result") || slice_eq_str(e->type, "error");
    if (!answer || !slice_eq(e->id, buf_slice(id)) || (e->from.n && !jid_domain_eq(e->from, session_domain(s))))
        return false;
    barrier_answered(s);
    return true;
}

/* The server's silence counts only while we listen to it and it has got the ping. */
static bool barrier_overdue(struct session *s)
{
    struct barrier *b = s->barrier;
    if (!b)
        return false;
    if (s->up->leg.stopped || transport_buffered(s->up->leg.transport))
        b->running = s->cx->clock->mono;
    else if (b->running < s->up->leg.listening)
        b->running = s->up->leg.listening;
    if (s->cx->clock->mono - b->running < s->cx->settings->sm.confirm_timeout)
        return false;
    if (transport_outstanding(s->up->leg.transport) <= s->up->leg.bytes_out - b->end)
        return true;
    b->running = s->cx->clock->mono; /* still in the socket's buffer */
    return false;
}

/* No barrier is begun while the server is not listened to: its answer could not be read. A resumption cannot wait for
 * that. */
static void barrier_turn(struct session *s)
{
    if (!barrier_wanted(s) || (s->up->leg.stopped && !s->resuming))
        return;
    barrier_send(s);
    downlink_check_full(s);
}

/* sm.confirm = none: what the server's TCP has acknowledged counts. */
static void confirm_by_tcp(struct session *s)
{
    bool waits = outbox_waits(s) || (s->unconfirmed.count && !s->held);
    if (!waits || transport_outstanding(s->up->leg.transport) != 0)
        return;
    outbox_confirmed(s, outbox_posted(s));
    if (!s->held)
        uplink_confirmed(s, s->unconfirmed.last_number);
}

/* ---- answers to the client ---- */

void uplink_request(struct session *s)
{
    count(s->cx->counters, METRIC_ack_requests_received);
    sm_in_request(&s->in, &s->client->sm.in, s->cx->clock->mono, s->cx->settings->sm.answer_delay);
}

/* After a resumption not before the replay is written: Conversations takes the first answer for "caught up". */
static bool replay_is_written(const struct session *s)
{
    return s->client->sm.out.sent >= s->client->sm.replay_upto;
}

void uplink_tell(struct session *s)
{
    struct buf *a = &s->cx->scratch;
    buf_clear(a);
    BUF_LIT(a, "<a xmlns='");
    buf_add_str(a, session_sm_ns(s));
    BUF_LIT(a, "' h='");
    buf_add_number(a, sm_wire(s->in.safe));
    BUF_LIT(a, "'/>");
    leg_write(&s->client->leg, buf_slice(a));
}

static void answer(struct session *s)
{
    if (!is_managed(s) || !sm_in_due(&s->in, &s->client->sm.in, s->cx->clock->mono) || !replay_is_written(s))
        return;
    uplink_tell(s);
    sm_in_told(&s->in, &s->client->sm.in, s->cx->clock->mono, s->cx->settings->sm.answer_delay);
    count(s->cx->counters, METRIC_acks_sent);
}

static void server_is_silent(struct session *s)
{
    LOG(LOG_WARN, "the server does not answer pings", LF("sid", s->sid), LF_INT("unconfirmed", s->unconfirmed.count));
    count(s->cx->counters, METRIC_barriers_timeout);
    if (session_can_strand(s))
        session_strand(s, CLOSE_CONFIRM_TIMEOUT);
    else
        session_end(s, CLOSE_CONFIRM_TIMEOUT, GOODBYE_CUT);
}

static void upstream_turn(struct session *s)
{
    if (barrier_overdue(s)) {
        server_is_silent(s);
        return;
    }
    confirm_by_echo(s);
    if (session_confirms(s))
        barrier_turn(s);
    else
        confirm_by_tcp(s);
    if (s->up && s->cx->clock->mono - s->up->leg.last_output >= s->cx->settings->sm.probe)
        leg_keep_alive(&s->up->leg);
}

void uplink_turn(struct session *s)
{
    if (is_managed(s))
        check_full(s); /* may parse what was held, and so end the session or its client */
    if (is_managed(s))
        break_deadlock(s);
    echo_turn(s);
    if (s->up && s->state != SESSION_ENDED)
        upstream_turn(s);
    if (s->state == SESSION_ENDED)
        return;
    answer(s);
    if (!asked_upto(s))
        echo_rest(s);
    if (s->up) /* without, what is left of it is sent again some day */
        linger_drop(s, s->cx->clock->mono - s->cx->settings->sm.confirm_linger);
}

static usec upstream_due_at(const struct session *s)
{
    const struct settings *set = s->cx->settings;
    usec at = s->up->leg.last_output + set->sm.probe;
    if (s->barrier)
        at = earlier(at, s->barrier->running + set->sm.confirm_timeout);
    else if ((s->unconfirmed.count || outbox_waits(s)) && !session_confirms(s))
        at = earlier(at, s->cx->clock->mono + TCP_CHECK);
    else if (s->unconfirmed.count && s->unconfirmed_since && !s->up->leg.stopped && !s->held)
        at = earlier(at, unconfirmed_until(s));
    if (!s->barrier && session_confirms(s) && !s->up->leg.stopped && !s->held)
        at = earlier(at, receipts_barrier_at(s));
    if (session_lingers(s))
        at = earlier(at, s->lingering->first->confirmed + set->sm.confirm_linger);
    return at;
}

usec uplink_due_at(const struct session *s)
{
    usec at = earlier(echo_due_at(s), s->up ? upstream_due_at(s) : -1);
    if (s->client && (s->client->leg.stopped & STOP_QUEUE) && context_memory_full(s->cx))
        at = earlier(at, s->cx->clock->mono + USEC_S); /* nobody tells us when the node has room again */
    if (is_managed(s) && s->client->sm.in.asked && replay_is_written(s))
        at = earlier(at, s->client->sm.in.answer_by);
    return at;
}
