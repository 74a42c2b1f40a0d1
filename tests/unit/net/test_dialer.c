#include "../../../proxy/net/tcp_private.h"
#include "net/address.h"
#include "net/dialer.h"
#include "support.h"
#include <ev.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <sys/wait.h>

/* A name server on loopback that knows a few names:
 *   two.example     127.0.0.2 and 127.0.0.1, in this order
 *   silent.example  is never answered
 *   all others do not exist */
struct name_server {
    int fd;
    char address[32];
    ev_io io;
    int asked;
};

/* The question's name as text; returns the question's size, with type and class. */
static size_t parse_question(const unsigned char *p, size_t n, char *name, unsigned *type)
{
    size_t i = 12, out = 0;
    while (i < n && p[i]) {
        memcpy(name + out, p + i + 1, p[i]);
        out += p[i];
        name[out++] = '.';
        i += p[i] + 1u;
    }
    name[out ? out - 1 : 0] = '\0';
    *type = p[i + 1] * 256u + p[i + 2];
    return i + 5 - 12;
}

static size_t add_address(unsigned char *p, unsigned char last)
{
    const unsigned char record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, last};
    memcpy(p, record, sizeof record);
    return sizeof record;
}

static void on_question(struct ev_loop *ev, ev_io *w, int revents)
{
    (void)ev, (void)revents;
    struct name_server *s = w->data;
    unsigned char p[512];
    char name[256];
    unsigned type;
    struct sockaddr_in from;
    socklen_t from_n = sizeof from;
    ssize_t got = recvfrom(s->fd, p, sizeof p, 0, (struct sockaddr *)&from, &from_n);
    assert_true(got > 12);
    s->asked++;
    size_t n = 12 + parse_question(p, (size_t)got, name, &type);
    if (strcmp(name, "silent.example") == 0)
        return;
    bool known = strcmp(name, "two.example") == 0;
    p[2] = 0x81;
    p[3] = known ? 0x80 : 0x83; /* NXDOMAIN */
    memset(p + 6, 0, 6);
    if (known && type == 1) {
        p[7] = 2;
        n += add_address(p + n, 2);
        n += add_address(p + n, 1);
    }
    sendto(s->fd, p, n, 0, (struct sockaddr *)&from, from_n);
}

struct fixture {
    struct loop *l;
    struct dialer *d;
    struct name_server dns;
    struct owner o;
};

static int begin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    struct sockaddr_in sa = {.sin_family = AF_INET};
    socklen_t n = sizeof sa;
    f->l = loop_new();
    f->d = dialer_new(f->l);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    f->dns.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    bind(f->dns.fd, (struct sockaddr *)&sa, sizeof sa);
    getsockname(f->dns.fd, (struct sockaddr *)&sa, &n);
    snprintf(f->dns.address, sizeof f->dns.address, "127.0.0.1:%d", ntohs(sa.sin_port));
    ev_io_init(&f->dns.io, on_question, f->dns.fd, EV_READ);
    f->dns.io.data = &f->dns;
    ev_io_start(loop_ev(f->l), &f->dns.io);
    *state = f;
    return dialer_set_servers(f->d, f->dns.address) ? 0 : -1;
}

static int end(void **state)
{
    struct fixture *f = *state;
    owner_end(&f->o, true);
    dialer_free(f->d);
    ev_io_stop(loop_ev(f->l), &f->dns.io);
    close(f->dns.fd);
    loop_end(f->l);
    free(f);
    return 0;
}

static void dial(struct fixture *f, const char *host, int port, usec timeout)
{
    const struct dial_target target = {.host = host, .port = port, .timeout = timeout};
    owner_take(&f->o, dialer_dial(f->d, &target));
    assert_int_equal(f->o.ready + f->o.closed, 0);
}

static void assert_fails(struct fixture *f, enum transport_end why, const char *detail)
{
    run_until(f->l, owner_is_closed, &f->o);
    assert_int_equal(f->o.ready, 0);
    assert_int_equal(f->o.end, why);
    assert_string_equal(f->o.detail, detail);
}

