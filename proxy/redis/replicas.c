#include "base/mem.h"
#include "server.h"
#include <stdio.h>

/* WAIT blocks its connection: long enough for a slow replica, short beside the time-out of commands. */
#define WAIT_MAX_MS 1000

static void release(struct server *s)
{
    struct list now, *first;
    list_init(&now);
    while ((first = list_first(&s->gate.held))) {
        list_remove(first);
        list_append(&now, first);
    }
    while ((first = list_first(&now))) {
        struct command *c = CONTAINER_OF(first, struct command, queue);
        struct redisReply *reply = c->reply;
        list_remove(first);
        c->reply = NULL;
        redis_finish(s->redis, c, c->answer, reply);
    }
}

static void on_waited(void *ctx, const struct redisReply *reply)
{
    struct server *s = ctx;
    struct gate *g = &s->gate;
    unsigned wanted = s->redis->o.wait_replicas;
    char why[128];
    if (!reply)
        return;
    g->asked--;
    if (reply->type != REDIS_REPLY_INTEGER) {
        snprintf(why, sizeof why, "WAIT: %.100s", reply->str ? reply->str : "no number");
        link_break(s->connection, true, why);
    } else if (reply->integer >= (long long)wanted) {
        release(s);
        if (g->lacking)
            server_recovers(s);
        g->lacking = false;
    } else {
        snprintf(why, sizeof why, "%lld of %u replicas have what was written (store.wait_replicas)", reply->integer,
                 wanted);
        g->lacking = true;
        server_lacks(s, why);
        if (!g->asked)
            link_send(s->connection, gate_batch(s));
    }
}

bool gate_takes(struct server *s, struct command *c)
{
    if (!c->writes && list_is_empty(&s->gate.held))
        return false;
    c->place = COMMAND_GATED;
    list_append(&s->gate.held, &c->queue);
    return true;
}

struct command *gate_batch(struct server *s)
{
    const struct redis *r = s->redis;
    char replicas[16], timeout[24];
    usec half = r->o.command_timeout / 2 / USEC_MS;
    snprintf(replicas, sizeof replicas, "%u", r->o.wait_replicas);
    snprintf(timeout, sizeof timeout, "%lld", (long long)(half > WAIT_MAX_MS ? WAIT_MAX_MS : half < 1 ? 1 : half));
    s->gate.asked++;
    return command_internal(on_waited, s, redis_now(r), (const char *const[]){"WAIT", replicas, timeout, NULL});
}

void gate_break(struct server *s)
{
    struct list *first;
    s->gate.asked = 0;
    s->gate.lacking = false;
    while ((first = list_first(&s->gate.held))) {
        struct command *c = CONTAINER_OF(first, struct command, queue);
        list_remove(first);
        freeReplyObject(c->reply);
        c->reply = NULL;
        redis_finish(s->redis, c, REDIS_UNKNOWN, NULL);
    }
}

void gate_clear(struct server *s)
{
    struct list *first;
    while ((first = list_first(&s->gate.held)))
        command_free(CONTAINER_OF(first, struct command, queue));
}
