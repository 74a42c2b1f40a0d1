#include "base/mem.h"
#include "tcp_private.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define USER_TIMEOUT_MS      60000 /* unacknowledged data: what sits in the kernel cannot be resent elsewhere */
#define NOTSENT_LOWAT        (128 * 1024)
#define KEEPALIVE_IDLE_S     300 /* no more often: radios of phones wake up for it */
#define KEEPALIVE_INTERVAL_S 15

void tcp_set_options(int fd)
{
    const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS},
        {IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOTSENT_LOWAT},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
    };
    /* Each is an improvement the kernel may not know; none is worth a connection. */
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof options[i].value);
}

void tcp_io_note_end(struct tcp *t, enum transport_end end, char *detail)
{
    if (t->detail) {
        free(detail);
        return;
    }
    t->end = end;
    t->detail = detail;
}

/* EHOSTUNREACH and ENETUNREACH on an established connection come when the kernel gives up and had such ICMP errors. */
static enum io end_by_errno(struct tcp *t, const char *what, int error)
{
    bool gave_up = error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH;
    tcp_io_note_end(t, gave_up ? TRANSPORT_TIMEOUT : TRANSPORT_RESET, mem_printf("%s: %s", what, strerror(error)));
    return IO_END;
}

static bool is_wait(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* What a failed SSL call on an established connection means; needs: where to note what it waits for. */
static enum io tls_result(struct tcp *t, const char *what, int ret, int error, uint8_t *needs)
{
    char text[TLS_TEXT];
    switch (SSL_get_error(t->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
        *needs = EV_READ;
        return IO_WAIT;
    case SSL_ERROR_WANT_WRITE:
        *needs = EV_WRITE;
        return IO_WAIT;
    case SSL_ERROR_ZERO_RETURN:
        tcp_io_note_end(t, TRANSPORT_FIN, mem_strdup("closed by the peer"));
        return IO_END;
    case SSL_ERROR_SYSCALL:
        t->tls_broken = true;
        ERR_clear_error();
        return end_by_errno(t, what, error ? error : ECONNRESET);
    default:
        t->tls_broken = true;
        /* A FIN without close_notify can be forged by anyone on the path: a cut, not an end in order. */
        if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
            ERR_clear_error();
            tcp_io_note_end(t, TRANSPORT_RESET, mem_strdup("connection cut without a TLS goodbye"));
        } else {
            tcp_io_note_end(t, TRANSPORT_TLS, mem_printf("TLS: %s", tls_error_text(text)));
        }
        return IO_END;
    }
}

/* SSL_get_error judges a call by what is left of those before it, too. To look whether anything is costs a third of
 * clearing it. */
static void clear_errors(void)
{
    if (ERR_peek_error())
        ERR_clear_error();
}

static enum io read_tls(struct tcp *t, char *p, size_t size, size_t *n_r)
{
    clear_errors();
    errno = 0;
    int ret = SSL_read_ex(t->ssl, p, size, n_r);
    return ret == 1 ? IO_OK : tls_result(t, "read", ret, errno, &t->read_needs);
}

static enum io read_clear(struct tcp *t, char *p, size_t size, size_t *n_r)
{
    ssize_t n = recv(t->io.fd, p, size, 0);
    if (n > 0) {
        *n_r = (size_t)n;
        t->in += (size_t)n;
        return IO_OK;
    }
    if (n == 0) {
        tcp_io_note_end(t, TRANSPORT_FIN, mem_strdup("closed by the peer"));
        return IO_END;
    }
    return is_wait(errno) ? IO_WAIT : end_by_errno(t, "read", errno);
}

enum io tcp_io_read(struct tcp *t, char *p, size_t size, size_t *n_r)
{
    *n_r = 0;
    t->read_needs = EV_READ;
    return t->tls_up ? read_tls(t, p, size, n_r) : read_clear(t, p, size, n_r);
}

static enum io write_tls(struct tcp *t, const char *p, size_t n, size_t *n_r)
{
    clear_errors();
    errno = 0;
    int ret = SSL_write_ex(t->ssl, p, n, n_r);
    return ret == 1 ? IO_OK : tls_result(t, "write", ret, errno, &t->write_needs);
}

static enum io write_clear(struct tcp *t, const char *p, size_t n, size_t *n_r)
{
    ssize_t sent = send(t->io.fd, p, n, MSG_NOSIGNAL);
    if (sent < 0)
        return is_wait(errno) ? IO_WAIT : end_by_errno(t, "write", errno);
    *n_r = (size_t)sent;
    t->out_total += (size_t)sent;
    return IO_OK;
}

enum io tcp_io_write(struct tcp *t, const char *p, size_t n, size_t *n_r)
{
    *n_r = 0;
    t->write_needs = EV_WRITE;
    return t->tls_up ? write_tls(t, p, n, n_r) : write_clear(t, p, n, n_r);
}

/* All failures of a handshake are TRANSPORT_TLS, also a peer that hangs up: it may not have liked our certificate. But
 * a client that has not said a word (a load balancer that looks whether we are there) has seen none. */
static enum io handshake_failed(struct tcp *t, int ssl_error, int error)
{
    char text[TLS_TEXT];
    if (tls_is_server(t->deadline->tls) && BIO_number_read(SSL_get_rbio(t->ssl)) == 0) {
        ERR_clear_error();
        t->tls_broken = true;
        tcp_io_note_end(t, error ? TRANSPORT_RESET : TRANSPORT_FIN,
                        mem_printf("%s before the TLS handshake", error ? strerror(error) : "closed by the peer"));
        return IO_END;
    }
    long verdict = SSL_get_verify_result(t->ssl);
    char *detail;
    if (!tls_is_server(t->deadline->tls) && verdict != X509_V_OK && SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE)
        detail = mem_printf("TLS handshake: certificate refused: %s", X509_verify_cert_error_string(verdict));
    else if (ssl_error == SSL_ERROR_SSL && ERR_GET_REASON(ERR_peek_error()) != SSL_R_UNEXPECTED_EOF_WHILE_READING)
        detail = mem_printf("TLS handshake: %s", tls_error_text(text));
    else
        detail = mem_printf("TLS handshake: %s", error ? strerror(error) : "closed by the peer");
    ERR_clear_error();
    t->tls_broken = true;
    tcp_io_note_end(t, TRANSPORT_TLS, detail);
    return IO_END;
}

enum io tcp_io_handshake(struct tcp *t)
{
    clear_errors();
    errno = 0;
    int ret = SSL_do_handshake(t->ssl);
    int error = errno;
    if (ret == 1) {
        t->tls_up = true;
        t->base.kind = TRANSPORT_KIND_TLS;
        t->read_needs = EV_READ;
        return IO_OK;
    }
    int ssl_error = SSL_get_error(t->ssl, ret);
    if (ssl_error == SSL_ERROR_WANT_READ || ssl_error == SSL_ERROR_WANT_WRITE) {
        t->read_needs = ssl_error == SSL_ERROR_WANT_READ ? EV_READ : EV_WRITE;
        return IO_WAIT;
    }
    return handshake_failed(t, ssl_error, error);
}

enum io tcp_io_goodbye(struct tcp *t)
{
    if (!t->tls_up || t->tls_broken)
        return IO_OK;
    clear_errors();
    errno = 0;
    int ret = SSL_shutdown(t->ssl);
    return ret >= 0 ? IO_OK : tls_result(t, "write", ret, errno, &t->write_needs);
}

bool tcp_io_holds(const struct tcp *t)
{
    return t->tls_up && SSL_has_pending(t->ssl);
}

bool tcp_io_has_unread(const struct tcp *t)
{
    int n = 0;
    return tcp_io_holds(t) || (ioctl(t->io.fd, FIONREAD, &n) == 0 && n > 0);
}
