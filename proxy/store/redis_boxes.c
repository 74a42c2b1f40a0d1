/* Mailboxes and outboxes. A message that was taken is lent, under a token that names the session and its owner; whoever
 * puts it back has to know the token, so that one who was away for too long cannot take it from its next holder. What
 * was lent to a session that died with its node is free when that node shows no sign of life. */
#include "base/mem.h"
#include "redis_impl.h"
#include "store/memory.h"
#include <stdio.h>

void box_add_keys(struct args *a, const char *tag, enum store_box kind)
{
    static const enum session_key stream[BOXES] = {[BOX_MAIL] = KEY_MAIL, [BOX_OUT] = KEY_OUT};
    static const enum session_key index[BOXES] = {[BOX_MAIL] = KEY_MAIL_INDEX, [BOX_OUT] = KEY_OUT_INDEX};
    args_account_key(a, tag, stream[kind]);
    args_account_key(a, tag, index[kind]);
}

void box_add_limits(const struct redis_store *s, struct args *a)
{
    args_number(a, to_ms(s->o.mailbox_ttl));
    args_number(a, MAILBOX_MESSAGES);
    args_number(a, (int64_t)MAILBOX_BYTES);
}

/* METRICS: no row for that. */
void box_count_all(struct redis_store *s, enum store_box kind, const char *tag, const struct redisReply *counts)
{
    static const enum metric row[BOXES][BOX_COUNTS] = {
        [BOX_MAIL] = {METRIC_mailbox_kept, METRICS, METRIC_mailbox_doubled, METRIC_mailbox_overflown,
                      METRIC_mailbox_expired, METRIC_mailbox_purged},
        [BOX_OUT] = {METRIC_outbox_kept, METRICS, METRICS, METRIC_outbox_overflown, METRIC_outbox_expired,
                     METRIC_outbox_purged},
    };
    for (size_t i = 0; i < BOX_COUNTS; i++)
        if (row[kind][i] != METRICS)
            count_add(s->o.counters, row[kind][i], (int64_t)reply_number(reply_at(counts, i)));
    bool more = reply_number(reply_at(counts, BOX_COUNT_PUT)) || reply_number(reply_at(counts, BOX_COUNT_RETURNED));
    if (tag && kind == BOX_MAIL && more)
        store_tell_mail(s, tag);
}

/* ---- tokens ---- */

char *box_token(const struct redis_store *s, const char *sid)
{
    char mark[MARK_SIZE];
    mark_new(mark);
    return mem_printf("%.48s:%s:%s", sid, mark, s->owner);
}

void box_keep_token(struct redis_store *s, enum store_box kind, const char *origin, const char *token)
{
    free(map_put(s->lent[kind], slice_str(origin), mem_strdup(token)));
}

char *box_take_token(struct redis_store *s, enum store_box kind, struct slice origin)
{
    char *token = map_remove(s->lent[kind], origin);
    return token ? token : mem_strdup("");
}

static bool forget_token(void *ctx, struct slice origin, void *token)
{
    (void)ctx;
    (void)origin;
    free(token);
    return true;
}

void box_forget_lends(struct redis_store *s)
{
    for (int kind = 0; kind < BOXES; kind++) {
        map_each(s->lent[kind], forget_token, NULL);
        map_free(s->lent[kind]);
    }
}

/* ---- put, done ---- */

/* A message on its way into a box, or out of it for good. */
struct change {
    struct job job;
    enum store_box kind;
    char tag[TAG_SIZE];
    struct entry *entry; /* NULL: it has arrived */
    bool lends;          /* it is on its way to a session: the token becomes its lender */
    char *origin, *token;
};

static void release_change(struct job *j)
{
    struct change *c = CONTAINER_OF(j, struct change, job);
    entry_free(c->entry);
    free(c->origin);
    free(c->token);
    free(c);
}

static void on_put(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct change *c = ctx;
    if (!job_answered(&c->job, a, reply))
        return;
    box_count_all(c->job.s, c->kind, c->tag, reply_at(reply, 1));
    job_done(&c->job);
}

static void on_done(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    static const enum metric row[BOXES] = {[BOX_MAIL] = METRIC_mailbox_delivered, [BOX_OUT] = METRIC_outbox_sent};
    struct change *c = ctx;
    if (!job_answered(&c->job, a, reply))
        return;
    count_add(c->job.s->o.counters, row[c->kind], (int64_t)reply_number(reply_at(reply, 1)));
    job_done(&c->job);
}

static void send_change(struct job *j)
{
    struct change *c = CONTAINER_OF(j, struct change, job);
    struct buf payload = {0};
    struct args a;
    args_begin(&a);
    box_add_keys(&a, c->tag, c->kind);
    args_str(&a, c->origin);
    if (c->entry) {
        char class = (char)('0' + c->entry->class);
        entry_write(j->s, c->tag, c->entry, &payload);
        args_add(&a, slice_of(&class, 1));
        args_add(&a, buf_slice(&payload));
        args_str(&a, c->token);
        if (c->lends)
            args_number(&a, to_ms(LEND_TIME));
        box_add_limits(j->s, &a);
        store_eval(j->s, j->slot, c->lends ? SCRIPT_LEND : SCRIPT_PUT, 2, &a, on_put, c);
    } else {
        box_add_limits(j->s, &a);
        store_eval(j->s, j->slot, SCRIPT_DONE, 2, &a, on_done, c);
    }
    buf_free(&payload);
}

