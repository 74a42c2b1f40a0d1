#include "link.h"
#include "base/log.h"
#include "base/mem.h"
#include "errors.h"
#include <stdio.h>
#include <stdlib.h>

#define TURN_BYTES    ((size_t)1 << 20) /* Redis serves nobody else while it works one pipe off */
#define TURN_COMMANDS 1000u
#define IDLE_PING     (5 * USEC_S)

enum link_state { LINK_DIALLING, LINK_LOGIN, LINK_UP, LINK_BREAKING /* `why` says why */, LINK_GONE };

struct link {
    struct link_options o;
    struct link_events events;
    void *ctx;
    enum link_state state;
    struct transport *transport;
    redisReader *reader;
    bool in_read; /* break when it is over */

    struct list waiting, sent; /* struct command.queue: not written yet; not answered yet */
    size_t backlog;            /* bytes of both */
    usec last_heard;
    struct timer timer; /* lazy: an unanswered command, or silence */

    struct facts facts; /* while logging in */
    bool fault;
    char *why;
};

static usec now_of(const struct link *l)
{
    return loop_clock(l->o.loop)->mono;
}

/* --- The end --- */

static void answer(struct link *l, struct command *c, struct redisReply *reply)
{
    list_remove(&c->queue);
    l->backlog -= c->n;
    if (!c->internal) {
        l->events.answered(l->ctx, c, reply);
        return;
    }
    c->internal(c->ctx, reply);
    if (reply)
        freeReplyObject(reply);
    command_free(c);
}

static void link_end(struct link *l)
{
    struct list *first;
    l->state = LINK_GONE;
    transport_free(&l->transport, false);
    timers_cancel(loop_timers(l->o.loop), &l->timer);
    l->events.down(l->ctx, l->fault, l->why);
    while ((first = list_first(&l->sent)))
        answer(l, CONTAINER_OF(first, struct command, queue), NULL);
    while ((first = list_first(&l->waiting)))
        answer(l, CONTAINER_OF(first, struct command, queue), NULL);
    l->events.gone(l->ctx); /* l is gone, maybe */
}

/* Keeps the first reason. */
static void note_break(struct link *l, bool fault, const char *why)
{
    if (l->state >= LINK_BREAKING)
        return;
    l->state = LINK_BREAKING;
    l->fault = fault;
    l->why = mem_strdup(why);
}

void link_break(struct link *l, bool fault, const char *why)
{
    note_break(l, fault, why);
    if (!l->in_read)
        timers_arm(loop_timers(l->o.loop), &l->timer, now_of(l));
}

/* --- Time --- */

/* A server that answers one thing after the other is not late, however much is asked of it. */
static usec deadline_of(const struct link *l)
{
    struct list *first = list_first(&l->sent);
    if (!first)
        return l->last_heard + IDLE_PING;
    const struct command *c = CONTAINER_OF(first, struct command, queue);
    return (c->written_at > l->last_heard ? c->written_at : l->last_heard) + l->o.command_timeout;
}

static void on_pong(void *ctx, const struct redisReply *reply)
{
    (void)ctx, (void)reply;
}

static void send_words(struct link *l, void (*answered)(void *ctx, const struct redisReply *reply),
                       const char *const *words)
{
    link_send(l, command_internal(answered, l, now_of(l), words));
}

static void on_timer(void *ctx)
{
    struct link *l = ctx;
    char text[64];
    if (l->state == LINK_BREAKING) {
        link_end(l);
        return;
    }
    usec now = now_of(l), deadline = deadline_of(l);
    if (now < deadline) {
        timers_arm(loop_timers(l->o.loop), &l->timer, deadline);
    } else if (!list_is_empty(&l->sent)) {
        snprintf(text, sizeof text, "no answer for %lld ms", (long long)(l->o.command_timeout / USEC_MS));
        note_break(l, false, text);
        link_end(l);
    } else {
        if (list_is_empty(&l->waiting))
            send_words(l, on_pong, (const char *const[]){"PING", NULL});
        timers_arm(loop_timers(l->o.loop), &l->timer, now + l->o.command_timeout);
    }
}

/* --- Commands out --- */

void link_send(struct link *l, struct command *c)
{
    c->place = COMMAND_ON_LINK;
    c->written = false;
    l->backlog += c->n;
    list_append(&l->waiting, &c->queue);
}

