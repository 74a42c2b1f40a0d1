#include "question.h"

void question_init(struct question *q, void (*free)(struct question *q))
{
    pthread_condattr_t by_monotonic;
    pthread_condattr_init(&by_monotonic);
    pthread_condattr_setclock(&by_monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->answered, &by_monotonic);
    pthread_condattr_destroy(&by_monotonic);
    q->refs = 1;
    q->missing = 0;
    q->free = free;
}

void question_release(struct question *q)
{
    pthread_mutex_lock(&q->lock);
    bool last = --q->refs == 0;
    pthread_mutex_unlock(&q->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->answered);
    q->free(q);
}

static void expect(struct question *q, int n)
{
    pthread_mutex_lock(&q->lock);
    q->refs += (unsigned)n;
    q->missing += (unsigned)n;
    pthread_mutex_unlock(&q->lock);
}

bool question_post(struct question *q, struct inbox *to, void (*run)(void *owner, void *q))
{
    expect(q, 1); /* ahead of the post: the answer may come before this returns */
    bool posted = inbox_post(to, run, q);
    if (!posted)
        expect(q, -1);
    return posted;
}

void question_answer(struct question *q)
{
    pthread_mutex_lock(&q->lock);
    if (--q->missing == 0)
        pthread_cond_signal(&q->answered);
    pthread_mutex_unlock(&q->lock);
    question_release(q);
}

bool question_wait(struct question *q, usec longest)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += longest / USEC_S;
    until.tv_nsec += (longest % USEC_S) * 1000;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    int late = 0;
    pthread_mutex_lock(&q->lock);
    while (q->missing && !late)
        late = pthread_cond_timedwait(&q->answered, &q->lock, &until);
    bool complete = q->missing == 0;
    pthread_mutex_unlock(&q->lock);
    return complete;
}
