/* limits.bytes_per_second, limits.stanzas_per_second: who sends more is slowed, never cut, and nothing is lost. */
#include "fixture.h"

#define RATE 100 /* stanzas a second; ten seconds of it are in hand */

static int setup_rate(void **state)
{
    setup(state);
    struct fixture *f = *state;
    f->w.settings.limits.stanzas_per_second = RATE;
    return 0;
}

static unsigned heard_count(struct fixture *f)
{
    unsigned n = 0;
    for (const struct list *it = f->conn->heard.next; it != &f->conn->heard; it = it->next)
        n++;
    return n;
}

static void send_up(struct fixture *f, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++)
        up(f, i);
}

static void test_a_burst_passes_at_once(void **state)
{
    struct fixture *f = *state;
    send_up(f, 0, 10 * RATE);
    world_run(&f->w);
    assert_int_equal(heard_count(f), 10 * RATE);
    assert_int_equal(world_sum(&f->w, METRIC_limit_stanzas_per_second), 0);
}

static void test_what_is_beyond_comes_at_the_rate_in_order_and_is_told_once(void **state)
{
    struct fixture *f = *state;
    send_up(f, 0, 30 * RATE);
    world_run(&f->w);
    assert_int_equal(heard_count(f), 10 * RATE + 1);
    world_wait(&f->w, 5 * USEC_S);
    assert_in_range(heard_count(f), 14 * RATE, 15 * RATE + 2);
    world_wait(&f->w, 16 * USEC_S);
    assert_int_equal(heard_count(f), 30 * RATE);
    for (unsigned i = 0; i < 30 * RATE; i++)
        expect_up(f, i);
    assert_int_equal(world_sum(&f->w, METRIC_limit_stanzas_per_second), 1);
    assert_non_null(f->c.wire);
    world_wait(&f->w, 11 * USEC_S); /* at rest for so long: all of it in hand again */
    send_up(f, 0, 10 * RATE + 2);
    world_wait(&f->w, USEC_S);
    assert_int_equal(heard_count(f), 10 * RATE + 2);
    assert_int_equal(world_sum(&f->w, METRIC_limit_stanzas_per_second), 2);
}

static void test_a_slowed_client_wakes_the_worker_ten_times_a_second(void **state)
{
    struct fixture *f = *state;
    unsigned wakes = 0;
    send_up(f, 0, 20 * RATE);
    world_run(&f->w);
    for (usec end = f->w.clock.mono + 5 * USEC_S; f->w.clock.mono < end; wakes++)
        world_wait(&f->w, world_next_timer(&f->w) - f->w.clock.mono);
    assert_in_range(wakes, 10, 100); /* those of acks and barriers are among them */
}

static void test_nonzas_count_a_quarter(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 40 * RATE; i++)
        client_send(&f->c, CLIENT_R);
    up(f, 1);
    world_run(&f->w);
    server_hears(f, "<message to='juliet@example.org'");
    up(f, 2);
    server_hears_nothing(f);
    world_wait(&f->w, USEC_S);
    server_hears(f, "<message to='juliet@example.org'");
    assert_int_equal(world_sum(&f->w, METRIC_limit_stanzas_per_second), 1);
}

static void test_white_space_counts_as_bytes(void **state)
{
    struct fixture *f = *state;
    static char space[25000];
    memset(space, ' ', sizeof space);
    f->w.settings.limits.bytes_per_second = 1000;
    wire_send(f->c.wire, space, sizeof space);
    world_run(&f->w);
    up(f, 1);
    server_hears_nothing(f);
    world_wait(&f->w, 14 * USEC_S);
    server_hears_nothing(f);
    world_wait(&f->w, 2 * USEC_S);
    server_hears(f, "<message to='juliet@example.org'");
    assert_int_equal(world_sum(&f->w, METRIC_limit_bytes_per_second), 1);
    assert_int_equal(world_sum(&f->w, METRIC_limit_stanzas_per_second), 0);
}

