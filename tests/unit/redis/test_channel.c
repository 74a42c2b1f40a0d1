#include "real.h"

struct fixture {
    struct real s;
    struct client c;
};

static int begin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    real_prepare(&f->s);
    client_prepare(&f->c);
    f->c.o.channel = "hf:ask";
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

static bool has_subscriber(void *ctx)
{
    struct fixture *f = ctx;
    char *got = real_ask(&f->s, "PUBLISH hf:ask probe");
    bool there = strcmp(got, "1") == 0;
    free(got);
    return there;
}

static void messages_arrive(void **state)
{
    struct fixture *f = *state;
    real_start(&f->s);
    client_open_port(&f->c, f->s.port);
    client_until(&f->c, has_subscriber, f);
    assert_asked(&f->s, "PUBLISH hf:other no", "0");
    int published = client_send(&f->c, "PUBLISH hf:ask hello");
    client_until_text(&f->c, &f->c.told, "told hello\n");
    client_until_answered(&f->c);
    assert_answer(&f->c, published, REDIS_DONE, "1");
    assert_false(buf_has(&f->c.told, "told no"));
}

static void the_subscription_comes_back(void **state)
{
    struct fixture *f = *state;
    real_start(&f->s);
    client_open_port(&f->c, f->s.port);
    client_until(&f->c, has_subscriber, f);
    free(real_ask(&f->s, "CLIENT KILL TYPE pubsub"));
    client_until_text(&f->c, &f->c.log, "the subscription to Redis is lost");
    client_until(&f->c, has_subscriber, f);
    assert_int_equal(f->c.aways, 0);
    real_kill(&f->s);
    client_until_away(&f->c);
    real_start(&f->s);
    client_until_writable(&f->c);
    client_until(&f->c, has_subscriber, f);
    buf_clear(&f->c.told);
    client_send(&f->c, "PUBLISH hf:ask again");
    client_until_text(&f->c, &f->c.told, "told again\n");
}

/* Pings of an idle subscriber are answered in another form than elsewhere. */
static void a_silent_subscription_lives_on(void **state)
{
    struct fixture *f = *state;
    f->c.o.command_timeout = USEC_S;
    real_start(&f->s);
    client_open_port(&f->c, f->s.port);
    client_until(&f->c, has_subscriber, f);
    client_run_for(&f->c, 6500 * USEC_MS);
    assert_false(buf_has(&f->c.log, "lost"));
    buf_clear(&f->c.told);
    client_send(&f->c, "PUBLISH hf:ask again");
    client_until_text(&f->c, &f->c.told, "told again\n");
}

static void a_user_that_may_not_subscribe_can_do_all_else(void **state)
{
    struct fixture *f = *state;
    real_start(&f->s);
    free(real_ask(&f->s, "ACL SETUSER default -subscribe"));
    client_open_port(&f->c, f->s.port);
    client_until_writable(&f->c);
    client_until_text(&f->c, &f->c.log, "NOPERM");
    client_send(&f->c, "SET a 1");
    client_until_answered(&f->c);
    assert_answer(&f->c, 0, REDIS_DONE, "OK");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(messages_arrive),
        TEST(the_subscription_comes_back),
        TEST(a_silent_subscription_lives_on),
        TEST(a_user_that_may_not_subscribe_can_do_all_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
