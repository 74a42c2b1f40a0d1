/* Sessions whose time is up and whose owner does not end them: it is gone. Any node does it; the script checks again
 * whether the deadline has really passed, and takes the session away from whoever still thinks to have it. */
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "redis_impl.h"
#include <stdio.h>

#define REAP_EVERY (10 * USEC_S)
#define REAP_MOST  100 /* of one list at a time */

struct reaping {
    struct job job;
    char sid[SID_SIZE], mark[MARK_SIZE];
    size_t mail, out;
};

static void release_reaping(struct job *j)
{
    free(CONTAINER_OF(j, struct reaping, job));
}

/* The fates of what is not kept, as at the end of any session. */
static void count_lost(struct redis_store *s, const struct redisReply *down, const struct redisReply *up)
{
    static const enum metric row[] = {
        [CLASS_KEEP] = METRIC_down_discarded_message,          [CLASS_MESSAGE] = METRIC_down_discarded_message,
        [CLASS_CHAT_STATE] = METRIC_down_discarded_chat_state, [CLASS_GROUPCHAT] = METRIC_down_discarded_groupchat,
        [CLASS_IQ_REQUEST] = METRIC_down_discarded_iq,         [CLASS_IQ_REPLY] = METRIC_down_discarded_iq,
        [CLASS_PRESENCE] = METRIC_down_discarded_presence,
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        count_add(s->o.counters, row[i], (int64_t)reply_number(reply_at(down, i)));
        count_add(s->o.counters, METRIC_store_reaped_up_discarded, (int64_t)reply_number(reply_at(up, i)));
    }
}

static void send_reaping(struct job *j);

static void take_part(struct reaping *r, const struct redisReply *reply)
{
    struct redis_store *s = r->job.s;
    const struct redisReply *mail = reply_at(reply, 2), *out = reply_at(reply, 3);
    box_count_all(s, BOX_MAIL, r->sid, mail);
    box_count_all(s, BOX_OUT, r->sid, out);
    count_lost(s, reply_at(reply, 4), reply_at(reply, 5));
    size_t to_mail = (size_t)reply_number(reply_at(mail, BOX_COUNT_PUT)),
           to_out = (size_t)reply_number(reply_at(out, BOX_COUNT_PUT));
    count_add(s->o.counters, METRIC_down_mailbox, (int64_t)to_mail);
    r->mail += to_mail;
    r->out += to_out;
    if (reply_number(reply_at(reply, 1))) {
        send_reaping(&r->job);
        return;
    }
    LOG(LOG_INFO, "session of another node expired", LF("sid", r->sid), LF_INT("mail", r->mail), LF_INT("out", r->out));
    count(s->o.counters, METRIC_store_reaped);
    store_set_deadline(s, r->sid, -1);
    job_done(&r->job);
}

/* Not repeated by itself: it stays on its list, and whoever looks there next goes on. */
static void on_part(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct reaping *r = ctx;
    struct redis_store *s = r->job.s;
    const struct redisReply *word = reply_at(reply, 0);
    if (a == REDIS_DONE && reply_is(word, "ok")) {
        take_part(r, reply);
        return;
    }
    if (a == REDIS_DONE && reply_is(word, "gone"))
        store_set_deadline(s, r->sid, -1);
    else if (a == REDIS_DONE && reply_is(word, "later"))
        store_set_deadline(s, r->sid, (usec)reply_number(reply_at(reply, 1)) * USEC_MS);
    job_done(&r->job);
}

static void send_reaping(struct job *j)
{
    struct reaping *r = CONTAINER_OF(j, struct reaping, job);
    struct args a;
    args_begin(&a);
    args_session_keys(&a, r->sid, SESSION_KEYS);
    args_str(&a, r->sid);
    args_str(&a, r->mark);
    args_number(&a, ttl_with_jitter(j->s->o.tombstone_ttl));
    args_number(&a, PAGE);
    box_add_limits(j->s, &a);
    store_eval(j->s, j->slot, SCRIPT_REAP, SESSION_KEYS, &a, on_part, r);
}

static void reap(struct redis_store *s, struct slice sid)
{
    if (sid.n != SID_SIZE - 1 || map_get(s->kept, sid)) /* its owner is here: it ends it itself */
        return;
    struct reaping *r = MEM_NEW(struct reaping);
    r->job = (struct job){.send = send_reaping, .release = release_reaping, .cost = sizeof *r};
    memcpy(r->sid, sid.p, sid.n);
    mark_new(r->mark);
    r->job.slot = slot_of_tag(r->sid);
    job_start(s, &r->job);
}

static void on_due(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct redis_store *s = ctx;
    for (size_t i = 0; a == REDIS_DONE && i < reply_count(reply); i++)
        reap(s, reply_text(reply->element[i]));
}

static void ask_for_due(struct redis_store *s, unsigned bucket)
{
    char key[KEY_SIZE];
    struct slice list = key_of_deadlines(key, bucket);
    struct args a;
    args_begin(&a);
    args_str(&a, "ZRANGEBYSCORE");
    args_add(&a, list);
    args_str(&a, "-inf");
    args_number(&a, to_ms(s->o.clock->wall));
    args_str(&a, "LIMIT");
    args_str(&a, "0");
    args_number(&a, REAP_MOST);
    store_send(s, redis_slot(list), &a, on_due, s);
}

static void on_timer(void *ctx)
{
    struct redis_store *s = ctx;
    usec now = now_mono(s);
    if (s->met && now >= s->reap_after && now >= s->harmless_until)
        for (unsigned bucket = s->o.reaper; bucket < DEADLINES; bucket += s->o.reapers)
            ask_for_due(s, bucket);
    timers_arm(s->o.timers, &s->reap, now + REAP_EVERY + random_below((uint32_t)REAP_EVERY / 2));
}

void reap_init(struct redis_store *s)
{
    s->reap = (struct timer){.fire = on_timer, .ctx = s};
    if (s->o.reapers)
        timers_arm(s->o.timers, &s->reap, now_mono(s) + random_below((uint32_t)REAP_EVERY));
}
