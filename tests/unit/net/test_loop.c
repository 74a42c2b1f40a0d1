#include "support.h"
#include "../../../proxy/net/loop_work.h"
#include <pthread.h>

struct record {
    struct loop *l;
    struct timer timer;
    struct loop_task next, flush, gone;
    char order[64];
    int turn_ends, wakes;
    usec fired_at;
};

static void note(struct record *r, const char *what)
{
    strcat(r->order, what);
}

static void on_next(struct loop_task *task)
{
    note(CONTAINER_OF(task, struct record, next), "n");
}

static void on_flush(struct loop_task *task)
{
    struct record *r = CONTAINER_OF(task, struct record, flush);
    note(r, "f");
    loop_queue(r->l, LOOP_NEXT, &r->next);
}

static void on_gone(struct loop_task *task)
{
    note(CONTAINER_OF(task, struct record, gone), "g");
}

static void on_timer(void *ctx)
{
    struct record *r = ctx;
    note(r, "t");
    r->fired_at = loop_clock(r->l)->mono;
    loop_queue(r->l, LOOP_FREE, &r->gone);
    loop_queue(r->l, LOOP_FLUSH, &r->flush);
}

static void on_turn_end(void *ctx)
{
    struct record *r = ctx;
    note(r, "e");
    if (strchr(r->order, 'n'))
        loop_stop(r->l);
}

static struct record *record_new(void)
{
    struct record *r = MEM_NEW(struct record);
    r->l = loop_new();
    loop_task_init(&r->next, on_next);
    loop_task_init(&r->flush, on_flush);
    loop_task_init(&r->gone, on_gone);
    return r;
}

static void record_free(struct record *r)
{
    loop_free(r->l);
    free(r);
}

/* turn_end, then flush, then free; work made by the flush comes in a turn of its own, at once and without a socket. */
static void a_turn_has_its_order(void **state)
{
    (void)state;
    struct record *r = record_new();
    r->timer = (struct timer){.fire = on_timer, .ctx = r};
    usec at = loop_clock(r->l)->mono + 20 * USEC_MS;
    timers_arm(loop_timers(r->l), &r->timer, at);
    loop_on_turn_end(r->l, on_turn_end, r);
    loop_run(r->l);
    char *timer_turn = strchr(r->order, 't');
    assert_non_null(timer_turn);
    assert_string_equal(timer_turn, "tefgne");
    assert_true(r->fired_at >= at);
    record_free(r);
}

static void on_early_timer(void *ctx)
{
    note(ctx, "1");
}

static void on_late_timer(void *ctx)
{
    struct record *r = ctx;
    note(r, "2");
    loop_stop(r->l);
}

/* The alarm follows the earliest deadline when that moves ahead or is cancelled. */
static void timers_may_move(void **state)
{
    (void)state;
    struct record *r = record_new();
    struct timer early = {.fire = on_early_timer, .ctx = r}, late = {.fire = on_late_timer, .ctx = r},
                 never = {.fire = until_too_late};
    usec now = loop_clock(r->l)->mono;
    timers_arm(loop_timers(r->l), &never, now + 1 * USEC_MS);
    timers_arm(loop_timers(r->l), &early, now + 3600 * USEC_S);
    timers_arm(loop_timers(r->l), &late, now + 30 * USEC_MS);
    timers_arm(loop_timers(r->l), &early, now + 10 * USEC_MS);
    timers_cancel(loop_timers(r->l), &never);
    loop_run(r->l);
    assert_string_equal(r->order, "12");
    assert_true(loop_longest_turn(r->l) >= loop_last_turn(r->l));
    record_free(r);
}

static void on_woken(void *ctx)
{
    struct record *r = ctx;
    r->wakes++;
    loop_stop(r->l);
}

static void *wake(void *ctx)
{
    loop_wake(((struct record *)ctx)->l);
    return NULL;
}

static void another_thread_wakes(void **state)
{
    (void)state;
    struct record *r = record_new();
    loop_on_wake(r->l, on_woken, r);
    for (int i = 1; i <= 3; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, wake, r), 0);
        loop_run(r->l);
        pthread_join(thread, NULL);
        assert_int_equal(r->wakes, i);
    }
    record_free(r);
}

