#include "base/log.h"
#include "base/mem.h"
#include "question.h"
#include "server.h"
#include <stdio.h>
#include <stdlib.h>

#define REFRESH_MIN (500 * USEC_MS) /* between two questions for the map */
#define UNKNOWN_MAX (60 * USEC_S)   /* a server that the map does not have (any more) is kept that long */

struct cluster {
    struct redis *redis;
    struct question *question;
    usec asked_at; /* -REFRESH_MIN: never */
    bool again;    /* it was asked for while a question was under way */
    usec delay;    /* of the next one, when nobody answers */
    struct timer timer;
    char *why; /* nobody has told the map, and why */
};

/* --- The map --- */

static long long integer_at(const struct redisReply *array, size_t i)
{
    const struct redisReply *it = i < array->elements ? array->element[i] : NULL;
    return it && it->type == REDIS_REPLY_INTEGER ? it->integer : -1;
}

/* [first, last, [host, port, ...] the master, ... replicas] */
struct range {
    unsigned first, last;
    const char *host; /* "": that of the server that has told it */
    int port;
};

static bool read_range(struct range *out, const struct redisReply *reply)
{
    const struct redisReply *master =
        reply->type == REDIS_REPLY_ARRAY && reply->elements > 2 ? reply->element[2] : NULL;
    if (!master || master->type != REDIS_REPLY_ARRAY || master->elements < 2)
        return false;
    long long first = integer_at(reply, 0), last = integer_at(reply, 1), port = integer_at(master, 1);
    if (first < 0 || last < first || last >= (long long)SLOTS || port < 1 || port > 65535)
        return false;
    *out = (struct range){(unsigned)first, (unsigned)last, master->element[0]->str, (int)port};
    if (!out->host)
        out->host = "";
    return true;
}

static void take_range(struct cluster *c, const struct range *range, const struct redis_host *teller)
{
    struct server *s = cluster_server(c, *range->host ? range->host : teller->host, range->port);
    s->wanted = true;
    for (unsigned slot = range->first; slot <= range->last; slot++)
        c->redis->slots[slot].want = s;
}

static const char *on_answer(void *ctx, const struct redis_host *host, const struct redisReply *reply)
{
    struct cluster *c = ctx;
    struct redis *r = c->redis;
    struct range range;
    if (reply_is_error(reply))
        return reply->str;
    if (reply->type != REDIS_REPLY_ARRAY || !reply->elements)
        return "it has no map of the slots";
    for (size_t i = 0; i < reply->elements; i++)
        if (!read_range(&range, reply->element[i]))
            return "its map of the slots cannot be read";
    for (struct list *it = r->servers.next; it != &r->servers; it = it->next)
        CONTAINER_OF(it, struct server, link)->wanted = false;
    for (unsigned slot = 0; slot < SLOTS; slot++)
        r->slots[slot].want = NULL;
    for (size_t i = 0; i < reply->elements; i++)
        if (read_range(&range, reply->element[i]))
            take_range(c, &range, host);
    return NULL;
}

static bool is_whole(const struct redis *r)
{
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (!r->slots[slot].want || !r->slots[slot].want->up)
            return false;
    return true;
}

/* --- Asking for it --- */

static void ask(struct cluster *c);

static void ask_at(struct cluster *c, usec at)
{
    timers_arm_by(redis_timers(c->redis), &c->timer, at);
}

static void on_done(void *ctx, const struct redis_host *host, bool fault, const char *why)
{
    struct cluster *c = ctx;
    struct redis *r = c->redis;
    usec now = redis_now(r);
    char *told = host ? NULL : mem_printf("no server tells the map of the slots: %s", why);
    if (told && (!c->why || strcmp(c->why, told) != 0))
        LOG(fault ? LOG_ERROR : LOG_WARN, "Redis Cluster cannot be reached", LF("why", told));
    free(c->why);
    c->why = told;
    question_free(&c->question);
    if (told)
        ask_at(c, now + redis_backoff(&c->delay));
    else if (c->again || !is_whole(r))
        ask_at(c, now + (c->again ? REFRESH_MIN : 2 * REFRESH_MIN));
    if (!told)
        c->delay = 0;
    c->again = false;
    redis_settle(r);
}

/* Servers that are up know best; the URL's are asked, too. */
static void ask(struct cluster *c)
{
    static const char *const words[] = {"CLUSTER", "SLOTS", NULL};
    const struct question_asks asks = {.words = words, .answer = on_answer, .done = on_done, .ctx = c};
    struct redis *r = c->redis;
    const struct redis_url *url = r->o.url;
    struct redis_host *hosts = mem_copy(url->hosts, url->host_count * sizeof *hosts);
    size_t n = url->host_count;
    for (struct list *it = r->servers.next; it != &r->servers; it = it->next) {
        const struct server *s = CONTAINER_OF(it, struct server, link);
        if (!s->up)
            continue;
        hosts = mem_realloc(hosts, (n + 1) * sizeof *hosts);
        memmove(hosts + 1, hosts, n * sizeof *hosts);
        hosts[0] = (struct redis_host){s->host, s->port};
        n++;
    }
    c->asked_at = redis_now(r);
    c->question = question_new(&r->link, hosts, n, &asks);
    free(hosts);
}

static void on_timer(void *ctx)
{
    struct cluster *c = ctx;
    if (!c->question)
        ask(c);
}

void cluster_refresh(struct cluster *c)
{
    usec now = redis_now(c->redis), earliest = c->asked_at + REFRESH_MIN;
    if (c->question)
        c->again = true;
    else
        ask_at(c, earliest > now ? earliest : now);
}

/* --- Servers --- */

struct server *cluster_server(struct cluster *c, const char *host, int port)
{
    struct redis *r = c->redis;
    for (struct list *it = r->servers.next; it != &r->servers; it = it->next) {
        struct server *s = CONTAINER_OF(it, struct server, link);
        if (s->port == port && strcmp(s->host, host) == 0)
            return s;
    }
    struct server *s = server_new(r, host, port);
    s->known_at = redis_now(r);
    server_connect(s, NULL, 0);
    return s;
}

static bool is_used(const struct redis *r, const struct server *s)
{
    if (s->wanted || redis_now(r) - s->known_at < UNKNOWN_MAX || !list_is_empty(&r->lanes) ||
        !list_is_empty(&s->gate.held) || (s->connection && link_backlog(s->connection)))
        return true;
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (r->slots[slot].have == s || r->slots[slot].want == s)
            return true;
    return false;
}

void cluster_turn(struct cluster *c)
{
    struct redis *r = c->redis;
    question_turn(c->question);
    LIST_FOREACH_SAFE(it, next, &r->servers)
    {
        struct server *s = CONTAINER_OF(it, struct server, link);
        if (s->wanted)
            s->known_at = redis_now(r);
        else if (!is_used(r, s))
            server_free(s);
    }
}

struct cluster *cluster_new(struct redis *r)
{
    struct cluster *c = MEM_NEW(struct cluster);
    c->redis = r;
    c->asked_at = -REFRESH_MIN;
    c->timer = (struct timer){.fire = on_timer, .ctx = c};
    return c;
}

void cluster_free(struct cluster *c)
{
    if (!c)
        return;
    timers_cancel(redis_timers(c->redis), &c->timer);
    question_free(&c->question);
    free(c->why);
    free(c);
}

const char *cluster_why(const struct cluster *c)
{
    return c->why;
}
