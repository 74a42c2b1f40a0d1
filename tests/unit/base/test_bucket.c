#include "base/bucket.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW   (1000 * USEC_S)
#define BURST (10 * USEC_S)

static void test_a_burst_is_free_and_what_is_beyond_is_owed(void **state)
{
    (void)state;
    struct bucket b = {0};
    usec cost = bucket_cost(1, 100);
    assert_int_equal(cost, USEC_S / 100);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(bucket_owes(&b, NOW, BURST), 0);
        bucket_take(&b, NOW, cost);
    }
    assert_int_equal(bucket_owes(&b, NOW, BURST), 0);
    bucket_take(&b, NOW, cost);
    assert_int_equal(bucket_owes(&b, NOW, BURST), cost);
    assert_int_equal(bucket_owes(&b, NOW + cost, BURST), 0);
    assert_int_equal(bucket_missing(&b, NOW + cost), BURST);
}

static void test_who_stays_below_the_rate_never_owes(void **state)
{
    (void)state;
    struct bucket b = {0};
    usec now = NOW;
    for (int i = 0; i < 10000; i++, now += USEC_S / 100) {
        bucket_take(&b, now, bucket_cost(1, 100));
        assert_true(bucket_missing(&b, now) <= USEC_S / 100);
    }
}

static void test_it_is_full_again_after_a_burst_and_holds_no_more(void **state)
{
    (void)state;
    struct bucket b = {0};
    bucket_take(&b, NOW, BURST);
    assert_false(bucket_is_full(&b, NOW + BURST - 1));
    assert_true(bucket_is_full(&b, NOW + BURST));
    bucket_take(&b, NOW + 100 * BURST, BURST);
    assert_int_equal(bucket_missing(&b, NOW + 100 * BURST), BURST);
}

static void test_what_was_given_back_was_not_taken(void **state)
{
    (void)state;
    struct bucket b = {0};
    bucket_take(&b, NOW, 5 * USEC_S);
    bucket_take(&b, NOW, 2 * USEC_S);
    bucket_give_back(&b, 2 * USEC_S);
    assert_int_equal(bucket_missing(&b, NOW), 5 * USEC_S);
}

static void test_costs_are_rounded_up_and_do_not_overflow(void **state)
{
    (void)state;
    assert_int_equal(bucket_cost(1, 3), 333334);
    assert_int_equal(bucket_cost(1, (size_t)1 << 30), 1);
    assert_int_equal(bucket_cost((size_t)1 << 32, 1), ((usec)1 << 32) * USEC_S);
    assert_int_equal(bucket_cost(0, 5), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_burst_is_free_and_what_is_beyond_is_owed),
        cmocka_unit_test(test_who_stays_below_the_rate_never_owes),
        cmocka_unit_test(test_it_is_full_again_after_a_burst_and_holds_no_more),
        cmocka_unit_test(test_what_was_given_back_was_not_taken),
        cmocka_unit_test(test_costs_are_rounded_up_and_do_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
