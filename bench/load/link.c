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

void link_connect(struct link *l, int epoll, void *owner, unsigned port, SSL_CTX *tls, bool over_web)
{
    *l = (struct link){.fd = socket_connect(port), .epoll = epoll, .owner = owner, .over_web = over_web};
    link_restart(l);
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

/* Over WebSocket there is no element around the others. */
void link_restart(struct link *l)
{
    l->scan = (struct scan){.at = l->scan.at, .keep = l->scan.keep, .depth = l->over_web ? 1 : 0};
}

void link_start_tls(struct link *l, SSL_CTX *tls)
{
    l->ssl = SSL_new(tls);
    SSL_set_fd(l->ssl, l->fd);
    l->state = LINK_HANDSHAKE;
    link_restart(l);
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
    buf_free(&l->wire);
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

static void lose(struct link *l, const struct link_upcalls *up)
{
    l->state = LINK_LOST;
    up->lost(l->owner);
}

/* All handshakes below WebSocket are over. */
static void opened(struct link *l, const struct link_upcalls *up)
{
    l->state = LINK_OPEN;
    if (l->over_web)
        web_ask(&l->wire);
    else
        up->open(l->owner);
}

static void take_frames(struct link *l, const struct link_upcalls *up, struct slice fresh)
{
    static struct buf text; /* one thread, and never two reads at once */
    if (!l->web.open) {
        if (!web_agree(&l->web, &fresh, &l->in)) {
            lose(l, up);
            return;
        }
        if (!l->web.open)
            return;
        up->open(l->owner);
    }
    buf_clear(&text);
    bool goes_on = web_unwrap(&l->web, fresh, &text);
    if (text.n)
        take(l, up, buf_slice(&text));
    if (!goes_on && l->state == LINK_OPEN)
        lose(l, up);
}

static void read_all(struct link *l, const struct link_upcalls *up)
{
    static char buffer[READ_SIZE]; /* one thread, and never two reads at once */
    ssize_t n;
    do {
        n = read_some(l, buffer);
        if (n > 0)
            (l->over_web ? take_frames : take)(l, up, slice_of(buffer, (size_t)n));
    } while (n > 0 && l->state == LINK_OPEN && l->ssl && SSL_has_pending(l->ssl));
    if (n < 0)
        lose(l, up);
}

static void shake_hands(struct link *l, const struct link_upcalls *up)
{
    int done = SSL_connect(l->ssl);
    if (done == 1) {
        l->write = false;
        opened(l, up);
    } else if (!goes_on(l, done)) {
        lose(l, up);
    }
}

static void connected(struct link *l, const struct link_upcalls *up)
{
    int error = 0;
    socklen_t size = sizeof(error);
    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &size) || error) {
        lose(l, up);
        return;
    }
    if (l->ssl)
        l->state = LINK_HANDSHAKE;
    else
        opened(l, up);
}

void link_handle(struct link *l, const struct link_upcalls *up, uint32_t events)
{
    if (l->state == LINK_CONNECTING)
        connected(l, up);
    else if (l->state == LINK_OPEN && (events & EPOLLIN))
        read_all(l, up);
    if (l->state == LINK_HANDSHAKE)
        shake_hands(l, up);
    if (l->state == LINK_OPEN && (events & (EPOLLERR | EPOLLHUP)) && l->deaf)
        lose(l, up);
    if (l->state == LINK_OPEN && !link_flush(l))
        up->lost(l->owner);
    else if (l->state == LINK_HANDSHAKE)
        watch(l);
}

static ssize_t write_some(struct link *l, struct slice bytes)
{
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
    struct buf *from = l->over_web ? &l->wire : &l->out;
    if (l->over_web && l->out.n) {
        web_wrap(&l->wire, buf_slice(&l->out));
        buf_free(&l->out);
    }
    ssize_t n = 1;
    while (from->n && (n = write_some(l, buf_slice(from))) > 0)
        buf_consume(from, (size_t)n);
    l->write = from->n > 0;
    if (!from->n)
        buf_free(from);
    if (n < 0)
        l->state = LINK_LOST;
    else
        watch(l);
    return n >= 0;
}
