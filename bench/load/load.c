#include "load/load.h"
#include "base/mem.h"
#include "common/sockets.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>

enum { EVENTS = 256, FAILURES_SHOWN = 5 };

void load_dirty(struct load *l, struct client *c)
{
    if (!list_is_linked(&c->dirty))
        list_append(&l->dirty, &c->dirty);
}

void load_fail(struct load *l, struct client *c, const char *format, ...)
{
    if (l->failed++ < FAILURES_SHOWN) {
        va_list arguments;
        va_start(arguments, format);
        fprintf(stderr, "load: user%u: ", c->account);
        vfprintf(stderr, format, arguments);
        fputc('\n', stderr);
        va_end(arguments);
    }
    client_cut(c);
}

uint64_t load_check(struct load *l, struct client *c, struct slice message)
{
    uint32_t number;
    uint64_t stamp;
    if (!client_read_message(message, &number, &stamp))
        return 0;
    if (number != c->last_number + 1)
        l->misordered++;
    c->last_number = number;
    return stamp;
}

static void flush(struct load *l)
{
    struct list *link;
    while ((link = list_first(&l->dirty))) {
        struct client *c = CONTAINER_OF(link, struct client, dirty);
        list_remove(link);
        if (!link_flush(&c->link))
            client_upcalls.lost(c);
    }
}

static int wait(struct load *l, struct epoll_event *events, uint64_t until)
{
    uint64_t now = until == UINT64_MAX ? 0 : now_ns(), left = until > now ? until - now : 0;
    struct timespec time = {.tv_sec = (time_t)(left / NS), .tv_nsec = (long)(left % NS)};
    int n = epoll_pwait2(l->epoll, events, EVENTS, until == UINT64_MAX ? NULL : &time, NULL);
    if (n < 0 && errno != EINTR)
        die("epoll_pwait2: %m");
    return n;
}

void load_turn(struct load *l, uint64_t until)
{
    struct epoll_event events[EVENTS];
    flush(l);
    int n = wait(l, events, until);
    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        if (!c)
            l->command_waits = true;
        else if (c->link.state != LINK_NONE)
            link_handle(&c->link, &client_upcalls, events[i].events);
    }
    flush(l);
}