/* It is connected to that address and port of this machine. */
static void assert_connected(const struct transport *t, const char *address, int port)
{
    char text[ENDPOINT_TEXT], *expected = mem_printf("%s:%d", address, port);
    struct endpoints ends = address_ends(tcp_of(t)->io.fd);
    assert_string_equal(endpoint_text(&ends.source, text), expected);
    assert_string_equal(transport_peer(t), "");
    free(expected);
}

static void a_literal_address_is_dialled(void **state)
{
    struct fixture *f = *state;
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    dial(f, "127.0.0.1", port, TEST_TIMEOUT);
    transport_write(f->o.t, slice_str("early"));
    run_until(f->l, owner_is_ready, &f->o);
    assert_connected(f->o.t, "127.0.0.1", port);
    int fd = accept(listening, NULL, NULL);
    char p[8];
    assert_int_equal(recv(fd, p, 5, MSG_WAITALL), 5);
    assert_memory_equal(p, "early", 5);
    assert_int_equal(f->dns.asked, 0);
    close(fd);
    close(listening);
}

static void localhost_needs_no_name_server(void **state)
{
    struct fixture *f = *state;
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    dial(f, "localhost", port, TEST_TIMEOUT);
    run_until(f->l, owner_is_ready, &f->o);
    assert_int_equal(f->dns.asked, 0);
    close(listening);
}

static void a_closed_port_refuses(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sa;
    int bound = socket(AF_INET, SOCK_STREAM, 0); /* keeps the port for us, but does not listen */
    assert_int_equal(bind(bound, (struct sockaddr *)&sa, sizeof sa), 0);
    getsockname(bound, (struct sockaddr *)&sa, &n);
    dial(f, "127.0.0.1", ntohs(sa.sin_port), TEST_TIMEOUT);
    char *expected = mem_printf("connect 127.0.0.1:%d: Connection refused", ntohs(sa.sin_port));
    assert_fails(f, TRANSPORT_REFUSED, expected);
    free(expected);
    close(bound);
}

/* Reads what arrives at an accepted connection, and whose address it has. */
static void assert_arrives(int listening, const char *bytes, const char *from)
{
    struct sockaddr_in sa;
    socklen_t n = sizeof sa;
    char p[64], address[32];
    int fd = accept(listening, (struct sockaddr *)&sa, &n);
    assert_true(fd >= 0);
    assert_int_equal(recv(fd, p, strlen(bytes), MSG_WAITALL), strlen(bytes));
    assert_memory_equal(p, bytes, strlen(bytes));
    if (from)
        assert_string_equal(inet_ntop(AF_INET, &sa.sin_addr, address, sizeof address), from);
    close(fd);
}

static void the_head_goes_first(void **state)
{
    struct fixture *f = *state;
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    const struct dial_target target = {
        .host = "127.0.0.1",
        .port = port,
        .timeout = TEST_TIMEOUT,
        .proxy_header = 1,
        .client = {endpoint_make(ENDPOINT_V4, (uint8_t[]){192, 0, 2, 1}, 1000),
                   endpoint_make(ENDPOINT_V4, (uint8_t[]){192, 0, 2, 2}, 2000)},
    };
    owner_take(&f->o, dialer_dial(f->d, &target));
    transport_write(f->o.t, slice_str("early"));
    run_until(f->l, owner_is_ready, &f->o);
    transport_write(f->o.t, slice_str("late"));
    run_turn(f->l);
    assert_arrives(listening, "PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\nearlylate", NULL);
    close(listening);
}

#define TEXT(literal) ((char[]){literal}) /* lists of the configuration are not const */

