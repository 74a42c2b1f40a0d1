#include "base/mem.h"
#include "question.h"
#include "server.h"
#include <stdio.h>
#include <stdlib.h>

struct sentinel {
    struct redis *redis;
    struct link_options link;
    const char *words[4];
    struct redis_host *hosts; /* the one that has answered last is the first; strings are the URL's */
    size_t count;
    struct question *question;
    struct server *master; /* who is looked for */
    char host[256];        /* found */
    int port;
    char why[300];
};

/* Address and port of the master, or nil. */
static const char *on_answer(void *ctx, const struct redis_host *host, const struct redisReply *reply)
{
    struct sentinel *s = ctx;
    (void)host;
    if (reply->type == REDIS_REPLY_NIL) {
        snprintf(s->why, sizeof s->why, "it knows no master with the name %.200s", s->redis->o.url->name);
        return s->why;
    }
    if (reply_is_error(reply)) {
        snprintf(s->why, sizeof s->why, "%.299s", reply->str);
        return s->why;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !reply->element[0]->str || !reply->element[1]->str)
        return "its answer is no address";
    snprintf(s->host, sizeof s->host, "%.255s", reply->element[0]->str);
    s->port = atoi(reply->element[1]->str);
    return s->port > 0 && s->port < 65536 ? NULL : "its answer is no address";
}

static void move_to_front(struct sentinel *s, const struct redis_host *host)
{
    for (size_t i = 0; i < s->count; i++) {
        struct redis_host it = s->hosts[i];
        if (strcmp(it.host, host->host) == 0 && it.port == host->port) {
            memmove(s->hosts + 1, s->hosts, i * sizeof it);
            s->hosts[0] = it;
            return;
        }
    }
}

static void on_done(void *ctx, const struct redis_host *host, bool fault, const char *why)
{
    struct sentinel *s = ctx;
    if (host) {
        move_to_front(s, host);
        question_free(&s->question);
        server_connect(s->master, s->host, s->port);
        return;
    }
    char *all = mem_printf("no sentinel tells the master: %s", why);
    question_free(&s->question);
    server_failed(s->master, fault, all);
    free(all);
}

struct sentinel *sentinel_new(struct redis *r)
{
    struct sentinel *s = MEM_NEW(struct sentinel);
    const struct redis_url *url = r->o.url;
    s->redis = r;
    s->link = r->link;
    s->link.user = NULL;
    s->link.password = r->o.sentinel_password;
    s->words[0] = "SENTINEL";
    s->words[1] = "get-master-addr-by-name";
    s->words[2] = url->name;
    s->count = url->host_count;
    s->hosts = mem_copy(url->hosts, s->count * sizeof *s->hosts);
    return s;
}

void sentinel_free(struct sentinel *s)
{
    if (!s)
        return;
    question_free(&s->question);
    free(s->hosts);
    free(s);
}

void sentinel_find(struct sentinel *s, struct server *master)
{
    const struct question_asks asks = {.words = s->words, .answer = on_answer, .done = on_done, .ctx = s};
    s->master = master;
    if (!s->question)
        s->question = question_new(&s->link, s->hosts, s->count, &asks);
}

void sentinel_turn(struct sentinel *s)
{
    question_turn(s->question);
}
