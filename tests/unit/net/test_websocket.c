/* A WebSocket over a real socket, with a client of bare bytes; its black-box tests have all kinds of frames. */
#include "net/websocket.h"
#include "support.h"

struct fixture {
    struct loop *l, *other;
    int peer;
    struct owner o;
};

static bool is_ready(void *ctx)
{
    return ((struct fixture *)ctx)->o.ready > 0;
}

static void begin(struct fixture *f, const char *early, size_t n)
{
    int fd[2];
    *f = (struct fixture){.l = loop_new(), .other = loop_new()};
    tcp_pair(fd);
    f->peer = fd[0];
    struct transport *below = tcp_accept(f->l, nonblocking(fd[1]), NULL, TEST_TIMEOUT, NULL);
    owner_take(&f->o, websocket_new(f->l, below, slice_of(early, n)));
    assert_int_equal(f->o.t->kind, TRANSPORT_WS);
    assert_int_equal(f->o.ready, 0);
}

static void end(struct fixture *f)
{
    close(f->peer);
    owner_end(&f->o, false);
    loop_end(f->l);
    loop_end(f->other);
}

static void put(struct fixture *f, const char *p, size_t n)
{
    assert_int_equal(write(f->peer, p, n), (ssize_t)n);
}

static void get(struct fixture *f, const char *p, size_t n)
{
    char got[256];
    assert_true(n <= sizeof got);
    assert_int_equal(recv(f->peer, got, n, MSG_WAITALL), (ssize_t)n);
    assert_memory_equal(got, p, n);
}

/* Masked with zeroes: the payload is to be seen. */
#define FRAME(opcode, n, payload) opcode n "\0\0\0\0" payload
#define PUT(f, literal)           put(f, literal, sizeof(literal) - 1)
#define GET(f, literal)           get(f, literal, sizeof(literal) - 1)

static bool has_three(void *ctx)
{
    return ((struct fixture *)ctx)->o.in.n >= 3;
}

static bool has_closed(void *ctx)
{
    return ((struct fixture *)ctx)->o.closed > 0;
}

static void assert_in(struct fixture *f, const char *p, size_t n)
{
    assert_int_equal(f->o.in.n, n);
    assert_memory_equal(f->o.in.data + f->o.in.off, p, n);
}

static void test_messages_both_ways(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "", 0);
    run_until(f.l, is_ready, &f);
    PUT(&f,
        FRAME("\x81", "\x82", "ab") FRAME("\x01", "\x81", "c") FRAME("\x89", "\x81", "p") FRAME("\x80", "\x81", "d"));
    run_until(f.l, has_three, &f);
    while (f.o.in.n < 6)
        run_turn(f.l);
    assert_in(&f, "ab\0cd\0", 6);
    GET(&f, "\x8a\x01p");
    struct slice parts[] = {SLICE_LIT("<a"), SLICE_LIT(" b=''"), SLICE_LIT("/>")};
    f.o.t->ops->write_message(f.o.t, parts, 3);
    transport_write(f.o.t, SLICE_LIT("x"));
    f.o.t->ops->ping(f.o.t);
    run_turn(f.l);
    GET(&f, "\x81\x09<a b=''/>\x81\x01x\x89\0");
    end(&f);
}

/* What came with the request is not told before the owner wants it, nor overtaken. */
static void test_what_came_early_waits(void **state)
{
    (void)state;
    struct fixture f;
    static const char early[] = FRAME("\x81", "\x81", "1");
    begin(&f, early, sizeof early - 1);
    f.o.no_start = true;
    PUT(&f, FRAME("\x81", "\x81", "2"));
    run_until(f.l, is_ready, &f);
    run_turn(f.l);
    assert_int_equal(f.o.in.n, 0);
    transport_read_start(f.o.t);
    while (f.o.in.n < 4)
        run_turn(f.l);
    assert_in(&f,
              "1\0"
              "2\0",
              4);
    end(&f);
}

/* Half a frame, and a message that has not ended, go along. */
static void test_it_moves_between_loops(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f, "", 0);
    run_until(f.l, is_ready, &f);
    PUT(&f, FRAME("\x01", "\x83", "abc") "\x80\x83\0\0");
    run_until(f.l, has_three, &f);
    transport_detach(f.o.t);
    transport_attach(f.o.t, f.other);
    PUT(&f, "\0\0def");
    transport_read_start(f.o.t);
    while (f.o.in.n < 7)
        run_turn(f.other);
    assert_in(&f, "abcdef\0", 7);
    transport_write(f.o.t, SLICE_LIT("y"));
    run_turn(f.other);
    GET(&f, "\x81\x01y");
    end(&f);
}

static void test_ends(void **state)
{
    (void)state;
    static const struct {
        const char *frames;
        size_t n;
        const char *answer;
        size_t answer_n;
        enum transport_end end;
    } cases[] = {
        {FRAME("\x81", "\x81", "a") FRAME("\x88", "\x82", "\x03\xe9"), 15, "\x88\x02\x03\xe9", 4, TRANSPORT_FIN},
        {FRAME("\x81", "\x81", "a") FRAME("\x82", "\x81", "b"), 14, "\x88\x02\x03\xeb", 4, TRANSPORT_BROKEN},
        {FRAME("\x81", "\x81", "a") FRAME("\x83", "\x81", "b"), 14, "\x88\x02\x03\xea", 4, TRANSPORT_BROKEN},
        {FRAME("\x81", "\x81", "a") FRAME("\x81", "\x81", "\xff"), 14, "\x88\x02\x03\xef", 4, TRANSPORT_BROKEN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        begin(&f, "", 0);
        run_until(f.l, is_ready, &f);
        put(&f, cases[i].frames, cases[i].n);
        run_until(f.l, has_closed, &f);
        assert_in(&f, "a\0", 2);
        assert_int_equal(f.o.end, cases[i].end);
        transport_write(f.o.t, SLICE_LIT("too late"));
        f.o.t->ops->finish(f.o.t, FAREWELL_DONE);
        transport_free(&f.o.t, true);
        run_turn(f.l);
        get(&f, cases[i].answer, cases[i].answer_n);
        char none;
        assert_int_equal(recv(f.peer, &none, 1, 0), 0);
        end(&f);
    }
}

static void test_goodbyes(void **state)
{
    (void)state;
    for (int finished = 0; finished < 2; finished++) {
        struct fixture f;
        begin(&f, "", 0);
        run_until(f.l, is_ready, &f);
        transport_write(f.o.t, SLICE_LIT("z"));
        if (finished)
            f.o.t->ops->finish(f.o.t, FAREWELL_TOO_LARGE);
        transport_write(f.o.t, SLICE_LIT("z")); /* not behind a finish */
        transport_free(&f.o.t, true);
        run_turn(f.l);
        if (finished)
            GET(&f, "\x81\x01z\x88\x02\x03\xf1");
        else
            GET(&f, "\x81\x01z\x81\x01z");
        char none;
        assert_int_equal(recv(f.peer, &none, 1, 0), 0);
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_both_ways),
        cmocka_unit_test(test_what_came_early_waits),
        cmocka_unit_test(test_it_moves_between_loops),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_goodbyes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
