#include "net/tls_tickets.h"
#include "net/tls.h"
#include "support.h"
#include <openssl/ssl.h>
#include <sys/stat.h>

/* Handshakes are made in memory: what is tested is whether a session of one context is taken by another. */
#include "../../../proxy/net/tls_session.h"

struct fixture {
    struct certificates certs;
    const char *certificate;
    char *file;
};

static int begin(void **state)
{
    struct fixture *f = MEM_NEW(struct fixture);
    certificates_begin(&f->certs);
    f->certificate = certificates_add(&f->certs, "DNS:xmpp.example", 86400);
    f->file = mem_printf("%s/tickets", f->certs.dir);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    unlink(f->file);
    free(f->file);
    certificates_end(&f->certs);
    free(f);
    return 0;
}

static void write_file(const struct fixture *f, struct slice bytes)
{
    FILE *out = fopen(f->file, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes.p, 1, bytes.n, out), bytes.n);
    fclose(out);
}

/* A key of that byte, 80 times, in base64. */
static const char *line_of(unsigned char byte, char out[112])
{
    unsigned char key[80];
    memset(key, byte, sizeof key);
    EVP_EncodeBlock((unsigned char *)out, key, sizeof key);
    return out;
}

static struct tls_tickets *tickets_of(const char *file)
{
    char *error;
    struct tls_tickets *t = tls_tickets_new(file, &error);
    if (!t)
        fail_msg("%s", error);
    return t;
}

static struct tls_tickets *tickets_from(const struct fixture *f, const char *lines)
{
    write_file(f, slice_str(lines));
    return tickets_of(f->file);
}

static struct tls_context *server_with(const struct fixture *f, struct tls_tickets *tickets)
{
    char *error;
    struct tls_pair pair = {f->certificate, NULL};
    struct tls_context *tls = tls_server_new(&pair, 1, tickets, &error);
    assert_non_null(tls);
    return tls;
}

/* A handshake with a byte each way, so that tickets have come. True if it resumed *session, which becomes the new one
 * that the server gave (or stays). */
static bool handshake(struct tls_context *server, int version, SSL_SESSION **session)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    char *error, byte;
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    SSL_CTX_set_max_proto_version(ctx, version);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL *client = SSL_new(ctx), *s = tls_session_new(server, fd[1], NULL, true, &error);
    SSL_set_fd(client, fd[0]);
    if (*session)
        SSL_set_session(client, *session);
    SSL_set_connect_state(client);
    for (int done = 0, i = 0; done != 3; i++) {
        assert_true(i < 10);
        done = (SSL_do_handshake(client) == 1) | (SSL_do_handshake(s) == 1) << 1;
    }
    assert_int_equal(SSL_write(s, "x", 1), 1);
    assert_int_equal(SSL_read(client, &byte, 1), 1);
    bool resumed = SSL_session_reused(client);
    assert_int_equal(SSL_session_reused(s), resumed);
    SSL_SESSION_free(*session);
    *session = SSL_get1_session(client);
    SSL_shutdown(client);
    SSL_shutdown(s);
    SSL_free(client);
    SSL_free(s);
    SSL_CTX_free(ctx);
    close(fd[0]);
    close(fd[1]);
    return resumed;
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void sessions_are_resumed_by_whoever_has_the_key(void **state)
{
    struct fixture *f = *state;
    char line[112];
    struct tls_tickets *a = tickets_from(f, line_of('a', line)), *same = tickets_of(f->file), *other = tickets_of(NULL);
    struct tls_context *server[] = {server_with(f, a), server_with(f, a), server_with(f, same), server_with(f, other)};
    for (int v = 0; v < 2; v++) {
        SSL_SESSION *session = NULL;
        assert_false(handshake(server[0], versions[v], &session));
        assert_non_null(session);
        assert_true(handshake(server[0], versions[v], &session));
        assert_true(handshake(server[1], versions[v], &session)); /* another worker */
        assert_true(handshake(server[2], versions[v], &session)); /* another node */
        assert_false(handshake(server[3], versions[v], &session));
        SSL_SESSION_free(session);
    }
    for (int i = 0; i < 4; i++)
        tls_free(server[i]);
    tls_tickets_free(a);
    tls_tickets_free(same);
    tls_tickets_free(other);
}

static void an_old_ticket_is_opened_and_replaced_after_a_rotation(void **state)
{
    struct fixture *f = *state;
    char a[112], b[112];
    char *rotated = mem_printf("# new\n\n%s\r\n%s", line_of('b', b), line_of('a', a));
    for (int v = 0; v < 2; v++) {
        SSL_SESSION *session = NULL;
        struct tls_tickets *t = tickets_from(f, a), *last = tickets_from(f, b);
        struct tls_context *server = server_with(f, t), *later = server_with(f, last);
        assert_false(handshake(server, versions[v], &session));
        tls_tickets_replace(t, tickets_from(f, rotated));
        assert_true(handshake(server, versions[v], &session));
        assert_true(handshake(later, versions[v], &session)); /* that has the new key alone */
        SSL_SESSION_free(session);
        tls_free(server);
        tls_free(later);
        tls_tickets_free(t);
        tls_tickets_free(last);
    }
    free(rotated);
}

