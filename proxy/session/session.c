#include "session/session.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/slab.h"
#include "chat_states.h"
#include "contacts.h"
#include "echo.h"
#include "receipts.h"
#include "resent.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include "xmpp/xml.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A resumption after less than this looks to the user as if nothing had happened: no delay stamps. */
#define STAMP_AFTER (3 * USEC_S)
/* How long the end of a session waits for the server to confirm what came last. */
#define ENDING_TIME (2 * USEC_S)

static const struct upstream_events upstream_events;

const char *session_state_name(enum session_state state)
{
    static const char *const name[] = {"unmanaged", "attached", "detached", "ending", "ended"};
    return name[state];
}

const char *session_sid(const struct session *s)
{
    return s->sid;
}

static void count_state(struct session *s, enum session_state state, int n)
{
    static const enum metric gauge[] = {METRIC_sessions_unmanaged, METRIC_sessions_attached, METRIC_sessions_detached,
                                        METRIC_sessions_attached};
    if (state < SESSION_ENDED)
        count_add(s->cx->counters, gauge[state], n);
}

static void set_state(struct session *s, enum session_state state)
{
    LOG(LOG_DEBUG, "session", LF("sid", s->sid), LF("from", session_state_name(s->state)),
        LF("to", session_state_name(state)));
    count_state(s, s->state, -1);
    count_state(s, state, 1);
    s->state = state;
    s->changed = s->cx->clock->mono;
}

void session_dirty(struct session *s)
{
    if (!list_is_linked(&s->grave.link) && s->state != SESSION_ENDED)
        list_append(&s->cx->dirty, &s->grave.link);
}

struct session *session_of_dirty(struct list *link)
{
    return CONTAINER_OF(link, struct session, grave.link);
}

static void on_timer(void *ctx)
{
    session_dirty(ctx);
}

struct session *session_blank(struct context *cx)
{
    struct session *s = SLAB_NEW(SLAB_SESSION, struct session);
    s->cx = cx;
    s->timer = (struct timer){.fire = on_timer, .ctx = s};
    list_init(&s->grave.link);
    random_hex(s->tag, 8);
    return s;
}

struct session *session_new(struct context *cx, struct client_leg *client, struct upstream_leg *up,
                            const struct session_origin *origin)
{
    struct session *s = session_blank(cx);
    s->client = client;
    session_name(s, origin->jid, origin->domain);
    s->offered = origin->offered;
    s->may_resume = origin->resumable && s->account_n;
    s->awaited = origin->awaited;
    s->born = s->changed = cx->clock->mono;
    char tag[TAG_SIZE], previd[PREVID_SIZE];
    cx->ops->previd_new(cx, session_account(s), tag, &s->secret);
    cx->ops->sid_of(cx, slice_str(previd_write(tag, &s->secret, previd)), s->sid);
    count_state(s, SESSION_UNMANAGED, 1);
    count(cx->counters, METRIC_sessions_started);
    count_observe(cx->counters, METRIC_login_time, cx->clock->mono - client->born);
    registry_add(cx->registry, s);
    owner_add(cx->owner, s->sid, cx->worker, session_account(s), s->may_resume ? origin->proof : NULL);
    session_take_upstream(s, up);
    LOG(LOG_INFO, "session begun", LF("sid", s->sid), LF_INT("leg", client->number), LF("jid", s->jid),
        LF("peer", transport_peer(client->leg.transport)));
    outbox_fetch(s);
    session_dirty(s);
    return s;
}

void session_take_upstream(struct session *s, struct upstream_leg *up)
{
    s->up = up;
    upstream_leg_set_events(up, &upstream_events, s);
    up->sid = s->sid;
    transport_yield(up->leg.transport, false);
}

/* ---- enable ---- */

static usec granted_max(const struct session *s, struct slice asked)
{
    const struct settings *set = s->cx->settings;
    uint32_t seconds;
    bool huge = asked.n > 10; /* xs:positiveInteger has no end */
    for (size_t i = 0; huge && i < asked.n; i++)
        huge = asked.p[i] >= '0' && asked.p[i] <= '9';
    if (!huge && (!sm_parse_h(asked, &seconds) || seconds == 0))
        return set->sm.max;
    usec max = huge ? set->sm.max_cap : seconds * USEC_S;
    return max < set->sm.max_cap ? max : set->sm.max_cap;
}

