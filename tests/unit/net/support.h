/* What the tests of net/ share: pairs of connected sockets, an owner that records its upcalls, a loop that runs until
 * something holds, and certificates made on the spot. */
#ifndef HOLDFAST_TESTS_NET_SUPPORT_H
#define HOLDFAST_TESTS_NET_SUPPORT_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/loop.h"
#include "net/tcp.h"
#include "net/tls.h"
#include "net/transport.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNUSED_OK __attribute__((unused))
#define TEST_TIMEOUT (5 * USEC_S)

/* --- Running a loop --- */

struct until {
    struct loop *l;
    bool (*holds)(void *ctx);
    void *ctx;
    struct timer guard;
};

static void until_turn_end(void *ctx)
{
    struct until *u = ctx;
    if (u->holds(u->ctx))
        loop_stop(u->l);
}

static void until_too_late(void *ctx)
{
    (void)ctx;
    fprintf(stderr, "the condition never came true\n");
    abort();
}

/* Turns until the condition holds at the end of a turn; ends the program when it takes far too long. */
UNUSED_OK static void run_until(struct loop *l, bool (*holds)(void *ctx), void *ctx)
{
    struct until u = {.l = l, .holds = holds, .ctx = ctx, .guard = {.fire = until_too_late}};
    struct clock now;
    clock_read(&now);
    timers_arm(loop_timers(l), &u.guard, now.mono + 30 * USEC_S);
    loop_on_turn_end(l, until_turn_end, &u);
    loop_run(l);
    loop_on_turn_end(l, NULL, NULL);
    timers_cancel(loop_timers(l), &u.guard);
}

static bool second_time(void *ctx)
{
    return ++*(int *)ctx == 2;
}

/* One turn that looks at the sockets, whether or not they have anything. */
UNUSED_OK static void run_turn(struct loop *l)
{
    int ends = 0;
    loop_wake(l);
    run_until(l, second_time, &ends);
}

static bool nothing_closing(void *ctx)
{
    return loop_closing(ctx) == 0;
}

/* --- An owner that records --- */

struct owner {
    struct transport *t;
    struct buf in;
    int ready, drained, closed;
    enum transport_end end;
    char detail[256];
    bool echo;
    bool no_start;      /* does not start reading when ready */
    size_t stop_after;  /* stops reading once that much has arrived; 0 = never */
    size_t max_upcall;  /* largest piece delivered */
    unsigned *calls;    /* of `bytes`, shared with others; the last one here was number `call` of all; NULL: not counted */
    unsigned call;
};

static void owner_ready(void *ctx)
{
    struct owner *o = ctx;
    o->ready++;
    if (!o->no_start)
        transport_read_start(o->t);
}

static void owner_bytes(void *ctx, const char *p, size_t n)
{
    struct owner *o = ctx;
    buf_append(&o->in, p, n);
    if (n > o->max_upcall)
        o->max_upcall = n;
    if (o->calls)
        o->call = ++*o->calls;
    if (o->echo)
        transport_write(o->t, slice_of(p, n));
    if (o->stop_after && o->in.n >= o->stop_after)
        transport_read_stop(o->t);
}

static void owner_drained(void *ctx)
{
    ((struct owner *)ctx)->drained++;
}

static void owner_closed(void *ctx, enum transport_end end, const char *detail)
{
    struct owner *o = ctx;
    o->closed++;
    o->end = end;
    snprintf(o->detail, sizeof o->detail, "%s", detail);
}

static const struct transport_events owner_events = {owner_ready, owner_bytes, owner_drained, owner_closed};

UNUSED_OK static void owner_take(struct owner *o, struct transport *t)
{
    o->t = t;
    transport_set_events(t, &owner_events, o);
}

UNUSED_OK static void owner_end(struct owner *o, bool graceful)
{
    transport_free(&o->t, graceful);
    buf_free(&o->in);
}

