#include "net/tcp.h"
#include "base/mem.h"
#include "base/slab.h"
#include "net/address.h"
#include "tcp_private.h"
#include <assert.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- What the present state waits for, and what is due --- */

static int tcp_wants(const struct tcp *t)
{
    int want = 0;
    bool put_off = t->due & (t->state == TCP_HANDSHAKE ? TCP_DUE_HANDSHAKE : t->yields ? TCP_DUE_READ : 0);
    if (!put_off && (t->state == TCP_HANDSHAKE || (t->state == TCP_UP && t->reading)))
        want = t->read_needs;
    else if (t->state == TCP_GOODBYE && !t->peer_finished)
        want = EV_READ;
    if (t->blocked && t->state != TCP_HANDSHAKE)
        want |= t->write_needs;
    return want;
}

static int tcp_watches(const struct tcp *t)
{
    return ev_is_active(&t->io) ? t->io.events & (EV_READ | EV_WRITE) : 0;
}

static void tcp_watch_for(struct tcp *t, int want)
{
    ev_io_stop(loop_ev(t->loop), &t->io);
    if (want) {
        ev_io_set(&t->io, t->io.fd, want);
        ev_io_start(loop_ev(t->loop), &t->io);
    }
}

/* An owner that stops reading mostly goes on before anything comes, and a watcher that is stopped and started costs two
 * system calls: it stays, until something does come (on_io). */
void tcp_watch(struct tcp *t)
{
    if (!t->loop)
        return;
    int want = tcp_wants(t), have = tcp_watches(t);
    if (t->state == TCP_UP)
        want |= have & EV_READ;
    if (want != have)
        tcp_watch_for(t, want);
}

static void tcp_add_due(struct tcp *t, unsigned due)
{
    t->due |= (uint8_t)due;
    if (!t->due || !t->loop)
        return;
    enum loop_queue queue = LOOP_NEXT;
    if (t->due == TCP_DUE_HANDSHAKE)
        queue = SSL_in_before(t->ssl) ? LOOP_HELLO : LOOP_HANDSHAKE;
    else if (t->due == TCP_DUE_READ && t->yields)
        queue = LOOP_YIELD;
    loop_queue(t->loop, queue, &t->next);
}

static void tcp_drop_out(struct tcp *t)
{
    t->clear = 0;
    t->blocked = t->late = false;
    if (t->loop)
        loop_give_buf(t->loop, &t->out);
    else
        buf_free(&t->out);
}

static void on_deadline(void *ctx);

void tcp_set_deadline(struct tcp *t, usec at)
{
    if (!t->deadline) {
        t->deadline = MEM_NEW(struct tcp_deadline);
        t->deadline->timer = (struct timer){.fire = on_deadline, .ctx = t};
    }
    t->deadline->at = at;
    timers_arm(loop_timers(t->loop), &t->deadline->timer, at);
}

static void tcp_clear_deadline(struct tcp *t)
{
    if (!t->deadline)
        return;
    if (t->loop)
        timers_cancel(loop_timers(t->loop), &t->deadline->timer);
    tls_free(t->deadline->tls);
    free(t->deadline);
    t->deadline = NULL;
}

/* The peer is gone, end and detail tell why. After its FIN a last answer can still leave. */
static void tcp_end(struct tcp *t)
{
    t->state = TCP_ENDED;
    t->due = 0;
    loop_unqueue(&t->next); /* from where handshakes wait */
    tcp_clear_deadline(t);
    if (t->end != TRANSPORT_FIN)
        tcp_drop_out(t);
    tcp_watch(t);
    tcp_add_due(t, TCP_DUE_CLOSED);
}

static bool tcp_can_write(const struct tcp *t)
{
    return t->state == TCP_ENDED ? t->end == TRANSPORT_FIN && !t->write_failed
                                 : t->state != TCP_GONE && !t->write_failed;
}

/* --- Bytes out --- */

/* All that waits, as far as the socket takes it; before STARTTLS no further than what leaves in clear. */
static enum io tcp_send(struct tcp *t)
{
    enum io result = IO_OK;
    size_t left;
    while (result == IO_OK && (left = t->state == TCP_STARTTLS ? t->clear : t->out.n) > 0) {
        size_t sent;
        result = tcp_io_write(t, t->out.data + t->out.off, left, &sent);
        buf_consume(&t->out, sent);
        t->clear -= t->state == TCP_STARTTLS ? (uint32_t)sent : 0;
    }
    if (result == IO_END)
        return result;
    t->blocked = result == IO_WAIT;
    if (t->out.n) {
        t->late = true;
        return result;
    }
    if (t->late && (t->state == TCP_UP || t->state == TCP_STARTTLS))
        tcp_add_due(t, TCP_DUE_DRAINED);
    tcp_drop_out(t);
    return result;
}

