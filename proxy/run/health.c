#include "health.h"
#include "base/mem.h"
#include "session/upstream_leg.h"
#include <stdlib.h>
#include <string.h>

#define ANSWER_TIME (5 * USEC_S) /* for all of a check */

struct health {
    struct context *cx;
    struct upstreams *upstreams;
    const struct health_ops *ops;
    struct list checks; /* under way */
    struct timer timer;
};

struct check {
    struct list link;
    struct health *health;
    struct upstream_facts *server;
    struct upstream_leg *up;
    struct timer timer;
};

static void plan(struct health *h);

/* Its upstream leg is closed here, unless it has ended by itself. */
static void finish(struct check *check, bool good, const char *detail)
{
    struct health *h = check->health;
    list_remove(&check->link);
    timers_cancel(h->cx->timers, &check->timer);
    upstream_leg_close(&check->up, CLOSE_SESSION_END, true);
    upstreams_checked(h->upstreams, check->server, good, detail);
    free(check);
    plan(h);
}

/* ---- what the server says ---- */

static void on_header(void *ctx, const struct stream_header *h)
{
    if (!h->has_version)
        finish(ctx, true, NULL); /* features will not follow */
}

/* Where any domain is served, there is none to ask for. */
static bool is_any_domain(const struct check *check)
{
    return strcmp(check->health->cx->settings->domains[0], "*") == 0;
}

static void on_element(void *ctx, const struct element *e)
{
    struct check *check = ctx;
    if (!element_is(e, NS_STREAMS, "error") ||
        (is_any_domain(check) && node_child(e->tree, NS_STREAM_ERRORS, "host-unknown"))) {
        finish(check, true, NULL);
        return;
    }
    char *detail = mem_printf("stream error: %.*s", (int)(e->bytes.n < 300 ? e->bytes.n : 300), e->bytes.p);
    finish(check, false, detail);
    free(detail);
}

static void on_drained(void *ctx)
{
    (void)ctx;
}

static void on_ended(void *ctx, enum close_reason reason, const char *detail)
{
    struct check *check = ctx;
    (void)reason;
    check->up = NULL;
    finish(check, false, detail);
}

static const struct upstream_events events = {on_header, on_element, on_drained, on_ended};

static void on_late(void *ctx)
{
    finish(ctx, false, "no answer to a stream header");
}

/* ---- the checks ---- */

static void begin(struct health *h, const struct upstream_check *due)
{
    const struct settings *set = h->cx->settings;
    struct check *check = MEM_NEW(struct check);
    check->health = h;
    check->server = due->facts;
    check->timer = (struct timer){.fire = on_late, .ctx = check};
    list_append(&h->checks, &check->link);
    timers_arm(h->cx->timers, &check->timer, h->cx->clock->mono + ANSWER_TIME);

    const char *domain = is_any_domain(check) ? due->host : set->domains[0];
    struct stream_header header = {.to = slice_str(domain), .version = SLICE_LIT("1.0")};
    struct transport *t = h->ops->dial(h->cx, due->routes, due->n, domain);
    check->up = upstream_leg_open_on(h->cx, t, slice_str(domain), 0, &events, check);
    check->up->is_check = true;
    upstream_leg_header(check->up, stream_header_canonical(&header));
}

void health_look(struct health *h)
{
    struct upstream_check due;
    while (upstreams_take_check(h->upstreams, &due)) {
        begin(h, &due);
        free(due.host);
    }
    plan(h);
}

static void plan(struct health *h)
{
    usec next = upstreams_next_check(h->upstreams);
    if (next != INT64_MAX)
        timers_arm(h->cx->timers, &h->timer, next);
}

static void on_timer(void *ctx)
{
    health_look(ctx);
}

struct health *health_new(struct context *cx, struct upstreams *upstreams, const struct health_ops *ops)
{
    struct health *h = MEM_NEW(struct health);
    h->cx = cx;
    h->upstreams = upstreams;
    h->ops = ops;
    h->timer = (struct timer){.fire = on_timer, .ctx = h};
    list_init(&h->checks);
    health_look(h);
    return h;
}

void health_free(struct health *h)
{
    if (!h)
        return;
    LIST_FOREACH_SAFE(it, next, &h->checks)
    {
        struct check *check = CONTAINER_OF(it, struct check, link);
        timers_cancel(h->cx->timers, &check->timer);
        upstream_leg_close(&check->up, CLOSE_SHUTDOWN, false);
        free(check);
    }
    timers_cancel(h->cx->timers, &h->timer);
    free(h);
}
