/* What becomes of the answer to a command. */
#include "base/log.h"
#include "base/mem.h"
#include "errors.h"
#include "lane.h"
#include <stdlib.h>

#define HOPS_MAX    5              /* of a command that is sent on, or again, without a pause */
#define AGAIN_PAUSE (50 * USEC_MS) /* the move of a key takes less */

static void count_answer(struct redis *r, const struct command *c)
{
    static const enum metric by_answer[] = {
        [REDIS_DONE] = METRIC_redis_commands_done,       [REDIS_ERROR] = METRIC_redis_commands_refused,
        [REDIS_FAULT] = METRIC_redis_commands_fault,     [REDIS_AWAY] = METRIC_redis_commands_away,
        [REDIS_UNKNOWN] = METRIC_redis_commands_unknown,
    };
    count(r->o.counters, by_answer[c->answer]);
    if (c->answer == REDIS_DONE)
        count_observe(r->o.counters, METRIC_redis_command_time, redis_now(r) - c->since);
}

void redis_tell(struct redis *r, struct command *c)
{
    list_remove(&c->queue);
    list_remove(&c->lane);
    count_answer(r, c);
    r->told = true;
    if (c->done)
        c->done(c->ctx, c->answer, c->reply);
    else if (c->reply && c->answer == REDIS_ERROR)
        LOG(LOG_WARN, "Redis refused a command", LF_SLICE("command", command_name(c)), LF("why", c->reply->str));
    command_free(c);
}

void redis_finish(struct redis *r, struct command *c, enum redis_answer answer, struct redisReply *reply)
{
    c->answer = answer;
    c->reply = reply;
    c->place = COMMAND_ANSWERED;
    if (!list_is_linked(&c->lane))
        redis_tell(r, c);
}

/* The same fault comes with each command of the kind: told once. */
static void note_fault(struct redis *r, struct server *s, const struct command *c, const char *text)
{
    if (!r->fault || strcmp(r->fault, text) != 0 || redis_now(r) - r->fault_at > REDIS_FAULT_TOLD)
        LOG(LOG_ERROR, "Redis: a fault of the configuration", LF("server", s->text),
            LF_SLICE("command", command_name(c)), LF("why", text));
    char *copy = mem_strdup(text);
    free(r->fault);
    r->fault = copy;
    r->fault_at = redis_now(r);
}

/* False: it is not followed. */
static bool follow(struct redis *r, struct server *s, struct command *c, struct slice text, bool once)
{
    struct redirect to;
    if (!r->cluster || c->hops >= HOPS_MAX || !redirect_parse(&to, text))
        return false;
    struct server *there = cluster_server(r->cluster, *to.host ? to.host : s->host, to.port);
    count(r->o.counters, once ? METRIC_redis_redirects_ask : METRIC_redis_redirects_moved);
    c->hops++;
    if (once)
        c->asked = there;
    else
        r->slots[c->slot].want = there;
    lane_again(r, c, 0); /* the slot has its lane before `back` is told: what is sent then gets in line */
    if (!once) {
        cluster_refresh(r->cluster);
        redis_settle_soon(r);
    }
    return true;
}

/* True: the command goes again, it has no answer yet. */
static bool repeat(struct redis *r, struct server *s, struct command *c, enum verdict verdict, struct slice text)
{
    if (verdict == VERDICT_MOVED || verdict == VERDICT_ASK)
        return follow(r, s, c, text, verdict == VERDICT_ASK);
    if (verdict == VERDICT_AGAIN) {
        if ((usec)c->tries * AGAIN_PAUSE >= r->o.command_timeout || c->tries == UINT8_MAX)
            return false;
        count(r->o.counters, METRIC_redis_redirects_again);
        c->hops = 0;
        lane_again(r, c, AGAIN_PAUSE);
        return true;
    }
    if (verdict != VERDICT_NOSCRIPT || !c->script || c->hops++ >= HOPS_MAX)
        return false;
    count(r->o.counters, METRIC_redis_redirects_script);
    server_forget_script(s, c->script);
    lane_again(r, c, 0);
    return true;
}

static enum redis_answer judge(struct redis *r, struct server *s, const struct command *c, enum verdict verdict,
                               const char *text)
{
    switch (verdict) {
    case VERDICT_AWAY:
        server_refuses(s, text);
        return REDIS_AWAY;
    case VERDICT_DISCOVER:
        link_break(s->connection, false, text);
        return REDIS_AWAY;
    case VERDICT_MOVED:
    case VERDICT_ASK:
    case VERDICT_AGAIN:
        redis_rest_slot(r, c->slot); /* it was not followed any further */
        return REDIS_AWAY;
    case VERDICT_FAULT:
        note_fault(r, s, c, text);
        return REDIS_FAULT;
    default:
        return REDIS_ERROR;
    }
}

void redis_take_answer(struct redis *r, struct server *s, struct command *c, struct redisReply *reply)
{
    enum redis_answer answer = REDIS_DONE;
    if (!reply) {
        redis_finish(r, c, c->written ? REDIS_UNKNOWN : REDIS_AWAY, NULL);
        return;
    }
    if (reply_is_error(reply)) {
        enum verdict verdict = verdict_of(reply_text(reply));
        if (repeat(r, s, c, verdict, reply_text(reply))) {
            freeReplyObject(reply);
            return;
        }
        answer = judge(r, s, c, verdict, reply->str);
    }
    c->answer = answer;
    c->reply = reply;
    if (!gate_takes(s, c)) {
        c->reply = NULL;
        redis_finish(r, c, answer, reply);
    }
}