/* Its ack lies behind what we do not read: it is not to be taken for dead. */
static void test_a_slowed_client_is_not_taken_for_dead(void **state)
{
    struct fixture *f = *state;
    f->w.settings.sm.ack_timeout = 5 * USEC_S;
    send_up(f, 0, 40 * RATE);
    world_run(&f->w);
    down(f, 1);
    ack(&f->c, f->c.h + 1);
    client_hears(&f->c, "<message from='juliet@example.org/x'");
    world_wait(&f->w, 29 * USEC_S);
    assert_non_null(f->c.wire);
    assert_int_equal(f->s->out.queue.count, 1);
    world_wait(&f->w, 3 * USEC_S);
    assert_non_null(f->c.wire);
    assert_int_equal(f->s->out.queue.count, 0);
    assert_int_equal(world_sum(&f->w, METRIC_acks_received), 1);
}

static void test_the_servers_stanzas_reach_a_slowed_client(void **state)
{
    struct fixture *f = *state;
    send_up(f, 0, 20 * RATE);
    world_run(&f->w);
    client_forget_heard(&f->c);
    for (unsigned i = 0; i < 100; i++)
        down(f, i);
    world_run(&f->w);
    for (unsigned i = 0; i < 100; i++)
        expect_down(&f->c, i);
}

static void test_no_limit(void **state)
{
    struct fixture *f = *state;
    f->w.settings.limits.stanzas_per_second = 0;
    send_up(f, 0, 3000);
    world_run(&f->w);
    assert_int_equal(heard_count(f), 3000);
    assert_false(f->s->client->leg.stopped & STOP_RATE);
}

static void test_a_slowed_client_can_end_and_can_break(void **state)
{
    struct fixture *f = *state;
    send_up(f, 0, 11 * RATE);
    client_send(&f->c, "</stream:stream>");
    world_run(&f->w);
    assert_false(f->c.ended);
    world_wait(&f->w, 4 * USEC_S);
    assert_true(f->c.ended);
    assert_int_equal(world_sum(&f->w, METRIC_up_confirmed), 11 * RATE + 1); /* with the first presence */
    client_enter(&f->other, 1, "juliet");
    for (unsigned i = 0; i < 11 * RATE; i++)
        client_send(&f->other, "<message to='romeo@example.org'/>");
    world_run(&f->w);
    client_cut(&f->other);
    world_wait(&f->w, 4 * USEC_S);
    assert_int_equal(world_sum(&f->w, METRIC_sessions_detached), 1);
}

/* Slowed ahead of its resumption, which brings it to another worker: the timer goes along. */
static void test_a_slowed_client_moves(void **state)
{
    struct fixture *f = *state;
    client_cut(&f->c);
    world_wait(&f->w, USEC_S);
    f->w.settings.limits.bytes_per_second = 100;
    snprintf(f->other.previd, sizeof f->other.previd, "%s", f->c.previd);
    client_login(&f->other, 1, "romeo");
    char space[1000];
    memset(space, ' ', sizeof space);
    wire_send(f->other.wire, space, sizeof space);
    client_printf(&f->other, "<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%" PRIu32 "'/><message to='juliet@x'/>",
                  f->c.previd, f->c.h);
    world_run(&f->w);
    assert_int_equal(f->w.moves, 1);
    world_wait(&f->w, 20 * USEC_S);
    client_hears(&f->other, "<resumed ");
    server_hears(f, "<message to='juliet@x'/>");
    assert_true(world_sum(&f->w, METRIC_limit_bytes_per_second) == 1);
}

#define RATE_TEST(name) cmocka_unit_test_setup_teardown(name, setup_rate, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RATE_TEST(test_a_burst_passes_at_once),
        RATE_TEST(test_what_is_beyond_comes_at_the_rate_in_order_and_is_told_once),
        RATE_TEST(test_a_slowed_client_wakes_the_worker_ten_times_a_second),
        RATE_TEST(test_nonzas_count_a_quarter),
        RATE_TEST(test_white_space_counts_as_bytes),
        RATE_TEST(test_a_slowed_client_is_not_taken_for_dead),
        RATE_TEST(test_the_servers_stanzas_reach_a_slowed_client),
        RATE_TEST(test_no_limit),
        RATE_TEST(test_a_slowed_client_can_end_and_can_break),
        RATE_TEST(test_a_slowed_client_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
