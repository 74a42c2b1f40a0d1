#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/pace.h"

#define NOW (1000 * USEC_S)

static void test_no_rate_is_no_limit(void **state)
{
    (void)state;
    struct pace p = {0};
    for (int i = 0; i < 1000; i++)
        assert_int_equal(pace_claim(&p, NOW, 0, -1), NOW);
}

static void test_a_burst_then_the_rate(void **state)
{
    (void)state;
    struct pace p = {0};
    unsigned at_once = 0;
    usec at = NOW;
    for (int i = 0; i < 300; i++) {
        at = pace_claim(&p, NOW, 100, -1);
        at_once += at == NOW;
    }
    assert_in_range(at_once, 10, 11); /* a tenth of a second's worth, and the one that is due */
    assert_in_range(at, NOW + 2880 * USEC_MS, NOW + 2900 * USEC_MS);
}

static void test_never_more_than_the_rate(void **state)
{
    (void)state;
    struct pace p = {0};
    unsigned in_second[5] = {0};
    for (int i = 0; i < 400; i++) {
        usec at = pace_claim(&p, NOW + i * USEC_MS, 100, -1);
        in_second[(at - NOW) / USEC_S]++;
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(in_second[i], 99, 111);
}

static void test_a_quiet_time_saves_one_burst_at_most(void **state)
{
    (void)state;
    struct pace p = {0};
    pace_claim(&p, NOW, 10, -1);
    unsigned at_once = 0;
    for (int i = 0; i < 100; i++)
        at_once += pace_claim(&p, NOW + 3600 * USEC_S, 10, -1) == NOW + 3600 * USEC_S;
    assert_in_range(at_once, 1, 2);
}

static void test_who_would_wait_too_long_claims_nothing(void **state)
{
    (void)state;
    struct pace p = {0};
    unsigned refused = 0;
    for (int i = 0; i < 100; i++)
        refused += pace_claim(&p, NOW, 10, 2 * USEC_S) < 0;
    assert_in_range(refused, 76, 79);
    assert_true(pace_claim(&p, NOW + 3 * USEC_S, 10, 2 * USEC_S) == NOW + 3 * USEC_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_rate_is_no_limit),
        cmocka_unit_test(test_a_burst_then_the_rate),
        cmocka_unit_test(test_never_more_than_the_rate),
        cmocka_unit_test(test_a_quiet_time_saves_one_burst_at_most),
        cmocka_unit_test(test_who_would_wait_too_long_claims_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
