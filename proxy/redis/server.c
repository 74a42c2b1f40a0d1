#include "server.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "errors.h"
#include <stdio.h>
#include <stdlib.h>

#define STEADY (5 * USEC_S) /* a connection that lived that long was no failed try */

usec redis_backoff(usec *delay)
{
    *delay = *delay < BACKOFF_MIN ? BACKOFF_MIN : *delay * 2 < BACKOFF_MAX ? *delay * 2 : BACKOFF_MAX;
    return *delay / 2 + random_below((uint32_t)(*delay / 2));
}

static void set_text(char **text, const char *to)
{
    char *copy = mem_strdup(to); /* it may be a part of the old one */
    free(*text);
    *text = copy;
}

/* --- Away, and back --- */

static void retry_later(struct server *s)
{
    struct redis *r = s->redis;
    timers_arm(redis_timers(r), &s->retry, redis_now(r) + redis_backoff(&s->backoff));
}

static void on_retry(void *ctx)
{
    struct server *s = ctx;
    redis_find(s->redis, s);
}

/* A reason is told once, not at each try. */
static void note_down(struct server *s, bool fault, const char *why)
{
    bool known = s->why && strcmp(s->why, why) == 0;
    LOG(known   ? LOG_DEBUG
        : fault ? LOG_ERROR
                : LOG_WARN,
        s->up ? "Redis is lost" : "Redis cannot be reached", LF("server", s->text), LF("why", why));
    set_text(&s->why, why);
    s->fault = fault;
}

void server_failed(struct server *s, bool fault, const char *why)
{
    note_down(s, fault, why);
    retry_later(s);
    redis_settle(s->redis);
}

/* --- Refusals --- */

static void probe_later(struct server *s)
{
    struct redis *r = s->redis;
    timers_arm(redis_timers(r), &s->probe, redis_now(r) + redis_backoff(&s->probe_delay));
}

static void refuse(struct server *s, const char *why)
{
    struct redis *r = s->redis;
    bool first = !s->refusal;
    if (first && redis_now(r) - s->well_since > 2 * BACKOFF_MAX)
        s->probe_delay = 0;
    LOG(first ? LOG_WARN : LOG_DEBUG, "Redis refuses writes", LF("server", s->text), LF("why", why));
    set_text(&s->refusal, why);
    if (first)
        redis_settle(r);
}

void server_refuses(struct server *s, const char *why)
{
    if (s->refusal || !s->up)
        return;
    refuse(s, why);
    probe_later(s);
}

void server_lacks(struct server *s, const char *why)
{
    if (s->up && !s->refusal)
        refuse(s, why);
}

void server_recovers(struct server *s)
{
    if (!s->refusal)
        return;
    LOG(LOG_INFO, "Redis takes writes again", LF("server", s->text));
    free(s->refusal);
    s->refusal = NULL;
    s->well_since = redis_now(s->redis);
    redis_settle(s->redis);
}

static void on_write_probed(void *ctx, const struct redisReply *reply)
{
    struct server *s = ctx;
    if (!reply || !s->refusal)
        return;
    if (reply_is_error(reply) && verdict_of(reply_text(reply)) == VERDICT_AWAY) {
        refuse(s, reply->str);
        probe_later(s);
    } else {
        server_recovers(s);
    }
}

/* A script that may write and does not: Redis refuses it for the reasons for which it would refuse a write. */
static void probe_write(struct server *s)
{
    static const char *const words[] = {"EVAL", "#!lua\nreturn 1", "0", NULL};
    link_send(s->connection, command_internal(on_write_probed, s, redis_now(s->redis), words));
}

/* A command without a key is served in a cluster that is down, too. */
static void on_cluster_probed(void *ctx, const struct redisReply *reply)
{
    struct server *s = ctx;
    if (!reply || !s->refusal)
        return;
    if (reply->str && strstr(reply->str, "cluster_state:fail"))
        probe_later(s);
    else
        probe_write(s);
}

static void on_probe(void *ctx)
{
    struct server *s = ctx;
    static const char *const words[] = {"CLUSTER", "INFO", NULL};
    if (!s->up || !s->refusal)
        return;
    if (s->redis->cluster)
        link_send(s->connection, command_internal(on_cluster_probed, s, redis_now(s->redis), words));
    else
        probe_write(s);
}

/* --- Its connection --- */

static void describe(struct server *s, bool fresh)
{
    LOG(LOG_INFO, "Redis is connected", LF("server", s->text), LF("version", s->facts.version));
    if (!fresh)
        return;
    struct buf promise = {0};
    facts_describe(&s->facts, s->redis->o.wait_replicas, &promise);
    LOG(facts_policy_is_unsafe(&s->facts) ? LOG_WARN : LOG_INFO, "what Redis keeps", LF("server", s->text),
        LF_SLICE("promise", buf_slice(&promise)));
    buf_free(&promise);
}

