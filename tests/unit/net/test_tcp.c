#include "support.h"

/* Two transports on one loop, joined by a connection. */
struct pair {
    struct loop *l;
    struct owner a, b;
    int fd; /* of a */
};

static void pair_begin_on(struct pair *p, struct loop *l)
{
    int fd[2];
    *p = (struct pair){.l = l};
    tcp_pair(fd);
    p->fd = fd[0];
    owner_take(&p->a, tcp_accept(p->l, nonblocking(fd[0]), NULL, TEST_TIMEOUT, NULL));
    owner_take(&p->b, tcp_accept(p->l, nonblocking(fd[1]), NULL, TEST_TIMEOUT, NULL));
}

static void pair_begin(struct pair *p)
{
    pair_begin_on(p, loop_new());
}

static void pair_end(struct pair *p)
{
    owner_end(&p->a, true);
    owner_end(&p->b, true);
    loop_end(p->l);
}

static void bytes_go_both_ways(void **state)
{
    (void)state;
    struct pair p;
    pair_begin(&p);
    p.b.echo = true;
    assert_int_equal(p.a.ready, 0);
    transport_write(p.a.t, slice_str("<r/>"));
    transport_write(p.a.t, slice_str("<a/>"));
    assert_int_equal(transport_buffered(p.a.t), 8);
    run_until_arrived(p.l, &p.a, 8);
    assert_received(&p.a, "<r/><a/>");
    assert_int_equal(p.b.max_upcall, 8); /* what is written in one turn leaves together */
    assert_int_equal(p.a.ready, 1);
    assert_int_equal(p.a.drained, 0);
    assert_int_equal(transport_buffered(p.a.t), 0);
    assert_int_equal(strncmp(transport_peer(p.a.t), "127.0.0.1:", 10), 0);
    assert_false(tcp_is_tls(p.a.t));
    unsigned long long in, out;
    tcp_bytes(p.a.t, &in, &out);
    assert_int_equal(in, 8);
    assert_int_equal(out, 8);
    pair_end(&p);
}

static bool is_stuck(void *ctx)
{
    const struct pair *p = ctx;
    return p->b.in.n >= p->b.stop_after && transport_buffered(p->a.t) > 0;
}

static bool is_drained(void *ctx)
{
    return ((struct owner *)ctx)->drained;
}

#define BIG ((size_t)12 << 20)

/* The reader stops: the writer's bytes stay with it. The reader goes on: all arrive, and `drained` is told once. */
static void a_stopped_reader_holds_the_writer(void **state)
{
    (void)state;
    struct pair p;
    pair_begin(&p);
    char *data = pattern(BIG);
    p.b.stop_after = 1;
    transport_write(p.a.t, slice_of(data, BIG));
    run_until(p.l, is_stuck, &p);
    assert_true(p.b.in.n <= 64 * 1024);
    assert_true(transport_outstanding(p.a.t) >= transport_buffered(p.a.t));
    assert_int_equal(p.a.drained, 0);
    p.b.stop_after = 0;
    transport_read_start(p.b.t);
    run_until_arrived(p.l, &p.b, BIG);
    run_until(p.l, is_drained, &p.a);
    assert_int_equal(p.a.drained, 1);
    assert_int_equal(p.b.in.n, BIG);
    assert_memory_equal(p.b.in.data + p.b.in.off, data, BIG);
    free(data);
    pair_end(&p);
}

struct wait {
    bool over;
    int turns;
};

static void time_is_up(void *ctx)
{
    ((struct wait *)ctx)->over = true;
}

static bool is_over(void *ctx)
{
    struct wait *w = ctx;
    w->turns++;
    return w->over;
}

/* Its watcher outlasts a short stop; what comes in a longer one must not keep the loop awake, nor get lost. */
static void bytes_that_nobody_reads_wake_the_loop_once(void **state)
{
    (void)state;
    struct pair p;
    struct wait wait = {0};
    pair_begin(&p);
    run_until(p.l, owner_is_ready, &p.b);
    transport_read_stop(p.b.t);
    transport_write(p.a.t, slice_str("<r/>"));
    struct timer timer = {.fire = time_is_up, .ctx = &wait};
    timers_arm(loop_timers(p.l), &timer, loop_clock(p.l)->mono + 50 * USEC_MS);
    run_until(p.l, is_over, &wait);
    assert_true(wait.turns < 10);
    assert_int_equal(p.b.in.n, 0);
    transport_read_start(p.b.t);
    run_until_arrived(p.l, &p.b, 4);
    assert_received(&p.b, "<r/>");
    pair_end(&p);
}