static void sources_take_turns(void **state)
{
    struct fixture *f = *state;
    char *const sources[] = {TEXT("::1"), TEXT("127.0.0.2"), TEXT("192.0.2.77"), TEXT("127.0.0.3"),
                             NULL}; /* one is of nobody here */
    const char *const expected[] = {"127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"};
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    char *const nonsense[] = {TEXT("localhost"), NULL}, *const none[] = {NULL};
    assert_true(dialer_set_sources(f->d, sources));
    assert_false(dialer_set_sources(f->d, nonsense));
    for (int i = 0; i < 4; i++) {
        f->o = (struct owner){0};
        dial(f, "127.0.0.1", port, TEST_TIMEOUT);
        transport_write(f->o.t, slice_str("x"));
        run_until(f->l, owner_is_ready, &f->o);
        run_turn(f->l);
        assert_arrives(listening, "x", expected[i]);
        owner_end(&f->o, true);
    }
    char *const six[] = {TEXT("::1"), NULL};
    assert_true(dialer_set_sources(f->d, six)); /* none of this family: the system chooses */
    f->o = (struct owner){0};
    dial(f, "127.0.0.1", port, TEST_TIMEOUT);
    transport_write(f->o.t, slice_str("x"));
    run_until(f->l, owner_is_ready, &f->o);
    run_turn(f->l);
    assert_arrives(listening, "x", "127.0.0.1");
    assert_true(dialer_set_sources(f->d, none));
    close(listening);
}

static void sources_that_are_not_ours_are_told(void **state)
{
    struct fixture *f = *state;
    char *const sources[] = {TEXT("192.0.2.77"), TEXT("192.0.2.78"), NULL};
    assert_true(dialer_set_sources(f->d, sources));
    dial(f, "127.0.0.1", 1, TEST_TIMEOUT);
    assert_fails(f, TRANSPORT_REFUSED, "connect 127.0.0.1:1: Cannot assign requested address");
}

/* A network of this process alone, where an address has four ports for outgoing connections. False where that is not
 * allowed. */
static bool enter_small_network(void)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 && unshare(CLONE_NEWNET) != 0)
        return false;
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    bool up = ioctl(fd, SIOCSIFFLAGS, &loopback) == 0;
    close(fd);
    FILE *range = fopen("/proc/sys/net/ipv4/ip_local_port_range", "w");
    return up && range && fputs("40000 40003", range) >= 0 && fclose(range) == 0;
}

/* Each source brings ports of its own: eight connections, and for the ninth there is none left. */
static void dial_until_none_is_left(void)
{
    struct loop *l = loop_new();
    struct dialer *d = dialer_new(l);
    char *const sources[] = {TEXT("127.0.0.2"), TEXT("127.0.0.3"), NULL};
    struct owner o[9] = {{0}};
    int port = 5222, listening = listen_loopback("127.0.0.1", &port);
    assert_true(dialer_set_sources(d, sources));
    for (int i = 0; i < 9; i++) {
        const struct dial_target target = {.host = "127.0.0.1", .port = port, .timeout = TEST_TIMEOUT};
        owner_take(&o[i], dialer_dial(d, &target));
        run_until(l, i < 8 ? owner_is_ready : owner_is_closed, &o[i]);
    }
    assert_string_equal(o[8].detail, "connect 127.0.0.1:5222: Cannot assign requested address");
    owner_end(&o[3], false); /* and one that is free again is found, whichever source has it */
    owner_end(&o[8], true);
    o[3] = (struct owner){0};
    const struct dial_target target = {.host = "127.0.0.1", .port = port, .timeout = TEST_TIMEOUT};
    owner_take(&o[3], dialer_dial(d, &target));
    run_until(l, owner_is_ready, &o[3]);
    for (int i = 0; i < 8; i++)
        owner_end(&o[i], false);
    dialer_free(d);
    close(listening);
    loop_end(l);
}

static void each_source_has_ports_of_its_own(void **state)
{
    enum { GOOD, NOT_ALLOWED = 77 };
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (!enter_small_network())
            _exit(NOT_ALLOWED);
        dial_until_none_is_left();
        _exit(GOOD);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_ALLOWED)
        skip();
    assert_int_equal(status, GOOD);
}

