/* stub PORT DOMAIN: one thread, one read and one write for each connection and turn. Ends by signal. */
#include "base/mem.h"
#include "common/sockets.h"
#include "stub/stub.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, READ_SIZE = 64 << 10, KEEP_SIZE = 4096 };

void stub_dirty(struct peer *p)
{
    if (!list_is_linked(&p->dirty))
        list_append(&p->stub->dirty, &p->dirty);
}

static void watch(struct peer *p, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = p};
    if (epoll_ctl(p->stub->epoll, operation, p->fd, &event))
        die("epoll_ctl: %m");
}

static void count_connection(struct stub *s)
{
    uint64_t second = now_ns() / NS;
    if (s->second != second) {
        printf("%u connections\n", s->connections);
        fflush(stdout);
        s->second = second;
        s->connections = 0;
    }
    s->connections++;
}

static void accept_all(struct stub *s)
{
    int fd;
    while ((fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *p = MEM_NEW(struct peer);
        count_connection(s);
        p->stub = s;
        p->fd = fd;
        list_init(&p->dirty);
        socket_prepare(fd);
        watch(p, EPOLL_CTL_ADD, EPOLLIN);
    }
    if (errno != EAGAIN && errno != ECONNABORTED)
        die("accept: %m");
}

static void break_off(struct peer *p)
{
    p->closing = p->dead = true;
    stub_unbind(p);
    stub_dirty(p);
}

/* Without a rest of the last read the bytes are looked at where they are; only what is incomplete is kept. */
static void take_bytes(struct peer *p, struct slice fresh)
{
    bool kept = p->in.n > 0;
    if (kept)
        buf_add(&p->in, fresh);
    struct slice all = kept ? buf_slice(&p->in) : fresh, found;
    enum scan_item item;
    while (!p->closing && (item = scan_next(&p->scan, all, &found)) != SCAN_MORE)
        stub_take(p, item, found);
    size_t used = scan_forget(&p->scan);
    if (kept)
        buf_consume(&p->in, used);
    else
        buf_add(&p->in, slice_skip(all, used));
    if (p->in.n == 0)
        buf_free(&p->in);
}

static void read_some(struct peer *p)
{
    ssize_t n = recv(p->fd, p->stub->buffer, READ_SIZE, 0);
    if (n > 0 && !p->closing)
        take_bytes(p, slice_of(p->stub->buffer, (size_t)n));
    else if (n == 0 || (n < 0 && errno != EAGAIN))
        break_off(p);
}

static void write_some(struct peer *p)
{
    ssize_t n = p->out.n && !p->dead ? send(p->fd, buf_slice(&p->out).p, p->out.n, MSG_NOSIGNAL) : 0;
    if (n < 0 && errno != EAGAIN) {
        break_off(p);
        return;
    }
    if (n > 0)
        buf_consume(&p->out, (size_t)n);
    if (p->out.n == 0 && p->out.cap > KEEP_SIZE)
        buf_free(&p->out);
    bool waits = p->out.n > 0 && !p->dead;
    if (waits != p->waits)
        watch(p, EPOLL_CTL_MOD, waits ? EPOLLIN | EPOLLOUT : EPOLLIN);
    p->waits = waits;
}

static void free_peer(struct peer *p)
{
    stub_unbind(p);
    list_remove(&p->dirty);
    close(p->fd);
    buf_free(&p->in);
    buf_free(&p->out);
    free(p->user);
    free(p);
}

/* The end of a turn: what came together leaves together. */
static void flush(struct stub *s)
{
    struct list *link;
    while ((link = list_first(&s->dirty))) {
        struct peer *p = CONTAINER_OF(link, struct peer, dirty);
        list_remove(link);
        write_some(p);
        if (p->dead || (p->closing && p->out.n == 0))
            free_peer(p);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        die("usage: stub PORT DOMAIN");
    signal(SIGPIPE, SIG_IGN);
    descriptors_raise();
    struct stub s = {.epoll = epoll_create1(EPOLL_CLOEXEC),
                     .listener = socket_listen((unsigned)strtoul(argv[1], NULL, 10)),
                     .domain = argv[2],
                     .sessions = map_new(),
                     .buffer = mem_alloc(READ_SIZE)};
    list_init(&s.dirty);
    struct epoll_event event = {.events = EPOLLIN}, events[EVENTS];
    if (epoll_ctl(s.epoll, EPOLL_CTL_ADD, s.listener, &event))
        die("epoll_ctl: %m");
    for (;;) {
        int n = epoll_wait(s.epoll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %m");
        for (int i = 0; i < n; i++) {
            struct peer *p = events[i].data.ptr;
            if (!p)
                accept_all(&s);
            else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                read_some(p);
            if (p && events[i].events & EPOLLOUT)
                stub_dirty(p);
        }
        flush(&s);
    }
}