/* Its bytes come in the same turn, but behind the other's: whichever of the two that is. */
static void who_yields_is_read_behind_others(void **state)
{
    (void)state;
    struct pair p[2];
    unsigned calls = 0;
    pair_begin(&p[0]);
    pair_begin_on(&p[1], p[0].l);
    run_until(p[0].l, owner_is_ready, &p[1].b);
    p[0].b.calls = p[1].b.calls = &calls;
    for (unsigned who = 0; who < 2; who++) {
        transport_yield(p[who].b.t, true);
        transport_yield(p[1 - who].b.t, false);
        assert_int_equal(write(p[0].fd, "0", 1), 1);
        assert_int_equal(write(p[1].fd, "1", 1), 1);
        run_until_arrived(p[0].l, &p[who].b, who + 1);
        assert_int_equal(p[1 - who].b.call, 2 * who + 1);
        assert_int_equal(p[who].b.call, 2 * who + 2);
    }
    assert_received(&p[0].b, "00");
    assert_received(&p[1].b, "11");
    owner_end(&p[1].a, true);
    owner_end(&p[1].b, true);
    pair_end(&p[0]);
}

static void a_fin_comes_behind_the_bytes(void **state)
{
    (void)state;
    struct pair p;
    pair_begin(&p);
    transport_write(p.a.t, slice_str("</stream:stream>"));
    transport_free(&p.a.t, true);
    run_until(p.l, owner_is_closed, &p.b);
    assert_received(&p.b, "</stream:stream>");
    assert_int_equal(p.b.end, TRANSPORT_FIN);
    assert_int_equal(p.b.closed, 1);
    pair_end(&p);
}

/* A client that sends its last words and shuts down its side still gets ours, also when we only write them then. */
static void a_half_closed_peer_gets_the_answer(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct owner o = {0};
    int fd[2];
    tcp_pair(fd);
    assert_int_equal(write(fd[0], "bye", 3), 3);
    shutdown(fd[0], SHUT_WR);
    owner_take(&o, tcp_accept(l, nonblocking(fd[1]), NULL, TEST_TIMEOUT, NULL));
    run_until(l, owner_is_closed, &o);
    assert_received(&o, "bye");
    assert_int_equal(o.end, TRANSPORT_FIN);
    transport_write(o.t, slice_str("goodbye"));
    owner_end(&o, true);
    loop_end(l);
    char answer[16];
    assert_int_equal(recv(fd[0], answer, sizeof answer, MSG_WAITALL), 7);
    assert_memory_equal(answer, "goodbye", 7);
    close(fd[0]);
}

static void a_reset_is_told(void **state)
{
    (void)state;
    struct pair p;
    pair_begin(&p);
    run_until(p.l, owner_is_ready, &p.b);
    transport_write(p.a.t, slice_str("lost"));
    transport_free(&p.a.t, false);
    run_until(p.l, owner_is_closed, &p.b);
    assert_int_equal(p.b.end, TRANSPORT_RESET);
    assert_string_equal(p.b.detail, "read: Connection reset by peer");
    assert_int_equal(p.b.in.n, 0);
    transport_write(p.b.t, slice_str("to nobody"));
    assert_int_equal(transport_buffered(p.b.t), 0);
    pair_end(&p);
}

/* A server that says why it closes, while we are writing to it: the reset must not cost us its last words. */
static void last_words_before_a_reset_are_read(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct owner o = {.no_start = true};
    int fd[2];
    tcp_pair(fd);
    owner_take(&o, tcp_accept(l, nonblocking(fd[1]), NULL, TEST_TIMEOUT, NULL));
    run_until(l, owner_is_ready, &o);
    assert_int_equal(write(fd[0], "<conflict/>", 11), 11);
    const struct linger now = {1, 0};
    setsockopt(fd[0], SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd[0]);
    transport_write(o.t, slice_str("hello?"));
    transport_read_start(o.t);
    run_until(l, owner_is_closed, &o);
    assert_received(&o, "<conflict/>");
    assert_int_equal(o.end, TRANSPORT_RESET);
    owner_end(&o, true);
    loop_end(l);
}

struct counted {
    struct loop *l;
    struct timer timer;
    int turns;
};

static void count_turn(void *ctx)
{
    ((struct counted *)ctx)->turns++;
}

static void stop_loop(void *ctx)
{
    loop_stop(((struct counted *)ctx)->l);
}