static void an_unknown_name_is_not_found(void **state)
{
    struct fixture *f = *state;
    dial(f, "nowhere.example", 5222, TEST_TIMEOUT);
    assert_fails(f, TRANSPORT_REFUSED, "resolve nowhere.example: not found");
    assert_true(f->dns.asked > 0);
}

static void the_second_address_is_tried(void **state)
{
    struct fixture *f = *state;
    int port = 0, listening = listen_loopback("127.0.0.1", &port); /* not on 127.0.0.2 */
    dial(f, "two.example", port, TEST_TIMEOUT);
    run_until(f->l, owner_is_ready, &f->o);
    assert_connected(f->o.t, "127.0.0.1", port);
    close(listening);
}

static void a_name_server_that_is_silent_times_out(void **state)
{
    struct fixture *f = *state;
    dial(f, "silent.example", 5222, 50 * USEC_MS);
    assert_fails(f, TRANSPORT_TIMEOUT, "resolve silent.example: timed out");
}

/* A listening socket whose queue is full drops SYNs, like a host that is down: connections to it hang. */
struct black_hole {
    int listening, filler[3];
};

static struct black_hole black_hole_open(const char *address, int *port)
{
    struct black_hole h = {.listening = listen_loopback(address, port)};
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
    inet_pton(AF_INET, address, &sa.sin_addr);
    listen(h.listening, 0);
    for (int i = 0; i < 3; i++) {
        h.filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(h.filler[i], (struct sockaddr *)&sa, sizeof sa);
    }
    return h;
}

static void black_hole_close(struct black_hole *h)
{
    for (int i = 0; i < 3; i++)
        close(h->filler[i]);
    close(h->listening);
}

static void a_silent_address_times_out(void **state)
{
    struct fixture *f = *state;
    int port = 0;
    struct black_hole h = black_hole_open("127.0.0.1", &port);
    dial(f, "127.0.0.1", port, 50 * USEC_MS);
    char *expected = mem_printf("connect 127.0.0.1:%d: timed out", port);
    assert_fails(f, TRANSPORT_TIMEOUT, expected);
    free(expected);
    black_hole_close(&h);
}

/* The first address gets its share of the time only. */
static void a_silent_first_address_leaves_time_for_the_second(void **state)
{
    struct fixture *f = *state;
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    struct black_hole h = black_hole_open("127.0.0.2", &port);
    usec before = loop_clock(f->l)->mono;
    dial(f, "two.example", port, 400 * USEC_MS);
    run_until(f->l, owner_is_ready, &f->o);
    assert_in_range(loop_clock(f->l)->mono - before, 100 * USEC_MS, 400 * USEC_MS);
    assert_connected(f->o.t, "127.0.0.1", port);
    black_hole_close(&h);
    close(listening);
}

static void the_handshake_shares_the_time(void **state)
{
    struct fixture *f = *state;
    struct tls_context *tls = client_context(NULL);
    int port = 0, listening = listen_loopback("127.0.0.1", &port); /* says nothing */
    const struct dial_target target = {
        .host = "127.0.0.1", .port = port, .tls = tls, .tls_name = "xmpp.example", .timeout = 50 * USEC_MS};
    owner_take(&f->o, dialer_dial(f->d, &target));
    tls_free(tls);
    assert_fails(f, TRANSPORT_TIMEOUT, "TLS handshake: timed out");
    close(listening);
}

/* ---- routes ---- */

/* A server that a route leads to. */
struct server {
    int entered, failed, left;
    enum transport_end end;
    char detail[128];
};

/* Servers are static where they are used: the last transport goes when the test has returned. */
static void on_entered(void *server)
{
    ((struct server *)server)->entered++;
}

static void on_failed(void *server, enum transport_end end, const char *detail)
{
    struct server *s = server;
    s->failed++;
    s->end = end;
    snprintf(s->detail, sizeof s->detail, "%s", detail);
}