static void write_enabled(struct session *s)
{
    struct buf out = {0};
    char previd[PREVID_SIZE];
    buf_printf(&out, "<enabled xmlns='%s'", session_sm_ns(s));
    if (s->resumable) {
        buf_printf(&out, " id='%s' resume='true' max='%lld'", session_previd(s, previd), (long long)(s->max / USEC_S));
        if (s->cx->settings->sm.location)
            xml_attr(&out, "location", slice_str(s->cx->settings->sm.location));
    }
    BUF_LIT(&out, "/>");
    leg_write(&s->client->leg, buf_slice(&out));
    buf_free(&out);
}

/* XEP-0198 3. The counters of both directions start here: nothing is written between this and <enabled/>. */
static void enable(struct session *s, const struct element *e)
{
    s->sm2 = slice_eq_str(e->ns, NS_SM2);
    s->resumable = s->may_resume && sm_parse_bool(node_attr(e->tree, "resume"));
    s->max = granted_max(s, node_attr(e->tree, "max"));
    s->may_resume = s->resumable;
    if (!s->resumable) /* what was noted for a rebuild is of no use */
        rebuild_forget(s);
    else
        keeping_begin(s);
    write_enabled(s);
    set_state(s, SESSION_ATTACHED);
    LOG(LOG_INFO, "stream management enabled", LF("sid", s->sid), LF("resume", s->resumable ? "yes" : "no"),
        LF_INT("max", s->max / USEC_S));
    if (s->told.available)
        session_fetch_mail(s);
}

static void refuse(struct session *s, const struct element *e)
{
    struct buf out = {0};
    buf_printf(&out, "<failed xmlns='%.*s'><unexpected-request xmlns='" NS_STANZA_ERRORS "'/></failed>",
               SLICE_ARG(e->ns));
    leg_write(&s->client->leg, buf_slice(&out));
    buf_free(&out);
}

static void sm_element(struct session *s, const struct element *e)
{
    bool managed = s->state == SESSION_ATTACHED && slice_eq_str(e->ns, session_sm_ns(s));
    if (slice_eq_str(e->name, "enable") && s->state == SESSION_UNMANAGED && s->offered)
        enable(s, e);
    else if (slice_eq_str(e->name, "r") && managed)
        uplink_request(s);
    else if (slice_eq_str(e->name, "a") && managed)
        downlink_ack(s, e);
    else if (s->state != SESSION_ENDING)
        refuse(s, e);
}

/* ---- what the client says ---- */

static void other_element(struct session *s, const struct element *e)
{
    if (slice_eq_str(e->ns, NS_CSI))
        s->told.csi_inactive = slice_eq_str(e->name, "inactive");
    uplink_write(s, leg_outside(&s->client->leg, e, &s->cx->scratch));
    uplink_check_slow(s);
}

void session_nonza(struct session *s, const struct element *e)
{
    session_dirty(s);
    if (slice_eq_str(e->ns, NS_SM3) || slice_eq_str(e->ns, NS_SM2))
        sm_element(s, e);
    else
        other_element(s, e);
}

void session_client_drained(struct session *s)
{
    if (s->up)
        leg_go(&s->up->leg, STOP_SLOW);
    session_dirty(s);
}

void session_client_ended(struct session *s)
{
    if (s->state == SESSION_ENDING || s->state == SESSION_ENDED)
        return;
    if (s->state == SESSION_UNMANAGED || uplink_is_safe(s) || !session_confirms(s) || !s->up) {
        session_end(s, CLOSE_CLIENT_END, GOODBYE_END);
        return;
    }
    set_state(s, SESSION_ENDING);
    session_dirty(s);
}

/* ---- detach and resume ---- */

