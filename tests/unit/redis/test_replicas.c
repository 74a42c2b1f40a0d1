#include "real.h"

struct fixture {
    struct real s, replica;
    struct client c;
};

static int begin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    real_prepare(&f->s);
    real_prepare(&f->replica);
    real_start(&f->s);
    client_prepare(&f->c);
    f->c.o.wait_replicas = 1;
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    client_end(&f->c);
    real_end(&f->replica);
    real_end(&f->s);
    free(f);
    return 0;
}

static void start_replica(struct fixture *f)
{
    char master[64];
    snprintf(master, sizeof master, "127.0.0.1 %d", f->s.port);
    if (!f->replica.pid) {
        real_option(&f->replica, "replicaof", master);
        real_start(&f->replica);
    }
    real_await(&f->s, "INFO replication", "state=online");
}

static void start(struct fixture *f)
{
    start_replica(f);
    client_open_port(&f->c, f->s.port);
    client_until_writable(&f->c);
}

static void an_answer_means_that_a_replica_has_it(void **state)
{
    struct fixture *f = *state;
    start(f);
    assert_true(buf_has(&f->c.log, "each commit is on 1 of 1 replicas"));
    for (int i = 0; i < 3000; i++)
        client_send(&f->c, i % 3 ? "INCR a" : "GET a");
    client_until_answered(&f->c);
    assert_in_order(&f->c);
    assert_asked(&f->replica, "GET a", "2000");
    char *stats = real_ask(&f->s, "INFO commandstats");
    const char *waits = strstr(stats, "cmdstat_wait:calls=");
    assert_non_null(waits);
    int n = atoi(waits + strlen("cmdstat_wait:calls="));
    assert_true(n >= 1 && n <= 10); /* one a batch, and batches have 1,000 commands at most */
    free(stats);
}

static void reads_do_not_wait(void **state)
{
    struct fixture *f = *state;
    start(f);
    kill(f->replica.pid, SIGSTOP);
    client_send(&f->c, "GET a");
    client_until_answered(&f->c);
    assert_answer(&f->c, 0, REDIS_DONE, "");
    kill(f->replica.pid, SIGCONT);
}

/* Nothing is told as done until the replica has it, however long that takes. */
static void answers_wait_for_a_replica_that_hangs(void **state)
{
    struct fixture *f = *state;
    start(f);
    kill(f->replica.pid, SIGSTOP);
    client_send(&f->c, "SET a 1");
    client_send(&f->c, "GET a");
    client_until_away(&f->c);
    assert_true(buf_has(&f->c.told, "0 of 1 replicas have what was written"));
    assert_non_null(strstr(redis_why_away(f->c.r), "0 of 1 replicas"));
    client_run_for(&f->c, 2500 * USEC_MS); /* longer than the time-out of commands */
    assert_int_equal(f->c.count, 0);
    assert_false(f->c.writable);
    kill(f->replica.pid, SIGCONT);
    client_until_answered(&f->c);
    assert_in_order(&f->c);
    assert_answer(&f->c, 0, REDIS_DONE, "OK");
    assert_answer(&f->c, 1, REDIS_DONE, "1");
    client_until_writable(&f->c);
    assert_null(redis_why_away(f->c.r));
    assert_int_equal(client_metric(&f->c, METRIC_redis_reconnects), 0);
}

static void what_waits_when_the_master_dies_is_unknown(void **state)
{
    struct fixture *f = *state;
    start(f);
    kill(f->replica.pid, SIGSTOP);
    client_send(&f->c, "SET a 1");
    client_until_away(&f->c);
    buf_clear(&f->c.told);
    real_kill(&f->s);
    client_until_answered(&f->c);
    assert_answer(&f->c, 0, REDIS_UNKNOWN, "");
    kill(f->replica.pid, SIGCONT);
}

static void without_a_replica_nothing_is_done(void **state)
{
    struct fixture *f = *state;
    client_open_port(&f->c, f->s.port);
    client_until_writable(&f->c);
    assert_true(buf_has(&f->c.log, "store.wait_replicas wants 1: nothing can be committed"));
    client_send(&f->c, "SET a 1");
    client_until_away(&f->c);
    assert_int_equal(f->c.count, 0);
    start_replica(f);
    client_until_answered(&f->c);
    assert_answer(&f->c, 0, REDIS_DONE, "OK");
    assert_asked(&f->replica, "GET a", "1");
}

static void a_user_that_may_not_wait_is_a_fault(void **state)
{
    struct fixture *f = *state;
    free(real_ask(&f->s, "ACL SETUSER default -wait"));
    client_open_port(&f->c, f->s.port);
    client_until_writable(&f->c);
    client_send(&f->c, "SET a 1");
    client_until_away(&f->c);
    assert_answer(&f->c, 0, REDIS_UNKNOWN, "");
    assert_true(buf_has(&f->c.told, "WAIT: NOPERM"));
    assert_true(buf_has(&f->c.log, "level=error"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_answer_means_that_a_replica_has_it),
        TEST(reads_do_not_wait),
        TEST(answers_wait_for_a_replica_that_hangs),
        TEST(what_waits_when_the_master_dies_is_unknown),
        TEST(without_a_replica_nothing_is_done),
        TEST(a_user_that_may_not_wait_is_a_fault),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