/* The peer may have sent its last words before the connection broke: they are read first. While the owner has stopped
 * reading, `closed` waits for it; lest it waits for `drained` in turn, that is told. */
static void tcp_write_failed(struct tcp *t)
{
    bool late = t->late;
    t->write_failed = true;
    tcp_drop_out(t);
    if (t->state == TCP_ENDED)
        return;
    if (t->state == TCP_UP && t->reading)
        tcp_add_due(t, TCP_DUE_READ);
    else if (t->state == TCP_UP && tcp_io_has_unread(t))
        tcp_add_due(t, late ? TCP_DUE_DRAINED : 0);
    else
        tcp_end(t);
}

static void tcp_write_out(struct tcp *t)
{
    enum io result = tcp_send(t);
    if (t->state == TCP_GOODBYE) {
        if (result == IO_END)
            tcp_close(t, false);
        else
            tcp_goodbye_step(t);
        return;
    }
    if (result == IO_END) {
        tcp_write_failed(t);
    } else if (t->state == TCP_STARTTLS && !t->clear) {
        t->state = TCP_HANDSHAKE;
        tcp_add_due(t, TCP_DUE_HANDSHAKE);
    }
    tcp_watch(t);
}

static void tcp_flush(struct loop_task *task)
{
    struct tcp *t = CONTAINER_OF(task, struct tcp, flush);
    if (t->state == TCP_DIALLING || t->state == TCP_HANDSHAKE)
        t->late = t->out.n > 0;
    else if (tcp_can_write(t))
        tcp_write_out(t);
}

/* --- Bytes in --- */

/* A record that large seldom comes alone; looking for the next one costs less than another turn. */
#define BULK_RECORD 4096u

/* One upcall for all that fits the loop's buffer. Never leaves bytes inside SSL without coming back for them. */
static void tcp_read(struct tcp *t)
{
    if (t->state != TCP_UP || !t->reading || t->read_turn == (uint32_t)loop_turn(t->loop))
        return;
    t->read_turn = (uint32_t)loop_turn(t->loop);
    char *p = loop_read_buffer(t->loop);
    size_t n = 0, got;
    enum io result;
    do {
        result = tcp_io_read(t, p + n, LOOP_READ_SIZE - n, &got);
        n += got;
    } while (result == IO_OK && n < LOOP_READ_SIZE && (tcp_io_holds(t) || (t->tls_up && got >= BULK_RECORD)));
    if (result == IO_END || (result == IO_WAIT && t->write_failed))
        tcp_end(t);
    else if (result == IO_OK && tcp_io_holds(t))
        tcp_add_due(t, TCP_DUE_READ);
    tcp_watch(t);
    if (n)
        t->base.events->bytes(t->base.ctx, p, n);
}

/* --- TLS --- */

static void tcp_handshake(struct tcp *t)
{
    if (t->state != TCP_HANDSHAKE)
        return;
    switch (tcp_io_handshake(t)) {
    case IO_OK:
        t->state = TCP_UP;
        tcp_clear_deadline(t);
        if (t->out.n)
            loop_queue(t->loop, LOOP_FLUSH, &t->flush);
        tcp_add_due(t, TCP_DUE_READY | (t->reading ? TCP_DUE_READ : 0));
        break;
    case IO_END:
        tcp_end(t);
        break;
    case IO_WAIT:
        break;
    }
    tcp_watch(t);
}

/* Goes to the handshake, or first to the rest of what leaves in clear. */
static void tcp_begin_tls(struct tcp *t, struct tls_context *tls, const char *name, enum tls_protocol protocol,
                          usec deadline)
{
    char *error;
    t->ssl = tls_session_new(tls, t->io.fd, name, protocol, &error);
    if (!t->ssl) {
        tcp_io_note_end(t, TRANSPORT_TLS, error);
        tcp_end(t);
        return;
    }
    tcp_set_deadline(t, deadline);
    t->deadline->tls = tls_ref(tls);
    t->due &= (uint8_t)~TCP_DUE_READ;
    t->state = t->clear ? TCP_STARTTLS : TCP_HANDSHAKE;
    if (t->clear)
        loop_queue(t->loop, LOOP_FLUSH, &t->flush);
    if (t->state == TCP_HANDSHAKE)
        tcp_add_due(t, TCP_DUE_HANDSHAKE);
    tcp_watch(t);
}

