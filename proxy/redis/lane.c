#include "lane.h"
#include "base/mem.h"
#include <stdlib.h>

struct lane {
    struct list link; /* redis.lanes */
    struct redis *redis;
    unsigned slot;
    struct list commands; /* struct command.lane */
    struct timer timer;   /* the earlier one of */
    usec paused, until;   /*   nothing is sent before; nothing more is waited for behind, without progress */
};

static struct command *command_at(struct list *it)
{
    return CONTAINER_OF(it, struct command, lane);
}

static void progress(struct lane *lane)
{
    lane->until = redis_now(lane->redis) + lane->redis->o.command_timeout;
}

static void arm(struct lane *lane)
{
    usec now = redis_now(lane->redis);
    usec at = lane->paused > now && lane->paused < lane->until ? lane->paused : lane->until;
    timers_arm(redis_timers(lane->redis), &lane->timer, at);
}

static void lane_end(struct lane *lane)
{
    struct list *first;
    while ((first = list_first(&lane->commands)))
        list_remove(first);
    lane->redis->slots[lane->slot].lane = NULL;
    timers_cancel(redis_timers(lane->redis), &lane->timer);
    list_remove(&lane->link);
    free(lane);
}

/* --- Out of the lane --- */

/* What waits to be sent will not be. False: nothing does. */
static bool give_up(struct lane *lane)
{
    bool any = false;
    for (struct list *it = lane->commands.next; it != &lane->commands; it = it->next) {
        struct command *c = command_at(it);
        if (c->place == COMMAND_IN_LANE) {
            c->place = COMMAND_ANSWERED;
            c->answer = REDIS_AWAY;
            any = true;
        }
    }
    return any;
}

static void tell(struct lane *lane)
{
    struct list *first;
    while ((first = list_first(&lane->commands)) && command_at(first)->place == COMMAND_ANSWERED) {
        progress(lane);
        redis_tell(lane->redis, command_at(first)); /* its owner may append to the lane */
    }
}

/* A command that is under way on one server must not be overtaken on another. */
static void put_onto_links(struct lane *lane)
{
    struct redis *r = lane->redis;
    struct server *busy = NULL;
    if (lane->paused > redis_now(r))
        return;
    for (struct list *it = lane->commands.next; it != &lane->commands; it = it->next) {
        struct command *c = command_at(it);
        if (c->place == COMMAND_IN_LANE) {
            struct server *to = c->asked ? c->asked : r->slots[lane->slot].want;
            if (!to || !to->up || (busy && busy != to))
                return;
            server_put(to, c);
        } else if (c->place == COMMAND_ON_LINK && busy && busy != c->on) {
            return;
        }
        if (c->place == COMMAND_ON_LINK)
            busy = c->on;
    }
}

/* From here on the link keeps the order: all are on it, in the order in which they came. */
static bool is_over(const struct lane *lane)
{
    const struct slot *slot = &lane->redis->slots[lane->slot];
    for (struct list *it = lane->commands.next; it != &lane->commands; it = it->next) {
        const struct command *c = command_at(it);
        if (c->place != COMMAND_ON_LINK || c->tries || c->on != slot->have || c->on != slot->want)
            return false;
    }
    return true;
}

static void pump(struct lane *lane)
{
    tell(lane);
    put_onto_links(lane);
    if (is_over(lane))
        lane_end(lane);
    else
        arm(lane);
}

static void on_timer(void *ctx)
{
    struct lane *lane = ctx;
    struct redis *r = lane->redis;
    unsigned slot = lane->slot;
    bool over = redis_now(r) >= lane->until, left = over && give_up(lane);
    if (over)
        progress(lane);
    pump(lane);
    if (left)
        redis_rest_slot(r, slot);
}

/* --- Into it --- */

static void take_behind(void *ctx, struct command *c)
{
    struct lane *lane = ctx;
    list_append(&lane->commands, &c->lane);
}

/* All unanswered commands of the slot are on that server; c, of which the rest is to follow, is not any more. */
static struct lane *lane_begin(struct redis *r, unsigned slot, struct server *s, struct command *c)
{
    struct lane *lane = MEM_NEW(struct lane);
    lane->redis = r;
    lane->slot = slot;
    lane->timer = (struct timer){.fire = on_timer, .ctx = lane};
    list_init(&lane->commands);
    list_append(&r->lanes, &lane->link);
    r->slots[slot].lane = lane;
    for (struct list *it = s->gate.held.next; it != &s->gate.held; it = it->next) {
        struct command *gated = CONTAINER_OF(it, struct command, queue);
        if (gated->slot == slot)
            take_behind(lane, gated);
    }
    if (c)
        take_behind(lane, c);
    if (s->connection)
        link_each(s->connection, slot, take_behind, lane);
    progress(lane);
    return lane;
}

void lane_again(struct redis *r, struct command *c, usec pause)
{
    struct lane *lane = r->slots[c->slot].lane;
    if (!lane)
        lane = lane_begin(r, c->slot, c->on, c);
    c->place = COMMAND_IN_LANE;
    c->tries++;
    if (pause)
        lane->paused = redis_now(r) + pause;
}

void lane_guard(struct redis *r, unsigned slot, struct server *left)
{
    if (r->slots[slot].lane || !left->up)
        return;
    struct lane *lane = lane_begin(r, slot, left, NULL);
    if (list_is_empty(&lane->commands))
        lane_end(lane);
}

void lane_append(struct redis *r, struct command *c)
{
    c->place = COMMAND_IN_LANE;
    list_append(&r->slots[c->slot].lane->commands, &c->lane);
}

void lanes_pump(struct redis *r)
{
    LIST_FOREACH_SAFE(it, next, &r->lanes)
    {
        pump(CONTAINER_OF(it, struct lane, link));
    }
}

void lanes_forsake(struct redis *r)
{
    LIST_FOREACH_SAFE(it, next, &r->lanes)
    {
        struct lane *lane = CONTAINER_OF(it, struct lane, link);
        const struct slot *slot = &r->slots[lane->slot];
        if (slot->want && !slot->want->up && slot->want == slot->have)
            (void)give_up(lane);
    }
}

void lanes_free(struct redis *r)
{
    LIST_FOREACH_SAFE(it, next, &r->lanes)
    {
        struct lane *lane = CONTAINER_OF(it, struct lane, link);
        struct list *first;
        while ((first = list_first(&lane->commands)))
            command_free(command_at(first));
        lane_end(lane);
    }
}
