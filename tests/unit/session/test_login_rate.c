/* proxy.login_rate: a server that has just come back is not asked by everybody at once. */
#include "rebuild.h"

#define N 20

static struct client clients[N];

static void connect_all(struct fixture *f, unsigned n, int workers)
{
    for (unsigned i = 0; i < n; i++) {
        client_init(&clients[i], &f->w);
        client_connect(&clients[i], (int)i % workers);
        client_send(&clients[i], CLIENT_HEADER);
    }
    world_run(&f->w);
}

static void free_all(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        client_free(&clients[i]);
}

/* One after the other, in the order in which they came. */
static void test_one_after_the_other(void **state)
{
    struct fixture *f = *state;
    unsigned opened = f->server.opened;
    f->w.settings.login_rate = 2;
    connect_all(f, N, 1);
    assert_int_equal(f->server.opened - opened, 1);
    assert_int_equal(sum(f, METRIC_limit_login_rate), N - 1);
    for (unsigned i = 1; i < N; i++) {
        world_wait(&f->w, 500 * USEC_MS);
        assert_int_equal(f->server.opened - opened, i + 1);
        assert_false(list_is_empty(&clients[i].heard)); /* the server's header */
    }
    free_all(N);
}

/* All workers together. */
static void test_over_all_workers(void **state)
{
    struct fixture *f = *state;
    unsigned opened = f->server.opened;
    f->w.settings.login_rate = 2;
    connect_all(f, N, WORLD_WORKERS);
    for (unsigned i = 1; i < N; i++) {
        world_wait(&f->w, 500 * USEC_MS);
        assert_int_equal(f->server.opened - opened, i + 1);
    }
    free_all(N);
}

/* No limit. */
static void test_all_at_once(void **state)
{
    struct fixture *f = *state;
    unsigned opened = f->server.opened;
    connect_all(f, N, 1);
    assert_int_equal(f->server.opened - opened, N);
    assert_int_equal(sum(f, METRIC_limit_login_rate), 0);
    free_all(N);
}

/* The time in the queue is not counted as time to log in; who would wait for longer than that is told at once. */
static void test_too_many(void **state)
{
    struct fixture *f = *state;
    f->w.settings.login_rate = 2;
    f->w.settings.limits.login_timeout = 5 * USEC_S;
    connect_all(f, N, 1);
    unsigned refused = 0;
    for (unsigned i = 0; i < N; i++)
        refused += clients[i].ended;
    assert_int_equal(refused, N - 11); /* 5 s, 2 a second, and the first */
    assert_true(clients[N - 1].ended);
    client_expect(&clients[N - 1], "HEADER");
    client_expect(&clients[N - 1], "<stream:error><resource-constraint");
    world_wait(&f->w, 4900 * USEC_MS);
    assert_int_equal(sum(f, METRIC_limit_login_timeout), 0);
    client_auth(&clients[10], "juliet");
    heard_clear(&clients[10].heard);
    client_hears(&clients[10], "<success");
    client_connect(&f->other, 0); /* those that were refused have taken no turns */
    client_send(&f->other, CLIENT_HEADER);
    world_wait(&f->w, 600 * USEC_MS);
    assert_false(list_is_empty(&f->other.heard));
    free_all(N);
}

/* What a client has sent ahead is kept for its turn. */
static void test_sent_ahead(void **state)
{
    struct fixture *f = *state;
    f->w.settings.login_rate = 2;
    connect_all(f, 2, 1);
    client_auth(&clients[1], "juliet");
    client_send(&clients[1], CLIENT_HEADER CLIENT_BIND CLIENT_ENABLE);
    world_run(&f->w);
    heard_nothing(&clients[1].heard, "the client");
    world_wait(&f->w, 500 * USEC_MS);
    assert_true(clients[1].counting);
    free_all(2);
}

/* Who goes away in the queue, and a node that stops: nothing is left. */
static void test_gone_while_queued(void **state)
{
    struct fixture *f = *state;
    f->w.settings.login_rate = 2;
    unsigned opened = f->server.opened;
    connect_all(f, 4, 1);
    client_cut(&clients[1]);
    world_wait(&f->w, 450 * USEC_MS);
    assert_int_equal(f->server.opened - opened, 1);
    wire_end(clients[2].wire); /* is heard when it is its turn */
    world_wait(&f->w, 500 * USEC_MS);
    assert_int_equal(f->server.opened - opened, 2);
    assert_true(clients[2].closed);
    world_stop(&f->w);
    assert_true(clients[3].closed);
    free_all(4);
}

/* Clients that are to come back are sent away at the same rate. */
static void test_cuts(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < N; i++) {
        client_init(&clients[i], &f->w);
        client_enter(&clients[i], (int)(i % WORLD_WORKERS), "juliet");
    }
    f->w.settings.login_rate = 4;
    server_die(&f->server);
    world_wait(&f->w, 250 * USEC_MS);
    for (unsigned i = 0; i < N; i++)
        assert_false(clients[i].closed); /* first it is looked whether the server is there */
    world_wait(&f->w, 100 * USEC_MS);
    unsigned before = 0;
    for (unsigned s = 0; s < 6; s++) {
        unsigned cut = f->c.closed;
        for (unsigned i = 0; i < N; i++)
            cut += clients[i].closed;
        if (s == 0)
            assert_int_equal(cut, 1);
        else
            assert_int_equal(cut - before, 4);
        before = cut;
        world_wait(&f->w, USEC_S);
    }
    free_all(N);
}

/* The server goes away again while they wait to be cut: they are held, and spread anew when it is back. */
static void test_cuts_again(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < N; i++) {
        client_init(&clients[i], &f->w);
        client_enter(&clients[i], (int)(i % WORLD_WORKERS), "juliet");
    }
    f->w.settings.login_rate = 4;
    server_die(&f->server);
    world_wait(&f->w, 350 * USEC_MS);
    f->w.upstream.down = true;
    world_wait(&f->w, 10 * USEC_S);
    unsigned before = f->c.closed, after = 0;
    for (unsigned i = 0; i < N; i++)
        before += clients[i].closed;
    assert_int_equal(before, 1);
    f->w.upstream.down = false;
    world_wait(&f->w, 600 * USEC_MS);
    for (unsigned i = 0; i < N; i++)
        after += clients[i].closed;
    assert_in_range(after, 1, 4); /* and not all of them */
    free_all(N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_after_the_other), TEST(test_over_all_workers),  TEST(test_all_at_once), TEST(test_too_many),
        TEST(test_sent_ahead),          TEST(test_gone_while_queued), TEST(test_cuts),        TEST(test_cuts_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
