#include "../../../proxy/run/upstream_choice.h"
#include "base/random.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define FULL .share = 100

/* Lets a server of share 50 take its turn or not. */
static uint32_t low(uint32_t bound)
{
    (void)bound;
    return 0;
}

static uint32_t high(uint32_t bound)
{
    return bound - 1;
}

static void nobody(void **state)
{
    (void)state;
    assert_int_equal(upstream_choose(NULL, 0, low, NULL), 0);
}

static void the_least_loaded_is_first(void **state)
{
    (void)state;
    const struct upstream_candidate c[] = {{.sessions = 7, FULL}, {.sessions = 3, FULL}, {.sessions = 5, FULL}};
    size_t order[3];
    assert_int_equal(upstream_choose(c, 3, low, order), 3);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 2);
    assert_int_equal(order[2], 0);
}

static void priorities_go_before_load(void **state)
{
    (void)state;
    const struct upstream_candidate c[] = {
        {.priority = 20, FULL}, {.priority = 10, .sessions = 99, FULL}, {.priority = 10, .sessions = 98, FULL}};
    size_t order[3];
    assert_int_equal(upstream_choose(c, 3, low, order), 3);
    assert_int_equal(order[0], 2);
    assert_int_equal(order[1], 1);
    assert_int_equal(order[2], 0);
}

static void those_that_are_down_are_left_out(void **state)
{
    (void)state;
    const struct upstream_candidate c[] = {
        {.priority = 1, .down = true, FULL}, {.priority = 2, FULL}, {.priority = 2, .down = true, FULL}};
    size_t order[3];
    assert_int_equal(upstream_choose(c, 3, low, order), 1);
    assert_int_equal(order[0], 1);
}

static void when_all_are_down_all_are_tried(void **state)
{
    (void)state;
    const struct upstream_candidate c[] = {{.priority = 2, .down = true, FULL}, {.priority = 1, .down = true, FULL}};
    size_t order[2];
    assert_int_equal(upstream_choose(c, 2, low, order), 2);
    assert_int_equal(order[0], 1);
}

static void equals_are_drawn(void **state)
{
    (void)state;
    const struct upstream_candidate c[] = {{FULL}, {FULL}, {FULL}};
    size_t order[3], first[3] = {0};
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(upstream_choose(c, 3, random_below, order), 3);
        first[order[0]]++;
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(first[i], 800, 1200); /* 1000, and eight standard deviations */
}

/* Sessions that stay, one after the other. */
static void weights_hold(void **state)
{
    (void)state;
    struct upstream_candidate c[] = {
        {.weight = 60, FULL}, {.weight = 30, FULL}, {.weight = 10, FULL}, {.weight = 0, FULL}};
    size_t order[4];
    for (int i = 0; i < 1000; i++) {
        upstream_choose(c, 4, random_below, order);
        c[order[0]].sessions++;
    }
    assert_in_range(c[0].sessions, 598, 602);
    assert_in_range(c[1].sessions, 298, 302);
    assert_in_range(c[2].sessions, 98, 102);
    assert_in_range(c[3].sessions, 0, 1); /* a very small chance */
}

static void large_figures_do_not_overflow(void **state)
{
    (void)state;
    const struct upstream_candidate c[] = {{.weight = 65535, .sessions = 100000000, FULL},
                                           {.weight = 65535, .sessions = 99999999, FULL}};
    size_t order[2];
    upstream_choose(c, 2, low, order);
    assert_int_equal(order[0], 1);
}

static void who_came_back_stands_back(void **state)
{
    (void)state;
    const struct upstream_candidate c[] = {{.sessions = 0, .share = 50}, {.sessions = 9, FULL}};
    size_t order[2];
    assert_int_equal(upstream_choose(c, 2, low, order), 2);
    assert_int_equal(order[0], 0);
    assert_int_equal(upstream_choose(c, 2, high, order), 2);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 0); /* but it is there if the other one fails */
    assert_int_equal(upstream_choose(c, 1, high, order), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody),
        cmocka_unit_test(the_least_loaded_is_first),
        cmocka_unit_test(priorities_go_before_load),
        cmocka_unit_test(those_that_are_down_are_left_out),
        cmocka_unit_test(when_all_are_down_all_are_tried),
        cmocka_unit_test(equals_are_drawn),
        cmocka_unit_test(weights_hold),
        cmocka_unit_test(large_figures_do_not_overflow),
        cmocka_unit_test(who_came_back_stands_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