static void write_presence_away(struct session *s)
{
    if (s->cx->settings->sm.detached_presence != PRESENCE_AWAY || !s->told.available || !s->up)
        return;
    uplink_write(s, SLICE_LIT("<presence><show>away</show></presence>"));
    s->told.away = true;
}

static void restore_presence(struct session *s)
{
    const struct entry *presence = setup_presence(s);
    if (s->told.away && presence)
        uplink_write(s, entry_slice(presence));
    s->told.away = false;
}

static void evict_oldest(struct session *s)
{
    struct owner_place oldest = {0};
    if (!owner_detached(s->cx->owner, s->sid, s->cx->settings->sm.sessions_per_account, &oldest))
        return;
    count(s->cx->counters, METRIC_limit_sessions_per_account);
    s->cx->ops->post_evict(s->cx, oldest.sid, oldest.worker);
    owner_place_clear(&oldest);
}

void session_left_alone(struct session *s)
{
    owner_set_available(s->cx->owner, s->sid, false);
    keeping_detached(s);
    downlink_check_full(s);
    write_presence_away(s);
    evict_oldest(s);
    session_dirty(s);
}

static void detach(struct session *s, enum close_reason reason)
{
    s->client = NULL;
    handed_end(s, reason);
    set_state(s, SESSION_DETACHED);
    LOG(LOG_INFO, "session detached", LF("sid", s->sid), LF("reason", close_reason_name(reason)),
        LF_INT("unacked", s->out.queue.count), LF_INT("unconfirmed", s->unconfirmed.count));
    if (s->up)
        leg_go(&s->up->leg, STOP_SLOW);
    if (!s->resuming && s->state == SESSION_DETACHED)
        session_left_alone(s);
}

void session_client_lost(struct session *s, enum close_reason reason)
{
    if (s->state == SESSION_ENDED)
        return;
    if (s->state == SESSION_ATTACHED && s->resumable) {
        detach(s, reason);
        return;
    }
    enum close_reason why = s->state == SESSION_ENDING ? CLOSE_CLIENT_END : CLOSE_CLIENT_GONE;
    s->client = NULL;
    session_end(s, why, GOODBYE_CUT);
}

bool session_is_releasing(const struct session *s)
{
    return s->keeping && s->keeping->releasing;
}

bool session_resume(struct session *s, struct client_leg *c, uint32_t h)
{
    uint64_t acked;
    if ((s->state != SESSION_ATTACHED && s->state != SESSION_DETACHED) || !s->resumable)
        return false;
    if (sm_out_check(&s->out, h, &acked) == SM_ACK_TOO_HIGH)
        return false;
    /* nothing has changed up to here; from here on nothing can fail but the server's death */
    struct client_leg *loser = s->resuming;
    s->freeze_by = 0; /* whoever asked for it claims it, or asks again */
    s->resuming = c;
    if (loser)
        client_leg_fail(loser, CLOSE_REPLACED, STREAM_CONFLICT, "resumed by another connection", NULL);
    if (s->client) {
        struct client_leg *old = s->client;
        old->session = NULL;
        detach(s, CLOSE_REPLACED);
        client_leg_fail(old, CLOSE_REPLACED, STREAM_CONFLICT, "resumed by another connection", NULL);
    }
    owner_attached(s->cx->owner, s->sid);
    keeping_attaching(s);
    downlink_release(s, acked);
    session_dirty(s);
    if (!s->up && !rebuild_is_binding(s))
        rebuild_begin(s, c);
    return true;
}

void session_resume_cancel(struct session *s, struct client_leg *c)
{
    if (s->resuming != c)
        return;
    s->resuming = NULL;
    if (s->state == SESSION_DETACHED)
        session_left_alone(s);
    session_dirty(s);
}

static void write_resumed(struct session *s)
{
    struct buf out = {0};
    char previd[PREVID_SIZE];
    buf_printf(&out, "<resumed xmlns='%s' previd='%s' h='%" PRIu32 "'/>", session_sm_ns(s), session_previd(s, previd),
               sm_wire(s->in.safe));
    leg_write(&s->client->leg, buf_slice(&out));
    buf_free(&out);
}

