/* TLS by a pre-shared key: who knows it gets through, whoever does not fails, with whatever else it comes. */
#include "net/dialer.h"
#include "support.h"

struct fixture {
    struct certificates certs;
    struct loop *l;
    struct dialer *dialer;
    struct owner s, c; /* server and client end */
};

static const unsigned char key[TLS_PSK_SIZE] = "a key that two nodes have....32",
                           other[TLS_PSK_SIZE] = "a key that is another one....32";

static int begin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    certificates_begin(&f->certs);
    f->l = loop_new();
    f->dialer = dialer_new(f->l);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    owner_end(&f->s, true);
    owner_end(&f->c, true);
    dialer_free(f->dialer);
    loop_end(f->l);
    certificates_end(&f->certs);
    free(f);
    return 0;
}

/* The contexts end here: what goes on holds what it needs of them. */
static void meet(struct fixture *f, struct tls_context *server, struct tls_context *client)
{
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    const struct dial_target target = {.host = "127.0.0.1", .port = port, .tls = client, .timeout = TEST_TIMEOUT};
    owner_take(&f->c, dialer_dial(f->dialer, &target));
    int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    close(listening);
    owner_take(&f->s, tcp_accept(f->l, fd, server, TEST_TIMEOUT, NULL));
    tls_free(server);
    tls_free(client);
}

static bool both_closed(void *ctx)
{
    struct fixture *f = ctx;
    return f->s.closed && f->c.closed;
}

static void assert_refused(struct fixture *f)
{
    run_until(f->l, both_closed, f);
    assert_int_equal(f->s.ready, 0);
    assert_int_equal(f->s.end, TRANSPORT_TLS);
    assert_int_equal(f->s.in.n, 0);
}

static void who_knows_the_key_gets_through(void **state)
{
    struct fixture *f = *state;
    f->s.echo = true;
    meet(f, tls_psk_server_new(key), tls_psk_client_new(key));
    transport_write(f->c.t, slice_str("written before it was ready"));
    run_until_arrived(f->l, &f->c, 27);
    assert_received(&f->c, "written before it was ready");
    assert_string_equal(tcp_tls_version(f->s.t), "TLSv1.3");
    transport_free(&f->c.t, true);
    run_until(f->l, owner_is_closed, &f->s);
    assert_int_equal(f->s.end, TRANSPORT_FIN);
}

static void another_key_is_refused(void **state)
{
    struct fixture *f = *state;
    meet(f, tls_psk_server_new(key), tls_psk_client_new(other));
    transport_write(f->c.t, slice_str("not for him"));
    assert_refused(f);
    assert_int_equal(f->c.ready, 0);
}

/* A server in the middle could try that: it has to prove nothing but a certificate. */
static void a_certificate_is_no_key(void **state)
{
    struct fixture *f = *state;
    const char *file = certificates_add(&f->certs, "IP:127.0.0.1", 86400);
    meet(f, server_context(file), tls_psk_client_new(key));
    transport_write(f->c.t, slice_str("not for him"));
    assert_refused(f);
    assert_int_equal(f->c.ready, 0);
    assert_int_equal(f->c.end, TRANSPORT_TLS);
}

static void a_client_without_a_key_is_refused(void **state)
{
    struct fixture *f = *state;
    meet(f, tls_psk_server_new(key), client_context(NULL));
    assert_refused(f);
}

static void garbage_is_refused(void **state)
{
    struct fixture *f = *state;
    meet(f, tls_psk_server_new(key), NULL);
    transport_write(f->c.t, slice_str("GET / HTTP/1.0\r\n\r\n"));
    run_until(f->l, owner_is_closed, &f->s);
    assert_int_equal(f->s.end, TRANSPORT_TLS);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_knows_the_key_gets_through),    TEST(another_key_is_refused), TEST(a_certificate_is_no_key),
        TEST(a_client_without_a_key_is_refused), TEST(garbage_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
