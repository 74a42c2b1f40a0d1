#include "net/proxied.h"
#include "support.h"

#define HEADER "PROXY TCP4 192.0.2.1 198.51.100.2 56324 5222\r\n"
#define LOCAL  "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"

struct fixture {
    struct loop *l;
    struct proxied *p;
    int peer; /* the load balancer's end */
    int told; /* results */
    enum proxied_result result;
    int fd;
    struct endpoints ends;
    char detail[128];
};

static void on_result(void *ctx, enum proxied_result result, int fd, const struct endpoints *ends, const char *detail)
{
    struct fixture *f = ctx;
    f->told++;
    f->result = result;
    f->fd = fd;
    f->ends = *ends;
    snprintf(f->detail, sizeof f->detail, "%s", detail);
}

static const struct proxied_events events = {on_result};

static bool has_result(void *ctx)
{
    return ((const struct fixture *)ctx)->told;
}

static void hold(struct fixture *f, usec timeout)
{
    int fd[2];
    tcp_pair(fd);
    f->peer = fd[0];
    f->fd = -1;
    f->told = 0;
    proxied_hold(f->p, nonblocking(fd[1]), timeout, &events, f);
}

static void release(struct fixture *f)
{
    close(f->peer);
    if (f->fd >= 0)
        close(f->fd);
}

static int begin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    f->l = loop_new();
    f->p = proxied_new(f->l);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    proxied_drop(f->p);
    proxied_free(f->p);
    loop_end(f->l);
    free(f);
    return 0;
}

static void say(struct fixture *f, const char *p, size_t n)
{
    assert_int_equal(send(f->peer, p, n, MSG_NOSIGNAL), n);
}

static void assert_told(struct fixture *f, const char *source, const char *destination)
{
    char text[ENDPOINT_TEXT];
    run_until(f->l, has_result, f);
    assert_int_equal(f->result, PROXIED_TOLD);
    assert_string_equal(endpoint_text(&f->ends.source, text), source);
    assert_string_equal(endpoint_text(&f->ends.destination, text), destination);
}

static void assert_unread(const struct fixture *f, const char *text)
{
    char p[64];
    assert_int_equal(recv(f->fd, p, sizeof p, 0), strlen(text));
    assert_memory_equal(p, text, strlen(text));
}

static void what_follows_the_header_is_left_unread(void **state)
{
    struct fixture *f = *state;
    hold(f, TEST_TIMEOUT);
    say(f, HEADER "<stream", strlen(HEADER "<stream"));
    assert_told(f, "192.0.2.1:56324", "198.51.100.2:5222");
    assert_unread(f, "<stream");
    release(f);
}

static void a_header_may_come_in_pieces(void **state)
{
    struct fixture *f = *state;
    hold(f, TEST_TIMEOUT);
    for (size_t i = 0; i < strlen(HEADER) - 1; i++) {
        say(f, &HEADER[i], 1);
        run_turn(f->l);
        assert_false(f->told);
    }
    say(f, "\n<", 2);
    assert_told(f, "192.0.2.1:56324", "198.51.100.2:5222");
    assert_unread(f, "<");
    release(f);
}

static bool two_turns(void *ctx)
{
    return ++*(int *)ctx > 2;
}

/* A loop with nothing to do but half a header sleeps: the bytes are taken off the socket. */
static void half_a_header_keeps_nobody_busy(void **state)
{
    struct fixture *f = *state;
    int turns = 0;
    struct clock before, after;
    struct timer wake = {.fire = (void (*)(void *))loop_wake, .ctx = f->l};
    hold(f, TEST_TIMEOUT);
    say(f, "PROXY TCP4 ", 11);
    run_turn(f->l);
    clock_read(&before);
    timers_arm(loop_timers(f->l), &wake, before.mono + 200 * USEC_MS);
    run_until(f->l, two_turns, &turns);
    clock_read(&after);
    assert_true(after.mono - before.mono >= 190 * USEC_MS);
    assert_false(f->told);
    proxied_drop(f->p);
    assert_int_equal(f->told, 1);
    release(f);
}

static void a_health_check_is_told_from_a_client(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct slice said;
        const char *more;
        enum proxied_result result;
    } rows[] = {
        {SLICE_LIT(""), NULL, PROXIED_PROBE},           {SLICE_LIT(LOCAL), NULL, PROXIED_PROBE},
        {SLICE_LIT(LOCAL), "<stream", PROXIED_LOCAL},   {SLICE_LIT("PROXY UNKNOWN\r\n"), NULL, PROXIED_PROBE},
        {SLICE_LIT("PROXY UNKNOWN\r\n"), "<", PROXIED_LOCAL}, {SLICE_LIT("PROXY"), NULL, PROXIED_CUT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        hold(f, TEST_TIMEOUT);
        say(f, rows[i].said.p, rows[i].said.n);
        run_turn(f->l);
        assert_false(f->told);
        if (rows[i].more)
            say(f, rows[i].more, strlen(rows[i].more));
        else
            shutdown(f->peer, SHUT_WR);
        run_until(f->l, has_result, f);
        assert_int_equal(f->result, rows[i].result);
        assert_int_equal(f->ends.source.family, ENDPOINT_NONE);
        if (rows[i].more)
            assert_unread(f, rows[i].more);
        release(f);
    }
}

static void a_reset_behind_a_local_header_is_a_health_check(void **state)
{
    struct fixture *f = *state;
    const struct linger now = {.l_onoff = 1};
    hold(f, TEST_TIMEOUT);
    say(f, LOCAL, sizeof LOCAL - 1);
    setsockopt(f->peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(f->peer);
    f->peer = -1;
    run_until(f->l, has_result, f);
    assert_int_equal(f->result, PROXIED_PROBE);
}

static void what_is_no_header_is_refused_at_once(void **state)
{
    struct fixture *f = *state;
    hold(f, TEST_TIMEOUT);
    say(f, "<", 1);
    run_until(f->l, has_result, f);
    assert_int_equal(f->result, PROXIED_BAD);
    assert_string_equal(f->detail, "no PROXY protocol header");
    release(f);
}

static void the_time_is_limited(void **state)
{
    struct fixture *f = *state;
    hold(f, 50 * USEC_MS);
    say(f, HEADER, 20);
    run_until(f->l, has_result, f);
    assert_int_equal(f->result, PROXIED_LATE);
    release(f);
    hold(f, 50 * USEC_MS); /* whoever stays behind a LOCAL header becomes a client that says nothing */
    say(f, LOCAL, sizeof LOCAL - 1);
    run_until(f->l, has_result, f);
    assert_int_equal(f->result, PROXIED_LOCAL);
    assert_true(f->fd >= 0);
    release(f);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_follows_the_header_is_left_unread),
        TEST(a_header_may_come_in_pieces),
        TEST(half_a_header_keeps_nobody_busy),
        TEST(a_health_check_is_told_from_a_client),
        TEST(a_reset_behind_a_local_header_is_a_health_check),
        TEST(what_is_no_header_is_refused_at_once),
        TEST(the_time_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