void tcp_starttls(struct transport *base, struct tls_context *tls, const char *name, usec handshake_timeout)
{
    struct tcp *t = tcp_of(base);
    if (t->state != TCP_UP || t->write_failed)
        return; /* `closed` is on its way */
    assert(!t->ssl);
    if (tls_is_server(tls) && tcp_io_has_unread(t)) {
        /* Whoever could put bytes before the handshake would have them taken for bytes of the authenticated peer. */
        tcp_io_note_end(t, TRANSPORT_TLS, mem_strdup("bytes in clear before the TLS handshake"));
        tcp_end(t);
        return;
    }
    assert(t->out.n <= UINT32_MAX);
    t->clear = (uint32_t)t->out.n;
    tcp_begin_tls(t, tls, name, TLS_AFTER_STARTTLS, loop_clock(t->loop)->mono + handshake_timeout);
}

bool tcp_is_tls(const struct transport *base)
{
    return tcp_of(base)->tls_up;
}

const char *tcp_tls_version(const struct transport *base)
{
    const struct tcp *t = tcp_of(base);
    return t->tls_up ? SSL_get_version(t->ssl) : "";
}

const char *tcp_tls_cipher(const struct transport *base)
{
    const struct tcp *t = tcp_of(base);
    return t->tls_up ? SSL_get_cipher_name(t->ssl) : "";
}

/* --- Callbacks of the loop --- */

/* What is due, one upcall a turn, in the order of the bits: each upcall may be the end of t for this thread. */
static void tcp_next(struct loop_task *task)
{
    struct tcp *t = CONTAINER_OF(task, struct tcp, next);
    if (t->due & TCP_DUE_HANDSHAKE) {
        t->due &= (uint8_t)~TCP_DUE_HANDSHAKE;
        tcp_handshake(t);
    }
    unsigned one = t->due & -(unsigned)t->due;
    t->due &= (uint8_t)~one;
    loop_unqueue(&t->next);
    tcp_add_due(t, 0);
    switch (one) {
    case TCP_DUE_READY:
        t->base.events->ready(t->base.ctx);
        break;
    case TCP_DUE_DRAINED:
        t->base.events->drained(t->base.ctx);
        break;
    case TCP_DUE_CLOSED:
        t->base.events->closed(t->base.ctx, t->end, t->detail);
        break;
    case TCP_DUE_READ:
        tcp_read(t);
        break;
    default:
        break;
    }
}

static void on_io(struct ev_loop *ev, ev_io *w, int revents)
{
    (void)ev;
    struct tcp *t = w->data;
    if (revents & EV_READ & ~tcp_wants(t))
        tcp_watch_for(t, tcp_wants(t));
    if (t->state == TCP_HANDSHAKE) {
        tcp_add_due(t, TCP_DUE_HANDSHAKE);
        tcp_watch(t); /* the socket does not tell again and again */
        return;
    }
    if (t->blocked && (revents & t->write_needs))
        tcp_write_out(t);
    if (t->state == TCP_GOODBYE && (revents & EV_READ))
        tcp_goodbye_read(t);
    else if (t->state == TCP_UP && t->reading && (revents & t->read_needs) && t->yields)
        tcp_add_due(t, TCP_DUE_READ); /* the watcher stays: mostly it is read in this turn */
    else if (t->state == TCP_UP && (revents & t->read_needs))
        tcp_read(t);
}

static void on_deadline(void *ctx)
{
    struct tcp *t = ctx;
    if (t->state == TCP_GOODBYE) {
        tcp_close(t, false);
        return;
    }
    t->tls_broken = true;
    tcp_io_note_end(t, TRANSPORT_TIMEOUT, mem_strdup("TLS handshake: timed out"));
    tcp_end(t);
}

/* --- The interface of transports --- */

static void op_write(struct transport *base, const char *p, size_t n)
{
    struct tcp *t = tcp_of(base);
    if (!n || !tcp_can_write(t))
        return;
    if (!t->out.data && t->loop)
        t->out = loop_take_buf(t->loop);
    buf_append(&t->out, p, n);
    t->late |= t->out.n > TRANSPORT_HIGH_WATER;
    if (!t->blocked && t->loop)
        loop_queue(t->loop, LOOP_FLUSH, &t->flush);
}

