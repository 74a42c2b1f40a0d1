#include "net/listener.h"
#include "base/mem.h"
#include "loop_work.h"
#include "net/address.h"
#include "net/tcp.h"
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG          4096            /* the kernel caps it (somaxconn); reconnect storms fill it */
#define ACCEPTS_PER_TURN 16              /* the connections that exist get their turn as well */
#define PAUSE            (100 * USEC_MS) /* after running out of descriptors */

struct listener {
    struct address address; /* with the port that was bound */
    bool dual_stack;
    int fd;            /* -1 after listener_free */
    struct loop *loop; /* NULL before listener_start */
    const struct listener_events *events;
    void *ctx;
    ev_io io;
    struct timer resume;
    struct loop_task last;
    unsigned long long exhausted;
};

/* --- Binding --- */

/* "address:port", "[v6]:port", "*:port", "port"; all addresses of both families as [::] with dual_stack. */
static bool parse(const char *text, struct address *out, bool *dual_stack)
{
    const char *colon = strrchr(text, ':');
    const char *digits = colon ? colon + 1 : text;
    char *end;
    long port = strtol(digits, &end, 10);
    if (*digits < '0' || *digits > '9' || *end || port > 65535)
        return false;
    struct slice host = slice_of(text, colon ? (size_t)(colon - text) : 0);
    *dual_stack = !colon || slice_eq_str(host, "*");
    if (*dual_stack)
        return address_parse(out, "::", (int)port);
    bool bracketed = host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']';
    char *literal = mem_dup(bracketed ? slice_of(host.p + 1, host.n - 2) : host);
    bool ok = address_parse(out, literal, (int)port) && bracketed == (out->sa.sa_family == AF_INET6);
    free(literal);
    return ok;
}

