#include "../../../proxy/net/tcp_private.h"
#include "net/dialer.h"
#include "support.h"
#include <ev.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <time.h>

struct fixture {
    struct certificates certs;
    const char *file; /* for xmpp.example, *.wild.example and 127.0.0.1 */
    struct loop *l;
    struct dialer *dialer;
    struct tls_context *server, *client;
    struct owner s, c; /* server and client end */
    int fd[2];         /* the connection before it was given to them */
};

static int begin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    certificates_begin(&f->certs);
    f->file = certificates_add(&f->certs, "DNS:xmpp.example,DNS:*.wild.example,IP:127.0.0.1", 86400);
    f->l = loop_new();
    f->dialer = dialer_new(f->l);
    f->server = server_context(f->file);
    f->client = client_context(f->file);
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
    tls_free(f->server);
    tls_free(f->client);
    certificates_end(&f->certs);
    free(f);
    return 0;
}

static bool both_ready(void *ctx)
{
    struct fixture *f = ctx;
    return owner_is_ready(&f->s) && owner_is_ready(&f->c);
}

/* Dials a listening socket with direct TLS, the accepted side on the same loop. */
static void dial_pair(struct fixture *f, const char *name, struct owner *s, struct owner *c)
{
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    const struct dial_target target = {
        .host = "127.0.0.1", .port = port, .tls = f->client, .tls_name = name, .timeout = TEST_TIMEOUT};
    owner_take(c, dialer_dial(f->dialer, &target));
    int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    close(listening);
    owner_take(s, tcp_accept(f->l, fd, f->server, TEST_TIMEOUT, NULL));
}

static void dial_tls(struct fixture *f, const char *name)
{
    dial_pair(f, name, &f->s, &f->c);
}

static void direct_tls_carries_bytes(void **state)
{
    struct fixture *f = *state;
    dial_tls(f, "xmpp.example");
    f->s.echo = true;
    transport_write(f->c.t, slice_str("written before it was ready"));
    assert_false(tcp_is_tls(f->c.t));
    assert_string_equal(tcp_tls_version(f->c.t), "");
    run_until(f->l, both_ready, f);
    assert_true(tcp_is_tls(f->s.t));
    assert_string_equal(tcp_tls_version(f->s.t), "TLSv1.3");
    assert_string_equal(tcp_tls_cipher(f->c.t), "TLS_AES_128_GCM_SHA256"); /* the client's first is another one */
    assert_int_equal(f->c.t->kind, TRANSPORT_KIND_TLS);
    run_until_arrived(f->l, &f->c, 27);
    assert_received(&f->c, "written before it was ready");
    unsigned long long in, out;
    tcp_bytes(f->s.t, &in, &out);
    assert_true(in > 27 && out > in);
    transport_free(&f->c.t, true);
    run_until(f->l, owner_is_closed, &f->s);
    assert_int_equal(f->s.end, TRANSPORT_FIN);
}

static void alpn_is_offered_to_xmpp_servers_alone(void **state)
{
    struct fixture *f = *state;
    const unsigned char *chosen;
    unsigned n;
    dial_tls(f, "xmpp.example");
    run_until(f->l, both_ready, f);
    SSL_get0_alpn_selected(tcp_of(f->s.t)->ssl, &chosen, &n);
    assert_int_equal(n, 11);
    owner_end(&f->s, true);
    owner_end(&f->c, true);
    f->s = f->c = (struct owner){0};
    tls_forgo_alpn(f->client);
    dial_tls(f, "xmpp.example");
    run_until(f->l, both_ready, f);
    SSL_get0_alpn_selected(tcp_of(f->s.t)->ssl, &chosen, &n);
    assert_int_equal(n, 0);
}

#define CROWD 60

struct crowd {
    struct owner s[CROWD], c[CROWD];
    unsigned ready, most; /* all so far; in one turn */
};

