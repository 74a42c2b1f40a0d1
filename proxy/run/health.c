#include "health.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/upstream_leg.h"
#include <stdlib.h>
#include <string.h>

#define AGAIN (2 * USEC_S)

struct health {
    struct context *cx;
    struct transport *probe; /* being connected */
    struct timer timer;
};

static void finish(struct health *h)
{
    transport_free(&h->probe, true);
    timers_arm(h->cx->timers, &h->timer, h->cx->clock->mono + AGAIN);
}

static void on_ready(void *ctx)
{
    struct health *h = ctx;
    upstream_note_up(h->cx);
    finish(h);
}

static void on_bytes(void *ctx, const char *p, size_t n)
{
    (void)ctx;
    (void)p;
    (void)n;
}

static void on_drained(void *ctx)
{
    (void)ctx;
}

static void on_closed(void *ctx, enum transport_end end, const char *detail)
{
    struct health *h = ctx;
    (void)end;
    if (h->probe)
        upstream_note_down(h->cx, detail);
    finish(h);
}

static const struct transport_events events = {on_ready, on_bytes, on_drained, on_closed};

/* For SNI and the certificate; with any domain served there is none to ask for but the host. */
static const char *any_domain(const struct settings *set)
{
    return strcmp(set->domains[0], "*") == 0 ? set->upstream_host : set->domains[0];
}

void health_look(struct health *h)
{
    if (!h || h->probe)
        return;
    h->probe = h->cx->ops->dial(h->cx, any_domain(h->cx->settings));
    transport_set_events(h->probe, &events, h);
}

static void look(void *ctx)
{
    struct health *h = ctx;
    if (!atomic_load(&h->cx->upstream->down) && atomic_load(&h->cx->upstream->tried)) {
        timers_arm(h->cx->timers, &h->timer, h->cx->clock->mono + AGAIN);
        return;
    }
    health_look(h);
}

struct health *health_new(struct context *cx)
{
    struct health *h = MEM_NEW(struct health);
    h->cx = cx;
    h->timer = (struct timer){.fire = look, .ctx = h};
    timers_arm(cx->timers, &h->timer, cx->clock->mono);
    return h;
}

void health_free(struct health *h)
{
    if (!h)
        return;
    timers_cancel(h->cx->timers, &h->timer);
    transport_free(&h->probe, false);
    free(h);
}