static void on_up(void *ctx, const struct facts *facts)
{
    struct server *s = ctx;
    struct redis *r = s->redis;
    bool fresh = !s->run || !*facts->run_id || strcmp(facts->run_id, s->facts.run_id) != 0;
    if (s->run)
        count(r->o.counters, METRIC_redis_reconnects);
    if (fresh)
        s->run = ++r->runs;
    s->facts = *facts;
    s->up = true;
    s->up_since = redis_now(r);
    s->loaded = 0;
    free(s->why);
    s->why = NULL;
    count_add(r->o.counters, METRIC_redis_connections, 1);
    describe(s, fresh);
    redis_settle(r);
}

static void on_answered(void *ctx, struct command *c, struct redisReply *reply)
{
    struct server *s = ctx;
    redis_take_answer(s->redis, s, c, reply);
}

static void on_down(void *ctx, bool fault, const char *why)
{
    struct server *s = ctx;
    note_down(s, fault, why);
    if (s->up) {
        count_add(s->redis->o.counters, METRIC_redis_connections, -1);
        if (redis_now(s->redis) - s->up_since > STEADY)
            s->backoff = 0;
    }
    s->up = false;
    free(s->refusal);
    s->refusal = NULL;
    timers_cancel(redis_timers(s->redis), &s->probe);
    gate_break(s);
}

static void on_gone(void *ctx)
{
    struct server *s = ctx;
    link_free(&s->connection);
    retry_later(s);
    redis_settle(s->redis);
}

static struct command *on_batch(void *ctx)
{
    return gate_batch(ctx);
}

static const struct link_events link_events = {
    .up = on_up,
    .answered = on_answered,
    .batch = on_batch,
    .down = on_down,
    .gone = on_gone,
};

static void set_address(struct server *s, const char *host, int port)
{
    char *copy = mem_strdup(host);
    free(s->host);
    s->host = copy;
    s->port = port;
    snprintf(s->text, sizeof s->text, strchr(host, ':') ? "[%.64s]:%d" : "%.64s:%d", host, port);
}

void server_connect(struct server *s, const char *host, int port)
{
    struct redis *r = s->redis;
    if (host)
        set_address(s, host, port);
    timers_cancel(redis_timers(r), &s->retry);
    const struct link_address address = {.host = s->host, .port = s->port, .path = r->o.url->path};
    s->connection = link_open(&r->link, &address, &link_events, s);
}

struct server *server_new(struct redis *r, const char *host, int port)
{
    struct server *s = MEM_NEW(struct server);
    s->redis = r;
    s->retry = (struct timer){.fire = on_retry, .ctx = s};
    s->probe = (struct timer){.fire = on_probe, .ctx = s};
    s->well_since = -BACKOFF_MAX * 2;
    list_init(&s->gate.held);
    snprintf(s->text, sizeof s->text, "%.79s", r->o.url->text);
    if (host)
        set_address(s, host, port);
    list_append(&r->servers, &s->link);
    return s;
}

void server_free(struct server *s)
{
    struct redis *r = s->redis;
    if (s->up)
        count_add(r->o.counters, METRIC_redis_connections, -1);
    timers_cancel(redis_timers(r), &s->retry);
    timers_cancel(redis_timers(r), &s->probe);
    link_free(&s->connection);
    gate_clear(s);
    list_remove(&s->link);
    free(s->host);
    free(s->why);
    free(s->refusal);
    free(s);
}

/* --- Commands --- */

static size_t script_place(const struct redis *r, const struct redis_script *script)
{
    size_t i = 0;
    while (i < r->script_count && r->scripts[i] != script)
        i++;
    return i;
}

/* A script goes ahead of its first use on each connection: NOSCRIPT comes only when someone has flushed them. */
static void load_ahead(struct server *s, struct redis_script *script)
{
    unsigned long long bit = 1ull << script_place(s->redis, script);
    if (!(s->loaded & bit))
        link_send(s->connection, script_load(script, redis_now(s->redis)));
    s->loaded |= bit;
}

void server_forget_script(struct server *s, const struct redis_script *script)
{
    s->loaded &= ~(1ull << script_place(s->redis, script));
}

static void on_asking(void *ctx, const struct redisReply *reply)
{
    (void)ctx, (void)reply;
}

void server_put(struct server *s, struct command *c)
{
    struct redis *r = s->redis;
    if (c->script)
        load_ahead(s, c->script);
    if (c->asked == s)
        link_send(s->connection,
                  command_internal(on_asking, NULL, redis_now(r), (const char *const[]){"ASKING", NULL}));
    c->asked = NULL;
    c->on = s;
    c->writes = r->o.wait_replicas && command_writes(c);
    link_send(s->connection, c);
}

bool server_turn(struct server *s)
{
    return s->connection && link_turn(s->connection);
}
