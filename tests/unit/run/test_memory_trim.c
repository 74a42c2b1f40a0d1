#include "../../../proxy/run/memory_trim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

/* Asked each second with so many changes more; how often it was due in that time. */
static unsigned due_in(struct memory_trim *m, size_t *changes, usec *now, unsigned seconds, size_t each)
{
    unsigned n = 0;
    for (unsigned i = 0; i < seconds; i++) {
        *changes += each;
        *now += USEC_S;
        n += memory_trim_due(m, *changes, *now);
    }
    return n;
}

static void behind_a_storm_once(void **state)
{
    (void)state;
    struct memory_trim m = {0};
    size_t changes = 0;
    usec now = 1000 * USEC_S;
    assert_int_equal(due_in(&m, &changes, &now, 200, 0), 0);
    assert_int_equal(due_in(&m, &changes, &now, 10, 10), 0); /* not worth it */
    assert_int_equal(due_in(&m, &changes, &now, 1, 1000), 0);
    assert_int_equal(due_in(&m, &changes, &now, 4, 0), 1);
    assert_int_equal(due_in(&m, &changes, &now, 1000, 0), 0);
}

static void not_in_a_storm(void **state)
{
    (void)state;
    struct memory_trim m = {0};
    size_t changes = 0;
    usec now = 1000 * USEC_S;
    assert_int_equal(due_in(&m, &changes, &now, 100, 1000), 0);
    assert_int_equal(due_in(&m, &changes, &now, 1000, 20), 0); /* nor where there is always some coming and going */
    assert_int_equal(due_in(&m, &changes, &now, 4, 0), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behind_a_storm_once),
        cmocka_unit_test(not_in_a_storm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
