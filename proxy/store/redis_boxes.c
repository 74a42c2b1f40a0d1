/* Mailboxes and outboxes. A message that was taken is lent, under a token that names the session; whoever puts it back
 * has to know the token, so that one who was away for too long cannot take it from its next holder. */
#include "base/mem.h"
#include "redis_impl.h"
#include "store/memory.h"
#include <stdio.h>

#define HELD_MAX  (ARGS_MAX - 16) /* origins in one command */
#define LEND_TIME (600 * USEC_S)  /* longer than any session that is gone without a word could still hand it over */

static const enum session_key box_key[BOXES] = {[BOX_MAIL] = KEY_MAIL, [BOX_OUT] = KEY_OUT};
static const enum session_key index_key[BOXES] = {[BOX_MAIL] = KEY_MAIL_INDEX, [BOX_OUT] = KEY_OUT_INDEX};

void box_add_limits(const struct redis_store *s, struct args *a)
{
    args_number(a, to_ms(s->o.mailbox_ttl));
    args_number(a, MAILBOX_MESSAGES);
    args_number(a, (int64_t)MAILBOX_BYTES);
}

/* METRICS: no row for that. */
void box_count_all(struct redis_store *s, enum store_box kind, const struct redisReply *counts)
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
}

/* ---- tokens ---- */

void box_token(char token[SID_SIZE + MARK_SIZE], const char *sid)
{
    char mark[MARK_SIZE];
    mark_new(mark);
    snprintf(token, SID_SIZE + MARK_SIZE, "%.48s:%s", sid, mark);
}

static void keep_token(struct redis_store *s, enum store_box kind, const char *origin, const char *token)
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
    box_count_all(c->job.s, c->kind, reply_at(reply, 1));
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
    args_account_key(&a, c->tag, box_key[c->kind]);
    args_account_key(&a, c->tag, index_key[c->kind]);
    args_str(&a, c->origin);
    if (c->entry) {
        char class = (char)('0' + c->entry->class);
        entry_write(j->s, c->tag, c->entry, &payload);
        args_add(&a, slice_of(&class, 1));
        args_add(&a, buf_slice(&payload));
        args_str(&a, c->token);
        box_add_limits(j->s, &a);
        store_eval(j->s, j->slot, SCRIPT_PUT, 2, &a, on_put, c);
    } else {
        box_add_limits(j->s, &a);
        store_eval(j->s, j->slot, SCRIPT_DONE, 2, &a, on_done, c);
    }
    buf_free(&payload);
}

static struct change *change_new(struct redis_store *s, enum store_box kind, const char *tag, struct slice origin)
{
    struct change *c = MEM_NEW(struct change);
    c->job = (struct job){.send = send_change, .release = release_change};
    c->kind = kind;
    snprintf(c->tag, sizeof c->tag, "%.24s", tag);
    c->job.slot = slot_of_tag(c->tag);
    c->origin = mem_dup(origin);
    c->token = box_take_token(s, kind, origin);
    return c;
}

void box_give_back(struct redis_store *s, enum store_box kind, const char *tag, struct entry *e)
{
    struct change *c = change_new(s, kind, tag, slice_str(e->origin));
    c->entry = e;
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
    struct change *c = change_new(s, kind, tag, origin);
    c->job.cost = sizeof *c + origin.n;
    job_start(s, &c->job);
}

/* ---- what is lent to a session, put right ---- */

struct lends {
    struct job job;
    enum store_box kind;
    char tag[TAG_SIZE];
    char *begin; /* of the tokens that it is about */
    char token[SID_SIZE + MARK_SIZE];
    struct buf held; /* origins that stay lent, each with its NUL */
};

static void release_lends(struct job *j)
{
    struct lends *l = CONTAINER_OF(j, struct lends, job);
    free(l->begin);
    buf_free(&l->held);
    free(l);
}

static void on_lends(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct lends *l = ctx;
    if (!job_answered(&l->job, a, reply))
        return;
    box_count_all(l->job.s, l->kind, reply_at(reply, 1));
    job_done(&l->job);
}

static void send_lends(struct job *j)
{
    struct lends *l = CONTAINER_OF(j, struct lends, job);
    struct slice held = buf_slice(&l->held);
    struct args a;
    args_begin(&a);
    args_account_key(&a, l->tag, box_key[l->kind]);
    args_account_key(&a, l->tag, index_key[l->kind]);
    args_str(&a, l->begin);
    args_str(&a, l->token);
    args_number(&a, to_ms(LEND_TIME));
    for (; held.n && a.n < ARGS_MAX - 3; held = slice_skip(held, strlen(held.p) + 1))
        args_str(&a, held.p);
    box_add_limits(j->s, &a);
    store_eval(j->s, j->slot, SCRIPT_LENDS, 2, &a, on_lends, l);
}