static bool crowd_is_ready(void *ctx)
{
    struct crowd *crowd = ctx;
    unsigned ready = 0;
    for (size_t i = 0; i < CROWD; i++)
        ready += (unsigned)owner_is_ready(&crowd->s[i]) + (unsigned)owner_is_ready(&crowd->c[i]);
    if (ready - crowd->ready > crowd->most)
        crowd->most = ready - crowd->ready;
    crowd->ready = ready;
    return ready == 2 * CROWD;
}

/* Few of them in a turn, and all in the end: others have their say in between. */
static void handshakes_of_a_crowd_take_turns(void **state)
{
    struct fixture *f = *state;
    struct crowd *crowd = MEM_NEW(struct crowd);
    for (size_t i = 0; i < CROWD; i++)
        dial_pair(f, "xmpp.example", &crowd->s[i], &crowd->c[i]);
    run_until(f->l, crowd_is_ready, crowd);
    assert_in_range(crowd->most, 1, CROWD / 2); /* a millisecond's; of a slow machine two or three */
    for (size_t i = 0; i < CROWD; i++) {
        owner_end(&crowd->s[i], true);
        owner_end(&crowd->c[i], true);
    }
    free(crowd);
}

#define BIG ((size_t)6 << 20)

static bool is_stuck(void *ctx)
{
    struct fixture *f = ctx;
    return f->s.in.n >= f->s.stop_after && transport_buffered(f->c.t) > 0;
}

/* The reader stops in the middle of what SSL holds, goes on, and a graceful close behind it all loses nothing. */
static void check_back_pressure(struct fixture *f, bool yields)
{
    char *data = pattern(BIG);
    dial_tls(f, "xmpp.example");
    transport_yield(f->s.t, yields);
    f->s.stop_after = 1;
    transport_write(f->c.t, slice_of(data, BIG));
    run_until(f->l, is_stuck, f);
    assert_true(f->s.max_upcall <= 64 * 1024);
    size_t had = f->s.in.n;
    f->s.stop_after = had + 1;
    transport_read_start(f->s.t);
    run_until_arrived(f->l, &f->s, had + 1);
    f->s.stop_after = 0;
    transport_read_start(f->s.t);
    transport_free(&f->c.t, true);
    run_until(f->l, owner_is_closed, &f->s);
    assert_int_equal(f->s.end, TRANSPORT_FIN);
    assert_int_equal(f->s.in.n, BIG);
    assert_memory_equal(f->s.in.data + f->s.in.off, data, BIG);
    free(data);
}

static void tls_obeys_back_pressure(void **state)
{
    check_back_pressure(*state, false);
}

static void who_yields_obeys_back_pressure(void **state)
{
    check_back_pressure(*state, true);
}

static bool is_drained(void *ctx)
{
    return ((struct owner *)ctx)->drained;
}

static void both_directions_at_once(void **state)
{
    struct fixture *f = *state;
    char *data = pattern(BIG);
    dial_tls(f, "xmpp.example");
    f->s.echo = true;
    transport_write(f->c.t, slice_of(data, BIG));
    run_until_arrived(f->l, &f->c, BIG);
    run_until(f->l, is_drained, &f->c);
    assert_memory_equal(f->c.in.data + f->c.in.off, data, BIG);
    assert_int_equal(f->c.in.n, BIG);
    free(data);
}

/* Small records that came in one piece are read in one turn; none waits inside SSL for the socket to wake it. */
static void many_small_records_do_not_stall(void **state)
{
    struct fixture *f = *state;
    dial_tls(f, "xmpp.example");
    run_until(f->l, both_ready, f);
    transport_read_stop(f->s.t);
    for (int i = 0; i < 300; i++) {
        transport_write(f->c.t, slice_str("<message/>"));
        run_turn(f->l); /* a record of its own */
    }
    transport_read_start(f->s.t);
    run_until_arrived(f->l, &f->s, 3000);
    assert_int_equal(f->s.in.n, 3000);
    assert_true(f->s.max_upcall > 1000);
}

/* --- STARTTLS --- */