static void op_read_stop(struct transport *base)
{
    struct tcp *t = tcp_of(base);
    t->reading = false;
    t->due &= (uint8_t)~TCP_DUE_READ;
    tcp_watch(t);
}

static void op_read_start(struct transport *base)
{
    struct tcp *t = tcp_of(base);
    if (t->reading)
        return;
    t->reading = true;
    if (t->state == TCP_UP && (tcp_io_holds(t) || t->write_failed))
        tcp_add_due(t, TCP_DUE_READ);
    tcp_watch(t);
}

static void op_yield(struct transport *base, bool yields)
{
    tcp_of(base)->yields = yields;
}

static size_t op_buffered(const struct transport *base)
{
    return tcp_of(base)->out.n;
}

static size_t op_outstanding(const struct transport *base)
{
    const struct tcp *t = tcp_of(base);
    int queued = 0;
    if (t->write_failed || t->state == TCP_ENDED || t->state == TCP_GONE)
        return SIZE_MAX; /* what was dropped or never acknowledged will not be any more */
    if (t->io.fd < 0 || ioctl(t->io.fd, SIOCOUTQ, &queued) < 0)
        queued = 0;
    return t->out.n + (size_t)queued;
}

static void tcp_release(struct loop_task *task)
{
    struct tcp *t = CONTAINER_OF(task, struct tcp, next);
    SSL_free(t->ssl);
    tcp_drop_out(t);
    free(t->detail);
    slab_free(t);
}

