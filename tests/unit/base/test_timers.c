#include "base/mem.h"
#include "base/random.h"
#include "base/timers.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N = 300 };

/* Timers that note the order in which they fire. */
struct bench {
    struct timers *timers;
    struct probe {
        struct timer timer;
        struct bench *bench;
        int again; /* arms itself that many times more, for the same moment */
    } probe[N];
    int order[N * 4], fired;
};

static void on_fire(void *ctx)
{
    struct probe *p = ctx;
    assert_false(timer_armed(&p->timer));
    p->bench->order[p->bench->fired++] = (int)(p - p->bench->probe);
    if (p->again-- > 0)
        timers_arm(p->bench->timers, &p->timer, p->timer.at);
}

static int setup(void **state)
{
    struct bench *b = MEM_NEW(struct bench);
    b->timers = timers_new();
    for (int i = 0; i < N; i++)
        b->probe[i] = (struct probe){.timer = {.fire = on_fire, .ctx = &b->probe[i]}, .bench = b};
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    timers_free(b->timers);
    free(b);
    return 0;
}

static void arm(struct bench *b, int i, usec at)
{
    timers_arm(b->timers, &b->probe[i].timer, at);
}

static void test_nothing_is_armed_at_first(void **state)
{
    struct bench *b = *state;
    assert_int_equal(timers_next(b->timers), -1);
    assert_int_equal(timers_run(b->timers, 1000, 10), 0);
    timers_cancel(b->timers, &b->probe[0].timer);
    assert_false(timer_armed(&b->probe[0].timer));
}

static void test_fires_what_is_due_in_order(void **state)
{
    struct bench *b = *state;
    arm(b, 0, 30);
    arm(b, 1, 10);
    arm(b, 2, 20);
    assert_int_equal(timers_next(b->timers), 10);
    assert_int_equal(timers_run(b->timers, 9, 10), 0);
    assert_int_equal(timers_run(b->timers, 20, 10), 2);
    assert_int_equal(b->order[0], 1);
    assert_int_equal(b->order[1], 2);
    assert_int_equal(timers_next(b->timers), 30);
    assert_true(timer_armed(&b->probe[0].timer));
}

static void test_arm_moves_and_arm_by_only_earlier(void **state)
{
    struct bench *b = *state;
    arm(b, 0, 10);
    arm(b, 0, 50);
    assert_int_equal(timers_next(b->timers), 50);
    timers_arm_by(b->timers, &b->probe[0].timer, 60);
    assert_int_equal(timers_next(b->timers), 50);
    timers_arm_by(b->timers, &b->probe[0].timer, 40);
    assert_int_equal(timers_next(b->timers), 40);
    timers_arm_by(b->timers, &b->probe[1].timer, 70);
    assert_true(timer_armed(&b->probe[1].timer));
    assert_int_equal(timers_run(b->timers, 100, 10), 2);
}

static void test_budget_bounds_those_that_arm_again(void **state)
{
    struct bench *b = *state;
    b->probe[0].again = 3;
    arm(b, 0, 5);
    assert_int_equal(timers_run(b->timers, 5, 3), 3);
    assert_int_equal(timers_run(b->timers, 5, 3), 1);
    assert_int_equal(timers_next(b->timers), -1);
}

static void test_random_moves_keep_the_order(void **state)
{
    struct bench *b = *state;
    int armed = 0;
    for (int round = 0; round < 5000; round++) {
        int i = (int)random_below(N);
        if (random_below(4) == 0)
            timers_cancel(b->timers, &b->probe[i].timer);
        else
            arm(b, i, random_below(1000));
    }
    for (int i = 0; i < N; i++)
        armed += timer_armed(&b->probe[i].timer);
    assert_int_equal(timers_run(b->timers, 1000, N * 2), armed);
    for (int i = 1; i < b->fired; i++)
        assert_true(b->probe[b->order[i - 1]].timer.at <= b->probe[b->order[i]].timer.at);
    assert_int_equal(timers_next(b->timers), -1);
}

struct owner {
    struct timer timer;
};

static void free_owner(void *ctx)
{
    free(ctx);
}

static void test_firing_may_free_the_owner(void **state)
{
    struct bench *b = *state;
    struct owner *o = MEM_NEW(struct owner);
    o->timer = (struct timer){.fire = free_owner, .ctx = o};
    timers_arm(b->timers, &o->timer, 1);
    arm(b, 0, 2);
    assert_int_equal(timers_run(b->timers, 2, 10), 2);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_armed_at_first),         TEST(test_fires_what_is_due_in_order),
        TEST(test_arm_moves_and_arm_by_only_earlier), TEST(test_budget_bounds_those_that_arm_again),
        TEST(test_random_moves_keep_the_order),       TEST(test_firing_may_free_the_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
