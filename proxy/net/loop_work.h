/* What the files of net/ ask of a loop beyond its public face: work put off to a certain point of the turn, and
 * memory that is shared by all transports of a loop.
 *
 *   a turn:  clock | NEXT tasks of the turn before | sockets, then timers | YIELD, HANDSHAKE, HELLO tasks | turn_end |
 *            FLUSH tasks | FREE tasks | sleep
 *
 * When thousands of clients come or go at once, those that are there have their say in between: NEXT has half a
 * millisecond of each turn; YIELD, HANDSHAKE and HELLO together as much, or a quarter of what the turn has taken so
 * far: who comes to a busy worker is to get in as well. What is left waits for the next turn, but one task at least of
 * NEXT, of YIELD, and of HANDSHAKE or HELLO is run. The loop does not sleep while any of these or FLUSH hold tasks. */
#ifndef HOLDFAST_NET_LOOP_WORK_H
#define HOLDFAST_NET_LOOP_WORK_H

#include "base/buf.h"
#include "net/loop.h"

enum loop_queue {
    LOOP_NEXT,      /* in the next turn, whatever the sockets say: the place for upcalls that cannot be made now */
    LOOP_YIELD,     /* reads of connections that yield to others (transport_yield) */
    LOOP_HANDSHAKE, /* steps of TLS handshakes, each of which takes as long as a dozen messages: the further ones, */
    LOOP_HELLO,     /* and the first: who has begun comes to an end before others begin */
    LOOP_FLUSH,     /* once at the end of this turn; must not call up */
    LOOP_FREE,      /* when all callbacks of this turn have returned */
    LOOP_CLOSING,   /* not run by turns: waits to say goodbye in peace; loop_free runs it to end it at once */
    LOOP_QUEUES
};

struct loop_task {
    struct list link;
    void (*run)(struct loop_task *task);
};

static inline void loop_task_init(struct loop_task *task, void (*run)(struct loop_task *task))
{
    list_init(&task->link);
    task->run = run;
}
/* Harmless when the task is queued already (anywhere). Each task runs once and leaves its queue first. */
void loop_queue(struct loop *l, enum loop_queue queue, struct loop_task *task);
static inline void loop_unqueue(struct loop_task *task)
{
    list_remove(&task->link);
}

unsigned long long loop_turn(const struct loop *l); /* counts the turns */

/* For a descriptor that lives on elsewhere, after its watchers were stopped. libev leaves it in the epoll set until it
 * has an event; by then another thread may have closed it and the number may be someone else's. */
void loop_forget_fd(struct loop *l, int fd);

/* Scratch memory for one read; valid until the callback that uses it returns. */
#define LOOP_READ_SIZE ((size_t)64 * 1024)
char *loop_read_buffer(struct loop *l);

/* An empty buffer with some room for whoever has bytes waiting, and its way back: connections without any own none. */
struct buf loop_take_buf(struct loop *l);
void loop_give_buf(struct loop *l, struct buf *b);

#endif