static void on_left(void *server)
{
    ((struct server *)server)->left++;
}

static const struct dial_events server_events = {on_entered, on_failed, on_left};

static void dial_routes(struct fixture *f, const struct dial_route *routes, size_t n, usec timeout)
{
    const struct dial_target target = {.tls_name = "xmpp.example",
                                       .timeout = timeout,
                                       .routes = routes,
                                       .route_count = n,
                                       .events = &server_events,
                                       .no_route = "resolve x: not found"};
    owner_take(&f->o, dialer_dial(f->d, &target));
    assert_int_equal(f->o.ready + f->o.closed, 0);
}

static struct dial_route route_to(const char *host, int port, struct server *server)
{
    struct dial_route route = {.server = server};
    assert_true(address_parse(&route.address, host, port));
    return route;
}

static void assert_server(const struct server *s, int entered, int failed, int left)
{
    assert_int_equal(s->entered, entered);
    assert_int_equal(s->failed, failed);
    assert_int_equal(s->left, left);
}

/* Its second address is tried before the next server is, and its failure is told once. */
static void the_next_server_is_tried(void **state)
{
    struct fixture *f = *state;
    static struct server dead = {0}, live = {0}, spare = {0};
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    const struct dial_route routes[] = {route_to("127.0.0.2", port, &dead), route_to("127.0.0.3", port, &dead),
                                        route_to("127.0.0.1", port, &live), route_to("127.0.0.1", port, &spare)};
    dial_routes(f, routes, 4, TEST_TIMEOUT);
    run_until(f->l, owner_is_ready, &f->o);
    assert_server(&dead, 1, 1, 0);
    assert_int_equal(dead.end, TRANSPORT_REFUSED);
    assert_int_equal(strncmp(dead.detail, "connect 127.0.0.3:", 18), 0);
    assert_server(&live, 1, 0, 0);
    assert_server(&spare, 0, 0, 0);
    assert_ptr_equal(f->o.t->server, &live);
    transport_free(&f->o.t, true);
    assert_server(&live, 1, 0, 1);
    assert_int_equal(f->dns.asked, 0);
    close(listening);
}

static void all_servers_may_fail(void **state)
{
    struct fixture *f = *state;
    static struct server one = {0}, two = {0};
    int port = 0, listening = listen_loopback("127.0.0.1", &port); /* keeps the port */
    const struct dial_route routes[] = {route_to("127.0.0.2", port, &one), route_to("127.0.0.3", port, &two)};
    dial_routes(f, routes, 2, TEST_TIMEOUT);
    char *expected = mem_printf("connect 127.0.0.3:%d: Connection refused", port);
    assert_fails(f, TRANSPORT_REFUSED, expected);
    free(expected);
    assert_server(&one, 1, 1, 0);
    assert_server(&two, 1, 1, 0);
    assert_null(f->o.t->server);
    close(listening);
}

static void a_silent_server_leaves_time_for_the_next(void **state)
{
    struct fixture *f = *state;
    static struct server silent = {0}, live = {0};
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    struct black_hole h = black_hole_open("127.0.0.2", &port);
    const struct dial_route routes[] = {route_to("127.0.0.2", port, &silent), route_to("127.0.0.1", port, &live)};
    dial_routes(f, routes, 2, 400 * USEC_MS);
    run_until(f->l, owner_is_ready, &f->o);
    assert_server(&silent, 1, 1, 0);
    assert_int_equal(silent.end, TRANSPORT_TIMEOUT);
    assert_server(&live, 1, 0, 0);
    black_hole_close(&h);
    close(listening);
}

static void without_routes_the_reason_is_told(void **state)
{
    struct fixture *f = *state;
    dial_routes(f, NULL, 0, TEST_TIMEOUT);
    assert_fails(f, TRANSPORT_REFUSED, "resolve x: not found");
}

