#include "net/loop.h"
#include "base/mem.h"
#include "loop_work.h"
#include <ev.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define TIMER_BUDGET  1000          /* timers of one turn, so that a storm of them does not keep sockets waiting */
#define TASK_BUDGET   (USEC_MS / 2) /* tasks of one turn, likewise; at least one is run */
#define COMING_MAX    (5 * USEC_MS) /* what those who come have of a long turn */
#define SPARE_BUFS    64            /* kept for reuse */
#define SPARE_BUF_MAX 65536u        /* larger ones go back to the system */

struct loop {
    struct ev_loop *ev;
    ev_check begin;
    ev_prepare end;
    ev_idle awake; /* active while there is work: libev does not sleep then */
    ev_timer alarm;
    usec alarm_at; /* deadline that `alarm` is set to, -1 = none */
    ev_async wake;

    struct clock clock;
    struct timers *timers;
    bool in_turn;
    unsigned long long turn;
    usec last_turn, longest_turn;

    void (*turn_end)(void *ctx);
    void *turn_end_ctx;
    void (*turn_done)(void *ctx);
    void *turn_done_ctx;
    void (*woken)(void *ctx);
    void *woken_ctx;

    struct list queues[LOOP_QUEUES];
    struct buf spare[SPARE_BUFS];
    size_t spares;
    char *read_buffer;
};

void loop_queue(struct loop *l, enum loop_queue queue, struct loop_task *task)
{
    if (!list_is_linked(&task->link))
        list_append(&l->queues[queue], &task->link);
}

/* All of it, ahead of what is in the other list. */
static void put_ahead(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->prev->next = to->next;
    to->next->prev = from->prev;
    to->next = from->next;
    from->next->prev = to;
    list_init(from);
}

static usec time_now(void)
{
    struct clock now;
    clock_read(&now);
    return now.mono;
}

/* Runs what is queued now, as far as time goes; what these tasks queue in turn waits for the next time. True: that was
 * all. */
static bool run_queue_until(struct loop *l, enum loop_queue queue, usec until)
{
    struct list now, *first;
    list_init(&now);
    put_ahead(&now, &l->queues[queue]);
    while ((first = list_first(&now))) {
        list_remove(first);
        struct loop_task *task = CONTAINER_OF(first, struct loop_task, link);
        task->run(task);
        if (until >= 0 && time_now() >= until)
            break;
    }
    bool all = list_is_empty(&now);
    put_ahead(&l->queues[queue], &now);
    return all;
}

static void run_queue(struct loop *l, enum loop_queue queue)
{
    run_queue_until(l, queue, -1);
}

static bool has_tasks(const struct loop *l, enum loop_queue queue)
{
    return !list_is_empty(&l->queues[queue]);
}

/* The alarm only ends the sleep in time; setting it anew costs, so it is left alone while the deadline is the same. */
static void set_alarm(struct loop *l)
{
    usec next = timers_next(l->timers);
    if (next == l->alarm_at && (next < 0 || ev_is_active(&l->alarm)))
        return;
    ev_timer_stop(l->ev, &l->alarm);
    l->alarm_at = next;
    if (next < 0)
        return;
    usec left = next > l->clock.mono ? next - l->clock.mono : 0;
    ev_timer_set(&l->alarm, (double)left / USEC_S, 0.);
    ev_timer_start(l->ev, &l->alarm);
}

static void begin_turn(struct loop *l)
{
    clock_read(&l->clock);
    l->turn++;
    l->in_turn = true;
    if (has_tasks(l, LOOP_NEXT))
        run_queue_until(l, LOOP_NEXT, l->clock.mono + TASK_BUDGET);
}

static bool is_somebody_coming(const struct loop *l)
{
    return has_tasks(l, LOOP_YIELD) || has_tasks(l, LOOP_HANDSHAKE) || has_tasks(l, LOOP_HELLO);
}

/* Behind the sockets: who is there goes first, and of those who come, who has come furthest. */
static void run_coming(struct loop *l)
{
    if (!is_somebody_coming(l))
        return;
    usec now = time_now(), share = (now - l->clock.mono) / 4;
    usec until = now + (share < TASK_BUDGET ? TASK_BUDGET : share < COMING_MAX ? share : COMING_MAX);
    run_queue_until(l, LOOP_YIELD, until);
    if (run_queue_until(l, LOOP_HANDSHAKE, until))
        run_queue_until(l, LOOP_HELLO, until);
}

static void end_turn(struct loop *l)
{
    if (l->turn_end)
        l->turn_end(l->turn_end_ctx);
    run_queue(l, LOOP_FLUSH);
    bool freed = has_tasks(l, LOOP_FREE); /* turn_end may want to know that something is gone */
    run_queue(l, LOOP_FREE);
    if (freed || has_tasks(l, LOOP_NEXT) || is_somebody_coming(l) || has_tasks(l, LOOP_FLUSH))
        ev_idle_start(l->ev, &l->awake);
    else
        ev_idle_stop(l->ev, &l->awake);
    set_alarm(l);
    if (l->in_turn) {
        l->last_turn = time_now() - l->clock.mono;
        if (l->last_turn > l->longest_turn)
            l->longest_turn = l->last_turn;
        l->in_turn = false;
        if (l->turn_done)
            l->turn_done(l->turn_done_ctx);
    }
}

static void on_begin(struct ev_loop *ev, ev_check *w, int revents)
{
    (void)ev, (void)revents;
    begin_turn(w->data);
}

static void on_end(struct ev_loop *ev, ev_prepare *w, int revents)
{
    (void)ev, (void)revents;
    run_coming(w->data);
    end_turn(w->data);
}

