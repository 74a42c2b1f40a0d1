/* A session that lost its upstream leg is stranded: it keeps its queues and waits for its client to log in anew. The
 * fresh upstream leg of that login is then made equal to the old one: the same resource, the setup log, the rooms, and
 * what the server has not confirmed, in order. What comes of it is an ordinary resumption. */
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "contacts.h"
#include "login.h"
#include "receipts.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include "xmpp/xml.h"
#include <stdio.h>
#include <stdlib.h>

/* A server that stops breaks all its connections, and may still take new ones for a moment. Whether it is there is
 * looked at when that moment is over; no client is to come back before that. */
#define LOOK_FIRST  (200 * USEC_MS)
#define ANSWER_TIME (100 * USEC_MS)
/* While the server is down clients are held: coming back would get them nothing. But not for longer than that, as
 * their acks do not come meanwhile. */
#define HOLD_AT_MOST (60 * USEC_S)
#define LOOK_AGAIN   (500 * USEC_MS)
/* Whoever is there shows itself to a fresh resource within this time. */
#define SETTLE (10 * USEC_S)

struct rebuild {
    usec stranded;               /* since when there is no upstream leg; 0 = there is one */
    struct upstream_facts *lost; /* of the server whose leg that was; NULL: not known */
    struct upstream_leg *fresh;  /* that is to become the session's: the resource is being bound on it */
    usec cut_at; /* stranded: when to look whether the client is to be sent away */
    bool looked, cut_paced;
    bool wants_session_iq; /* on the fresh upstream leg */
    usec fresh_by;         /* the latest time for the bind on it */
    struct queue early;    /* catching up: what the server has sent and is to come behind its offline messages */
    usec settle_at;        /* when who has not shown up again is taken to have left; 0 = not */
};

static struct rebuild *rebuild_of(struct session *s)
{
    if (!s->rebuild)
        s->rebuild = MEM_NEW(struct rebuild);
    return s->rebuild;
}

static struct slice resource_of(const struct session *s)
{
    return slice_skip(slice_str(s->jid), s->account_n + 1);
}

/* ---- stranded ---- */

bool session_can_strand(const struct session *s)
{
    return s->resumable && (s->state == SESSION_ATTACHED || s->state == SESSION_DETACHED);
}

bool rebuild_is_stranded(const struct session *s)
{
    return s->rebuild && s->rebuild->stranded;
}

bool rebuild_is_binding(const struct session *s)
{
    return s->rebuild && s->rebuild->fresh;
}

void session_await_leg(struct session *s)
{
    rebuild_of(s)->stranded = s->cx->clock->mono;
    owner_set_stranded(s->cx->owner, s->sid, resource_of(s));
}

static void forget_leg(struct session *s)
{
    outbox_unsent(s);
    if (s->barrier)
        count(s->cx->counters, METRIC_barriers_lost);
    uplink_forget_barrier(s);
    uplink_give_up_probe(s);
    s->order_probe = 0;
    s->full_since = 0;
    if (s->held) { /* it is in the unconfirmed queue as well, and goes out with that */
        entry_free(s->held);
        s->held = NULL;
    }
}

void session_note_broken(struct session *s, const char *detail)
{
    rebuild_of(s)->lost = s->up->facts;
    s->cx->ops->upstream_noted(s->cx, s->up->facts, UPSTREAM_BROKE, detail);
}

void session_strand(struct session *s, enum close_reason reason)
{
    struct client_leg *c = s->resuming;
    usec now = s->cx->clock->mono;
    LOG(LOG_INFO, "session stranded", LF("sid", s->sid), LF("reason", close_reason_name(reason)),
        LF_INT("unacked", s->out.queue.count), LF_INT("unconfirmed", s->unconfirmed.count));
    count(s->cx->counters, METRIC_sessions_stranded);
    if (s->up)
        session_note_broken(s, close_reason_name(reason));
    rebuild_caught_up(s);
    upstream_leg_close(&s->up, reason, false);
    forget_leg(s);
    *rebuild_of(s) = (struct rebuild){.lost = rebuild_of(s)->lost, .cut_at = now + LOOK_FIRST};
    session_await_leg(s);
    session_dirty(s);
    if (c)
        rebuild_begin(s, c);
    else if (s->client)
        leg_go(&s->client->leg, STOP_MAIL | STOP_SLOW); /* may end the session */
}