static void write_one(struct link *l, struct command *c)
{
    transport_write(l->transport, slice_of(c->bytes, c->n));
    c->written = true;
    c->written_at = now_of(l);
    list_remove(&c->queue);
    list_append(&l->sent, &c->queue);
}

bool link_turn(struct link *l)
{
    struct list *first;
    size_t bytes = 0, commands = 0;
    bool writes = false;
    if (l->state != LINK_UP && l->state != LINK_LOGIN)
        return false;
    while (bytes < TURN_BYTES && commands < TURN_COMMANDS && transport_buffered(l->transport) < TURN_BYTES &&
           (first = list_first(&l->waiting))) {
        struct command *c = CONTAINER_OF(first, struct command, queue);
        writes |= c->writes;
        bytes += c->n;
        commands++;
        write_one(l, c);
    }
    struct command *behind = writes && l->events.batch ? l->events.batch(l->ctx) : NULL;
    if (behind) {
        link_send(l, behind);
        write_one(l, behind);
    }
    if (commands)
        timers_arm_by(loop_timers(l->o.loop), &l->timer, deadline_of(l));
    return !list_is_empty(&l->waiting) && transport_buffered(l->transport) < TURN_BYTES;
}

/* --- Login --- */

/* False: the login has ended with that reply. */
static bool login_goes_on(struct link *l, const struct redisReply *reply, const char *what)
{
    if (!reply || l->state != LINK_LOGIN)
        return false;
    if (!reply_is_error(reply))
        return true;
    char *why = mem_printf("%s: %.*s", what, SLICE_ARG(reply_text(reply)));
    note_break(l, verdict_of(reply_text(reply)) == VERDICT_FAULT, why);
    free(why);
    return false;
}

static void login_done(struct link *l, const struct facts *facts)
{
    l->state = LINK_UP;
    l->events.up(l->ctx, facts);
}

static void on_auth(void *ctx, const struct redisReply *reply)
{
    (void)login_goes_on(ctx, reply, "AUTH");
}

static void on_bare_ping(void *ctx, const struct redisReply *reply)
{
    if (login_goes_on(ctx, reply, "PING"))
        login_done(ctx, NULL);
}

static void on_select(void *ctx, const struct redisReply *reply)
{
    (void)login_goes_on(ctx, reply, "SELECT");
}

/* CONFIG is often forbidden: then it stays unknown. */
static struct slice config_value(const struct redisReply *reply)
{
    if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->type != REDIS_REPLY_STRING)
        return SLICE_NONE;
    return slice_of(reply->element[1]->str, reply->element[1]->len);
}

static void on_fsync(void *ctx, const struct redisReply *reply)
{
    struct link *l = ctx;
    struct slice value = config_value(reply);
    snprintf(l->facts.fsync, sizeof l->facts.fsync, "%.*s", SLICE_ARG(value));
}

static void on_save(void *ctx, const struct redisReply *reply)
{
    struct link *l = ctx;
    struct slice value = config_value(reply);
    l->facts.saves_known = value.p != NULL;
    snprintf(l->facts.save, sizeof l->facts.save, "%.*s", SLICE_ARG(value));
}

static void on_info(void *ctx, const struct redisReply *reply)
{
    struct link *l = ctx;
    if (!login_goes_on(l, reply, "INFO"))
        return;
    facts_read(&l->facts, reply_text(reply));
    if (l->facts.loading)
        note_break(l, false, "LOADING: it reads its dump");
    else if (!l->facts.master)
        note_break(l, false, "it is a replica");
    else
        login_done(l, &l->facts);
}

static void log_in(struct link *l)
{
    const char *user = l->o.user, *password = l->o.password;
    char db[16];
    if (password && user)
        send_words(l, on_auth, (const char *const[]){"AUTH", user, password, NULL});
    else if (password)
        send_words(l, on_auth, (const char *const[]){"AUTH", password, NULL});
    send_words(l, on_pong, (const char *const[]){"CLIENT", "SETNAME", "holdfast", NULL});
    if (l->o.bare) {
        send_words(l, on_bare_ping, (const char *const[]){"PING", NULL});
        return;
    }
    if (l->o.db) {
        snprintf(db, sizeof db, "%d", l->o.db);
        send_words(l, on_select, (const char *const[]){"SELECT", db, NULL});
    }
    send_words(l, on_fsync, (const char *const[]){"CONFIG", "GET", "appendfsync", NULL});
    send_words(l, on_save, (const char *const[]){"CONFIG", "GET", "save", NULL});
    send_words(l, on_info, (const char *const[]){"INFO", NULL});
}

