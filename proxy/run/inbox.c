#include "run/inbox.h"
#include "base/mem.h"
#include <pthread.h>
#include <stdlib.h>

struct message {
    struct list link;
    void (*run)(void *owner, void *arg);
    void *arg;
};

struct inbox {
    pthread_mutex_t lock;
    struct list messages;
    void (*wake)(void *ctx);
    void *wake_ctx;
    void *owner;
    bool closed;
};

/* Takes all at once, so that the lock is not held while they run. */
void inbox_run(struct inbox *i)
{
    struct list taken;
    list_init(&taken);
    pthread_mutex_lock(&i->lock);
    LIST_FOREACH_SAFE(it, next, &i->messages)
    {
        list_remove(it);
        list_append(&taken, it);
    }
    pthread_mutex_unlock(&i->lock);
    LIST_FOREACH_SAFE(it, next, &taken)
    {
        struct message *m = CONTAINER_OF(it, struct message, link);
        m->run(i->owner, m->arg);
        free(m);
    }
}

static void on_wake(void *ctx)
{
    inbox_run(ctx);
}

static void wake_loop(void *ctx)
{
    loop_wake(ctx);
}

struct inbox *inbox_new_woken(void (*wake)(void *ctx), void *ctx, void *owner)
{
    struct inbox *i = MEM_NEW(struct inbox);
    pthread_mutex_init(&i->lock, NULL);
    list_init(&i->messages);
    i->wake = wake;
    i->wake_ctx = ctx;
    i->owner = owner;
    return i;
}

struct inbox *inbox_new(struct loop *loop, void *owner)
{
    struct inbox *i = inbox_new_woken(wake_loop, loop, owner);
    loop_on_wake(loop, on_wake, i);
    return i;
}

void inbox_close(struct inbox *i)
{
    pthread_mutex_lock(&i->lock);
    i->closed = true;
    pthread_mutex_unlock(&i->lock);
    inbox_run(i);
}

void inbox_free(struct inbox *i)
{
    pthread_mutex_destroy(&i->lock);
    free(i);
}

bool inbox_post(struct inbox *i, void (*run)(void *owner, void *arg), void *arg)
{
    struct message *m = MEM_NEW(struct message);
    m->run = run;
    m->arg = arg;
    pthread_mutex_lock(&i->lock);
    bool open = !i->closed;
    if (open) {
        list_append(&i->messages, &m->link);
        i->wake(i->wake_ctx); /* under the lock: the loop lives at least until the inbox is closed */
    }
    pthread_mutex_unlock(&i->lock);
    if (!open)
        free(m);
    return open;
}
