/* sm.confirm_linger: what the server has confirmed, it may lose yet, if it dies soon. So it is kept that much longer:
 * by its session, which sends it again on its next upstream leg (uplink_repeat); and by the worker, when the session
 * has ended meanwhile or when it came from an outbox. If a connection to that server breaks then, the messages go to
 * the account's outbox (again). */
#include "base/mem.h"
#include "session_impl.h"
#include <stdlib.h>
#include <string.h>

/* How often it is looked whether a server has died with what the worker keeps. */
#define LOOK (250 * USEC_MS)

/* What lingers of one account beside its sessions. */
struct leftover {
    struct list link; /* context.leftovers */
    struct upstream_facts *server;
    char *account;
    char sid[SID_SIZE];
    struct queue queue;
    usec until;
};

void linger_keep(struct session *s, struct entry *e)
{
    if (!s->cx->settings->sm.confirm_linger) {
        context_memory(s->cx, -(int64_t)entry_cost(e->n));
        entry_give(&s->cx->entries, e);
        return;
    }
    e->confirmed = s->cx->clock->mono;
    if (!s->lingering)
        s->lingering = SLAB_NEW(SLAB_SESSION, struct queue);
    queue_move(s->lingering, e);
}

static void drop(struct context *cx, struct entry *e)
{
    context_memory(cx, -(int64_t)entry_cost(e->n));
    entry_free(e);
}

/* The next that lingers in the session, which goes from there; its copy in the store follows some day. */
static struct entry *take(struct session *s)
{
    struct entry *e = queue_take(s->lingering, UINT64_MAX);
    keeping_releasing(s, KEPT_UP, e->number);
    return e;
}

static void forget_queue(struct session *s)
{
    if (s->lingering && !s->lingering->first) {
        slab_free(s->lingering);
        s->lingering = NULL;
    }
}

void linger_drop(struct session *s, usec confirmed_before)
{
    while (session_lingers(s) && s->lingering->first->confirmed <= confirmed_before)
        drop(s->cx, take(s));
    forget_queue(s);
}

/* ---- what the worker keeps ---- */

static struct leftover *leftover_new(struct session *s)
{
    struct context *cx = s->cx;
    struct leftover *left = MEM_NEW(struct leftover);
    left->server = s->up->facts;
    left->account = mem_dup(session_account(s));
    memcpy(left->sid, s->sid, SID_SIZE);
    if (list_is_empty(&cx->leftovers))
        timers_arm(cx->timers, &cx->leftover_timer, cx->clock->mono + LOOK);
    list_append(&cx->leftovers, &left->link);
    return left;
}

/* Its bytes are counted already. */
static void leftover_add(struct session *s, struct leftover **left, struct entry *e)
{
    if (!*left)
        *left = leftover_new(s);
    (*left)->until = e->confirmed + s->cx->settings->sm.confirm_linger;
    queue_move(&(*left)->queue, e);
}

static void finish(struct context *cx, struct leftover *left, bool lost)
{
    for (struct entry *e; (e = queue_take(&left->queue, UINT64_MAX));) {
        if (!lost) {
            drop(cx, e);
            continue;
        }
        fate_tell_of(cx, left->sid, FATE_OUTBOX, CLOSE_UPSTREAM_LOST, e);
        context_memory(cx, -(int64_t)entry_cost(e->n));
        outbox_keep(cx, left->sid, slice_str(left->account), e);
    }
    list_remove(&left->link);
    if (lost)
        mail_tell_others(cx, slice_str(left->account)); /* it may be here again */
    free(left->account);
    free(left);
}

void leftovers_fire(void *ctx)
{
    struct context *cx = ctx;
    LIST_FOREACH_SAFE(it, next, &cx->leftovers)
    {
        struct leftover *left = CONTAINER_OF(it, struct leftover, link);
        usec broke = atomic_load(&left->server->broke);
        bool lost = broke && broke >= left->queue.first->confirmed;
        if (lost || cx->clock->mono >= left->until)
            finish(cx, left, lost);
    }
    if (!list_is_empty(&cx->leftovers))
        timers_arm(cx->timers, &cx->leftover_timer, cx->clock->mono + LOOK);
}

void leftovers_end(struct context *cx)
{
    LIST_FOREACH_SAFE(it, next, &cx->leftovers)
    finish(cx, CONTAINER_OF(it, struct leftover, link), false);
    timers_cancel(cx->timers, &cx->leftover_timer);
}

void linger_posted(struct session *s, struct leftover **left, struct entry *e)
{
    if (!s->up || !s->cx->settings->sm.confirm_linger) {
        entry_free(e);
        return;
    }
    e->confirmed = s->cx->clock->mono;
    context_memory(s->cx, (int64_t)entry_cost(e->n));
    leftover_add(s, left, e);
}

/* ---- of sessions that end ---- */

/* Its server has died, as far as it knows. */
static void to_outbox(struct session *s, struct entry *e)
{
    fate_tell(s, FATE_OUTBOX, e);
    context_memory(s->cx, -(int64_t)entry_cost(e->n));
    if (s->kept)
        queue_move(&s->keeping->to_out, e);
    else
        outbox_keep(s->cx, s->sid, session_account(s), e);
}

void linger_end(struct session *s)
{
    struct leftover *left = NULL;
    while (session_lingers(s)) {
        struct entry *e = s->up ? take(s) : queue_take(s->lingering, UINT64_MAX);
        if (e->class != CLASS_KEEP || !s->account_n)
            drop(s->cx, e); /* its fate was counted when it was confirmed */
        else if (s->up)
            leftover_add(s, &left, e);
        else
            to_outbox(s, e);
    }
    forget_queue(s);
}