/* The client gets: <resumed/>, what it has not acked, what was parked, then what is new. */
static void complete_resume(struct session *s)
{
    struct client_leg *c = s->resuming;
    usec away = s->cx->clock->mono - s->changed;
    s->resuming = NULL;
    s->client = c;
    s->in.received = s->in.safe;
    s->in.told = s->in.safe;
    c->sm = (struct client_sm){.out = sm_out_attach(&s->out), .replay_upto = s->out.written};
    s->full_since = 0;
    set_state(s, SESSION_ATTACHED);
    s->resumes++;
    write_resumed(s);
    parking_append_all(s);
    if (away >= STAMP_AFTER)
        s->stamp_upto = s->out.queue.last_number;
    if (s->told.csi_inactive && !s->rebuilt)
        uplink_write(s, SLICE_LIT("<active xmlns='" NS_CSI "'/>")); /* XEP-0352 5.2 */
    s->told.csi_inactive = false;
    restore_presence(s);
    owner_set_available(s->cx->owner, s->sid, s->told.available);
    LOG(LOG_INFO, "session resumed", LF("sid", s->sid), LF_INT("leg", c->number), LF("peer", transport_peer(c->leg.transport)),
        LF_INT("away_ms", away / USEC_MS), LF_INT("replayed", s->out.queue.count));
    if (!s->rebuilt)
        outbox_fetch(s); /* other sessions may have ended meanwhile */
    client_leg_resumed(c, s, s->rebuilt);
    s->rebuilt = false;
    if (s->told.available)
        session_fetch_mail(s);
}

/* ---- the server's side ---- */

static void on_header(void *ctx, const struct stream_header *h)
{
    (void)ctx;
    (void)h;
}

static void on_upstream_drained(void *ctx)
{
    struct session *s = ctx;
    if (s->barrier)
        s->barrier->running = s->cx->clock->mono; /* now the server has it */
    if (s->client)
        leg_go(&s->client->leg, STOP_SLOW);
    session_dirty(s);
}

/* The server goes away: clients that can resume are to come back. A client without stream management could not tell
 * being cut from a network failure, and would wait; it gets the end tag. */
static void on_upstream_ended(void *ctx, enum close_reason reason, const char *detail)
{
    struct session *s = ctx;
    session_note_broken(s, detail);
    s->up = NULL;
    LOG(LOG_INFO, "upstream leg ended", LF("sid", s->sid), LF("reason", close_reason_name(reason)),
        LF("detail", detail));
    if (session_can_strand(s)) {
        session_strand(s, reason);
        return;
    }
    session_end(s, reason == CLOSE_SERVER_END ? CLOSE_SERVER_END : CLOSE_UPSTREAM_LOST,
                s->state == SESSION_UNMANAGED ? GOODBYE_END : GOODBYE_CUT);
}

/* RFC 6120 4.9: the server ended the stream. A verdict on this client is passed on; a failure of the server is not. */
static void upstream_error(struct session *s, const struct element *e)
{
    bool conflict = node_child(e->tree, NS_STREAM_ERRORS, "conflict") != NULL;
    bool leaving = stream_error_is_failure(e);
    LOG(LOG_INFO, "stream error from the server", LF("sid", s->sid), LF_SLICE("condition", stream_error_condition(e)));
    if (leaving && session_can_strand(s)) {
        session_strand(s, CLOSE_SERVER_END);
        return;
    }
    bool cut = leaving && s->state != SESSION_UNMANAGED;
    if (s->client && !cut) {
        session_say_last(s);
        buf_clear(&s->cx->scratch);
        stream_error_relay(&s->cx->scratch, e);
        leg_write(&s->client->leg, buf_slice(&s->cx->scratch));
    }
    session_end(s, conflict ? CLOSE_UPSTREAM_CONFLICT : CLOSE_SERVER_END, cut ? GOODBYE_CUT : GOODBYE_END);
}

