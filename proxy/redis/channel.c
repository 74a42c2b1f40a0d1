#include "base/log.h"
#include "base/mem.h"
#include "server.h"
#include <stdio.h>
#include <stdlib.h>

/* Messages are hints: what is lost while it is not there stays lost. */
struct channel {
    struct redis *redis;
    struct link_options options;
    struct link *link;
    usec delay, next; /* of the next try */
    struct timer timer;
};

static void on_subscribed(void *ctx, const struct redisReply *reply)
{
    struct channel *ch = ctx;
    if (reply && reply_is_error(reply))
        link_break(ch->link, true, reply->str);
    else if (reply)
        ch->delay = 0;
}

static void subscribe(struct channel *ch, const char *channel)
{
    const char *const words[] = {"SUBSCRIBE", channel, NULL};
    link_send(ch->link, command_internal(on_subscribed, ch, redis_now(ch->redis), words));
}

static void on_up(void *ctx, const struct facts *facts)
{
    (void)facts;
    struct channel *ch = ctx;
    subscribe(ch, ch->redis->o.channel);
    if (ch->redis->o.shared_channel)
        subscribe(ch, ch->redis->o.shared_channel);
}

static void on_message(void *ctx, struct slice message)
{
    struct redis *r = ((struct channel *)ctx)->redis;
    if (r->o.events->told)
        r->o.events->told(r->o.ctx, message);
}

static void on_answered(void *ctx, struct command *c, struct redisReply *reply)
{
    (void)ctx;
    freeReplyObject(reply); /* all here are internal: none comes */
    command_free(c);
}

static void on_down(void *ctx, bool fault, const char *why)
{
    struct channel *ch = ctx;
    LOG(fault ? LOG_ERROR : ch->delay ? LOG_DEBUG : LOG_WARN, "the subscription to Redis is lost", LF("why", why));
}

static void on_gone(void *ctx)
{
    struct channel *ch = ctx;
    struct redis *r = ch->redis;
    link_free(&ch->link);
    ch->next = redis_now(r) + redis_backoff(&ch->delay);
    timers_arm(redis_timers(r), &ch->timer, ch->next);
}

static const struct link_events link_events = {
    .up = on_up,
    .answered = on_answered,
    .message = on_message,
    .down = on_down,
    .gone = on_gone,
};

/* Any server does: they pass messages on to each other. */
static const struct server *any_server(const struct redis *r)
{
    for (struct list *it = r->servers.next; it != &r->servers; it = it->next) {
        const struct server *s = CONTAINER_OF(it, struct server, link);
        if (s->up)
            return s;
    }
    return NULL;
}

void channel_turn(struct channel *ch)
{
    struct redis *r = ch->redis;
    const struct server *s = any_server(r);
    if (ch->link) {
        (void)link_turn(ch->link);
        return;
    }
    if (!s || redis_now(r) < ch->next)
        return;
    const struct link_address address = {.host = s->host, .port = s->port, .path = r->o.url->path};
    ch->link = link_open(&ch->options, &address, &link_events, ch);
}

static void on_timer(void *ctx)
{
    channel_turn(ctx);
}

struct channel *channel_new(struct redis *r)
{
    struct channel *ch = MEM_NEW(struct channel);
    ch->redis = r;
    ch->options = r->link;
    ch->options.bare = true;
    ch->timer = (struct timer){.fire = on_timer, .ctx = ch};
    return ch;
}

void channel_free(struct channel *ch)
{
    if (!ch)
        return;
    timers_cancel(redis_timers(ch->redis), &ch->timer);
    link_free(&ch->link);
    free(ch);
}
