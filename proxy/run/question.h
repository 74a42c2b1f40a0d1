/* A question to other threads. Each answers on its own, between two events of its loop; who asks waits, but not for
 * ever: an answer may come when nobody wants it any more, so the last one to let go of the question frees it. */
#ifndef HOLDFAST_RUN_QUESTION_H
#define HOLDFAST_RUN_QUESTION_H

#include "base/clock.h"
#include "run/inbox.h"
#include <pthread.h>

/* The first member of what is asked and answered. */
struct question {
    pthread_mutex_t lock; /* held to write an answer down, and to read answers while not all have come */
    pthread_cond_t answered;
    unsigned refs, missing;
    void (*free)(struct question *q);
};

void question_init(struct question *q, void (*free)(struct question *q));
/* Has run(owner of the inbox, q) called on that thread; question_answer must follow there, at once or later. False: the
 * thread is gone, and no answer will come. */
bool question_post(struct question *q, struct inbox *to, void (*run)(void *owner, void *q));
/* The question is not to be touched behind it. */
void question_answer(struct question *q);
/* Whether all answers have come. */
bool question_wait(struct question *q, usec longest);
void question_release(struct question *q);

#endif