static void accept_clear(struct fixture *f)
{
    tcp_pair(f->fd);
    owner_take(&f->s, tcp_accept(f->l, nonblocking(f->fd[1]), NULL, TEST_TIMEOUT, NULL));
}

static void both_clear(struct fixture *f)
{
    accept_clear(f);
    owner_take(&f->c, tcp_accept(f->l, nonblocking(f->fd[0]), NULL, TEST_TIMEOUT, NULL));
    run_until(f->l, both_ready, f);
}

static bool both_ready_again(void *ctx)
{
    struct fixture *f = ctx;
    return f->s.ready == 2 && f->c.ready == 2;
}

static void starttls_on_both_sides(void **state)
{
    struct fixture *f = *state;
    both_clear(f);
    transport_write(f->c.t, slice_str("<starttls/>"));
    run_until_arrived(f->l, &f->s, 11);
    transport_write(f->s.t, slice_str("<proceed/>"));
    tcp_starttls(f->s.t, f->server, NULL, TEST_TIMEOUT);
    transport_write(f->s.t, slice_str("<secret/>")); /* must wait for the handshake */
    assert_false(tcp_is_tls(f->s.t));
    run_until_arrived(f->l, &f->c, 10);
    assert_received(&f->c, "<proceed/>");
    tcp_starttls(f->c.t, f->client, "sub.wild.example", TEST_TIMEOUT);
    transport_write(f->c.t, slice_str("<stream>"));
    run_until(f->l, both_ready_again, f);
    run_until_arrived(f->l, &f->s, 19);
    run_until_arrived(f->l, &f->c, 19);
    assert_received(&f->s, "<starttls/><stream>");
    assert_received(&f->c, "<proceed/><secret/>");
    assert_true(tcp_is_tls(f->s.t) && tcp_is_tls(f->c.t));
}

static void bytes_in_clear_before_starttls_are_refused(void **state)
{
    struct fixture *f = *state;
    accept_clear(f);
    f->s.stop_after = 11;
    assert_int_equal(write(f->fd[0], "<starttls/>", 11), 11);
    run_until_arrived(f->l, &f->s, 11);
    assert_int_equal(write(f->fd[0], "<injected/>", 11), 11);
    transport_write(f->s.t, slice_str("<proceed/>"));
    tcp_starttls(f->s.t, f->server, NULL, TEST_TIMEOUT);
    run_until(f->l, owner_is_closed, &f->s);
    assert_int_equal(f->s.end, TRANSPORT_TLS);
    assert_string_equal(f->s.detail, "bytes in clear before the TLS handshake");
    assert_received(&f->s, "<starttls/>");
    close(f->fd[0]);
}

/* --- Refusals --- */

static void refused(struct fixture *f, const char *name, const char *detail)
{
    dial_tls(f, name);
    run_until(f->l, owner_is_closed, &f->c);
    assert_int_equal(f->c.ready, 0);
    assert_int_equal(f->c.end, TRANSPORT_TLS);
    assert_string_equal(f->c.detail, detail);
    transport_free(&f->c.t, true);
    run_until(f->l, owner_is_closed, &f->s);
}

static void a_wrong_name_is_refused(void **state)
{
    refused(*state, "other.example", "TLS handshake: certificate refused: hostname mismatch");
}

static void a_wildcard_covers_one_label(void **state)
{
    refused(*state, "a.b.wild.example", "TLS handshake: certificate refused: hostname mismatch");
}

static void an_unknown_authority_is_refused(void **state)
{
    struct fixture *f = *state;
    tls_free(f->client);
    f->client = client_context(certificates_add(&f->certs, "DNS:elsewhere.example", 86400));
    refused(f, "xmpp.example", "TLS handshake: certificate refused: self-signed certificate");
}

static void an_address_can_be_verified(void **state)
{
    struct fixture *f = *state;
    dial_tls(f, NULL);
    run_until(f->l, both_ready, f);
}

static void verification_can_be_off(void **state)
{
    struct fixture *f = *state;
    tls_free(f->client);
    f->client = client_context(NULL);
    dial_tls(f, "other.example");
    run_until(f->l, both_ready, f);
}