UNUSED_OK static bool owner_is_ready(void *ctx)
{
    const struct owner *o = ctx;
    assert_false(o->closed);
    return o->ready > 0;
}

UNUSED_OK static bool owner_is_closed(void *ctx)
{
    return ((const struct owner *)ctx)->closed;
}

struct expected {
    const struct owner *o;
    size_t n;
};

UNUSED_OK static bool has_arrived(void *ctx)
{
    const struct expected *e = ctx;
    return e->o->in.n >= e->n;
}

UNUSED_OK static void run_until_arrived(struct loop *l, const struct owner *o, size_t n)
{
    struct expected e = {o, n};
    run_until(l, has_arrived, &e);
}

#define assert_received(o, text)                                                                   \
    do {                                                                                           \
        assert_int_equal((o)->in.n, strlen(text));                                                 \
        assert_memory_equal((o)->in.data + (o)->in.off, text, strlen(text));                       \
    } while (0)

/* --- Bytes that tell when one is missing --- */

UNUSED_OK static char *pattern(size_t n)
{
    char *p = mem_alloc(n);
    uint32_t x = 12345;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = (char)(x >> 24);
    }
    return p;
}

/* --- Sockets --- */

/* A listening socket on loopback, its port in *port. */
UNUSED_OK static int listen_loopback(const char *address, int *port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
    socklen_t n = sizeof sa;
    inet_pton(AF_INET, address, &sa.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &n), 0);
    *port = ntohs(sa.sin_port);
    return fd;
}

UNUSED_OK static int connect_loopback(int port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

/* Two ends of one TCP connection, both blocking. */
UNUSED_OK static void tcp_pair(int fd[2])
{
    int port = 0, listening = listen_loopback("127.0.0.1", &port);
    fd[0] = connect_loopback(port);
    fd[1] = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd[1] >= 0);
    close(listening);
}

UNUSED_OK static int nonblocking(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

/* --- Certificates --- */

struct certificates {
    char dir[32];
    char *file[4]; /* key and certificate in one PEM file; each trusts itself */
    int n;
};

UNUSED_OK static void certificates_begin(struct certificates *c)
{
    *c = (struct certificates){0};
    strcpy(c->dir, "/tmp/holdfast-test-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
}

/* names: "DNS:a.example,DNS:*.b.example" */
UNUSED_OK static const char *certificates_add(struct certificates *c, const char *names, long valid_s)
{
    char *path = c->file[c->n] = mem_printf("%s/%d.pem", c->dir, c->n);
    c->n++;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), c->n);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x), valid_s);
    X509_set_pubkey(x, key);
    X509_NAME *subject = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)"holdfast test", -1, -1, 0);
    X509_set_issuer_name(x, subject);
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
    assert_non_null(san);
    X509_add_ext(x, san, -1);
    X509_EXTENSION_free(san);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    PEM_write_X509(f, x);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(key);
    return path;
}

UNUSED_OK static void certificates_end(struct certificates *c)
{
    for (int i = 0; i < c->n; i++) {
        unlink(c->file[i]);
        free(c->file[i]);
    }
    rmdir(c->dir);
}

UNUSED_OK static struct tls_context *server_context(const char *file)
{
    char *error = NULL;
    struct tls_pair pair = {file, NULL};
    struct tls_context *tls = tls_server_new(&pair, 1, NULL, &error);
    assert_null(error);
    assert_non_null(tls);
    return tls;
}

UNUSED_OK static struct tls_context *client_context(const char *ca)
{
    char *error = NULL;
    struct tls_context *tls = tls_client_new(ca, ca != NULL, NULL, &error);
    assert_null(error);
    assert_non_null(tls);
    return tls;
}

/* Ends a loop after all goodbyes are said, so that a test sees leaks and hung zombies. */
UNUSED_OK static void loop_end(struct loop *l)
{
    run_until(l, nothing_closing, l);
    loop_free(l);
}

#endif