static bool server_is_down(const struct session *s)
{
    return atomic_load(&s->cx->upstream->down);
}

/* The client is to come back, and so it is cut without an end tag: when the server is there again, and not with all the
 * others at once. */
static void cut_client(struct session *s)
{
    usec now = s->cx->clock->mono;
    struct rebuild *r = rebuild_of(s);
    if (now < r->cut_at)
        return;
    if (!r->looked) {
        r->looked = true;
        s->cx->ops->upstream_noted(s->cx, r->lost, UPSTREAM_BROKE, "looked at again");
        r->cut_at = now + ANSWER_TIME;
    } else if (server_is_down(s) && now < r->stranded + HOLD_AT_MOST) {
        r->cut_at = now + LOOK_AGAIN;
        r->cut_paced = false;
    } else if (!r->cut_paced) {
        r->cut_paced = true;
        r->cut_at = pace_claim(&s->cx->pacing->cuts, now, s->cx->settings->login_rate, -1);
    }
    if (now >= r->cut_at)
        client_leg_close(s->client, CLOSE_UPSTREAM_LOST, GOODBYE_CUT);
}

/* ---- the fresh leg ---- */

static const struct upstream_events fresh_events;

static void bind_resource(struct session *s)
{
    struct buf out = {0};
    buf_printf(&out, "<iq type='set' id='hfs-%s-bind'><bind xmlns='" NS_BIND "'><resource>", s->tag);
    xml_escape(&out, resource_of(s));
    BUF_LIT(&out, "</resource></bind></iq>");
    leg_write(&s->rebuild->fresh->leg, buf_slice(&out));
    buf_free(&out);
}

static void bound(struct session *s);

static void take_leg(struct session *s, struct client_leg *c)
{
    struct upstream_leg *up = c->login->up;
    struct rebuild *r = rebuild_of(s);
    c->login->up = NULL;
    r->fresh = up;
    r->wants_session_iq = c->login->offers_session;
    r->fresh_by = s->cx->clock->mono + s->cx->settings->sm.confirm_timeout;
    random_hex(s->tag, 8); /* no answer to a question on the old leg can be taken for one on this */
    upstream_leg_set_events(up, &fresh_events, s);
    up->sid = s->sid;
    LOG(LOG_INFO, "session is rebuilt", LF("sid", s->sid), LF_INT("leg", c->number),
        LF_INT("unacked", s->out.queue.count), LF_INT("unconfirmed", s->unconfirmed.count));
    session_dirty(s);
    if (c->login->bound_jid)
        bound(s);
    else
        bind_resource(s);
    leg_go(&up->leg, ~0u);
}

void rebuild_begin(struct session *s, struct client_leg *c)
{
    const struct login *l = c->login;
    bool other = l->bound_jid && strcmp(l->bound_jid, s->jid) != 0;
    if (l->up && !other) {
        take_leg(s, c);
    } else if (l->up && l->wished && slice_eq_str(resource_of(s), l->wished)) {
        LOG(LOG_WARN, "the server does not give the resource again", LF("sid", s->sid), LF("bound", l->bound_jid));
        session_end(s, CLOSE_RESOURCE_TAKEN, GOODBYE_CUT);
    } else { /* it comes again; the session waits for it */
        client_leg_close(c, CLOSE_UPSTREAM_LOST, GOODBYE_CUT);
    }
}