static void a_silent_peer_times_out(void **state)
{
    struct fixture *f = *state;
    tcp_pair(f->fd);
    owner_take(&f->s, tcp_accept(f->l, nonblocking(f->fd[1]), f->server, 30 * USEC_MS, NULL));
    run_until(f->l, owner_is_closed, &f->s);
    assert_int_equal(f->s.end, TRANSPORT_TIMEOUT);
    close(f->fd[0]);
}

static void garbage_is_no_handshake(void **state)
{
    struct fixture *f = *state;
    tcp_pair(f->fd);
    assert_int_equal(write(f->fd[0], "<stream:stream to='xmpp.example'>", 33), 33);
    owner_take(&f->s, tcp_accept(f->l, nonblocking(f->fd[1]), f->server, TEST_TIMEOUT, NULL));
    run_until(f->l, owner_is_closed, &f->s);
    assert_int_equal(f->s.end, TRANSPORT_TLS);
    assert_int_equal(strncmp(f->s.detail, "TLS handshake: ", 15), 0);
    close(f->fd[0]);
}

/* --- With a bare OpenSSL client, which can do what ours does not --- */

struct raw {
    struct owner *server;
    ev_io io; /* makes a turn when the server's bytes arrive */
    SSL *ssl;
    bool done; /* with the handshake */
    int ret, error;
};

static bool raw_handshake(void *ctx)
{
    struct raw *r = ctx;
    if (!r->done) {
        ERR_clear_error();
        r->ret = SSL_connect(r->ssl);
        int e = SSL_get_error(r->ssl, r->ret);
        r->done = e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE;
        r->error = ERR_GET_REASON(ERR_peek_error());
    }
    return r->done && (r->server->ready || r->server->closed);
}

static void on_raw_bytes(struct ev_loop *ev, ev_io *w, int revents)
{
    (void)ev, (void)w, (void)revents;
}

static void raw_run(struct fixture *f, struct raw *r)
{
    ev_io_init(&r->io, on_raw_bytes, f->fd[0], EV_READ);
    ev_io_start(loop_ev(f->l), &r->io);
    run_until(f->l, raw_handshake, r);
    ev_io_stop(loop_ev(f->l), &r->io);
}

/* Connects to a server transport; the caller frees ssl and closes fd[0]. */
static struct raw raw_connect(struct fixture *f, SSL_CTX *ctx, const char *name, const char *alpn, size_t alpn_n)
{
    struct raw r = {.server = &f->s, .ssl = SSL_new(ctx)};
    tcp_pair(f->fd);
    SSL_set_fd(r.ssl, nonblocking(f->fd[0]));
    if (name)
        SSL_set_tlsext_host_name(r.ssl, name);
    if (alpn)
        SSL_set_alpn_protos(r.ssl, (const unsigned char *)alpn, (unsigned)alpn_n);
    owner_take(&f->s, tcp_accept(f->l, nonblocking(f->fd[1]), f->server, TEST_TIMEOUT, NULL));
    raw_run(f, &r);
    return r;
}

static void raw_end(struct fixture *f, struct raw *r)
{
    SSL_free(r->ssl);
    close(f->fd[0]);
    owner_end(&f->s, true);
    f->s = (struct owner){0};
}

