#include "rate.h"
#include "base/log.h"

#define BURST (10 * USEC_S)
/* Once stopped it also earns what it will send next: so a client that never rests is let go ten times a second, and
 * not once for each stanza. */
#define REST (100 * USEC_MS)
/* An <r/> or <a/> costs as much as that part of a stanza: there may be one of each for each stanza. */
#define NONZAS_OF_STANZA 4

static void on_timer(void *ctx)
{
    struct client_leg *c = ctx;
    leg_go(&c->leg, STOP_RATE);
}

static void take(struct client_leg *c, struct client_allowance *a, usec cost, enum metric limit)
{
    struct context *cx = c->leg.cx;
    usec now = cx->clock->mono;
    if (bucket_is_full(&a->bucket, now))
        a->told = false;
    bucket_take(&a->bucket, now, cost);
    usec owes = bucket_owes(&a->bucket, now, BURST);
    if (!owes || !leg_is_open(&c->leg))
        return;
    if (!a->told) {
        a->told = true;
        count(cx->counters, limit);
        if (c->sid[0] || context_may_tell(cx))
            LOG(LOG_INFO, "client is slowed down", LF_INT("leg", c->number), LF("sid", c->sid),
                LF("peer", transport_peer(c->leg.transport)),
                LF("limit", limit == METRIC_limit_bytes_per_second ? "bytes_per_second" : "stanzas_per_second"));
    }
    leg_stop(&c->leg, STOP_RATE);
    if (!timer_armed(&c->rate.timer) || c->rate.timer.at < now + owes + REST)
        timers_arm(cx->timers, &c->rate.timer, now + owes + REST);
}

void rate_bytes(struct client_leg *c, size_t n)
{
    size_t a_second = c->leg.cx->settings->limits.bytes_per_second;
    if (a_second)
        take(c, &c->rate.bytes, bucket_cost(n, a_second), METRIC_limit_bytes_per_second);
}

void rate_element(struct client_leg *c, const struct element *e)
{
    unsigned a_second = c->leg.cx->settings->limits.stanzas_per_second;
    unsigned parts = element_is_stanza(e) ? 1 : NONZAS_OF_STANZA;
    if (a_second)
        take(c, &c->rate.stanzas, bucket_cost(1, (size_t)a_second * parts), METRIC_limit_stanzas_per_second);
}

void rate_begin(struct client_leg *c)
{
    c->rate.timer = (struct timer){.fire = on_timer, .ctx = c};
}

void rate_leave(struct client_leg *c)
{
    timers_cancel(c->leg.cx->timers, &c->rate.timer);
}

void rate_arrive(struct client_leg *c)
{
    if (c->leg.stopped & STOP_RATE)
        timers_arm(c->leg.cx->timers, &c->rate.timer, c->rate.timer.at);
}
