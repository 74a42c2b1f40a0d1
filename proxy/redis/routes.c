/* Which server has which slot, and what its owner is told of that. */
#include "base/mem.h"
#include "lane.h"
#include <stdlib.h>

#define REST USEC_S

static void set_why(struct redis *r, char *why)
{
    free(r->why);
    r->why = why;
}

static char *why_of(const struct redis *r, unsigned slot)
{
    const struct server *s = r->slots[slot].have ? r->slots[slot].have : r->slots[slot].want;
    const char *why = s ? (s->up ? s->refusal : s->why) : NULL;
    if (s && s->up && r->slots[slot].flags & SLOT_RESTS)
        why = "the slot is being moved";
    if (!s && r->cluster)
        why = cluster_why(r->cluster) ? cluster_why(r->cluster) : "no server of the cluster has these slots";
    return mem_printf("Redis%s %s: %s", s && s->fault ? " (configuration)" : "", s ? s->text : r->o.url->text,
                      why ? why : "not connected yet");
}

/* A run of slots that are told the same. */
struct run {
    unsigned first, next;
    enum { TELL_NOTHING, TELL_BACK, TELL_AWAY } what;
    const struct server *server;
    bool fresh;
};

static void tell_run(struct redis *r, const struct run *run)
{
    if (run->what == TELL_NOTHING)
        return;
    for (unsigned slot = run->first; slot < run->next; slot++) {
        struct slot *it = &r->slots[slot];
        if (run->what == TELL_BACK)
            it->told_run = run->server->run;
        it->flags = run->what == TELL_BACK ? it->flags | SLOT_TOLD_BACK : it->flags & ~(unsigned)SLOT_TOLD_BACK;
    }
    if (run->what == TELL_BACK) {
        r->o.events->back(r->o.ctx, run->first, run->next - 1, run->fresh);
        return;
    }
    char *why = why_of(r, run->first);
    r->o.events->away(r->o.ctx, run->first, run->next - 1, why);
    free(why);
}

/* In a cluster: who gives single slots away has handed their keys over. Who has lost all of them was replaced, and its
 * replica may lack the newest. */
static bool keeps_slots(const struct server *before)
{
    return before && before->wanted;
}

static struct run settle_slot(struct redis *r, unsigned slot)
{
    struct slot *it = &r->slots[slot];
    bool moved = it->want != it->have && (!it->have || !it->have->up || (it->want && it->want->up));
    const struct server *before = it->have;
    if (moved) {
        if (it->have)
            lane_guard(r, slot, it->have);
        it->have = it->want;
    }
    const struct server *s = it->have;
    bool told = it->flags & SLOT_TOLD_BACK, writable = server_is_writable(s) && !(it->flags & SLOT_RESTS);
    struct run run = {.first = slot, .next = slot + 1, .server = s};
    if (writable && (!told || moved || it->told_run != s->run)) {
        run.what = TELL_BACK;
        run.fresh = it->told_run != s->run && !(moved && keeps_slots(before));
    } else if (!writable && told) {
        run.what = TELL_AWAY;
    }
    return run;
}

/* All is in step before the first is told. */
void redis_settle(struct redis *r)
{
    struct run *runs = NULL;
    size_t n = 0;
    char *why = NULL;
    r->unsettled = false;
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        struct run one = settle_slot(r, slot), *last = n ? &runs[n - 1] : NULL;
        if (!why && !server_is_writable(r->slots[slot].have))
            why = why_of(r, slot);
        if (one.what == TELL_NOTHING)
            continue;
        if (last && last->next == slot && last->what == one.what && last->server == one.server &&
            last->fresh == one.fresh) {
            last->next++;
            continue;
        }
        runs = mem_realloc(runs, (n + 1) * sizeof *runs);
        runs[n++] = one;
    }
    set_why(r, why);
    lanes_forsake(r);
    lanes_pump(r);
    redis_tell_refused(r); /* whoever gets an `away` may wait for `back` */
    for (size_t i = 0; i < n; i++)
        tell_run(r, &runs[i]);
    free(runs);
    if (r->channel)
        channel_turn(r->channel);
}

void redis_rest_slot(struct redis *r, unsigned slot)
{
    r->slots[slot].flags |= SLOT_RESTS;
    timers_arm_by(redis_timers(r), &r->rest, redis_now(r) + REST);
    redis_settle(r);
}

void redis_end_rest(void *ctx)
{
    struct redis *r = ctx;
    for (unsigned slot = 0; slot < SLOTS; slot++)
        r->slots[slot].flags &= ~(unsigned)SLOT_RESTS;
    redis_settle(r);
}

void redis_find(struct redis *r, struct server *s)
{
    if (r->sentinel) {
        sentinel_find(r->sentinel, s);
        return;
    }
    if (r->cluster)
        cluster_refresh(r->cluster); /* it may have no slots any more */
    server_connect(s, NULL, 0);
}