static void alpn_must_be_ours_if_offered(void **state)
{
    struct fixture *f = *state;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct raw r = raw_connect(f, ctx, NULL, "\x08http/1.1\x0bxmpp-client", 21);
    const unsigned char *chosen;
    unsigned n;
    assert_int_equal(r.ret, 1);
    SSL_get0_alpn_selected(r.ssl, &chosen, &n);
    assert_int_equal(n, 11);
    assert_memory_equal(chosen, "xmpp-client", 11);
    raw_end(f, &r);

    r = raw_connect(f, ctx, NULL, "\x08http/1.1", 9);
    assert_int_not_equal(r.ret, 1);
    assert_int_equal(r.error, SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
    assert_int_equal(f->s.end, TRANSPORT_TLS);
    raw_end(f, &r);

    r = raw_connect(f, ctx, NULL, NULL, 0);
    assert_int_equal(r.ret, 1);
    raw_end(f, &r);
    SSL_CTX_free(ctx);
}

static void old_versions_are_refused(void **state)
{
    struct fixture *f = *state;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
    struct raw r = raw_connect(f, ctx, NULL, NULL, 0);
    assert_int_not_equal(r.ret, 1);
    assert_int_equal(f->s.end, TRANSPORT_TLS);
    raw_end(f, &r);
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    r = raw_connect(f, ctx, NULL, NULL, 0);
    assert_int_equal(r.ret, 1);
    assert_string_equal(tcp_tls_version(f->s.t), "TLSv1.2");
    raw_end(f, &r);
    SSL_CTX_free(ctx);
}

static void assert_certificate(struct fixture *f, const char *sni, const char *covers)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct raw r = raw_connect(f, ctx, sni, NULL, 0);
    assert_int_equal(r.ret, 1);
    X509 *x = SSL_get1_peer_certificate(r.ssl);
    assert_int_equal(X509_check_host(x, covers, 0, 0, NULL), 1);
    X509_free(x);
    raw_end(f, &r);
    SSL_CTX_free(ctx);
}

static void sni_chooses_the_certificate(void **state)
{
    struct fixture *f = *state;
    const struct tls_pair pairs[] = {
        {f->file, NULL},
        {certificates_add(&f->certs, "DNS:*.second.example", 3600), NULL},
        {certificates_add(&f->certs, "DNS:chat.second.example,DNS:third.example", 7200), NULL},
    };
    char *error;
    tls_free(f->server);
    f->server = tls_server_new(pairs, 3, NULL, &error);
    assert_non_null(f->server);
    for (size_t i = 0; i < 3; i++) {
        long long left = tls_expiry(f->server, i) - (long long)time(NULL),
                  expected = (long long[]){86400, 3600, 7200}[i];
        assert_true(left > expected - 100 && left <= expected);
    }
    assert_int_equal(tls_expiry(f->server, 3), 0);
    assert_certificate(f, NULL, "xmpp.example");
    assert_certificate(f, "unknown.example", "xmpp.example");
    assert_certificate(f, "any.second.example", "any.second.example");
    assert_certificate(f, "chat.second.example", "third.example"); /* the exact name goes before the wildcard */
    assert_certificate(f, "THIRD.example", "third.example");
    assert_certificate(f, "room.wild.example", "xmpp.example");
}

/* A FIN without close_notify is no end in order. */
static void a_cut_is_not_a_goodbye(void **state)
{
    struct fixture *f = *state;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct raw r = raw_connect(f, ctx, NULL, NULL, 0);
    assert_int_equal(SSL_write(r.ssl, "<pres", 5), 5);
    shutdown(f->fd[0], SHUT_WR);
    run_until(f->l, owner_is_closed, &f->s);
    assert_received(&f->s, "<pres");
    assert_int_equal(f->s.end, TRANSPORT_RESET);
    assert_string_equal(f->s.detail, "connection cut without a TLS goodbye");
    raw_end(f, &r);
    SSL_CTX_free(ctx);
}

/* close_notify is told as FIN while the TCP connection is still there, and the answer still leaves. */
static void a_tls_goodbye_is_a_fin(void **state)
{
    struct fixture *f = *state;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct raw r = raw_connect(f, ctx, NULL, NULL, 0);
    assert_int_equal(SSL_write(r.ssl, "</stream>", 9), 9);
    assert_int_equal(SSL_shutdown(r.ssl), 0);
    run_until(f->l, owner_is_closed, &f->s);
    assert_received(&f->s, "</stream>");
    assert_int_equal(f->s.end, TRANSPORT_FIN);
    transport_write(f->s.t, slice_str("</stream>"));
    transport_free(&f->s.t, true);
    run_turn(f->l);
    fcntl(f->fd[0], F_SETFL, 0);
    char answer[16];
    assert_int_equal(SSL_read(r.ssl, answer, sizeof answer), 9);
    assert_int_equal(SSL_read(r.ssl, answer, sizeof answer), 0);
    assert_int_equal(SSL_get_error(r.ssl, 0), SSL_ERROR_ZERO_RETURN);
    raw_end(f, &r);
    SSL_CTX_free(ctx);
}