static void random_keys_rotate_and_stay_over_a_reload(void **state)
{
    struct fixture *f = *state;
    char line[112];
    for (int v = 0; v < 2; v++) {
        SSL_SESSION *session = NULL, *old;
        struct tls_tickets *t = tickets_of(NULL);
        struct tls_context *server = server_with(f, t);
        assert_false(handshake(server, versions[v], &session));
        tls_tickets_replace(t, tickets_of(NULL)); /* a reload */
        old = SSL_SESSION_dup(session);
        assert_true(handshake(server, versions[v], &session));
        tls_tickets_rotate(t);
        assert_true(handshake(server, versions[v], &session));
        tls_tickets_rotate(t);
        assert_true(handshake(server, versions[v], &session)); /* it had got a new ticket */
        assert_false(handshake(server, versions[v], &old));
        tls_tickets_replace(t, tickets_from(f, line_of('a', line)));
        assert_false(handshake(server, versions[v], &session));
        tls_tickets_rotate(t); /* not those of a file */
        assert_true(handshake(server, versions[v], &session));
        tls_tickets_replace(t, tickets_of(NULL));
        assert_false(handshake(server, versions[v], &session));
        SSL_SESSION_free(session);
        SSL_SESSION_free(old);
        tls_free(server);
        tls_tickets_free(t);
    }
}

static void keys_may_be_binary(void **state)
{
    struct fixture *f = *state;
    char keys[160], line[112];
    SSL_SESSION *session = NULL;
    memset(keys, '\xb0', 80);
    memset(keys + 80, '\xa0', 80);
    write_file(f, slice_of(keys, sizeof keys));
    struct tls_tickets *binary = tickets_of(f->file), *text = tickets_from(f, line_of(0xb0, line));
    struct tls_context *one = server_with(f, binary), *other = server_with(f, text);
    assert_false(handshake(one, TLS1_3_VERSION, &session));
    assert_true(handshake(other, TLS1_3_VERSION, &session));
    SSL_SESSION_free(session);
    tls_free(one);
    tls_free(other);
    tls_tickets_free(binary);
    tls_tickets_free(text);
}

static void assert_refused(const struct fixture *f, struct slice bytes, const char *why)
{
    char *error, *expected = mem_printf("%s%s", f->file, why);
    write_file(f, bytes);
    assert_null(tls_tickets_new(f->file, &error));
    assert_string_equal(error, expected);
    free(error);
    free(expected);
}

#define NOT_A_KEY "not a key: 80 bytes in base64 (openssl rand -base64 80 | tr -d '\\n')"

static void bad_files_are_told_with_the_line(void **state)
{
    struct fixture *f = *state;
    char line[112];
    char *error, zeros[80 * 65] = {0};
    struct buf b = {0};
    unlink(f->file);
    assert_null(tls_tickets_new(f->file, &error));
    assert_non_null(strstr(error, "tickets: No such file or directory"));
    free(error);
    assert_refused(f, SLICE_LIT(""), ": no key in it");
    assert_refused(f, SLICE_LIT("# nothing\n"), ": no key in it");
    assert_refused(f, slice_of(zeros, 79), ": 79 bytes, not one key of 80 bytes or several (at most 64)");
    assert_refused(f, slice_of(zeros, sizeof zeros), ": 5200 bytes, not one key of 80 bytes or several (at most 64)");
    assert_refused(f, SLICE_LIT("-----BEGIN PRIVATE KEY-----\n"), ":1: " NOT_A_KEY);
    buf_printf(&b, "\n%s\n%s", line_of('a', line), line + 4);
    assert_refused(f, buf_slice(&b), ":3: " NOT_A_KEY);
    line[50] = '*';
    assert_refused(f, slice_str(line), ":1: " NOT_A_KEY);
    buf_clear(&b);
    for (int i = 0; i < 65; i++)
        buf_printf(&b, "%s\n", line_of('a', line));
    assert_refused(f, buf_slice(&b), ":65: more than 64 keys");
    memset(buf_reserve(&b, 32 << 10), 'x', 32 << 10);
    buf_commit(&b, 32 << 10);
    assert_refused(f, buf_slice(&b), ": cannot be read, or is too long");
    buf_free(&b);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sessions_are_resumed_by_whoever_has_the_key),
        TEST(an_old_ticket_is_opened_and_replaced_after_a_rotation),
        TEST(random_keys_rotate_and_stay_over_a_reload),
        TEST(keys_may_be_binary),
        TEST(bad_files_are_told_with_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