static struct lends *lends_new(enum store_box kind, const char *tag, char *begin)
{
    struct lends *l = MEM_NEW(struct lends);
    l->job = (struct job){.send = send_lends, .release = release_lends, .slot = slot_of_tag(tag), .cost = sizeof *l};
    l->kind = kind;
    snprintf(l->tag, sizeof l->tag, "%.24s", tag);
    l->begin = begin;
    box_token(l->token, begin);
    return l;
}

void box_relend(struct redis_store *s, const char *sid, struct entry *first)
{
    struct lends *mail = lends_new(BOX_MAIL, sid, mem_printf("%s:", sid));
    for (const struct entry *e = first; e; e = e->next)
        if (e->origin) {
            buf_append(&mail->held, e->origin, strlen(e->origin) + 1);
            keep_token(s, BOX_MAIL, e->origin, mail->token);
        }
    job_start(s, &mail->job);
    /* what was sent to the server, and not confirmed, is sent again */
    job_start(s, &lends_new(BOX_OUT, sid, mem_printf("%s:", sid))->job);
}

/* ---- take ---- */

struct take {
    struct job job;
    enum store_box kind;
    char tag[TAG_SIZE], sid[SID_SIZE], token[SID_SIZE + MARK_SIZE];
    char *from;
    struct entry *first, **end;
    size_t n;
    bool locked; /* some could not be read for want of a key */
    store_mail_fn *done;
    void *ctx;
};

static void answer_take(struct take *t)
{
    struct entry *first = t->first;
    t->first = NULL;
    if (t->done)
        t->done(t->ctx, first, t->n);
    t->done = NULL;
}

static void release_take(struct job *j)
{
    struct take *t = CONTAINER_OF(j, struct take, job);
    answer_take(t);
    free(t->from);
    free(t);
}

static void send_take(struct job *j);

static void take_page(struct take *t, const struct redisReply *page)
{
    struct redis_store *s = t->job.s;
    for (size_t i = 0; i < reply_count(page); i++) {
        struct entry *e;
        t->locked |= entry_read(s, t->tag, page->element[i], &e) == OPENED_LOCKED;
        if (!e || !e->origin) { /* what is damaged stays lent, so that it is not read again and again */
            entry_free(e);
            continue;
        }
        keep_token(s, t->kind, e->origin, t->token);
        e->number = 0;
        *t->end = e;
        t->end = &e->next;
        t->n++;
    }
}

/* What was read stays lent, the rest is free for others. */
static void free_rest(struct take *t)
{
    struct lends *l = lends_new(t->kind, t->tag, mem_strdup(t->token));
    for (const struct entry *e = t->first; e; e = e->next)
        buf_append(&l->held, e->origin, strlen(e->origin) + 1);
    memcpy(l->token, t->token, sizeof l->token);
    job_start(t->job.s, &l->job);
}

static void on_take(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct take *t = ctx;
    if (a != REDIS_DONE || reply_count(reply) == 0) { /* who asks does not wait: it is free again, later */
        free_rest(t);
        job_done(&t->job);
        return;
    }
    struct slice next = reply_text(reply_at(reply, 2));
    box_count_all(t->job.s, t->kind, reply_at(reply, 1));
    take_page(t, reply_at(reply, 3));
    if (next.n) {
        free(t->from);
        t->from = mem_dup(next);
        send_take(&t->job);
        return;
    }
    if (t->locked && t->n < HELD_MAX) /* another node may have the key */
        free_rest(t);
    answer_take(t);
    job_done(&t->job);
}

static void send_take(struct job *j)
{
    struct take *t = CONTAINER_OF(j, struct take, job);
    struct args a;
    args_begin(&a);
    args_account_key(&a, t->tag, box_key[t->kind]);
    args_account_key(&a, t->tag, index_key[t->kind]);
    args_account_key(&a, t->tag, KEY_ACCOUNT);
    args_session_key(&a, t->sid, KEY_HASH);
    args_str(&a, t->from);
    args_number(&a, PAGE);
    args_str(&a, t->token);
    args_number(&a, to_ms(LEND_TIME));
    args_str(&a, t->sid);
    box_add_limits(j->s, &a);
    store_eval(j->s, j->slot, SCRIPT_TAKE, 4, &a, on_take, t);
}

void box_take(struct store *store, enum store_box kind, struct slice account, const char *sid, store_mail_fn *done,
              void *ctx)
{
    struct redis_store *s = redis_store_self(store);
    struct take *t = MEM_NEW(struct take);
    t->job = (struct job){.send = send_take, .release = release_take, .cost = sizeof *t};
    t->kind = kind;
    s->o.tag_of(s->o.ctx, account, t->tag);
    t->job.slot = slot_of_tag(t->tag);
    snprintf(t->sid, sizeof t->sid, "%s", sid);
    box_token(t->token, sid);
    t->from = mem_strdup("-");
    t->end = &t->first;
    t->done = done;
    t->ctx = ctx;
    job_start(s, &t->job);
}