static void on_upstream_element(void *ctx, const struct element *e)
{
    struct session *s = ctx;
    if (s->state == SESSION_ENDED)
        return;
    session_dirty(s);
    if (element_is_stanza(e))
        session_from_upstream(s, e);
    else if (element_is(e, NS_STREAMS, "error"))
        upstream_error(s, e);
    else if (s->state == SESSION_UNMANAGED && s->client)
        leg_write(&s->client->leg, leg_outside(&s->up->leg, e, &s->cx->scratch));
    else /* nbxmpp and libstrophe would count it */
        LOG(LOG_DEBUG, "element of the server not passed on", LF("sid", s->sid), LF_SLICE("name", e->name));
}

static const struct upstream_events upstream_events = {on_header, on_upstream_element, on_upstream_drained,
                                                       on_upstream_ended};

/* ---- the end ---- */

static void bury(struct grave *g)
{
    struct session *s = CONTAINER_OF(g, struct session, grave);
    list_remove(&s->grave.link);
    timers_cancel(s->cx->timers, &s->timer);
    parking_discard_all(s); /* of one that another node has taken over */
    outbox_forget(s);
    contacts_free(s->contacts);
    receipts_forget(s);
    chat_states_forget(s);
    resent_forget(s);
    echo_forget(s);
    handed_forget(s);
    entry_free(s->held);
    uplink_forget_barrier(s);
    free(s->jid);
    free(s->keeping);
    slab_free(s);
}

/* Valid as long as place and resent. */
static struct tombstone tombstone_of(const struct session *s, enum close_reason reason, const struct owner_place *place,
                                     struct buf *resent)
{
    resent_write(s, s->in.safe, resent);
    return (struct tombstone){place->account, place->proof, s->in.safe, close_reason_name(reason), buf_slice(resent)};
}

/* Goes first: a resume that comes this instant is to find the session or the stone. */
static void leave_tombstone(struct session *s, enum close_reason reason)
{
    if (!s->resumable || s->kept)
        return;
    struct owner_place place = {0};
    struct buf resent = {0};
    owner_find(s->cx->owner, s->sid, &place);
    struct tombstone t = tombstone_of(s, reason, &place, &resent);
    s->cx->store->ops->tombstone_put(s->cx->store, s->sid, &t);
    buf_free(&resent);
    owner_place_clear(&place);
}

/* All that a session leaves behind in a store that outlives the node, in one step. */
static void spill(struct session *s, enum close_reason reason)
{
    struct owner_place place = {0};
    owner_find(s->cx->owner, s->sid, &place);
    expiry_spill(s, reason);
    if (s->kept) {
        struct buf resent = {0};
        struct tombstone t = tombstone_of(s, reason, &place, &resent);
        keeping_end(s, &t);
        buf_free(&resent);
    }
    owner_place_clear(&place);
}

static void log_end(struct session *s, enum close_reason reason)
{
    LOG(LOG_INFO, "session ended", LF("sid", s->sid), LF("jid", s->jid), LF("reason", close_reason_name(reason)),
        LF_INT("age_ms", (s->cx->clock->mono - s->born) / USEC_MS), LF_INT("uplink", s->stanzas_up),
        LF_INT("downlink", s->stanzas_down), LF_INT("acked", s->out.acked), LF_INT("resumes", s->resumes));
}

void session_say_last(struct session *s)
{
    if (s->state == SESSION_UNMANAGED || !s->client || s->in.safe == s->in.told)
        return;
    uplink_tell(s);
    s->in.told = s->in.safe;
}

/* What is left of it when nobody has it any more: both legs, each with somebody to end it. */
static void part(struct session *s, enum close_reason reason, enum client_goodbye goodbye)
{
    struct client_leg *c = s->client, *next = s->resuming;
    bool wait = c && s->up && reason == CLOSE_CLIENT_END;
    if (c && goodbye == GOODBYE_END)
        session_say_last(s);
    s->client = s->resuming = NULL;
    if (c)
        c->session = NULL;
    if (s->up)
        parting_begin(s, wait ? c : NULL, reason);
    if (c && !wait)
        client_leg_close(c, reason == CLOSE_CLIENT_END ? CLOSE_CLIENT_END : CLOSE_SESSION_END, goodbye);
    if (next)
        client_leg_resume_failed(next);
}