void tcp_close(struct tcp *t, bool reset)
{
    t->state = TCP_GONE;
    t->base.events = NULL;
    t->due = 0;
    if (t->io.fd >= 0) {
        if (t->loop)
            ev_io_stop(loop_ev(t->loop), &t->io);
        const struct linger now = {.l_onoff = 1, .l_linger = 0};
        if (reset)
            (void)setsockopt(t->io.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(t->io.fd);
        t->io.fd = -1;
    }
    loop_unqueue(&t->next);
    loop_unqueue(&t->flush);
    tcp_clear_deadline(t);
    if (!t->loop) {
        tcp_release(&t->next);
        return;
    }
    t->next.run = tcp_release;
    loop_queue(t->loop, LOOP_FREE, &t->next);
}

static void op_free(struct transport *base, bool graceful)
{
    struct tcp *t = tcp_of(base);
    bool can_talk = t->state == TCP_STARTTLS || (t->state == TCP_UP && !t->write_failed) ||
                    (t->state == TCP_ENDED && (t->end == TRANSPORT_FIN || t->end == TRANSPORT_TLS));
    if (t->state == TCP_DIALLING || base->server)
        t->gone(t->gone_ctx);
    base->server = NULL;
    if (t->state == TCP_STARTTLS)
        t->out.n = t->clear; /* the rest was meant for TLS */
    if (graceful && can_talk && t->loop && t->io.fd >= 0)
        tcp_goodbye_start(t);
    else
        tcp_close(t, !graceful);
}

static void op_detach(struct transport *base)
{
    struct tcp *t = tcp_of(base);
    assert(t->loop && t->state != TCP_DIALLING);
    t->reading = false;
    t->due &= (uint8_t)~TCP_DUE_READ;
    ev_io_stop(loop_ev(t->loop), &t->io);
    loop_forget_fd(t->loop, t->io.fd);
    if (t->deadline)
        timers_cancel(loop_timers(t->loop), &t->deadline->timer);
    loop_unqueue(&t->next);
    loop_unqueue(&t->flush);
    t->loop = NULL;
}

static void op_attach(struct transport *base, void *loop)
{
    struct tcp *t = tcp_of(base);
    assert(!t->loop);
    t->loop = loop;
    t->read_turn = 0;
    t->blocked = false; /* the flush finds out anew */
    if (t->deadline)
        timers_arm(loop_timers(t->loop), &t->deadline->timer, t->deadline->at);
    if (t->out.n)
        loop_queue(t->loop, LOOP_FLUSH, &t->flush);
    tcp_add_due(t, t->state == TCP_HANDSHAKE ? TCP_DUE_HANDSHAKE : 0);
    tcp_watch(t);
}

static const struct transport_ops tcp_ops = {
    .write = op_write,
    .read_stop = op_read_stop,
    .read_start = op_read_start,
    .yield = op_yield,
    .buffered = op_buffered,
    .outstanding = op_outstanding,
    .free = op_free,
    .detach = op_detach,
    .attach = op_attach,
};

void tcp_bytes(const struct transport *base, unsigned long long *in, unsigned long long *out)
{
    const struct tcp *t = tcp_of(base);
    BIO *bio = t->ssl ? SSL_get_rbio(t->ssl) : NULL;
    *in = t->in + (bio ? BIO_number_read(bio) : 0);
    *out = t->out_total + (bio ? BIO_number_written(bio) : 0);
}

/* --- Beginnings --- */

static struct tcp *tcp_init(struct tcp *t, struct loop *l, enum tcp_state state)
{
    t->base.ops = &tcp_ops;
    t->base.kind = TRANSPORT_TCP;
    t->loop = l;
    t->state = state;
    t->read_needs = EV_READ;
    t->write_needs = EV_WRITE;
    loop_task_init(&t->next, tcp_next);
    loop_task_init(&t->flush, tcp_flush);
    ev_init(&t->io, on_io);
    t->io.fd = -1;
    t->io.data = t;
    return t;
}

static void tcp_begin(struct tcp *t, int fd, struct tls_context *tls, const char *name, enum tls_protocol protocol,
                      usec deadline)
{
    t->io.fd = fd;
    if (tls) {
        tcp_begin_tls(t, tls, name, protocol, deadline);
        return;
    }
    t->state = TCP_UP;
    t->clear = 0;
    if (t->out.n)
        loop_queue(t->loop, LOOP_FLUSH, &t->flush);
    tcp_add_due(t, TCP_DUE_READY);
}

static struct transport *accept_one(struct loop *l, int fd, struct tls_context *tls, enum tls_protocol protocol,
                                    usec handshake_timeout, const struct endpoints *told)
{
    struct tcp_accepted *accepted = SLAB_NEW(SLAB_CONNECTION, struct tcp_accepted);
    struct tcp *t = tcp_init(&accepted->tcp, l, TCP_UP);
    struct transport_client *client = t->base.client = &accepted->client;
    client->ends = told && told->source.family ? *told : address_ends(fd);
    endpoint_text(&client->ends.source, client->peer);
    tcp_begin(t, fd, tls, NULL, protocol, loop_clock(l)->mono + handshake_timeout);
    return &t->base;
}

struct transport *tcp_accept(struct loop *l, int fd, struct tls_context *tls, usec handshake_timeout,
                             const struct endpoints *told)
{
    return accept_one(l, fd, tls, TLS_FOR_XMPP, handshake_timeout, told);
}

struct transport *tcp_accept_web(struct loop *l, int fd, struct tls_context *tls, usec handshake_timeout,
                                 const struct endpoints *told)
{
    return accept_one(l, fd, tls, TLS_FOR_HTTP, handshake_timeout, told);
}

struct transport *tcp_dialling(struct loop *l, void (*abandoned)(void *ctx), void *ctx)
{
    struct tcp *t = tcp_init(SLAB_NEW(SLAB_SESSION, struct tcp), l, TCP_DIALLING);
    t->gone = abandoned;
    t->gone_ctx = ctx;
    return &t->base;
}

void tcp_set_server(struct transport *base, void *server, void (*left)(void *server))
{
    struct tcp *t = tcp_of(base);
    base->server = t->gone_ctx = server;
    t->gone = left;
}

/* Before all that its owner has written already. */
static void tcp_put_ahead(struct tcp *t, struct slice head)
{
    struct buf all = loop_take_buf(t->loop);
    buf_add(&all, head);
    buf_add(&all, buf_slice(&t->out));
    loop_give_buf(t->loop, &t->out);
    t->out = all;
    t->clear = (uint32_t)head.n;
}

void tcp_dialled(struct transport *base, int fd, struct slice head, struct tls_context *tls, const char *name,
                 usec deadline)
{
    tcp_set_options(fd);
    if (head.n)
        tcp_put_ahead(tcp_of(base), head);
    tcp_begin(tcp_of(base), fd, tls, name, TLS_FOR_XMPP, deadline);
}

void tcp_dial_failed(struct transport *base, enum transport_end end, char *detail)
{
    tcp_io_note_end(tcp_of(base), end, detail);
    tcp_end(tcp_of(base));
}
