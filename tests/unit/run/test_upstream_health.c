#include "../../../proxy/run/upstream_health.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define NOW (1000 * USEC_S)

static void the_first_result_decides(void **state)
{
    (void)state;
    struct upstream_health up = {0}, down = {0};
    assert_true(health_note(&up, true, NOW, 0));
    assert_int_equal(up.state, UPSTREAM_UP);
    assert_true(health_note(&down, false, NOW, 0));
    assert_int_equal(down.state, UPSTREAM_DOWN);
}

static void it_takes_two_in_a_row_to_change(void **state)
{
    (void)state;
    struct upstream_health h = {0};
    health_note(&h, true, NOW, 0);
    for (int i = 0; i < 5; i++) { /* flaps: never two in a row */
        assert_false(health_note(&h, false, NOW, 0));
        assert_false(health_note(&h, true, NOW, 0));
    }
    assert_false(health_note(&h, false, NOW, 0));
    assert_true(health_note(&h, false, NOW + 1, 0));
    assert_int_equal(h.state, UPSTREAM_DOWN);
    assert_int_equal(h.since, NOW + 1);
    assert_false(health_note(&h, true, NOW, 0));
    assert_false(health_note(&h, false, NOW, 0));
    assert_false(health_note(&h, true, NOW, 0));
    assert_true(health_note(&h, true, NOW + 2, 0));
    assert_int_equal(h.state, UPSTREAM_UP);
}

static void assert_next(const struct upstream_health *h, usec interval)
{
    assert_in_range(h->check_at - NOW, interval * 4 / 5, interval * 6 / 5);
}

static void checks_come_sooner_when_there_is_doubt(void **state)
{
    (void)state;
    for (uint32_t chance = 0; chance < 2000; chance += 333) {
        struct upstream_health h = {0};
        assert_int_equal(h.check_at, 0); /* at once */
        health_note(&h, true, NOW, chance);
        assert_next(&h, HEALTH_CHECK_UP);
        health_note(&h, false, NOW, chance);
        assert_next(&h, HEALTH_CHECK_SOON);
        health_note(&h, false, NOW, chance);
        assert_next(&h, HEALTH_CHECK_DOWN);
        health_note(&h, true, NOW, chance);
        assert_next(&h, HEALTH_CHECK_SOON);
        health_note(&h, true, NOW, chance);
        assert_next(&h, HEALTH_CHECK_UP);
    }
}

/* Connections that break are the first failure. */
static void a_suspect_is_looked_at_now(void **state)
{
    (void)state;
    struct upstream_health h = {0};
    health_note(&h, true, NOW, 0);
    health_suspect(&h, NOW);
    assert_int_equal(h.check_at, NOW);
    assert_int_equal(h.state, UPSTREAM_UP);
    health_suspect(&h, NOW + USEC_S); /* does not put it off */
    assert_int_equal(h.check_at, NOW);
    assert_false(health_note(&h, true, NOW, 0)); /* it lives: all is as before */
    assert_next(&h, HEALTH_CHECK_UP);
    assert_false(health_note(&h, false, NOW, 0));
    assert_false(health_note(&h, true, NOW, 0));
    health_suspect(&h, NOW);
    assert_true(health_note(&h, false, NOW, 0));
    usec planned = h.check_at;
    health_suspect(&h, NOW); /* is down already */
    assert_int_equal(h.check_at, planned);
}

static void jitter_spreads(void **state)
{
    (void)state;
    struct upstream_health a = {0}, b = {0};
    health_note(&a, true, NOW, 0);
    health_note(&b, true, NOW, 999);
    assert_true(b.check_at - a.check_at > HEALTH_CHECK_UP / 3);
}

static void who_comes_back_is_ramped_up(void **state)
{
    (void)state;
    struct upstream_health h = {0};
    assert_int_equal(health_share(&h, NOW), 0);
    health_note(&h, true, NOW, 0);
    assert_int_equal(health_share(&h, NOW), 100); /* was never down */
    health_note(&h, false, NOW, 0);
    health_note(&h, false, NOW, 0);
    health_note(&h, true, NOW, 0);
    health_note(&h, true, NOW, 0);
    assert_int_equal(health_share(&h, NOW), 10);
    assert_int_equal(health_share(&h, NOW + HEALTH_RAMP / 2), 55);
    assert_int_equal(health_share(&h, NOW + HEALTH_RAMP), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_result_decides),
        cmocka_unit_test(it_takes_two_in_a_row_to_change),
        cmocka_unit_test(checks_come_sooner_when_there_is_doubt),
        cmocka_unit_test(a_suspect_is_looked_at_now),
        cmocka_unit_test(jitter_spreads),
        cmocka_unit_test(who_comes_back_is_ramped_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