#define SLOW    16
#define SLOW_AT 400 /* microseconds that each takes; two are more than a turn's share, 13 more than that of a long turn */
#define BUSY_AT 8000

struct slow {
    struct loop_task task;
    struct slow_run *run;
    char name;
};

struct slow_run {
    struct loop *l;
    struct slow task[SLOW];
    char order[SLOW + 1];
    size_t n, before;   /* run so far, before this turn */
    size_t most, least; /* in one turn, of those that were not the last */
    struct loop_task busy;
};

static void spend(usec time)
{
    struct clock now;
    clock_read(&now);
    for (usec end = now.mono + time; now.mono < end;)
        clock_read(&now);
}

static void on_slow(struct loop_task *task)
{
    const struct slow *one = CONTAINER_OF(task, struct slow, task);
    spend(SLOW_AT);
    one->run->order[one->run->n++] = one->name;
}

static void on_slow_turn(void *ctx)
{
    struct slow_run *r = ctx;
    size_t now = r->n - r->before;
    r->before = r->n;
    if (r->n == SLOW) {
        loop_stop(r->l);
        return;
    }
    r->most = now > r->most ? now : r->most;
    r->least = now && now < r->least ? now : r->least;
}

static void on_busy(struct loop_task *task)
{
    struct slow_run *r = CONTAINER_OF(task, struct slow_run, busy);
    spend(BUSY_AT);
    loop_queue(r->l, LOOP_NEXT, &r->busy);
}

static struct slow_run run_slow(enum loop_queue first, enum loop_queue then, bool busy)
{
    struct slow_run r = {.l = loop_new(), .least = SLOW};
    for (size_t i = 0; i < SLOW; i++) {
        bool is_first = i % 2;
        r.task[i].run = &r;
        r.task[i].name = is_first ? '1' : '2';
        loop_task_init(&r.task[i].task, on_slow);
        loop_queue(r.l, is_first ? first : then, &r.task[i].task);
    }
    loop_task_init(&r.busy, on_busy);
    if (busy)
        loop_queue(r.l, LOOP_NEXT, &r.busy);
    loop_on_turn_end(r.l, on_slow_turn, &r);
    loop_run(r.l);
    loop_unqueue(&r.busy);
    loop_free(r.l);
    return r;
}

/* Whatever waits, a turn ends soon, and all of it is run in the end. */
static void slow_tasks_are_spread_over_turns(void **state)
{
    (void)state;
    struct slow_run r = run_slow(LOOP_NEXT, LOOP_NEXT, false);
    assert_string_equal(r.order, "2121212121212121");
    assert_in_range(r.most, 1, 2);
    r = run_slow(LOOP_HANDSHAKE, LOOP_HELLO, false);
    assert_string_equal(r.order, "1111111122222222");
    assert_in_range(r.least, 1, 2); /* the most is more where the machine stands still within a turn */
    assert_in_range(r.most, 1, 13);
}

static void nobody_who_comes_waits_for_all_others(void **state)
{
    (void)state;
    struct slow_run r = run_slow(LOOP_YIELD, LOOP_HANDSHAKE, false);
    assert_true(strchr(r.order, '2') < strrchr(r.order, '1'));
}

static void who_comes_has_a_part_of_a_long_turn(void **state)
{
    (void)state;
    struct slow_run r = run_slow(LOOP_YIELD, LOOP_YIELD, true);
    assert_in_range(r.most, 4, 13);
}

static void buffers_are_reused(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct buf b = loop_take_buf(l);
    assert_int_equal(b.n, 0);
    BUF_LIT(&b, "some bytes");
    char *data = b.data;
    loop_give_buf(l, &b);
    assert_null(b.data);
    b = loop_take_buf(l);
    assert_ptr_equal(b.data, data);
    assert_int_equal(b.n, 0);
    buf_reserve(&b, 1 << 20);
    loop_give_buf(l, &b); /* too large to keep */
    b = loop_take_buf(l);
    assert_null(b.data);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_has_its_order),
        cmocka_unit_test(timers_may_move),
        cmocka_unit_test(another_thread_wakes),
        cmocka_unit_test(slow_tasks_are_spread_over_turns),
        cmocka_unit_test(nobody_who_comes_waits_for_all_others),
        cmocka_unit_test(who_comes_has_a_part_of_a_long_turn),
        cmocka_unit_test(buffers_are_reused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