/* A bound socket, -1 with errno. */
static int bind_socket(const struct address *a, bool dual_stack, bool shared)
{
    int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    const int on = 1, v6only = !dual_stack;
    bool ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
              (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
              (a->sa.sa_family != AF_INET6 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only) == 0) &&
              bind(fd, &a->sa, a->n) == 0;
    if (!ok) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* With SO_REUSEPORT a second program of the same user could share our port unnoticed, and each would get half of the
 * connections: an old process that was not stopped, say. A socket without it cannot be bound beside anyone who listens:
 * bind one, drop it, then bind for real. Who slips in between is a program started in the same instant. */
static bool is_port_free(const struct address *a, bool dual_stack)
{
    if (address_port(a) == 0)
        return true;
    int fd = bind_socket(a, dual_stack, false);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

/* NULL with errno if that is no TCP socket. */
static struct listener *listener_of(int fd, bool dual_stack)
{
    struct sockaddr_storage bound = {0};
    socklen_t n = sizeof bound;
    struct address address;
    if (getsockname(fd, (struct sockaddr *)&bound, &n) < 0)
        return NULL;
    if (!address_copy(&address, (struct sockaddr *)&bound, n)) {
        errno = EAFNOSUPPORT;
        return NULL;
    }
    tcp_set_options(fd);
    struct listener *l = MEM_NEW(struct listener);
    l->address = address;
    l->dual_stack = dual_stack;
    l->fd = fd;
    return l;
}

static struct listener *open_socket(struct address a, bool dual_stack, bool first)
{
    int fd = !first || is_port_free(&a, dual_stack) ? bind_socket(&a, dual_stack, true) : -1;
    if (fd < 0)
        return NULL;
    struct listener *l = listen(fd, BACKLOG) == 0 ? listener_of(fd, dual_stack) : NULL;
    if (!l) {
        int error = errno;
        close(fd);
        errno = error;
    }
    return l;
}

struct listener *listener_open(const char *address, char **error_r)
{
    struct address a;
    bool dual_stack;
    *error_r = NULL;
    if (!parse(address, &a, &dual_stack)) {
        *error_r = mem_printf("listen %s: not an address:port", address);
        return NULL;
    }
    struct listener *l = open_socket(a, dual_stack, true);
    if (!l && dual_stack && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
        address_parse(&a, "0.0.0.0", address_port(&a)); /* a system without IPv6 */
        l = open_socket(a, false, true);
    }
    if (!l)
        *error_r = mem_printf("listen %s: %s", address, strerror(errno));
    return l;
}

struct listener *listener_clone(const struct listener *l, char **error_r)
{
    char text[ADDRESS_TEXT];
    struct listener *clone = open_socket(l->address, l->dual_stack, false);
    *error_r = clone ? NULL : mem_printf("listen %s: %s", address_text(&l->address, text), strerror(errno));
    return clone;
}

static bool is_set(int fd, int level, int option)
{
    int value = 0;
    socklen_t n = sizeof value;
    return getsockopt(fd, level, option, &value, &n) == 0 && value;
}

struct listener *listener_adopt(int fd, char **error_r)
{
    bool good = is_set(fd, SOL_SOCKET, SO_ACCEPTCONN) && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == 0 &&
                fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
    struct listener *l = good ? listener_of(fd, !is_set(fd, IPPROTO_IPV6, IPV6_V6ONLY)) : NULL;
    *error_r = l ? NULL : mem_printf("descriptor %d is not a listening TCP socket", fd);
    return l;
}

const char *listener_address(const struct listener *l, char text[ENDPOINT_TEXT])
{
    return address_text(&l->address, text);
}

int listener_port(const struct listener *l)
{
    return address_port(&l->address);
}

/* --- Accepting --- */

static bool is_exhausted(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void pause_accepting(struct listener *l)
{
    l->exhausted++;
    ev_io_stop(loop_ev(l->loop), &l->io);
    timers_arm(loop_timers(l->loop), &l->resume, loop_clock(l->loop)->mono + PAUSE);
}

/* False when there is no more to accept now. The upcall may free the listener: its fd is -1 then. */
static bool accept_one(struct listener *l)
{
    struct sockaddr_storage sa = {0};
    socklen_t n = sizeof sa;
    int fd = accept4(l->fd, (struct sockaddr *)&sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        struct address a;
        address_copy(&a, (struct sockaddr *)&sa, n);
        struct endpoint peer = address_endpoint(&a);
        l->events->accepted(l->ctx, fd, &peer);
        return true;
    }
    if (is_exhausted(errno))
        pause_accepting(l);
    /* Other errors tell of a connection that broke while it was queued (accept(2)): the next one may be fine. */
    return errno != EAGAIN && errno != EWOULDBLOCK && errno != EBADF && errno != EINVAL && !is_exhausted(errno);
}

static void on_io(struct ev_loop *ev, ev_io *w, int revents)
{
    (void)ev, (void)revents;
    struct listener *l = w->data;
    for (int i = 0; i < ACCEPTS_PER_TURN && l->fd >= 0 && accept_one(l); i++)
        ;
}

static void on_resume(void *ctx)
{
    struct listener *l = ctx;
    ev_io_start(loop_ev(l->loop), &l->io);
}

static void release(struct loop_task *last)
{
    free(CONTAINER_OF(last, struct listener, last));
}

void listener_start(struct listener *l, struct loop *loop, const struct listener_events *events, void *ctx)
{
    l->loop = loop;
    l->events = events;
    l->ctx = ctx;
    l->resume.fire = on_resume;
    l->resume.ctx = l;
    loop_task_init(&l->last, release);
    ev_io_init(&l->io, on_io, l->fd, EV_READ);
    l->io.data = l;
    ev_io_start(loop_ev(loop), &l->io);
}

void listener_free(struct listener *l)
{
    if (!l)
        return;
    if (!l->loop) {
        close(l->fd);
        free(l);
        return;
    }
    /* A connection in the queue counts as made for its client; closing would reset it. */
    for (int i = 0; i < BACKLOG && accept_one(l); i++)
        ;
    ev_io_stop(loop_ev(l->loop), &l->io);
    timers_cancel(loop_timers(l->loop), &l->resume);
    close(l->fd);
    l->fd = -1;
    loop_queue(l->loop, LOOP_FREE, &l->last);
}

unsigned long long listener_exhausted(const struct listener *l)
{
    return l->exhausted;
}
