#include "question.h"
#include "base/mem.h"
#include <stdio.h>
#include <stdlib.h>

struct question {
    struct link_options o;
    struct question_asks asks;
    struct redis_host *hosts;
    size_t count, next; /* next: behind the one that is asked now */
    struct link *link;
    bool answered, fault;
    char *why; /* of all that have not answered, ", " between */
};

static void ask_next(struct question *q);

static void note_failure(struct question *q, bool fault, const char *why)
{
    const struct redis_host *h = &q->hosts[q->next - 1];
    char *longer = mem_printf(strchr(h->host, ':') ? "%s%s[%s]:%d: %s" : "%s%s%s:%d: %s", q->why ? q->why : "",
                              q->why ? ", " : "", h->host, h->port, why);
    free(q->why);
    q->why = longer;
    q->fault |= fault;
}

static void on_reply(void *ctx, const struct redisReply *reply)
{
    struct question *q = ctx;
    if (!reply)
        return; /* `down` tells why */
    const char *why = q->asks.answer(q->asks.ctx, &q->hosts[q->next - 1], reply);
    q->answered = !why;
    link_break(q->link, false, why ? why : "");
}

static void on_up(void *ctx, const struct facts *facts)
{
    (void)facts;
    struct question *q = ctx;
    link_send(q->link, command_internal(on_reply, q, loop_clock(q->o.loop)->mono, q->asks.words));
}

static void on_down(void *ctx, bool fault, const char *why)
{
    struct question *q = ctx;
    if (!q->answered)
        note_failure(q, fault, why);
}

static void on_gone(void *ctx)
{
    struct question *q = ctx;
    link_free(&q->link);
    if (q->answered)
        q->asks.done(q->asks.ctx, &q->hosts[q->next - 1], false, NULL);
    else if (q->next < q->count)
        ask_next(q);
    else
        q->asks.done(q->asks.ctx, NULL, q->fault, q->why);
}

static void on_answered(void *ctx, struct command *c, struct redisReply *reply)
{
    (void)ctx;
    freeReplyObject(reply); /* all of a question are internal: none comes here */
    command_free(c);
}

static const struct link_events link_events = {
    .up = on_up,
    .answered = on_answered,
    .down = on_down,
    .gone = on_gone,
};

static void ask_next(struct question *q)
{
    const struct redis_host *h = &q->hosts[q->next++];
    const struct link_address address = {.host = h->host, .port = h->port};
    q->link = link_open(&q->o, &address, &link_events, q);
}

struct question *question_new(const struct link_options *o, const struct redis_host *hosts, size_t n,
                              const struct question_asks *asks)
{
    struct question *q = MEM_NEW(struct question);
    q->o = *o;
    q->o.bare = true;
    if (q->o.connect_timeout > QUESTION_TIMEOUT)
        q->o.connect_timeout = QUESTION_TIMEOUT;
    if (q->o.command_timeout > QUESTION_TIMEOUT)
        q->o.command_timeout = QUESTION_TIMEOUT;
    q->asks = *asks;
    q->hosts = mem_zalloc(n * sizeof *q->hosts);
    q->count = n;
    for (size_t i = 0; i < n; i++)
        q->hosts[i] = (struct redis_host){mem_strdup(hosts[i].host), hosts[i].port};
    ask_next(q);
    return q;
}

void question_free(struct question **question)
{
    struct question *q = *question;
    *question = NULL;
    if (!q)
        return;
    link_free(&q->link);
    for (size_t i = 0; i < q->count; i++)
        free(q->hosts[i].host);
    free(q->hosts);
    free(q->why);
    free(q);
}

void question_turn(struct question *q)
{
    if (q && q->link)
        (void)link_turn(q->link);
}
