#include "net/listener.h"
#include "support.h"
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <valgrind/valgrind.h>

struct door {
    struct loop *l;
    struct listener *listener;
    int fd[8];
    int n;
    int wanted;
    char peer[64];
};

static void on_accepted(void *ctx, int fd, const struct endpoint *peer)
{
    struct door *d = ctx;
    assert_true(d->n < 8);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    d->fd[d->n++] = fd;
    endpoint_text(peer, d->peer);
}

static const struct listener_events events = {on_accepted};

static bool all_came(void *ctx)
{
    const struct door *d = ctx;
    return d->n >= d->wanted;
}

static struct listener *open_ok(const char *address)
{
    char *error;
    struct listener *l = listener_open(address, &error);
    if (!l)
        fail_msg("%s", error);
    return l;
}

static void assert_open_fails(const char *address, const char *expected)
{
    char *error;
    assert_null(listener_open(address, &error));
    assert_string_equal(error, expected);
    free(error);
}

static struct door door_open(const char *address)
{
    struct door d = {.l = loop_new(), .listener = open_ok(address)};
    return d;
}

static void door_close(struct door *d)
{
    listener_free(d->listener);
    while (d->n)
        close(d->fd[--d->n]);
    loop_end(d->l);
}

static int option_of(int fd, int level, int name)
{
    int value = 0;
    socklen_t n = sizeof value;
    assert_int_equal(getsockopt(fd, level, name, &value, &n), 0);
    return value;
}

static void connections_are_accepted(void **state)
{
    (void)state;
    struct door d = door_open("127.0.0.1:0");
    int port = listener_port(d.listener);
    assert_true(port > 0);
    listener_start(d.listener, d.l, &events, &d);
    int a = connect_loopback(port), b = connect_loopback(port);
    d.wanted = 2;
    run_until(d.l, all_came, &d);
    struct sockaddr_in sa;
    socklen_t n = sizeof sa;
    getsockname(b, (struct sockaddr *)&sa, &n);
    char *expected = mem_printf("127.0.0.1:%d", ntohs(sa.sin_port));
    assert_string_equal(d.peer, expected);
    free(expected);
    assert_true(option_of(d.fd[0], IPPROTO_TCP, TCP_NODELAY) && option_of(d.fd[0], SOL_SOCKET, SO_KEEPALIVE));
    assert_true(option_of(d.fd[0], IPPROTO_TCP, TCP_USER_TIMEOUT) == 60000);
    assert_true(option_of(d.fd[0], IPPROTO_TCP, TCP_NOTSENT_LOWAT) == 128 * 1024);
    close(a);
    close(b);
    door_close(&d);
}

/* One socket for both families; an IPv4 client is shown as one. */
static void a_star_means_all_addresses(void **state)
{
    (void)state;
    const char *forms[] = {"*:0", "0"};
    for (int i = 0; i < 2; i++) {
        struct door d = door_open(forms[i]);
        listener_start(d.listener, d.l, &events, &d);
        int fd = connect_loopback(listener_port(d.listener));
        d.wanted = 1;
        run_until(d.l, all_came, &d);
        assert_int_equal(strncmp(d.peer, "127.0.0.1:", 10), 0);
        close(fd);
        door_close(&d);
    }
}

static void bad_addresses_are_told(void **state)
{
    (void)state;
    assert_open_fails("nonsense", "listen nonsense: not an address:port");
    assert_open_fails("127.0.0.1:", "listen 127.0.0.1:: not an address:port");
    assert_open_fails("127.0.0.1:65536", "listen 127.0.0.1:65536: not an address:port");
    assert_open_fails("127.0.0.1:-1", "listen 127.0.0.1:-1: not an address:port");
    assert_open_fails("::1:5222", "listen ::1:5222: not an address:port"); /* no brackets */
    assert_open_fails("[127.0.0.1]:5222", "listen [127.0.0.1]:5222: not an address:port");
    assert_open_fails("localhost:5222", "listen localhost:5222: not an address:port");
    assert_open_fails("192.0.2.1:0", "listen 192.0.2.1:0: Cannot assign requested address");
}

static void assert_in_use(int port)
{
    char *address = mem_printf("127.0.0.1:%d", port);
    char *expected = mem_printf("listen %s: Address already in use", address);
    assert_open_fails(address, expected);
    free(expected);
    free(address);
}

/* Whoever listens there, with SO_REUSEPORT or without, in this process or another. */
static void a_port_in_use_is_told(void **state)
{
    (void)state;
    int port = 0, fd = listen_loopback("127.0.0.1", &port);
    assert_in_use(port);
    close(fd);
    struct listener *ours = open_ok("127.0.0.1:0");
    assert_in_use(listener_port(ours));
    pid_t child = fork();
    if (child == 0) {
        char *address = mem_printf("127.0.0.1:%d", listener_port(ours)), *error = NULL;
        int status = listener_open(address, &error) ? 1 : 0;
        free(address);
        free(error);
        listener_free(ours); /* lest valgrind finds a leak in the child */
        _exit(status);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 0);
    listener_free(ours);
}

