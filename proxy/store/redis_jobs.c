/* Operations that must not be lost: each is sent again, from where it was, until Redis has answered it. All of them are
 * such that doing one twice does no harm. */
#include "base/log.h"
#include "base/mem.h"
#include "redis_impl.h"

static void set_waiting(struct job *j)
{
    struct redis_store *s = j->s;
    list_remove(&j->link);
    list_append(&s->waiting, &j->link);
    s->waiting_count++;
    count_add(s->o.counters, METRIC_store_waiting, 1);
    store_retry_later(s);
}

static void unset_waiting(struct job *j)
{
    struct redis_store *s = j->s;
    list_remove(&j->link);
    list_append(&s->jobs, &j->link);
    s->waiting_count--;
    count_add(s->o.counters, METRIC_store_waiting, -1);
}

static bool may_run(const struct job *j)
{
    return j->s->redis && (!j->ends || now_mono(j->s) >= j->s->harmless_until);
}

void job_start(struct redis_store *s, struct job *j)
{
    j->s = s;
    list_init(&j->link);
    store_memory(s, (int64_t)j->cost);
    if (!may_run(j)) {
        set_waiting(j);
        return;
    }
    list_append(&s->jobs, &j->link);
    j->send(j);
}

void job_away(struct job *j)
{
    set_waiting(j);
}

void job_done(struct job *j)
{
    list_remove(&j->link);
    store_memory(j->s, -(int64_t)j->cost);
    j->release(j);
}

bool job_answered(struct job *j, enum redis_answer a, const struct redisReply *reply)
{
    if (a == REDIS_DONE && reply_count(reply) > 0)
        return true;
    if (a == REDIS_ERROR)
        LOG(LOG_ERROR, "redis refuses an operation, which is tried again", LF_SLICE("error", reply_text(reply)));
    job_away(j);
    return false;
}

void jobs_retry(struct redis_store *s, unsigned first_slot, unsigned last_slot)
{
    struct list again; /* for what is sent may come to wait again at once */
    list_init(&again);
    LIST_FOREACH_SAFE(it, next, &s->waiting)
    {
        struct job *j = CONTAINER_OF(it, struct job, link);
        if (j->slot >= first_slot && j->slot <= last_slot && may_run(j)) {
            list_remove(it);
            list_append(&again, it);
        }
    }
    for (struct list *it; (it = list_first(&again));) {
        struct job *j = CONTAINER_OF(it, struct job, link);
        unset_waiting(j);
        j->send(j);
    }
    if (!list_is_empty(&s->waiting))
        store_retry_later(s);
}

static void free_list(struct list *jobs)
{
    for (struct list *it; (it = list_first(jobs));)
        job_done(CONTAINER_OF(it, struct job, link));
}

void jobs_free(struct redis_store *s)
{
    count_add(s->o.counters, METRIC_store_waiting, -(int64_t)s->waiting_count);
    s->waiting_count = 0;
    free_list(&s->waiting);
    free_list(&s->jobs);
}