static void on_idle(struct ev_loop *ev, ev_idle *w, int revents)
{
    (void)ev, (void)w, (void)revents;
}

static void on_alarm(struct ev_loop *ev, ev_timer *w, int revents)
{
    (void)ev, (void)revents;
    struct loop *l = w->data;
    timers_run(l->timers, l->clock.mono, TIMER_BUDGET);
}

static void on_wake(struct ev_loop *ev, ev_async *w, int revents)
{
    (void)ev, (void)revents;
    struct loop *l = w->data;
    if (l->woken)
        l->woken(l->woken_ctx);
}

/* OpenSSL writes to sockets without MSG_NOSIGNAL; a program that handles the signal itself keeps its handler. */
static void ignore_sigpipe(void)
{
    struct sigaction act;
    if (sigaction(SIGPIPE, NULL, &act) == 0 && act.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

static void start_watchers(struct loop *l)
{
    ev_check_init(&l->begin, on_begin);
    ev_prepare_init(&l->end, on_end);
    ev_idle_init(&l->awake, on_idle);
    ev_timer_init(&l->alarm, on_alarm, 0., 0.);
    ev_async_init(&l->wake, on_wake);
    l->begin.data = l->end.data = l->alarm.data = l->wake.data = l;
    ev_set_priority(&l->begin, EV_MAXPRI); /* ahead of the sockets of its turn */
    ev_set_priority(&l->alarm, EV_MINPRI); /* behind them: what has arrived in time is not timed out */
    ev_check_start(l->ev, &l->begin);
    ev_prepare_start(l->ev, &l->end);
    ev_async_start(l->ev, &l->wake);
}

struct loop *loop_new(void)
{
    ignore_sigpipe();
    struct loop *l = MEM_NEW(struct loop);
    l->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (!l->ev)
        abort(); /* no descriptors or memory for a loop at the start: nothing could go on */
    clock_read(&l->clock);
    l->timers = timers_new();
    l->alarm_at = -1;
    for (int i = 0; i < LOOP_QUEUES; i++)
        list_init(&l->queues[i]);
    start_watchers(l);
    return l;
}

void loop_free(struct loop *l)
{
    run_queue(l, LOOP_FLUSH); /* a last chance for what was written after the loop had stopped */
    run_queue(l, LOOP_CLOSING);
    run_queue(l, LOOP_FREE);
    ev_loop_destroy(l->ev);
    timers_free(l->timers);
    while (l->spares)
        buf_free(&l->spare[--l->spares]);
    free(l->read_buffer);
    free(l);
}

void loop_run(struct loop *l)
{
    clock_read(&l->clock);
    ev_now_update(l->ev);
    ev_run(l->ev, 0);
    if (l->in_turn)
        end_turn(l); /* what was written in the turn that stopped the loop leaves as well */
}

void loop_stop(struct loop *l)
{
    ev_break(l->ev, EVBREAK_ALL);
}

const struct clock *loop_clock(const struct loop *l)
{
    return &l->clock;
}

struct timers *loop_timers(struct loop *l)
{
    return l->timers;
}

struct ev_loop *loop_ev(struct loop *l)
{
    return l->ev;
}

void loop_on_turn_end(struct loop *l, void (*turn_end)(void *ctx), void *ctx)
{
    l->turn_end = turn_end;
    l->turn_end_ctx = ctx;
}

void loop_on_turn_done(struct loop *l, void (*turn_done)(void *ctx), void *ctx)
{
    l->turn_done = turn_done;
    l->turn_done_ctx = ctx;
}

void loop_on_wake(struct loop *l, void (*woken)(void *ctx), void *ctx)
{
    l->woken = woken;
    l->woken_ctx = ctx;
}

void loop_wake(struct loop *l)
{
    ev_async_send(l->ev, &l->wake);
}

usec loop_last_turn(const struct loop *l)
{
    return l->last_turn;
}

usec loop_longest_turn(struct loop *l)
{
    usec longest = l->longest_turn;
    l->longest_turn = 0;
    return longest;
}

size_t loop_closing(const struct loop *l)
{
    size_t n = 0;
    for (const struct list *it = l->queues[LOOP_CLOSING].next; it != &l->queues[LOOP_CLOSING]; it = it->next)
        n++;
    return n;
}

unsigned long long loop_turn(const struct loop *l)
{
    return l->turn;
}

char *loop_read_buffer(struct loop *l)
{
    if (!l->read_buffer)
        l->read_buffer = mem_alloc(LOOP_READ_SIZE);
    return l->read_buffer;
}

/* libev has no call for its epoll descriptor, but tells it to whoever embeds the loop. Asked each time: libev makes
 * itself a new one when it meets an inconsistency. */
static int epoll_descriptor(struct loop *l)
{
    struct ev_embed embed;
    ev_embed_init(&embed, NULL, l->ev);
    ev_embed_start(l->ev, &embed);
    int fd = embed.io.fd;
    ev_embed_stop(l->ev, &embed);
    return fd;
}

void loop_forget_fd(struct loop *l, int fd)
{
    struct epoll_event none = {0};
    (void)epoll_ctl(epoll_descriptor(l), EPOLL_CTL_DEL, fd, &none); /* fails when it was never watched */
}

struct buf loop_take_buf(struct loop *l)
{
    return l->spares ? l->spare[--l->spares] : (struct buf){0};
}

void loop_give_buf(struct loop *l, struct buf *b)
{
    if (b->data && b->cap <= SPARE_BUF_MAX && l->spares < SPARE_BUFS) {
        buf_clear(b);
        l->spare[l->spares++] = *b;
        *b = (struct buf){0};
    } else {
        buf_free(b);
    }
}