/* A port whose last connections are still in TIME_WAIT can be bound again at once. */
static void a_restart_finds_its_port_free(void **state)
{
    (void)state;
    struct door d = door_open("127.0.0.1:0");
    int port = listener_port(d.listener);
    listener_start(d.listener, d.l, &events, &d);
    int fd = connect_loopback(port);
    d.wanted = 1;
    run_until(d.l, all_came, &d);
    shutdown(d.fd[0], SHUT_WR); /* the side that closes first keeps the TIME_WAIT */
    char c;
    assert_int_equal(read(fd, &c, 1), 0);
    close(fd);
    door_close(&d);
    char *address = mem_printf("127.0.0.1:%d", port);
    struct listener *again = open_ok(address);
    assert_int_equal(listener_port(again), port);
    listener_free(again);
    free(address);
}

static void clones_share_the_port(void **state)
{
    (void)state;
    struct door d = door_open("127.0.0.1:0");
    char *error;
    struct listener *clone = listener_clone(d.listener, &error);
    assert_non_null(clone);
    assert_int_equal(listener_port(clone), listener_port(d.listener));
    listener_start(d.listener, d.l, &events, &d);
    listener_start(clone, d.l, &events, &d);
    int fd[8];
    for (int i = 0; i < 8; i++)
        fd[i] = connect_loopback(listener_port(clone));
    d.wanted = 8;
    run_until(d.l, all_came, &d);
    for (int i = 0; i < 8; i++)
        close(fd[i]);
    listener_free(clone);
    door_close(&d);
}

/* What the kernel has queued counts as connected for its clients. */
static void free_accepts_what_is_queued(void **state)
{
    (void)state;
    struct door d = door_open("127.0.0.1:0");
    int fd[3];
    for (int i = 0; i < 3; i++)
        fd[i] = connect_loopback(listener_port(d.listener));
    listener_start(d.listener, d.l, &events, &d);
    listener_free(d.listener);
    assert_int_equal(d.n, 3);
    d.listener = NULL;
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    door_close(&d);
}

static void free_in_upcall(void *ctx, int fd, const struct endpoint *peer)
{
    struct door *d = ctx;
    on_accepted(d, fd, peer);
    if (d->n == 1)
        listener_free(d->listener);
}

static void free_inside_the_upcall(void **state)
{
    (void)state;
    struct door d = door_open("127.0.0.1:0");
    const struct listener_events freeing = {free_in_upcall};
    int a = connect_loopback(listener_port(d.listener)), b = connect_loopback(listener_port(d.listener));
    listener_start(d.listener, d.l, &freeing, &d);
    d.wanted = 2;
    run_until(d.l, all_came, &d);
    assert_int_equal(d.n, 2);
    d.listener = NULL;
    close(a);
    close(b);
    door_close(&d);
}

static bool is_exhausted(void *ctx)
{
    const struct door *d = ctx;
    return listener_exhausted(d->listener) > 0;
}

/* Without descriptors accepting pauses, then goes on by itself. */
static void running_out_of_descriptors_pauses(void **state)
{
    (void)state;
    if (RUNNING_ON_VALGRIND)
        skip(); /* it keeps the limit on descriptors to itself */
    struct door d = door_open("127.0.0.1:0");
    listener_start(d.listener, d.l, &events, &d);
    int fd = connect_loopback(listener_port(d.listener));
    struct rlimit old, low;
    getrlimit(RLIMIT_NOFILE, &old);
    int spare = dup(fd); /* the lowest free descriptor is the first that the limit forbids */
    low = (struct rlimit){(rlim_t)spare, old.rlim_max};
    close(spare);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    d.wanted = 1;
    run_until(d.l, is_exhausted, &d);
    assert_int_equal(d.n, 0);
    assert_int_equal(listener_exhausted(d.listener), 1); /* no spinning */
    setrlimit(RLIMIT_NOFILE, &old);
    run_until(d.l, all_came, &d);
    assert_int_equal(d.n, 1);
    close(fd);
    door_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_accepted),
        cmocka_unit_test(a_star_means_all_addresses),
        cmocka_unit_test(bad_addresses_are_told),
        cmocka_unit_test(a_port_in_use_is_told),
        cmocka_unit_test(a_restart_finds_its_port_free),
        cmocka_unit_test(clones_share_the_port),
        cmocka_unit_test(free_accepts_what_is_queued),
        cmocka_unit_test(free_inside_the_upcall),
        cmocka_unit_test(running_out_of_descriptors_pauses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