/* While reading is stopped, neither FIN nor RST keeps the loop busy; they are told when reading goes on. */
static void stopped_reading_does_not_spin(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        bool reset = i & 1, yields = i & 2;
        struct pair p;
        pair_begin(&p);
        transport_yield(p.b.t, yields);
        p.b.no_start = true;
        run_until(p.l, owner_is_ready, &p.b);
        transport_write(p.a.t, slice_str("x"));
        run_until(p.l, owner_is_ready, &p.a);
        transport_free(&p.a.t, !reset);
        struct counted c = {.l = p.l, .timer = {.fire = stop_loop, .ctx = &c}};
        timers_arm(loop_timers(p.l), &c.timer, loop_clock(p.l)->mono + 50 * USEC_MS);
        loop_on_turn_end(p.l, count_turn, &c);
        loop_run(p.l);
        assert_true(c.turns < 20);
        assert_int_equal(p.b.in.n + (size_t)p.b.closed, 0);
        transport_read_start(p.b.t);
        run_until(p.l, owner_is_closed, &p.b);
        assert_received(&p.b, "x");
        assert_int_equal(p.b.end, reset ? TRANSPORT_RESET : TRANSPORT_FIN);
        pair_end(&p);
    }
}

/* A failed write with nothing left to read is told even though reading is stopped. */
static void a_failed_write_is_told_to_a_stopped_reader(void **state)
{
    (void)state;
    struct pair p;
    pair_begin(&p);
    p.b.no_start = true;
    run_until(p.l, owner_is_ready, &p.b);
    transport_free(&p.a.t, false);
    transport_write(p.b.t, slice_str("to nobody"));
    run_until(p.l, owner_is_closed, &p.b);
    assert_int_equal(p.b.end, TRANSPORT_RESET);
    pair_end(&p);
}

static void graceful_close_delivers_all(void **state)
{
    (void)state;
    struct pair p;
    pair_begin(&p);
    char *data = pattern(BIG);
    transport_write(p.a.t, slice_of(data, BIG));
    transport_free(&p.a.t, true);
    assert_int_equal(loop_closing(p.l), 1);
    run_until(p.l, owner_is_closed, &p.b);
    assert_int_equal(p.b.in.n, BIG);
    assert_memory_equal(p.b.in.data + p.b.in.off, data, BIG);
    assert_int_equal(p.b.end, TRANSPORT_FIN);
    free(data);
    pair_end(&p);
}

/* A peer that neither reads nor closes does not hold us for ever, and a loop that ends does not wait for it. */
static void loop_free_ends_goodbyes(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    struct owner o = {0};
    int fd[2];
    tcp_pair(fd);
    owner_take(&o, tcp_accept(l, nonblocking(fd[1]), NULL, TEST_TIMEOUT, NULL));
    run_until(l, owner_is_ready, &o);
    transport_write(o.t, slice_str("last words"));
    owner_end(&o, true);
    assert_int_equal(loop_closing(l), 1);
    loop_free(l);
    char answer[16];
    assert_int_equal(recv(fd[0], answer, 10, MSG_WAITALL), 10);
    assert_int_equal(recv(fd[0], answer, 1, 0), 0);
    close(fd[0]);
}

static void free_in_bytes(void *ctx, const char *p, size_t n)
{
    struct owner *o = ctx;
    (void)p, (void)n;
    transport_free(&o->t, true);
    o->ready = -1;
}

static bool was_freed(void *ctx)
{
    return !((struct owner *)ctx)->t;
}

static void an_owner_may_free_inside_upcalls(void **state)
{
    (void)state;
    struct pair p;
    pair_begin(&p);
    const struct transport_events events = {owner_ready, free_in_bytes, owner_drained, owner_closed};
    transport_set_events(p.b.t, &events, &p.b);
    transport_write(p.a.t, slice_str("die"));
    run_until(p.l, was_freed, &p.b);
    run_until(p.l, owner_is_closed, &p.a);
    assert_int_equal(p.b.closed, 0);
    pair_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways),
        cmocka_unit_test(a_stopped_reader_holds_the_writer),
        cmocka_unit_test(bytes_that_nobody_reads_wake_the_loop_once),
        cmocka_unit_test(who_yields_is_read_behind_others),
        cmocka_unit_test(a_fin_comes_behind_the_bytes),
        cmocka_unit_test(a_half_closed_peer_gets_the_answer),
        cmocka_unit_test(a_reset_is_told),
        cmocka_unit_test(last_words_before_a_reset_are_read),
        cmocka_unit_test(stopped_reading_does_not_spin),
        cmocka_unit_test(a_failed_write_is_told_to_a_stopped_reader),
        cmocka_unit_test(graceful_close_delivers_all),
        cmocka_unit_test(loop_free_ends_goodbyes),
        cmocka_unit_test(an_owner_may_free_inside_upcalls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