static void tickets_resume_sessions(void **state)
{
    struct fixture *f = *state;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION); /* the ticket is there when the handshake is */
    struct raw r = raw_connect(f, ctx, NULL, NULL, 0);
    SSL_SESSION *session = SSL_get1_session(r.ssl);
    assert_int_equal(SSL_SESSION_has_ticket(session), 1);
    SSL_shutdown(r.ssl);
    raw_end(f, &r);
    SSL *ssl = SSL_new(ctx);
    SSL_set_session(ssl, session);
    tcp_pair(f->fd);
    SSL_set_fd(ssl, nonblocking(f->fd[0]));
    owner_take(&f->s, tcp_accept(f->l, nonblocking(f->fd[1]), f->server, TEST_TIMEOUT, NULL));
    r = (struct raw){.server = &f->s, .ssl = ssl};
    raw_run(f, &r);
    assert_int_equal(r.ret, 1);
    assert_int_equal(SSL_session_reused(ssl), 1);
    raw_end(f, &r);
    SSL_SESSION_free(session);
    SSL_CTX_free(ctx);
}

/* --- Contexts --- */

static void bad_files_are_told(void **state)
{
    struct fixture *f = *state;
    char *error;
    struct tls_pair pair = {"/nonexistent/cert.pem", NULL};
    assert_null(tls_server_new(&pair, 1, NULL, &error));
    assert_string_equal(error, "certificate /nonexistent/cert.pem: No such file or directory");
    free(error);
    const char *other = certificates_add(&f->certs, "DNS:other.example", 3600);
    pair = (struct tls_pair){f->file, other};
    assert_null(tls_server_new(&pair, 1, NULL, &error));
    char *expected = mem_printf("key %s: key values mismatch", other);
    assert_string_equal(error, expected);
    free(expected);
    free(error);
    assert_null(tls_client_new("/nonexistent/ca.pem", true, NULL, &error));
    assert_non_null(strstr(error, "CA /nonexistent/ca.pem: "));
    free(error);
    assert_int_equal(tls_expiry(f->client, 0), 0);
}

/* A reload drops the context while a handshake is on its way. */
static void a_context_may_go_during_the_handshake(void **state)
{
    struct fixture *f = *state;
    dial_tls(f, "xmpp.example");
    tls_free(f->server);
    tls_free(f->client);
    f->server = f->client = NULL;
    run_until(f->l, both_ready, f);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(handshakes_of_a_crowd_take_turns),
        TEST(direct_tls_carries_bytes),
        TEST(tls_obeys_back_pressure),
        TEST(who_yields_obeys_back_pressure),
        TEST(both_directions_at_once),
        TEST(many_small_records_do_not_stall),
        TEST(starttls_on_both_sides),
        TEST(bytes_in_clear_before_starttls_are_refused),
        TEST(a_wrong_name_is_refused),
        TEST(a_wildcard_covers_one_label),
        TEST(an_unknown_authority_is_refused),
        TEST(an_address_can_be_verified),
        TEST(verification_can_be_off),
        TEST(a_silent_peer_times_out),
        TEST(garbage_is_no_handshake),
        TEST(alpn_must_be_ours_if_offered),
        TEST(alpn_is_offered_to_xmpp_servers_alone),
        TEST(old_versions_are_refused),
        TEST(sni_chooses_the_certificate),
        TEST(a_cut_is_not_a_goodbye),
        TEST(a_tls_goodbye_is_a_fin),
        TEST(tickets_resume_sessions),
        TEST(bad_files_are_told),
        TEST(a_context_may_go_during_the_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
