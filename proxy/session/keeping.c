/* The session's copy in a store that outlives the node (store/kept.h): what the client was told is safe, what it may
 * have been sent, and all that another node needs to go on with it. The store reads the queues; here it is told what
 * has happened to them, and what it answers becomes the session's. */
#include "base/log.h"
#include "base/mem.h"
#include "record.h"
#include "session_impl.h"
#include <stdlib.h>

static const struct kept_events events;

static const struct kept_ops *ops_of(const struct session *s)
{
    return s->cx->store->kept;
}

struct kept_origin keeping_origin(struct session *s, const char *proof)
{
    return (struct kept_origin){
        .sid = s->sid,
        .account = s->jid, /* with its resource: who takes over has to bind that */
        .proof = proof,
        .queue = {&s->out.queue, &s->unconfirmed},
        .events = &events,
        .ctx = s,
    };
}

void keeping_begin(struct session *s)
{
    if (!ops_of(s))
        return;
    struct owner_place place = {0};
    owner_find(s->cx->owner, s->sid, &place);
    struct kept_origin origin = keeping_origin(s, place.proof);
    s->keeping = MEM_NEW(struct keeping);
    s->kept = ops_of(s)->open(s->cx->store, &origin);
    ops_of(s)->attached(s->kept, s->max);
    owner_place_clear(&place);
}

/* ---- what happens to the queues ---- */

void keeping_appended(struct session *s, enum kept_queue which)
{
    if (s->kept)
        ops_of(s)->appended(s->kept, which);
}

void keeping_releasing(struct session *s, enum kept_queue which, uint64_t upto)
{
    if (s->kept)
        ops_of(s)->releasing(s->kept, which, upto);
}

/* What lingers stays in the store as long; but what is not there yet cannot be followed once it has left its queue. */
void keeping_confirmed(struct session *s, uint64_t upto)
{
    if (s->kept && (!s->cx->settings->sm.confirm_linger || s->in.safe < upto))
        ops_of(s)->releasing(s->kept, KEPT_UP, upto);
}

void keeping_changed(struct session *s, bool urgent)
{
    if (s->kept)
        ops_of(s)->changed(s->kept, urgent);
}

void keeping_attaching(struct session *s)
{
    if (!s->kept)
        return;
    s->keeping->attaching = true;
    ops_of(s)->attached(s->kept, s->max);
}

void keeping_detached(struct session *s)
{
    usec left = s->changed + s->max - s->cx->clock->mono;
    if (s->kept)
        ops_of(s)->detached(s->kept, left > 0 ? left : 0);
}

static bool is_silent(const struct session *s)
{
    return s->kept && s->keeping->silent_at && s->cx->clock->mono >= s->keeping->silent_at;
}

bool keeping_may_write(const struct session *s, const struct entry *e)
{
    return !s->kept || (e->number <= s->keeping->reserved && !is_silent(s));
}

/* Others may take the session for dead: it is to be resumed, which the store has to agree to. */
void keeping_turn(struct session *s)
{
    if (s->client && is_silent(s)) {
        LOG(LOG_WARN, "the store was away for too long", LF("sid", s->sid));
        client_leg_close(s->client, CLOSE_STORE_AWAY, GOODBYE_CUT);
    }
}

usec keeping_due_at(const struct session *s)
{
    return s->kept && s->client && s->keeping->silent_at ? s->keeping->silent_at : -1;
}

bool keeping_is_attaching(const struct session *s)
{
    return s->keeping && s->keeping->attaching;
}

/* What others may read gets no passwords. store.file does: it goes from one run of the node to the next. */
bool keeping_may_save(const struct session *s, const struct entry *e)
{
    return !s->kept || !e->secret;
}

void keeping_end(struct session *s, const struct tombstone *t)
{
    struct kept *k = s->kept;
    s->kept = NULL;
    if (!k)
        return;
    ops_of(s)->end(k, t, s->keeping->to_mail.first, s->keeping->to_out.first);
    s->keeping->to_mail = s->keeping->to_out = (struct queue){0};
}

/* ---- what the store says ---- */

static void on_committed(void *ctx, enum kept_queue which, uint64_t upto)
{
    struct session *s = ctx;
    if (which == KEPT_UP && s->in.safe < upto) {
        s->in.safe = upto;
        session_dirty(s);
    }
}

