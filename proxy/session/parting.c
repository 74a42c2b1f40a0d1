/* The last of an upstream leg: our end tag is out, the server's is awaited, and what it had sent before it heard of our
 * end still comes in, perhaps much that was never read. No client gets it any more; it meets the fates of an expired
 * session. */
#include "base/log.h"
#include "base/mem.h"
#include "session_impl.h"
#include <stdlib.h>

#define PARTING_TIME (10 * USEC_S)
#define CLIENT_TIME  (2 * USEC_S) /* for a client that said goodbye and waits for ours */

struct parting {
    struct grave grave;
    struct list link; /* context.partings */
    struct context *cx;
    struct upstream_leg *up;
    struct client_leg
        *client; /* said goodbye: a new login of it, right after ours, must find the server done with this one */
    struct fate fate;
    char *account;
    size_t mailed;
    struct timer timer;
    usec until;
};

static void bury(struct grave *g)
{
    struct parting *p = CONTAINER_OF(g, struct parting, grave);
    free(p->account);
    free(p);
}

static void close_client(struct parting *p)
{
    struct client_leg *c = p->client;
    p->client = NULL;
    if (c) {
        c->parting = NULL;
        client_leg_close(c, CLOSE_CLIENT_END, GOODBYE_END);
    }
}

void parting_without_client(struct parting *p)
{
    p->client = NULL;
}

static void finish(struct parting *p, enum close_reason reason)
{
    close_client(p);
    upstream_leg_close(&p->up, reason, false);
    timers_cancel(p->cx->timers, &p->timer);
    list_remove(&p->link);
    if (p->mailed)
        mail_tell_others(p->cx, slice_str(p->account));
    context_bury(p->cx, &p->grave, bury);
}

static void on_timer(void *ctx)
{
    struct parting *p = ctx;
    if (p->cx->clock->mono >= p->until) {
        finish(p, CLOSE_SESSION_END);
        return;
    }
    close_client(p);
    timers_arm(p->cx->timers, &p->timer, p->until);
}

static void on_header(void *ctx, const struct stream_header *h)
{
    (void)ctx;
    (void)h;
}

static void on_element(void *ctx, const struct element *e)
{
    struct parting *p = ctx;
    if (!element_is_stanza(e))
        return;
    downlink_count(p->cx, e);
    struct entry *entry = entry_new(e, leg_extra_ns(&p->up->leg, e), p->cx->clock->wall);
    entry->number = ++p->fate.last_number;
    entry->id = fate_id(p->cx, e->id);
    p->mailed += entry->class == CLASS_KEEP;
    fate_meet(&p->fate, entry);
}

static void on_drained(void *ctx)
{
    (void)ctx;
}

static void on_ended(void *ctx, enum close_reason reason, const char *detail)
{
    struct parting *p = ctx;
    (void)detail;
    if (reason != CLOSE_SERVER_END) /* perhaps it has not even heard all */
        atomic_store(&p->up->facts->broke, p->cx->clock->mono);
    p->up = NULL; /* closes itself */
    finish(p, CLOSE_SESSION_END);
}

static const struct upstream_events events = {on_header, on_element, on_drained, on_ended};

void parting_begin(struct session *s, struct client_leg *c, enum close_reason reason)
{
    struct parting *p = MEM_NEW(struct parting);
    p->cx = s->cx;
    p->up = s->up;
    p->account = mem_dup(session_account(s));
    p->fate = (struct fate){.cx = s->cx,
                            .account = slice_str(p->account),
                            .last_number = s->out.queue.last_number,
                            .purge = reason == CLOSE_PURGED,
                            .reason = reason};
    memcpy(p->fate.sid, s->sid, SID_SIZE);
    p->timer = (struct timer){.fire = on_timer, .ctx = p};
    s->up = NULL;
    list_append(&p->cx->partings, &p->link);
    p->client = c;
    if (c)
        client_leg_ending(c, p);
    p->until = p->cx->clock->mono + PARTING_TIME;
    timers_arm(p->cx->timers, &p->timer, c ? p->cx->clock->mono + CLIENT_TIME : p->until);
    upstream_leg_set_events(p->up, &events, p);
    p->up->sid = p->fate.sid;
    leg_write_end(&p->up->leg, FAREWELL_DONE);
    leg_go(&p->up->leg, STOP_QUEUE | STOP_SLOW);
}

void partings_end(struct context *cx)
{
    for (struct list *it; (it = list_first(&cx->partings));)
        finish(CONTAINER_OF(it, struct parting, link), CLOSE_SHUTDOWN);
}
