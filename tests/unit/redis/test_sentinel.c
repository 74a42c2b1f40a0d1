#include "real.h"

#define SENTINELS 3

struct fixture {
    struct real redis[2]; /* a master, and its replica */
    struct real sentinel[SENTINELS];
    struct client c;
};

/* A sentinel keeps what it knows in its configuration file. */
static void sentinel_start(struct real *s, const struct real *master, const char *more)
{
    char path[64];
    *s = (struct real){.port = free_port()};
    real_make_dir(s);
    snprintf(path, sizeof path, "%s/conf", s->dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f,
            "port %d\nbind 127.0.0.1\ndir %s\nlogfile log\nunixsocket %s\n"
            "sentinel monitor the-master 127.0.0.1 %d 2\nsentinel down-after-milliseconds the-master 500\n"
            "sentinel failover-timeout the-master 5000\n%s",
            s->port, s->dir, s->socket, master->port, more);
    fclose(f);
    s->args[s->argc++] = mem_strdup("redis-server");
    s->args[s->argc++] = mem_strdup(path);
    s->args[s->argc++] = mem_strdup("--sentinel");
    real_start(s);
}

static void start(struct fixture *f, const char *more)
{
    char master[64];
    for (int i = 0; i < 2; i++)
        real_prepare(&f->redis[i]);
    real_start(&f->redis[0]);
    snprintf(master, sizeof master, "127.0.0.1 %d", f->redis[0].port);
    real_option(&f->redis[1], "replicaof", master);
    real_start(&f->redis[1]);
    real_await(&f->redis[0], "INFO replication", "state=online");
    for (int i = 0; i < SENTINELS; i++)
        sentinel_start(&f->sentinel[i], &f->redis[0], more);
}

static void await_sentinels(struct fixture *f)
{
    for (int i = 0; i < SENTINELS; i++) {
        real_await(&f->sentinel[i], "SENTINEL MASTER the-master", "num-other-sentinels,2");
        real_await(&f->sentinel[i], "SENTINEL MASTER the-master", "num-slaves,1");
    }
}

static int begin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    client_prepare(&f->c);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    client_end(&f->c);
    for (int i = 0; i < SENTINELS; i++)
        real_end(&f->sentinel[i]);
    for (int i = 0; i < 2; i++)
        real_end(&f->redis[i]);
    free(f);
    return 0;
}

static void open_sentinels(struct fixture *f, const char *user, const char *name)
{
    char url[160];
    snprintf(url, sizeof url, "redis+sentinel://%s127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/%s", user,
             f->sentinel[0].port, f->sentinel[1].port, f->sentinel[2].port, name);
    client_open(&f->c, url);
}

static bool connected_to(struct fixture *f, int port)
{
    char text[64];
    snprintf(text, sizeof text, "msg=\"Redis is connected\" server=127.0.0.1:%d ", port);
    return buf_has(&f->c.log, text);
}

static void a_killed_master_has_a_successor(void **state)
{
    struct fixture *f = *state;
    f->c.o.channel = "ch";
    start(f, "");
    await_sentinels(f);
    open_sentinels(f, "", "the-master");
    client_until_writable(&f->c);
    assert_true(connected_to(f, f->redis[0].port));
    client_send(&f->c, "SET a 1");
    client_until_answered(&f->c);
    real_kill(&f->redis[0]);
    client_until_away(&f->c);
    buf_clear(&f->c.told);
    client_until_writable(&f->c);
    assert_told(&f->c, "back 0-16383 fresh\n");
    assert_true(connected_to(f, f->redis[1].port));
    int number = client_send(&f->c, "SET a 2");
    client_until_answered(&f->c);
    assert_answer(&f->c, number, REDIS_DONE, "OK");
    assert_asked(&f->redis[1], "GET a", "2");
}

static void a_planned_failover_is_followed(void **state)
{
    struct fixture *f = *state;
    start(f, "");
    await_sentinels(f);
    open_sentinels(f, "", "the-master");
    client_until_writable(&f->c);
    assert_asked(&f->sentinel[1], "SENTINEL FAILOVER the-master", "OK");
    client_until_away(&f->c);
    client_until_writable(&f->c);
    if (!connected_to(f, f->redis[1].port)) { /* it was quicker than its demotion */
        client_until_away(&f->c);
        client_until_writable(&f->c);
    }
    assert_true(connected_to(f, f->redis[1].port));
    client_send(&f->c, "SET a 1");
    client_until_answered(&f->c);
    assert_answer(&f->c, 0, REDIS_DONE, "OK");
}

static void dead_and_silent_sentinels_are_passed_over(void **state)
{
    struct fixture *f = *state;
    start(f, "");
    real_kill(&f->sentinel[0]);
    kill(f->sentinel[1].pid, SIGSTOP);
    open_sentinels(f, "", "the-master");
    client_until_writable(&f->c);
    /* The one that has answered is the first to be asked from now on: no time-out is waited for. */
    struct clock before, after;
    free(real_ask(&f->redis[0], "CLIENT KILL TYPE normal SKIPME yes"));
    client_until_away(&f->c);
    clock_read(&before);
    client_until_writable(&f->c);
    clock_read(&after);
    assert_true(after.mono - before.mono < USEC_S);
}

static void an_unknown_name_is_told(void **state)
{
    struct fixture *f = *state;
    start(f, "");
    open_sentinels(f, "", "nobody");
    client_until_text(&f->c, &f->c.log, "it knows no master with the name nobody");
    const char *why = redis_why_away(f->c.r);
    assert_non_null(strstr(why, "no sentinel tells the master: 127.0.0.1:"));
    assert_non_null(strstr(why, "it knows no master with the name nobody"));
    assert_false(f->c.writable);
}

static void sentinels_and_servers_have_passwords_of_their_own(void **state)
{
    struct fixture *f = *state;
    start(f, "requirepass hush1\n");
    free(real_ask(&f->redis[0], "CONFIG SET requirepass hush2"));
    open_sentinels(f, ":hush2@", "the-master");
    client_until_text(&f->c, &f->c.log, "NOAUTH");
    assert_non_null(strstr(redis_why_away(f->c.r), "(configuration)"));
    assert_false(buf_has(&f->c.log, "hush"));
    client_end(&f->c);
    client_prepare(&f->c);
    f->c.o.sentinel_password = "hush1";
    open_sentinels(f, ":hush2@", "the-master");
    client_until_writable(&f->c);
    assert_false(buf_has(&f->c.log, "hush"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_killed_master_has_a_successor),
        TEST(a_planned_failover_is_followed),
        TEST(dead_and_silent_sentinels_are_passed_over),
        TEST(an_unknown_name_is_told),
        TEST(sentinels_and_servers_have_passwords_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