static void on_reserved(void *ctx, uint64_t high_water)
{
    struct session *s = ctx;
    s->keeping->reserved = high_water;
    session_dirty(s);
}

static void on_leased(void *ctx, usec silent_at)
{
    struct session *s = ctx;
    s->keeping->silent_at = silent_at;
    session_dirty(s);
}

static void on_attached(void *ctx)
{
    struct session *s = ctx;
    s->keeping->attaching = false;
    session_dirty(s);
}

static void on_record(void *ctx, struct buf *out)
{
    freeze_head(ctx, out);
    freeze_rest(ctx, out);
}

/* Another node has it. What that one cannot have is kept for the account; all else is the other one's, and nothing may
 * be said any more, neither to the client nor in the session's name. */
static void on_fenced(void *ctx, uint64_t upto)
{
    struct session *s = ctx;
    LOG(LOG_WARN, "another node has taken the session over", LF("sid", s->sid), LF_INT("unacked", s->out.queue.count),
        LF_INT("unconfirmed", s->unconfirmed.count));
    expiry_keep_upto(s, upto, CLOSE_FENCED);
    ops_of(s)->spill(s->kept, s->keeping->to_mail.first);
    s->keeping->to_mail = (struct queue){0};
    s->kept = NULL;
    session_leave(s, CLOSE_FENCED);
}

static void on_asked(void *ctx)
{
    session_freeze(ctx);
}

static const struct kept_events events = {on_committed, on_reserved, on_leased, on_attached,
                                          on_record,    on_fenced,   on_asked};

/* ---- let go, for another node ---- */

static void on_released(void *ctx)
{
    struct session *s = ctx;
    s->kept = NULL;
    LOG(LOG_INFO, "session released", LF("sid", s->sid), LF_INT("unacked", s->out.queue.count),
        LF_INT("unconfirmed", s->unconfirmed.count));
    expiry_keep_upto(s, UINT64_MAX, CLOSE_RELEASED);
    session_leave(s, CLOSE_RELEASED);
}

void keeping_release(struct session *s)
{
    s->keeping->releasing = true;
    if (s->up)
        parting_begin(s, NULL, CLOSE_RELEASED); /* what the server still says is kept for the account */
    ops_of(s)->changed(s->kept, true);
    ops_of(s)->release(s->kept, on_released, s);
}

bool session_abandon(struct session *s)
{
    if (!s->kept)
        return false;
    ops_of(s)->free(s->kept);
    s->kept = NULL;
    expiry_keep_upto(s, UINT64_MAX, CLOSE_SHUTDOWN);
    session_leave(s, CLOSE_SHUTDOWN);
    return true;
}

/* ---- taken over from another node ---- */

static void adopt_queue(struct session *s, struct queue *q, enum kept_queue which)
{
    struct kept_claim *c = s->keeping->claimed;
    for (struct entry *e = c->first[which], *next; e; e = next) {
        next = e->next;
        queue_move(q, e);
        context_memory(s->cx, (int64_t)entry_cost(e->n));
        count_add(s->cx->counters, METRIC_mailbox_lent, e->origin != NULL);
    }
    c->first[which] = NULL;
    q->last_number = c->last[which];
    fate_mark_queue(s->cx, q);
}

static void adopt_queues(struct session *s, struct record_reader *in)
{
    const struct kept_claim *c = s->keeping->claimed;
    (void)in;
    adopt_queue(s, &s->out.queue, KEPT_DOWN);
    adopt_queue(s, &s->unconfirmed, KEPT_UP);
    s->out.acked = s->out.queue.first ? s->out.queue.first->number - 1 : c->last[KEPT_DOWN];
    s->out.written = c->last[KEPT_DOWN];
    s->in.received = s->in.safe = s->in.told = c->last[KEPT_UP];
    s->keeping->reserved = c->high_water;
    s->keeping->silent_at = c->silent_at;
    usec left = c->deadline_left < s->max ? c->deadline_left : s->max; /* more: its client was attached to the last */
    s->changed = s->cx->clock->mono - (s->max - left);
    s->kept = c->kept;
}

bool keeping_adopt(struct session *s, struct kept_claim *claim)
{
    s->keeping = MEM_NEW(struct keeping);
    s->keeping->claimed = claim;
    bool well = thaw(s, claim->record, adopt_queues);
    s->keeping->claimed = NULL;
    return well;
}
