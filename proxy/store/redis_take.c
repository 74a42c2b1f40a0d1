/* What a box has for a session, lent to it. Where something is lent to a session of another node that nobody can take
 * over, that node is looked for: if it is gone, the message is free. If it seems to live, it is looked for again later,
 * for as long as the account has a session here. */
#include "base/mem.h"
#include "redis_impl.h"
#include <stdio.h>
#include <stdlib.h>

#define ORIGINS_MAX (ARGS_MAX - 16) /* in one command */
#define OWNERS_MAX  64              /* that are looked for; more are met the next time */
#define LOOK_AGAIN  (SIGN_TTL + USEC_S)

struct take {
    struct job job;
    enum store_box kind;
    char tag[TAG_SIZE], sid[SID_SIZE];
    char *token, *from;
    struct entry *first, **end;
    size_t n;
    bool locked;        /* some could not be read for want of a key */
    bool looked;        /* for those in the way */
    bool blocked;       /* one of them lives, or may live */
    struct map *owners; /* NODE/BOOT of those in the way -> the struct owner */
    size_t awaited;     /* answers about them */
    struct timer again;
    store_mail_fn *done;
    void *ctx;
};

/* Another node's run that has lent something. */
struct owner {
    struct take *take;
    bool gone;
    char *node; /* its BOOT lies in the same bytes */
};

static void answer(struct take *t)
{
    struct entry *first = t->first;
    t->first = NULL;
    if (t->done)
        t->done(t->ctx, first, t->n);
    t->done = NULL;
}

static bool free_owner(void *ctx, struct slice name, void *value)
{
    struct owner *o = value;
    (void)ctx;
    (void)name;
    free(o->node);
    free(o);
    return true;
}

static void release(struct job *j)
{
    struct take *t = CONTAINER_OF(j, struct take, job);
    answer(t);
    if (timer_armed(&t->again))
        map_remove(j->s->looks_again, slice_str(t->tag));
    timers_cancel(j->s->o.timers, &t->again);
    map_each(t->owners, free_owner, NULL);
    map_free(t->owners);
    free(t->token);
    free(t->from);
    free(t);
}

static void send_take(struct job *j);

static void begin(struct take *t)
{
    free(t->from);
    t->from = mem_strdup("-");
    t->end = &t->first;
    t->n = 0;
    t->locked = false;
}

/* ---- those in the way ---- */

static void on_again(void *ctx)
{
    struct take *t = ctx;
    map_remove(t->job.s->looks_again, slice_str(t->tag));
    store_tell_mail(t->job.s, t->tag);
    job_done(&t->job);
}

static void end(struct take *t)
{
    if (t->locked && t->n < ORIGINS_MAX) /* another node may have the key */
        box_free_others(t->job.s, t->kind, t->tag, t->token, t->first);
    answer(t);
    struct redis_store *s = t->job.s;
    if (!t->blocked || t->kind != BOX_MAIL || map_get(s->looks_again, slice_str(t->tag))) {
        job_done(&t->job);
        return;
    }
    map_put(s->looks_again, slice_str(t->tag), t);
    timers_arm(s->o.timers, &t->again, now_mono(s) + LOOK_AGAIN);
}

static bool is_any_gone(void *ctx, struct slice name, void *value)
{
    (void)name;
    *(bool *)ctx |= ((struct owner *)value)->gone;
    return true;
}

static void looked(struct take *t)
{
    bool any = false;
    if (--t->awaited)
        return;
    map_each(t->owners, is_any_gone, &any);
    if (!any) {
        end(t);
        return;
    }
    while (t->first) { /* once more from the beginning, so that all comes in its order */
        struct entry *next = t->first->next;
        entry_free(t->first);
        t->first = next;
    }
    begin(t);
    send_take(&t->job);
}

static void on_sign(void *ctx, enum sign sign, struct slice peer)
{
    struct owner *o = ctx;
    (void)peer;
    o->gone = sign == SIGN_NONE;
    o->take->blocked |= !o->gone;
    looked(o->take);
}

static bool look_for(void *ctx, struct slice name, void *value)
{
    struct owner *o = value;
    (void)ctx;
    o->node = mem_dup(name);
    sign_ask(o->take->job.s, o->node, owner_split(o->node), on_sign, o);
    return true;
}

static void look(struct take *t)
{
    t->looked = true;
    t->awaited = map_count(t->owners) + 1; /* answers may come at once */
    map_each(t->owners, look_for, NULL);
    looked(t);
}

static void note_owners(struct take *t, const struct redisReply *names)
{
    for (size_t i = 0; i < reply_count(names) && map_count(t->owners) < OWNERS_MAX; i++) {
        struct slice name = reply_text(names->element[i]);
        if (slice_eq_str(name, t->job.s->owner) || map_get(t->owners, name))
            continue;
        struct owner *o = MEM_NEW(struct owner);
        o->take = t;
        map_put(t->owners, name, o);
    }
}

/* ---- pages ---- */

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
        box_keep_token(s, t->kind, e->origin, t->token);
        e->number = 0;
        *t->end = e;
        t->end = &e->next;
        t->n++;
    }
}

static void on_take(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct take *t = ctx;
    if (a != REDIS_DONE || reply_count(reply) == 0) { /* who asks does not wait: it is free again, later */
        box_free_others(t->job.s, t->kind, t->tag, t->token, t->first);
        job_done(&t->job);
        return;
    }
    struct slice next = reply_text(reply_at(reply, 2));
    box_count_all(t->job.s, t->kind, NULL, reply_at(reply, 1));
    take_page(t, reply_at(reply, 3));
    if (!t->looked)
        note_owners(t, reply_at(reply, 4));
    if (next.n) {
        free(t->from);
        t->from = mem_dup(next);
        send_take(&t->job);
        return;
    }
    if (!t->looked && map_count(t->owners))
        look(t);
    else
        end(t);
}

/* ---- */

static bool add_gone(void *ctx, struct slice name, void *value)
{
    struct args *a = ctx;
    if (((struct owner *)value)->gone)
        args_add(a, name);
    return true;
}

static void send_take(struct job *j)
{
    struct take *t = CONTAINER_OF(j, struct take, job);
    struct args a;
    args_begin(&a);
    box_add_keys(&a, t->tag, t->kind);
    args_account_key(&a, t->tag, KEY_ACCOUNT);
    args_session_key(&a, t->sid, KEY_HASH);
    args_str(&a, t->from);
    args_number(&a, PAGE);
    args_str(&a, t->token);
    args_number(&a, to_ms(LEND_TIME));
    map_each(t->owners, add_gone, &a);
    box_add_limits(j->s, &a);
    store_eval(j->s, j->slot, SCRIPT_TAKE, 4, &a, on_take, t);
}

void box_take(struct store *store, enum store_box kind, struct slice account, const char *sid, store_mail_fn *done,
              void *ctx)
{
    struct redis_store *s = redis_store_self(store);
    struct take *t = MEM_NEW(struct take);
    t->job = (struct job){.send = send_take, .release = release, .cost = sizeof *t};
    t->kind = kind;
    s->o.tag_of(s->o.ctx, account, t->tag);
    t->job.slot = slot_of_tag(t->tag);
    snprintf(t->sid, sizeof t->sid, "%s", sid);
    t->token = box_token(s, sid);
    t->owners = map_new();
    t->again = (struct timer){.fire = on_again, .ctx = t};
    t->done = done;
    t->ctx = ctx;
    begin(t);
    job_start(s, &t->job);
}
