#include "real.h"

struct fixture {
    struct real s;
    struct client c;
    struct redis_script add, broken;
};

static int begin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    f->add = (struct redis_script){.name = "add",
                                   .text = "#!lua\nredis.call('RPUSH', KEYS[1], ARGV[1])\n"
                                           "return redis.call('LLEN', KEYS[1])"};
    f->broken = (struct redis_script){.name = "broken", .text = "#!lua\nthis is no Lua"};
    real_prepare(&f->s);
    real_start(&f->s);
    client_prepare(&f->c);
    client_open_port(&f->c, f->s.port);
    client_until_writable(&f->c);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    client_end(&f->c);
    real_end(&f->s);
    free(f);
    return 0;
}

static void a_script_is_loaded_ahead_of_its_first_use(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++) {
        char arg[16];
        snprintf(arg, sizeof arg, "%d", i);
        client_eval(&f->c, &f->add, "l", arg);
    }
    client_until_answered(&f->c);
    assert_in_order(&f->c);
    assert_int_equal(strlen(f->add.sha), 40);
    for (int i = 0; i < 100; i++) {
        char length[16];
        snprintf(length, sizeof length, "%d", i + 1);
        assert_answer(&f->c, i, REDIS_DONE, length);
    }
    assert_int_equal(client_metric(&f->c, METRIC_redis_redirects_script), 0);
    real_await(&f->s, "INFO commandstats", "cmdstat_script|load:calls=1,");
}

/* Among scripts and plain commands of the slot, and with another slot going on beside it. */
static void a_flushed_script_is_loaded_again_and_order_holds(void **state)
{
    struct fixture *f = *state;
    client_eval(&f->c, &f->add, "l", "first");
    client_until_answered(&f->c);
    free(real_ask(&f->s, "SCRIPT FLUSH"));
    for (int i = 0; i < 10; i++) {
        client_eval(&f->c, &f->add, "l", "x");
        client_send(&f->c, "GET {l}");
        client_send(&f->c, "INCR other");
    }
    client_until_answered(&f->c);
    int last = -1, others = 0;
    for (size_t i = 1; i < f->c.count; i++) {
        const struct answer *it = &f->c.answers[i];
        assert_int_equal(it->answer, REDIS_DONE);
        if (it->number % 3 == 0) { /* the other slot: 3, 6, ... */
            assert_int_equal(it->number, 3 * ++others);
            continue;
        }
        assert_true(it->number > last);
        last = it->number;
    }
    assert_int_equal(others, 10);
    assert_answer(&f->c, 28, REDIS_DONE, "11"); /* the last script: each was run once */
    assert_asked(&f->s, "LLEN l", "11");
    assert_true(client_metric(&f->c, METRIC_redis_redirects_script) >= 1);
    client_eval(&f->c, &f->add, "l", "after");
    client_until_answered(&f->c);
    assert_answer(&f->c, 31, REDIS_DONE, "12");
}

static void after_a_restart_it_is_loaded_again(void **state)
{
    struct fixture *f = *state;
    client_eval(&f->c, &f->add, "l", "1");
    client_until_answered(&f->c);
    real_kill(&f->s);
    client_until_away(&f->c);
    real_start(&f->s);
    client_until_writable(&f->c);
    client_eval(&f->c, &f->add, "l", "1");
    client_until_answered(&f->c);
    assert_answer(&f->c, 1, REDIS_DONE, "1");
    assert_int_equal(client_metric(&f->c, METRIC_redis_redirects_script), 0);
}

static void a_script_that_does_not_compile_is_told(void **state)
{
    struct fixture *f = *state;
    client_eval(&f->c, &f->broken, "l", "1");
    client_send(&f->c, "GET l");
    client_until_answered(&f->c);
    assert_in_order(&f->c);
    assert_answer(&f->c, 0, REDIS_ERROR, "NOSCRIPT");
    assert_answer(&f->c, 1, REDIS_DONE, "");
    assert_true(buf_has(&f->c.log, "script=broken"));
    assert_true(buf_has(&f->c.log, "Error compiling script"));
}

/* A flush and a kill while much is under way: every command is answered once. */
static void a_break_in_the_middle_answers_all(void **state)
{
    struct fixture *f = *state;
    client_eval(&f->c, &f->add, "l", "x");
    client_until_answered(&f->c);
    free(real_ask(&f->s, "SCRIPT FLUSH"));
    for (int i = 0; i < 3000; i++) {
        client_eval(&f->c, &f->add, "l", "x");
        client_send(&f->c, "LLEN l");
    }
    client_send(&f->c, "DEBUG SLEEP 20");
    client_eval(&f->c, &f->add, "l", "x");
    client_run_for(&f->c, 30 * USEC_MS);
    real_kill(&f->s);
    client_until_away(&f->c);
    client_until_answered(&f->c);
    assert_int_equal(f->c.count, 6003);
    int last = -1;
    for (size_t i = 0; i < f->c.count; i++) {
        const struct answer *it = &f->c.answers[i];
        if (it->number == 6001)
            continue; /* another slot */
        assert_true(it->number > last);
        last = it->number;
    }
    assert_int_equal(redis_backlog(f->c.r), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_script_is_loaded_ahead_of_its_first_use),
        TEST(a_flushed_script_is_loaded_again_and_order_holds),
        TEST(after_a_restart_it_is_loaded_again),
        TEST(a_script_that_does_not_compile_is_told),
        TEST(a_break_in_the_middle_answers_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
