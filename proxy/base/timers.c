#include "base/timers.h"
#include "base/mem.h"
#include <stdlib.h>

struct timers {
    struct timer **heap; /* heap[1] is the earliest */
    size_t n, cap;
};

struct timers *timers_new(void)
{
    struct timers *t = MEM_NEW(struct timers);
    t->cap = 64;
    t->heap = mem_alloc(t->cap * sizeof *t->heap);
    return t;
}

void timers_free(struct timers *t)
{
    if (t) {
        free(t->heap);
        free(t);
    }
}

static void place(struct timers *t, size_t i, struct timer *timer)
{
    t->heap[i] = timer;
    timer->index = i;
}

static void sift_up(struct timers *t, size_t i)
{
    struct timer *timer = t->heap[i];
    for (; i > 1 && t->heap[i / 2]->at > timer->at; i /= 2)
        place(t, i, t->heap[i / 2]);
    place(t, i, timer);
}

static void sift_down(struct timers *t, size_t i)
{
    struct timer *timer = t->heap[i];
    for (size_t child; (child = 2 * i) <= t->n; i = child) {
        if (child < t->n && t->heap[child + 1]->at < t->heap[child]->at)
            child++;
        if (t->heap[child]->at >= timer->at)
            break;
        place(t, i, t->heap[child]);
    }
    place(t, i, timer);
}

void timers_arm(struct timers *t, struct timer *timer, usec at)
{
    if (!timer->index) {
        if (t->n + 2 > t->cap) {
            t->cap *= 2;
            t->heap = mem_realloc(t->heap, t->cap * sizeof *t->heap);
        }
        place(t, ++t->n, timer);
    }
    timer->at = at;
    sift_up(t, timer->index);
    sift_down(t, timer->index);
}

void timers_arm_by(struct timers *t, struct timer *timer, usec at)
{
    if (!timer->index || timer->at > at)
        timers_arm(t, timer, at);
}

void timers_cancel(struct timers *t, struct timer *timer)
{
    size_t i = timer->index;
    if (!i)
        return;
    timer->index = 0;
    struct timer *last = t->heap[t->n--];
    if (last == timer)
        return;
    place(t, i, last);
    sift_up(t, i);
    sift_down(t, last->index);
}

usec timers_next(const struct timers *t)
{
    return t->n ? t->heap[1]->at : -1;
}

size_t timers_run(struct timers *t, usec now, size_t budget)
{
    size_t fired = 0;
    while (fired < budget && t->n && t->heap[1]->at <= now) {
        struct timer *timer = t->heap[1];
        timers_cancel(t, timer);
        fired++;
        timer->fire(timer->ctx);
    }
    return fired;
}
