#include "redis/redis.h"
#include "base/mem.h"
#include "lane.h"
#include <stdio.h>
#include <stdlib.h>

static void work_again(struct redis *r)
{
    timers_arm_by(redis_timers(r), &r->again, redis_now(r));
}

void redis_settle_soon(struct redis *r)
{
    r->unsettled = true;
    work_again(r);
}

/* The turn that this is in does the rest. */
static void on_again(void *ctx)
{
    struct redis *r = ctx;
    if (r->unsettled)
        redis_settle(r);
}

static void open_servers(struct redis *r)
{
    const struct redis_url *url = r->o.url;
    if (url->form == REDIS_FORM_CLUSTER) {
        r->cluster = cluster_new(r);
        cluster_refresh(r->cluster);
        return;
    }
    bool known = url->form == REDIS_FORM_SERVER;
    struct server *s = server_new(r, known ? url->hosts[0].host : NULL, known ? url->hosts[0].port : 0);
    for (unsigned slot = 0; slot < SLOTS; slot++)
        r->slots[slot].want = s;
    if (url->form == REDIS_FORM_SENTINEL)
        r->sentinel = sentinel_new(r);
    redis_find(r, s);
}

struct redis *redis_new(const struct redis_options *o)
{
    struct redis *r = MEM_NEW(struct redis);
    r->o = *o;
    r->o.password = mem_strdup(o->password ? o->password : o->url->password);
    r->o.sentinel_password = mem_strdup(o->sentinel_password);
    r->o.channel = mem_strdup(o->channel);
    r->o.shared_channel = mem_strdup(o->shared_channel);
    r->link = (struct link_options){
        .loop = o->loop,
        .dialer = o->dialer,
        .tls = o->url->tls ? o->tls : NULL,
        .user = o->url->user,
        .password = r->o.password,
        .db = o->url->db,
        .connect_timeout = o->connect_timeout,
        .command_timeout = o->command_timeout,
    };
    r->again = (struct timer){.fire = on_again, .ctx = r};
    r->rest = (struct timer){.fire = redis_end_rest, .ctx = r};
    list_init(&r->servers);
    list_init(&r->lanes);
    list_init(&r->refused);
    open_servers(r);
    if (r->o.channel)
        r->channel = channel_new(r);
    redis_settle(r);
    return r;
}

static void drop_refused(struct redis *r)
{
    struct list *first;
    while ((first = list_first(&r->refused)))
        command_free(CONTAINER_OF(first, struct command, queue));
}

void redis_free(struct redis *r)
{
    struct list *first;
    if (!r)
        return;
    channel_free(r->channel);
    sentinel_free(r->sentinel);
    cluster_free(r->cluster);
    lanes_free(r);
    while ((first = list_first(&r->servers)))
        server_free(CONTAINER_OF(first, struct server, link));
    drop_refused(r);
    timers_cancel(redis_timers(r), &r->again);
    timers_cancel(redis_timers(r), &r->rest);
    mem_wipe_free((char *)r->o.password, r->o.password ? strlen(r->o.password) : 0);
    mem_wipe_free((char *)r->o.sentinel_password, r->o.sentinel_password ? strlen(r->o.sentinel_password) : 0);
    free((char *)r->o.channel);
    free((char *)r->o.shared_channel);
    free(r->why);
    free(r->fault);
    free(r);
}

static void send_command(struct redis *r, struct command *c)
{
    struct slot *slot = &r->slots[c->slot];
    if (slot->lane) {
        lane_append(r, c);
    } else if (slot->have && slot->have->up) {
        server_put(slot->have, c);
    } else {
        c->answer = REDIS_AWAY;
        list_append(&r->refused, &c->queue);
    }
}

void redis_send(struct redis *r, unsigned slot, size_t argc, const struct slice *argv, redis_done_fn *done, void *ctx)
{
    struct command *c = command_new(slot, argc, argv, redis_now(r));
    c->done = done;
    c->ctx = ctx;
    send_command(r, c);
}