static void leave(struct session *s, enum close_reason reason, enum client_goodbye goodbye)
{
    struct context *cx = s->cx;
    rebuild_caught_up(s);
    spill(s, reason);
    owner_remove(cx->owner, s->sid);
    registry_remove(cx->registry, s);
    rebuild_forget(s);
    part(s, reason, goodbye);
    set_state(s, SESSION_ENDED);
    count(cx->counters, metric_session_end(reason));
    log_end(s, reason);
    mail_tell_others(cx, session_account(s));
    list_remove(&s->grave.link);
    context_bury(cx, &s->grave, bury);
}

void session_end(struct session *s, enum close_reason reason, enum client_goodbye goodbye)
{
    if (s->state == SESSION_ENDED)
        return;
    leave_tombstone(s, reason);
    leave(s, reason, goodbye);
}

void session_leave(struct session *s, enum close_reason reason)
{
    receipts_forget(s); /* whoever has it sends them */
    chat_states_forget(s);
    leave(s, reason, GOODBYE_CUT);
}

/* ---- over a stop of the node ---- */

void session_put_away(struct session *s)
{
    expiry_keep(s);
    leave(s, CLOSE_SHUTDOWN, GOODBYE_CUT);
}

void session_drop_blank(struct session *s)
{
    expiry_forget(s);
    rebuild_forget(s);
    bury(&s->grave);
}

void session_stand_by(struct session *s, const char *proof)
{
    struct context *cx = s->cx;
    s->offered = s->may_resume = s->resumable = true;
    s->state = SESSION_DETACHED;
    count_state(s, SESSION_DETACHED, 1);
    registry_add(cx->registry, s);
    owner_add(cx->owner, s->sid, cx->worker, session_account(s), proof);
    session_await_leg(s);
    session_left_alone(s);
}

/* ---- the turn ---- */

static void check_deadlines(struct session *s)
{
    usec now = s->cx->clock->mono;
    const struct settings *set = s->cx->settings;
    if (s->state == SESSION_ENDING && (uplink_is_safe(s) || now >= s->changed + ENDING_TIME))
        session_end(s, CLOSE_CLIENT_END, GOODBYE_END);
    else if (s->state == SESSION_DETACHED && !s->resuming && now >= s->changed + s->max &&
             (uplink_is_safe(s) || now >= s->changed + s->max + ENDING_TIME)) /* the tombstone is to tell the true h */
        session_end(s, CLOSE_EXPIRED, GOODBYE_CUT);
    else if (s->state == SESSION_DETACHED && !s->resuming && s->full_since && now >= s->full_since + set->sm.full_grace)
        session_end(s, CLOSE_QUEUE_FULL, GOODBYE_CUT);
}

static usec next_deadline(const struct session *s)
{
    usec at = earlier(earlier(uplink_due_at(s), downlink_due_at(s)), earlier(handed_due_at(s), rebuild_due_at(s)));
    at = earlier(at, earlier(earlier(receipts_due_at(s), chat_states_due_at(s)), keeping_due_at(s)));
    if (s->state == SESSION_ENDING)
        at = earlier(at, s->changed + ENDING_TIME);
    if (s->freeze_by)
        at = earlier(at, s->freeze_by);
    if (s->state == SESSION_DETACHED && !s->resuming)
        at = earlier(at, s->changed + s->max + (uplink_is_safe(s) ? 0 : ENDING_TIME));
    if (s->state == SESSION_DETACHED && !s->resuming && s->full_since)
        at = earlier(at, s->full_since + s->cx->settings->sm.full_grace);
    return at;
}