static void session_iq(struct session *s)
{
    char iq[128];
    snprintf(iq, sizeof iq, "<iq type='set' id='hfs-%s-session'><session xmlns='" NS_SESSION "'/></iq>", s->tag);
    leg_write_str(&s->up->leg, iq);
}

/* The order is that of a client that logs in: what it said lately goes out in the queue, not out of its place. */
static void replay(struct session *s)
{
    const struct entry *first = s->lingering ? s->lingering->first : s->unconfirmed.first;
    uint64_t before = first ? first->number : UINT64_MAX;
    if (s->rebuild->wants_session_iq)
        session_iq(s); /* RFC 3921 3 */
    outbox_fetch(s);
    setup_replay(s, before);
    rooms_replay(s, before);
    sightings_rebuilt(s);
    uplink_repeat(s);
    contacts_on_fresh_leg(s->contacts);
    receipts_repeat(s);
    pending_lost(s, before - 1);
}

static void bound(struct session *s)
{
    struct upstream_leg *up = s->rebuild->fresh;
    s->rebuild->fresh = NULL;
    s->rebuild->stranded = 0;
    s->rebuilt = true;
    s->rebuild->settle_at = s->cx->clock->mono + SETTLE;
    s->told.away = false;
    owner_set_stranded(s->cx->owner, s->sid, SLICE_NONE);
    session_take_upstream(s, up);
    replay(s);
    if (!s->resuming) /* the client has gone meanwhile */
        session_left_alone(s);
    s->catching_up = session_confirms(s);
    session_dirty(s);
}

/* ---- catching up ---- */

/* Between the bind and the presence that follows the server passes on at once what comes for the resource, ahead of the
 * offline messages that came before that. These are complete when the first barrier is answered. */
bool rebuild_holds(struct session *s, const struct element *e)
{
    if (!s->catching_up || e->kind != ELEMENT_MESSAGE || (e->facts & FACT_DELAY))
        return false;
    struct queue *early = &rebuild_of(s)->early;
    if (early->count >= s->cx->settings->sm.queue_stanzas || early->bytes >= s->cx->settings->sm.queue_bytes) {
        rebuild_caught_up(s); /* no room to wait: those that waited still come first */
        return false;
    }
    struct entry *entry = entry_new(e, leg_extra_ns(&s->up->leg, e), s->cx->clock->wall);
    entry->id = fate_id(s->cx, e->id);
    queue_append(early, entry);
    count(s->cx->counters, METRIC_parked_stanzas);
    context_memory(s->cx, (int64_t)entry_cost(entry->n));
    return true;
}

void rebuild_caught_up(struct session *s)
{
    s->catching_up = false;
    for (struct entry *e; s->rebuild && (e = queue_take(&s->rebuild->early, UINT64_MAX));) {
        count_add(s->cx->counters, METRIC_parked_stanzas, -1);
        context_memory(s->cx, -(int64_t)entry_cost(e->n));
        downlink_append(s, e);
        receipts_on_mail(s, e, false);
    }
}

static void let_go(struct session *s)
{
    free(s->rebuild);
    s->rebuild = NULL;
}

/* ---- the resource is refused ---- */

/* The server wants no such resource: what the leg is good for is a session of the client's own, unless that client has
 * gone, and another one with its own leg waits in its place. jid: another one that was bound, or empty. */
static void resource_refused(struct session *s, struct slice jid)
{
    struct upstream_leg *up = s->rebuild->fresh;
    struct client_leg *c = s->resuming;
    s->rebuild->fresh = NULL;
    LOG(LOG_WARN, "the server does not give the resource again", LF("sid", s->sid), LF_SLICE("bound", jid));
    if (c && !c->login->up)
        client_leg_take_back(c, up, jid);
    else
        upstream_leg_close(&up, CLOSE_RESOURCE_TAKEN, true);
    session_end(s, CLOSE_RESOURCE_TAKEN, GOODBYE_CUT);
}

