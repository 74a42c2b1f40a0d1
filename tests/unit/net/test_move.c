/* Transports that change threads, with bytes on their way in all places. Made to run under the thread sanitizer too. */
#include "net/dialer.h"
#include "support.h"
#include <pthread.h>
#include <stdatomic.h>

struct tls_both {
    struct certificates certs;
    struct tls_context *server, *client;
};

static void tls_both_begin(struct tls_both *tls)
{
    certificates_begin(&tls->certs);
    const char *file = certificates_add(&tls->certs, "DNS:xmpp.example", 3600);
    tls->server = server_context(file);
    tls->client = client_context(file);
}

static void tls_both_end(struct tls_both *tls)
{
    tls_free(tls->server);
    tls_free(tls->client);
    certificates_end(&tls->certs);
}

/* --- Two loops on one thread: the exact cases --- */

struct two {
    struct tls_both tls;
    struct loop *here, *there;
    struct dialer *dialer;
    struct owner s, c;
};

static int two_begin(void **state)
{
    struct two *w = MEM_NEW(struct two);
    tls_both_begin(&w->tls);
    w->here = loop_new();
    w->there = loop_new();
    w->dialer = dialer_new(w->here);
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    const struct dial_target target = {
        .host = "127.0.0.1", .port = port, .tls = w->tls.client, .tls_name = "xmpp.example", .timeout = TEST_TIMEOUT};
    owner_take(&w->c, dialer_dial(w->dialer, &target));
    int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    close(listening);
    owner_take(&w->s, tcp_accept(w->here, fd, w->tls.server, TEST_TIMEOUT, NULL));
    *state = w;
    return 0;
}

static int two_end(void **state)
{
    struct two *w = *state;
    owner_end(&w->s, false);
    owner_end(&w->c, false);
    dialer_free(w->dialer);
    loop_end(w->here);
    loop_end(w->there);
    tls_both_end(&w->tls);
    free(w);
    return 0;
}

static bool both_ready(void *ctx)
{
    struct two *w = ctx;
    return owner_is_ready(&w->s) && owner_is_ready(&w->c);
}

static void move(struct two *w)
{
    transport_detach(w->s.t);
    transport_attach(w->s.t, w->there);
}

/* Seven records, of which the last is delivered in part and the rest of it waits inside SSL; the socket is empty. */
static void bytes_inside_ssl_are_delivered_after_the_move(void **state)
{
    struct two *w = *state;
    enum { RECORD = 10000, ALL = 7 * RECORD };
    char *data = pattern(ALL);
    w->s.no_start = true;
    run_until(w->here, both_ready, w);
    for (size_t i = 0; i < ALL; i += RECORD) {
        transport_write(w->c.t, slice_of(data + i, RECORD));
        run_turn(w->here);
    }
    w->s.stop_after = 1;
    transport_read_start(w->s.t);
    run_until_arrived(w->here, &w->s, 1);
    assert_int_equal(w->s.in.n, 64 * 1024);
    w->s.stop_after = 0;
    move(w);
    run_turn(w->there);
    assert_int_equal(w->s.in.n, 64 * 1024); /* stopped by the move */
    transport_read_start(w->s.t);
    run_until_arrived(w->there, &w->s, ALL);
    assert_int_equal(w->s.in.n, ALL);
    assert_memory_equal(w->s.in.data + w->s.in.off, data, ALL);
    free(data);
}

static bool is_stuck(void *ctx)
{
    struct two *w = ctx;
    return transport_buffered(w->s.t) > 0;
}

static bool is_drained(void *ctx)
{
    return ((struct owner *)ctx)->drained > 0;
}

/* The out buffer goes along, and `drained` is told on the new loop. */
static void buffered_bytes_leave_after_the_move(void **state)
{
    struct two *w = *state;
    const size_t big = 8 << 20;
    char *data = pattern(big);
    run_until(w->here, both_ready, w);
    transport_read_stop(w->c.t);
    transport_write(w->s.t, slice_of(data, big));
    run_until(w->here, is_stuck, w);
    size_t buffered = transport_buffered(w->s.t);
    move(w);
    assert_int_equal(transport_buffered(w->s.t), buffered);
    assert_int_equal(w->s.drained, 0);
    transport_read_start(w->c.t);
    while (w->c.in.n < big) { /* the two loops take turns */
        run_turn(w->there);
        run_turn(w->here);
    }
    run_until(w->there, is_drained, &w->s);
    assert_int_equal(w->s.drained, 1);
    assert_memory_equal(w->c.in.data + w->c.in.off, data, big);
    free(data);
}

/* Detached before anything has happened: `ready` and the handshake are due on the new loop. */
static void a_handshake_goes_on_after_the_move(void **state)
{
    struct two *w = *state;
    move(w);
    while (!w->s.ready) {
        run_turn(w->here);
        run_turn(w->there);
    }
    assert_int_equal(w->s.ready, 1);
}

