#include "base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static void assert_stamp(usec wall, const char *expected)
{
    char stamp[CLOCK_STAMP_SIZE];
    assert_ptr_equal(clock_stamp(stamp, wall), stamp);
    assert_string_equal(stamp, expected);
}

static void test_stamps(void **state)
{
    (void)state;
    assert_stamp(0, "1970-01-01T00:00:00.000Z");
    assert_stamp(1709164799 * USEC_S + 999999, "2024-02-28T23:59:59.999Z");
    assert_stamp(1709164800 * USEC_S + 7 * USEC_MS, "2024-02-29T00:00:00.007Z");
    assert_stamp(253402300799LL * USEC_S, "9999-12-31T23:59:59.000Z");
}

static void test_stamps_are_utc(void **state)
{
    (void)state;
    setenv("TZ", "XYZ-9", 1);
    tzset();
    assert_stamp(0, "1970-01-01T00:00:00.000Z");
    unsetenv("TZ");
    tzset();
}

static void test_reads_the_system_clocks(void **state)
{
    (void)state;
    struct clock a, b;
    time_t before = time(NULL);
    clock_read(&a);
    clock_read(&b);
    assert_true(b.mono >= a.mono);
    assert_true(a.wall / USEC_S >= before && a.wall / USEC_S <= time(NULL) + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stamps),
        cmocka_unit_test(test_stamps_are_utc),
        cmocka_unit_test(test_reads_the_system_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