void session_turn(struct session *s)
{
    uplink_turn(s);
    if (s->state != SESSION_ENDED && s->resuming && s->up && uplink_is_safe(s) && !s->catching_up &&
        !keeping_is_attaching(s))
        complete_resume(s);
    if (s->state != SESSION_ENDED)
        handed_turn(s);
    if (s->state != SESSION_ENDED)
        mail_turn(s);
    if (s->state != SESSION_ENDED)
        receipts_turn(s);
    if (s->state != SESSION_ENDED)
        chat_states_turn(s);
    if (s->state != SESSION_ENDED)
        downlink_turn(s);
    if (s->state != SESSION_ENDED)
        keeping_turn(s);
    if (s->state != SESSION_ENDED)
        rebuild_turn(s);
    if (s->state != SESSION_ENDED)
        freeze_turn(s);
    if (s->state != SESSION_ENDED)
        check_deadlines(s);
    if (s->state == SESSION_ENDED)
        return;
    usec at = next_deadline(s);
    if (at >= 0)
        timers_arm_by(s->cx->timers, &s->timer, at);
}

bool session_disconnect(struct session *s)
{
    if (!s->client)
        return false;
    client_leg_close(s->client, CLOSE_ADMIN, GOODBYE_CUT);
    return true;
}

static usec age_of_first(const struct session *s, const struct queue *q)
{
    return q->first ? s->cx->clock->wall - q->first->arrived : 0;
}

void session_ages(const struct session *s, usec *unacked_r, usec *unconfirmed_r)
{
    usec oldest = handed_oldest(s);
    *unacked_r = oldest ? s->cx->clock->wall - oldest : age_of_first(s, &s->out.queue);
    *unconfirmed_r = age_of_first(s, &s->unconfirmed);
}

/* What its client has to do with it. */
static void client_info(const struct session *s, struct session_info *out)
{
    const struct leg *leg = &s->client->leg;
    out->peer = transport_peer(leg->transport);
    out->ack_time = s->client->sm.ack_time;
    out->transport = transport_kind_name(leg->transport);
    out->relay_node = s->client->relay_node;
    out->client_bytes_in = leg->bytes_in;
    out->client_bytes_out = leg->bytes_out;
    out->client_buffered = transport_buffered(leg->transport);
    out->client_silent = s->cx->clock->mono - leg->last_input;
    out->client_stopped = leg->stopped != 0;
}

static void upstream_info(const struct session *s, struct session_info *out)
{
    const struct leg *leg = &s->up->leg;
    out->upstream = true;
    out->upstream_bytes_in = leg->bytes_in;
    out->upstream_bytes_out = leg->bytes_out;
    out->upstream_buffered = leg->transport ? transport_buffered(leg->transport) : 0;
    out->upstream_silent = s->cx->clock->mono - leg->last_input;
    out->upstream_stopped = leg->stopped != 0;
}

void session_info(const struct session *s, struct session_info *out)
{
    usec now = s->cx->clock->mono;
    *out = (struct session_info){
        .state = s->state,
        .jid = s->jid,
        .age = now - s->born,
        .since_attach = now - s->changed,
        .unacked = s->out.queue.count,
        .unacked_bytes = s->out.queue.bytes,
        .unconfirmed = s->unconfirmed.count,
        .unconfirmed_bytes = s->unconfirmed.bytes,
        .parked = parking_count(s),
        .received = s->in.received,
        .sent = s->out.written,
        .resumes = s->resumes,
        .resumable = s->resumable,
        .resuming = s->resuming != NULL,
        .available = s->told.available,
        .inactive = s->told.csi_inactive,
        .max = s->max,
        .expires_in = s->state == SESSION_DETACHED ? s->changed + s->max - now : -1,
        .safe = s->in.safe,
        .told = s->in.told,
        .acked = s->out.acked,
        .parked_bytes = parking_bytes(s),
        .handed = handed_count(s),
        .stanzas_up = s->stanzas_up,
        .stanzas_down = s->stanzas_down,
        .barrier = s->barrier ? now - s->barrier->sent : -1,
        .full = s->full_since ? now - s->full_since : -1,
    };
    session_ages(s, &out->oldest_unacked, &out->oldest_unconfirmed);
    memcpy(out->sid, s->sid, SID_SIZE);
    if (s->client)
        client_info(s, out);
    if (s->up)
        upstream_info(s, out);
}