static void a_detached_one_may_be_freed(void **state)
{
    struct two *w = *state;
    run_until(w->here, both_ready, w);
    transport_write(w->s.t, slice_str("not sent"));
    transport_detach(w->s.t);
    transport_free(&w->s.t, true);
    run_until(w->here, owner_is_closed, &w->c);
    assert_int_equal(w->c.in.n, 0);
}

/* --- Three threads: a client, and an echo that moves between two workers all the time --- */

struct worker {
    pthread_t thread;
    struct loop *l;
    struct worker *other;
    pthread_mutex_t lock;
    struct transport *inbox; /* under lock */
    bool stop;               /* under lock */
    struct transport *t;     /* while it is here */
    unsigned upcalls;
    _Atomic int moves;
};

static void hand_over(struct worker *w)
{
    struct transport *t = w->t;
    w->t = NULL;
    w->moves++;
    transport_detach(t);
    pthread_mutex_lock(&w->other->lock);
    w->other->inbox = t;
    pthread_mutex_unlock(&w->other->lock);
    loop_wake(w->other->l);
}

static void worker_ready(void *ctx)
{
    transport_read_start(((struct worker *)ctx)->t);
}

/* Echoes; every third upcall moves, so that what was just written is in the out buffer and more waits in SSL. */
static void worker_bytes(void *ctx, const char *p, size_t n)
{
    struct worker *w = ctx;
    transport_write(w->t, slice_of(p, n));
    if (++w->upcalls % 3 == 0)
        hand_over(w);
}

static void worker_drained(void *ctx)
{
    (void)ctx;
}

static void worker_closed(void *ctx, enum transport_end end, const char *detail)
{
    struct worker *w = ctx;
    (void)end, (void)detail;
    transport_free(&w->t, true);
}

static const struct transport_events worker_events = {worker_ready, worker_bytes, worker_drained, worker_closed};

static void worker_woken(void *ctx)
{
    struct worker *w = ctx;
    pthread_mutex_lock(&w->lock);
    struct transport *t = w->inbox;
    bool stop = w->stop;
    w->inbox = NULL;
    pthread_mutex_unlock(&w->lock);
    if (t) {
        w->t = t;
        transport_attach(t, w->l);
        transport_set_events(t, &worker_events, w);
        transport_read_start(t);
    }
    if (stop)
        loop_stop(w->l);
}

static void *worker_main(void *ctx)
{
    struct worker *w = ctx;
    loop_run(w->l);
    transport_free(&w->t, true);
    return NULL;
}

static void worker_stop(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_mutex_unlock(&w->lock);
    loop_wake(w->l);
    pthread_join(w->thread, NULL);
}

static void echo_between_threads(struct tls_both *tls)
{
    const size_t all = 4 << 20;
    struct worker w[2];
    memset(w, 0, sizeof w);
    for (int i = 0; i < 2; i++) {
        w[i].l = loop_new();
        w[i].other = &w[1 - i];
        pthread_mutex_init(&w[i].lock, NULL);
        loop_on_wake(w[i].l, worker_woken, &w[i]);
    }
    struct loop *l = loop_new();
    struct dialer *dialer = dialer_new(l);
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    const struct dial_target target = {
        .host = "127.0.0.1", .port = port, .tls = tls ? tls->client : NULL, .tls_name = "xmpp.example", .timeout = TEST_TIMEOUT};
    struct owner c = {0};
    owner_take(&c, dialer_dial(dialer, &target));
    int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    close(listening);
    w[0].t = tcp_accept(w[0].l, fd, tls ? tls->server : NULL, TEST_TIMEOUT, NULL);
    transport_set_events(w[0].t, &worker_events, &w[0]);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&w[i].thread, NULL, worker_main, &w[i]), 0);

    char *data = pattern(all);
    transport_write(c.t, slice_of(data, all));
    run_until_arrived(l, &c, all);
    assert_int_equal(c.in.n, all);
    assert_memory_equal(c.in.data + c.in.off, data, all);
    assert_true(w[0].moves > 3);
    free(data);
    owner_end(&c, true);
    dialer_free(dialer);
    loop_end(l);
    worker_stop(&w[0]);
    worker_stop(&w[1]);
    for (int i = 0; i < 2; i++) { /* no sooner: each may have been about to wake the other */
        loop_free(w[i].l);
        pthread_mutex_destroy(&w[i].lock);
    }
}

static void clear_bytes_survive_moves_between_threads(void **state)
{
    (void)state;
    echo_between_threads(NULL);
}

static void tls_survives_moves_between_threads(void **state)
{
    (void)state;
    struct tls_both tls;
    tls_both_begin(&tls);
    echo_between_threads(&tls);
    tls_both_end(&tls);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, two_begin, two_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bytes_inside_ssl_are_delivered_after_the_move),
        TEST(buffered_bytes_leave_after_the_move),
        TEST(a_handshake_goes_on_after_the_move),
        TEST(a_detached_one_may_be_freed),
        cmocka_unit_test(clear_bytes_survive_moves_between_threads),
        cmocka_unit_test(tls_survives_moves_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