static void a_dial_that_is_given_up_has_left(void **state)
{
    struct fixture *f = *state;
    static struct server silent = {0};
    int port = 0;
    struct black_hole h = black_hole_open("127.0.0.1", &port);
    const struct dial_route route = route_to("127.0.0.1", port, &silent);
    dial_routes(f, &route, 1, TEST_TIMEOUT);
    run_turn(f->l);
    transport_free(&f->o.t, true);
    assert_server(&silent, 1, 0, 1);
    black_hole_close(&h);
}

/* A dial may be given up in each of its stages, without an upcall and without a leak. */
static void a_dial_may_be_freed_at_any_time(void **state)
{
    struct fixture *f = *state;
    int port = 0;
    struct black_hole h = black_hole_open("127.0.0.1", &port);
    const char *hosts[] = {"silent.example", "nowhere.example", "127.0.0.1"};
    for (int i = 0; i < 3; i++) {
        for (int turns = 0; turns < 2; turns++) {
            dial(f, hosts[i], port, TEST_TIMEOUT);
            for (int turn = 0; turn < turns; turn++)
                run_turn(f->l);
            transport_free(&f->o.t, turns);
            run_turn(f->l);
            assert_int_equal(f->o.ready + f->o.closed, 0);
        }
    }
    black_hole_close(&h);
}

static void a_unix_socket_is_dialled(void **state)
{
    struct fixture *f = *state;
    char dir[] = "/tmp/holdfast-test-XXXXXX", p[8];
    assert_non_null(mkdtemp(dir));
    char *path = mem_printf("%s/socket", dir);
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", path);
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listening, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(listening, 4), 0);
    const struct dial_target target = {.path = path, .timeout = TEST_TIMEOUT};
    owner_take(&f->o, dialer_dial(f->d, &target));
    assert_int_equal(f->o.ready + f->o.closed, 0);
    transport_write(f->o.t, slice_str("early"));
    run_until(f->l, owner_is_ready, &f->o);
    int fd = accept(listening, NULL, NULL);
    assert_int_equal(recv(fd, p, 5, MSG_WAITALL), 5);
    assert_memory_equal(p, "early", 5);
    assert_int_equal(send(fd, "late", 4, 0), 4);
    run_until_arrived(f->l, &f->o, 4);
    close(fd);
    run_until(f->l, owner_is_closed, &f->o);
    assert_int_equal(f->o.end, TRANSPORT_FIN);
    close(listening);
    unlink(path);
    rmdir(dir);
    free(path);
}

static void a_unix_socket_that_is_not_there_is_told(void **state)
{
    struct fixture *f = *state;
    const struct dial_target target = {.path = "/nonexistent/socket", .timeout = TEST_TIMEOUT};
    owner_take(&f->o, dialer_dial(f->d, &target));
    assert_fails(f, TRANSPORT_REFUSED, "connect /nonexistent/socket: No such file or directory");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_literal_address_is_dialled),
        TEST(localhost_needs_no_name_server),
        TEST(a_closed_port_refuses),
        TEST(the_head_goes_first),
        TEST(sources_take_turns),
        TEST(sources_that_are_not_ours_are_told),
        cmocka_unit_test(each_source_has_ports_of_its_own),
        TEST(an_unknown_name_is_not_found),
        TEST(the_second_address_is_tried),
        TEST(a_name_server_that_is_silent_times_out),
        TEST(a_silent_address_times_out),
        TEST(a_silent_first_address_leaves_time_for_the_second),
        TEST(the_handshake_shares_the_time),
        TEST(a_dial_may_be_freed_at_any_time),
        TEST(the_next_server_is_tried),
        TEST(all_servers_may_fail),
        TEST(a_silent_server_leaves_time_for_the_next),
        TEST(without_routes_the_reason_is_told),
        TEST(a_dial_that_is_given_up_has_left),
        TEST(a_unix_socket_is_dialled),
        TEST(a_unix_socket_that_is_not_there_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