static struct change *change_new(enum store_box kind, const char *tag, struct slice origin, char *token)
{
    struct change *c = MEM_NEW(struct change);
    c->job = (struct job){.send = send_change, .release = release_change};
    c->kind = kind;
    snprintf(c->tag, sizeof c->tag, "%.24s", tag);
    c->job.slot = slot_of_tag(c->tag);
    c->origin = mem_dup(origin);
    c->token = token;
    return c;
}

void box_give_back(struct redis_store *s, enum store_box kind, const char *tag, struct entry *e)
{
    struct slice origin = slice_str(e->origin);
    struct change *c = change_new(kind, tag, origin, box_take_token(s, kind, origin));
    c->entry = e;
    c->job.cost = sizeof *c + entry_cost(e->n);
    job_start(s, &c->job);
}

void box_lend(struct store *store, enum store_box kind, struct slice account, const char *sid, struct entry *e)
{
    struct redis_store *s = redis_store_self(store);
    char tag[TAG_SIZE];
    s->o.tag_of(s->o.ctx, account, tag);
    struct change *c = change_new(kind, tag, slice_str(e->origin), box_token(s, sid));
    box_keep_token(s, kind, e->origin, c->token);
    c->entry = e;
    c->lends = true;
    c->job.cost = sizeof *c + entry_cost(e->n);
    job_start(s, &c->job);
}

void box_put(struct store *store, enum store_box kind, struct slice account, struct entry *e)
{
    struct redis_store *s = redis_store_self(store);
    char tag[TAG_SIZE];
    s->o.tag_of(s->o.ctx, account, tag);
    box_give_back(s, kind, tag, e);
}

void box_done(struct store *store, enum store_box kind, struct slice account, struct slice origin)
{
    struct redis_store *s = redis_store_self(store);
    char tag[TAG_SIZE];
    s->o.tag_of(s->o.ctx, account, tag);
    struct change *c = change_new(kind, tag, origin, box_take_token(s, kind, origin));
    c->job.cost = sizeof *c + origin.n;
    job_start(s, &c->job);
}

/* ---- what is lent to a session, put right ---- */

struct lends {
    struct job job;
    enum store_box kind;
    char tag[TAG_SIZE];
    char *begin; /* of the tokens that it is about */
    char *token;
    struct buf held; /* origins that stay lent, each with its NUL */
};

static void release_lends(struct job *j)
{
    struct lends *l = CONTAINER_OF(j, struct lends, job);
    free(l->begin);
    free(l->token);
    buf_free(&l->held);
    free(l);
}

static void on_lends(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct lends *l = ctx;
    if (!job_answered(&l->job, a, reply))
        return;
    box_count_all(l->job.s, l->kind, l->tag, reply_at(reply, 1));
    job_done(&l->job);
}

static void send_lends(struct job *j)
{
    struct lends *l = CONTAINER_OF(j, struct lends, job);
    struct slice held = buf_slice(&l->held);
    struct args a;
    args_begin(&a);
    box_add_keys(&a, l->tag, l->kind);
    args_str(&a, l->begin);
    args_str(&a, l->token);
    args_number(&a, to_ms(LEND_TIME));
    for (; held.n && a.n < ARGS_MAX - 3; held = slice_skip(held, strlen(held.p) + 1))
        args_str(&a, held.p);
    box_add_limits(j->s, &a);
    store_eval(j->s, j->slot, SCRIPT_LENDS, 2, &a, on_lends, l);
}

static struct lends *lends_new(enum store_box kind, const char *tag, char *begin, char *token)
{
    struct lends *l = MEM_NEW(struct lends);
    l->job = (struct job){.send = send_lends, .release = release_lends, .slot = slot_of_tag(tag), .cost = sizeof *l};
    l->kind = kind;
    snprintf(l->tag, sizeof l->tag, "%.24s", tag);
    l->begin = begin;
    l->token = token;
    return l;
}

void box_relend(struct redis_store *s, const char *sid, struct entry *first)
{
    struct lends *mail = lends_new(BOX_MAIL, sid, mem_printf("%s:", sid), box_token(s, sid));
    for (const struct entry *e = first; e; e = e->next)
        if (e->origin) {
            buf_append(&mail->held, e->origin, strlen(e->origin) + 1);
            box_keep_token(s, BOX_MAIL, e->origin, mail->token);
        }
    job_start(s, &mail->job);
    /* what was sent to the server, and not confirmed, is sent again */
    job_start(s, &lends_new(BOX_OUT, sid, mem_printf("%s:", sid), box_token(s, sid))->job);
}

void box_free_others(struct redis_store *s, enum store_box kind, const char *tag, const char *token,
                     const struct entry *held)
{
    struct lends *l = lends_new(kind, tag, mem_strdup(token), mem_strdup(token));
    for (const struct entry *e = held; e; e = e->next)
        buf_append(&l->held, e->origin, strlen(e->origin) + 1);
    job_start(s, &l->job);
}