static void on_element(void *ctx, const struct element *e)
{
    struct session *s = ctx;
    char id[48];
    snprintf(id, sizeof id, "hfs-%s-bind", s->tag);
    if (e->kind != ELEMENT_IQ || !slice_eq_str(e->id, id)) {
        LOG(LOG_INFO, "element of the server ahead of bind", LF("sid", s->sid), LF_SLICE("name", e->name));
        return;
    }
    const struct node *jid = node_child(node_child(e->tree, NS_BIND, "bind"), NS_BIND, "jid");
    struct slice given = slice_eq_str(e->type, "result") && jid ? jid->text : SLICE_NONE;
    if (slice_eq_str(given, s->jid))
        bound(s);
    else
        resource_refused(s, given);
}

static void on_header(void *ctx, const struct stream_header *h)
{
    (void)ctx;
    (void)h;
}

static void on_drained(void *ctx)
{
    (void)ctx;
}

static void give_up(struct session *s, enum close_reason reason)
{
    struct client_leg *c = s->resuming;
    upstream_leg_close(&s->rebuild->fresh, reason, false);
    if (c) /* may have a leg of its own, if it is another client than the one whose leg this was */
        rebuild_begin(s, c);
}

static void on_ended(void *ctx, enum close_reason reason, const char *detail)
{
    struct session *s = ctx;
    s->rebuild->fresh = NULL; /* it closes itself */
    LOG(LOG_INFO, "upstream leg ended", LF("sid", s->sid), LF("reason", close_reason_name(reason)),
        LF("detail", detail));
    give_up(s, reason);
}

static const struct upstream_events fresh_events = {on_header, on_element, on_drained, on_ended};

bool rebuild_take_answer(struct session *s, const struct element *e)
{
    if (e->kind != ELEMENT_IQ)
        return false;
    if (setup_take_answer(s, e))
        return true;
    return slice_starts(e->id, SLICE_LIT("hfs-")) && slice_starts(slice_skip(e->id, 4), slice_str(s->tag));
}

/* ---- time ---- */

bool rebuild_is_settling(const struct session *s)
{
    return s->rebuild && s->rebuild->settle_at;
}

/* Of a client that is there: what is parked meanwhile is newer. */
static void settle(struct session *s)
{
    s->rebuild->settle_at = 0;
    setup_settle(s);
    rooms_settle(s);
    sightings_settle(s);
    session_dirty(s); /* what was injected is to be written */
}

void rebuild_turn(struct session *s)
{
    usec now = s->cx->clock->mono;
    if (rebuild_is_stranded(s) && s->client && s->state == SESSION_ATTACHED)
        cut_client(s);
    if (rebuild_is_binding(s) && now >= s->rebuild->fresh_by) {
        LOG(LOG_WARN, "the server does not answer a bind", LF("sid", s->sid));
        give_up(s, CLOSE_CONFIRM_TIMEOUT);
    }
    if (rebuild_is_settling(s) && now >= s->rebuild->settle_at && s->state == SESSION_ATTACHED)
        settle(s);
    if (s->rebuild && !rebuild_is_stranded(s) && !s->catching_up && !rebuild_is_settling(s))
        let_go(s);
}

usec rebuild_due_at(const struct session *s)
{
    usec at = -1;
    if (rebuild_is_stranded(s) && s->client && s->state == SESSION_ATTACHED)
        at = s->rebuild->cut_at;
    if (rebuild_is_binding(s))
        at = earlier(at, s->rebuild->fresh_by);
    if (rebuild_is_settling(s) && s->state == SESSION_ATTACHED)
        at = earlier(at, s->rebuild->settle_at);
    return at;
}

void rebuild_forget(struct session *s)
{
    if (s->rebuild)
        upstream_leg_close(&s->rebuild->fresh, CLOSE_SESSION_END, true);
    let_go(s);
    setup_forget(s);
    rooms_forget(s);
    sightings_forget(s);
    pending_forget(s);
}