static void learn_script(struct redis *r, struct redis_script *script)
{
    for (size_t i = 0; i < r->script_count; i++)
        if (r->scripts[i] == script)
            return;
    if (r->script_count == SCRIPTS)
        abort(); /* a program has as many as it has, and this is more than ours */
    r->scripts[r->script_count++] = script;
    script_hash(script);
}

void redis_eval(struct redis *r, unsigned slot, struct redis_script *script, size_t nkeys, size_t argc,
                const struct slice *argv, redis_done_fn *done, void *ctx)
{
    struct slice *all = mem_alloc((argc + 3) * sizeof *all);
    char count_text[24];
    snprintf(count_text, sizeof count_text, "%zu", nkeys);
    learn_script(r, script);
    all[0] = SLICE_LIT("EVALSHA");
    all[1] = slice_str(script->sha);
    all[2] = slice_str(count_text);
    if (argc)
        memcpy(all + 3, argv, argc * sizeof *all);
    struct command *c = command_new(slot, argc + 3, all, redis_now(r));
    free(all);
    c->script = script;
    c->done = done;
    c->ctx = ctx;
    send_command(r, c);
}

bool redis_counts_listeners(const struct redis *r)
{
    return !r->cluster;
}

size_t redis_backlog(const struct redis *r)
{
    size_t n = 0;
    for (struct list *it = r->servers.next; it != &r->servers; it = it->next) {
        const struct server *s = CONTAINER_OF(it, struct server, link);
        n += s->connection ? link_backlog(s->connection) : 0;
    }
    return n;
}

const char *redis_why_away(const struct redis *r)
{
    if (r->why)
        return r->why;
    return r->fault && redis_now(r) - r->fault_at <= REDIS_FAULT_TOLD ? r->fault : NULL;
}

void redis_promise(const struct redis *r, struct redis_promise *out)
{
    const struct server *weakest = NULL;
    *out = (struct redis_promise){.persistence = REDIS_PERSISTENCE_UNKNOWN};
    for (struct list *it = r->servers.next; it != &r->servers; it = it->next) {
        const struct server *s = CONTAINER_OF(it, struct server, link);
        if (!s->run)
            continue;
        out->policy_unsafe |= facts_policy_is_unsafe(&s->facts);
        if (!weakest || facts_persistence(&s->facts) < facts_persistence(&weakest->facts))
            weakest = s;
    }
    if (!weakest)
        return;
    struct buf text = {0};
    out->persistence = facts_persistence(&weakest->facts);
    facts_describe(&weakest->facts, r->o.wait_replicas, &text);
    snprintf(out->text, sizeof out->text, "%.*s", SLICE_ARG(buf_slice(&text)));
    buf_free(&text);
}

/* What is sent to servers that are away is answered once a turn, so that whoever tries again at once does not spin
 * within it. */
void redis_tell_refused(struct redis *r)
{
    struct list now, *first;
    list_init(&now);
    while ((first = list_first(&r->refused))) {
        list_remove(first);
        list_append(&now, first);
    }
    while ((first = list_first(&now)))
        redis_tell(r, CONTAINER_OF(first, struct command, queue));
}

void redis_turn(struct redis *r)
{
    r->told = false;
    redis_tell_refused(r);
    lanes_pump(r);
    bool more = r->told; /* whoever was told may have more to do than can be seen here */
    if (r->sentinel)
        sentinel_turn(r->sentinel);
    if (r->cluster)
        cluster_turn(r->cluster);
    for (struct list *it = r->servers.next; it != &r->servers; it = it->next)
        more |= server_turn(CONTAINER_OF(it, struct server, link));
    if (r->channel)
        channel_turn(r->channel);
    count_set(r->o.counters, METRIC_redis_backlog, (int64_t)redis_backlog(r));
    if (more || !list_is_empty(&r->refused))
        work_again(r);
}