/* --- Answers in, and the other events of the transport --- */

static void on_ready(void *ctx)
{
    struct link *l = ctx;
    if (l->state != LINK_DIALLING)
        return;
    l->state = LINK_LOGIN;
    l->last_heard = now_of(l);
    transport_read_start(l->transport);
    log_in(l);
    while (link_turn(l)) {
    }
}

/* ["message", channel, payload] */
static bool take_message(struct link *l, const struct redisReply *reply)
{
    if (!l->events.message || reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 || !reply->element[0]->str ||
        strcmp(reply->element[0]->str, "message") != 0)
        return false;
    l->events.message(l->ctx, slice_of(reply->element[2]->str, reply->element[2]->len));
    return true;
}

static void take_reply(struct link *l, struct redisReply *reply)
{
    struct list *first = list_first(&l->sent);
    if (take_message(l, reply)) {
        freeReplyObject(reply);
    } else if (first) {
        answer(l, CONTAINER_OF(first, struct command, queue), reply);
    } else {
        char *why = mem_printf("an answer that nobody asked for: %.100s", reply->str ? reply->str : "");
        note_break(l, false, why);
        free(why);
        freeReplyObject(reply);
    }
}

static void on_bytes(void *ctx, const char *p, size_t n)
{
    struct link *l = ctx;
    void *reply;
    l->last_heard = now_of(l);
    l->in_read = true;
    redisReaderFeed(l->reader, p, n);
    while (l->state < LINK_BREAKING) {
        if (redisReaderGetReply(l->reader, &reply) != REDIS_OK) {
            note_break(l, false, l->reader->errstr);
            break;
        }
        if (!reply)
            break;
        take_reply(l, reply);
    }
    l->in_read = false;
    if (l->state == LINK_BREAKING)
        link_end(l);
}

static void on_drained(void *ctx)
{
    (void)ctx; /* the turn that this is in writes more */
}

static void on_closed(void *ctx, enum transport_end end, const char *detail)
{
    struct link *l = ctx;
    note_break(l, end == TRANSPORT_TLS, detail);
    link_end(l);
}

static const struct transport_events transport_events = {on_ready, on_bytes, on_drained, on_closed};

struct link *link_open(const struct link_options *o, const struct link_address *a, const struct link_events *events,
                       void *ctx)
{
    struct link *l = MEM_NEW(struct link);
    l->o = *o;
    l->events = *events;
    l->ctx = ctx;
    l->reader = redisReaderCreate();
    list_init(&l->waiting);
    list_init(&l->sent);
    l->timer.fire = on_timer;
    l->timer.ctx = l;
    const struct dial_target target = {
        .host = a->host,
        .port = a->port,
        .path = a->path,
        .tls = o->tls,
        .timeout = o->connect_timeout,
    };
    l->transport = dialer_dial(o->dialer, &target);
    transport_set_events(l->transport, &transport_events, l);
    return l;
}

static void drop_all(struct list *commands)
{
    struct list *first;
    while ((first = list_first(commands)))
        command_free(CONTAINER_OF(first, struct command, queue));
}

void link_free(struct link **link)
{
    struct link *l = *link;
    *link = NULL;
    if (!l)
        return;
    transport_free(&l->transport, true);
    timers_cancel(loop_timers(l->o.loop), &l->timer);
    drop_all(&l->sent);
    drop_all(&l->waiting);
    redisReaderFree(l->reader);
    free(l->why);
    free(l);
}

bool link_is_up(const struct link *l)
{
    return l && l->state == LINK_UP;
}

size_t link_backlog(const struct link *l)
{
    return l->backlog;
}

static void each_in(struct list *commands, unsigned slot, void (*visit)(void *ctx, struct command *c), void *ctx)
{
    LIST_FOREACH_SAFE(it, next, commands)
    {
        struct command *c = CONTAINER_OF(it, struct command, queue);
        if (c->slot == slot && !c->internal)
            visit(ctx, c);
    }
}

void link_each(struct link *l, unsigned slot, void (*visit)(void *ctx, struct command *c), void *ctx)
{
    each_in(&l->sent, slot, visit, ctx);
    each_in(&l->waiting, slot, visit, ctx);
}
