#include "load/link.h"
#include "common/sockets.h"
#include <errno.h>
#include <openssl/err.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 64 << 10 };

static void watch(struct link *l)
{
    uint32_t wanted = (l->deaf ? 0 : EPOLLIN) | (l->write ? EPOLLOUT : 0);
    if (wanted == l->watched)
        return;
    struct epoll_event event = {.events = wanted, .data.ptr = l->owner};
    if (epoll_ctl(l->epoll, EPOLL_CTL_MOD, l->fd, &event))
        die("epoll_ctl: %m");
    l->watched = wanted;
}

void link_connect(struct link *l, int epoll, void *owner, unsigned port, SSL_CTX *tls)
{
    *l = (struct link){.fd = socket_connect(port), .epoll = epoll, .owner = owner};
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = owner};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, l->fd, &event))
        die("epoll_ctl: %m");
    l->watched = EPOLLOUT;
    l->state = LINK_CONNECTING;
    if (tls) {
        l->ssl = SSL_new(tls);
        SSL_set_fd(l->ssl, l->fd);
    }
}

void link_start_tls(struct link *l, SSL_CTX *tls)
{
    l->ssl = SSL_new(tls);
    SSL_set_fd(l->ssl, l->fd);
    l->state = LINK_HANDSHAKE;
    l->scan = (struct scan){.at = l->scan.at, .keep = l->scan.keep};
}

void link_reset(struct link *l)
{
    if (l->state == LINK_NONE)
        return;
    SSL_free(l->ssl);
    socket_reset_on_close(l->fd);
    close(l->fd);
    buf_free(&l->in);
    buf_free(&l->out);
    *l = (struct link){.state = LINK_NONE};
}

void link_listen(struct link *l, bool on)
{
    l->deaf = !on;
    watch(l);
}

/* What OpenSSL says of a call that did not succeed: false when it is over. */
static bool goes_on(struct link *l, int result)
{
    int error = SSL_get_error(l->ssl, result);
    ERR_clear_error();
    l->write = error == SSL_ERROR_WANT_WRITE;
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
}

static ssize_t read_some(struct link *l, char *buffer)
{
    if (l->ssl) {
        int n = SSL_read(l->ssl, buffer, READ_SIZE);
        return n > 0 ? n : goes_on(l, n) ? 0 : -1;
    }
    ssize_t n = recv(l->fd, buffer, READ_SIZE, 0);
    return n > 0 ? n : n < 0 && errno == EAGAIN ? 0 : -1;
}

static void take(struct link *l, const struct link_upcalls *up, struct slice fresh)
{
    bool kept = l->in.n > 0, more = true;
    if (kept)
        buf_add(&l->in, fresh);
    struct slice all = kept ? buf_slice(&l->in) : fresh, found;
    enum scan_item item;
    while (more && (item = scan_next(&l->scan, all, &found)) != SCAN_MORE)
        more = up->item(l->owner, item, found);
    if (l->state == LINK_NONE)
        return;
    size_t used = scan_forget(&l->scan);
    if (kept)
        buf_consume(&l->in, used);
    else
        buf_add(&l->in, slice_skip(all, used));
    if (l->in.n == 0)
        buf_free(&l->in);
}

static void read_all(struct link *l, const struct link_upcalls *up)
{
    static char buffer[READ_SIZE]; /* one thread, and never two reads at once */
    ssize_t n;
    do {
        n = read_some(l, buffer);
        if (n > 0)
            take(l, up, slice_of(buffer, (size_t)n));
    } while (n > 0 && l->state == LINK_OPEN && l->ssl && SSL_has_pending(l->ssl));
    if (n < 0) {
        l->state = LINK_LOST;
        up->lost(l->owner);
    }
}

static void shake_hands(struct link *l, const struct link_upcalls *up)
{
    int done = SSL_connect(l->ssl);
    if (done == 1) {
        l->write = false;
        l->state = LINK_OPEN;
        up->open(l->owner);
    } else if (!goes_on(l, done)) {
        l->state = LINK_LOST;
        up->lost(l->owner);
    }
}

static void connected(struct link *l, const struct link_upcalls *up)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &size) || error) {
        l->state = LINK_LOST;
        up->lost(l->owner);
        return;
    }
    l->state = l->ssl ? LINK_HANDSHAKE : LINK_OPEN;
    if (l->state == LINK_OPEN)
        up->open(l->owner);
}

void link_handle(struct link *l, const struct link_upcalls *up, uint32_t events)
{
    if (l->state == LINK_CONNECTING)
        connected(l, up);
    else if (l->state == LINK_OPEN && (events & EPOLLIN))
        read_all(l, up);
    if (l->state == LINK_HANDSHAKE)
        shake_hands(l, up);
    if (l->state == LINK_OPEN && (events & (EPOLLERR | EPOLLHUP)) && l->deaf) {
        l->state = LINK_LOST;
        up->lost(l->owner);
    }
    if (l->state == LINK_OPEN && !link_flush(l))
        up->lost(l->owner);
    else if (l->state == LINK_HANDSHAKE)
        watch(l);
}

static ssize_t write_some(struct link *l)
{
    struct slice bytes = buf_slice(&l->out);
    if (l->ssl) {
        int n = SSL_write(l->ssl, bytes.p, (int)bytes.n);
        return n > 0 ? n : goes_on(l, n) ? 0 : -1;
    }
    ssize_t n = send(l->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
    return n >= 0 ? n : errno == EAGAIN ? 0 : -1;
}

bool link_flush(struct link *l)
{
    if (l->state != LINK_OPEN)
        return l->state != LINK_LOST;
    ssize_t n = 1;
    while (l->out.n && (n = write_some(l)) > 0)
        buf_consume(&l->out, (size_t)n);
    l->write = l->out.n > 0;
    if (!l->out.n)
        buf_free(&l->out);
    if (n < 0)
        l->state = LINK_LOST;
    else
        watch(l);
    return n >= 0;
}
