#include "http_socket.h"
#include "base/mem.h"
#include "base/slice.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* --- TCP --- */

static int bind_one(const struct addrinfo *a, int backlog)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd < 0)
        return -1;
    /* reuse after a restart; one IPv6 socket takes IPv4 as well if it is bound to all addresses */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (a->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, backlog) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* Splits "host:port", "[v6]:port", "*:port", "port"; *host is NULL for all addresses. False if it is none of these. */
static bool split_address(const char *address, char **host, const char **port)
{
    const char *colon = strrchr(address, ':');
    struct slice name = colon ? slice_of(address, (size_t)(colon - address)) : SLICE_LIT("*");
    *host = NULL;
    *port = colon ? colon + 1 : address;
    if (name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']')
        name = slice_of(name.p + 1, name.n - 2);
    else if (name.n == 0 || memchr(name.p, ':', name.n))
        return false;
    if (**port == '\0' || strlen(*port) > 5 || strspn(*port, "0123456789") != strlen(*port) || atoi(*port) > 65535)
        return false;
    if (!slice_eq_str(name, "*"))
        *host = mem_dup(name);
    return true;
}

/* The first of the addresses that can be bound; -1 with a reason. All addresses: an IPv6 socket that takes IPv4 as
 * well, but for IPv4 alone where the machine has no IPv6. */
static int bind_any(const char *host, const char *port, int backlog, const char **reason)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *all = NULL;
    const int families[] = {host ? AF_UNSPEC : AF_INET6, AF_INET};
    int fd = -1;
    for (int i = 0; i < (host ? 1 : 2) && fd < 0; i++) {
        hints.ai_family = families[i];
        int failure = getaddrinfo(host, port, &hints, &all);
        if (failure) {
            *reason = gai_strerror(failure);
            continue;
        }
        for (const struct addrinfo *a = all; a && fd < 0; a = a->ai_next)
            fd = bind_one(a, backlog);
        int error = errno;
        freeaddrinfo(all);
        *reason = fd < 0 ? strerror(error) : NULL;
        if (fd < 0 && error == EADDRINUSE)
            break;
    }
    return fd;
}

int http_listen_tcp(const char *address, int backlog, const char **reason)
{
    char *host;
    const char *port;
    if (!split_address(address, &host, &port)) {
        *reason = "not an address:port";
        return -1;
    }
    int fd = bind_any(host, port, backlog, reason);
    free(host);
    return fd;
}

int http_port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } name = {0};
    socklen_t n = sizeof name;
    if (getsockname(fd, &name.any, &n) != 0 || name.any.sa_family == AF_UNIX)
        return 0;
    return ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
}

/* --- UNIX --- */

struct http_unix {
    char *path;
    dev_t device; /* of the file as it was made here */
    ino_t inode;
};

static bool set_path(struct sockaddr_un *to, const char *path)
{
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to->sun_path)
        return false;
    memcpy(to->sun_path, path, strlen(path) + 1);
    return true;
}

/* What a crash left behind is removed; a socket that somebody listens on, or any other file, is not. NULL, or why the
 * path cannot be had. */
static char *clear_path(const char *path, const struct sockaddr_un *name)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? NULL : mem_printf("%s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return mem_printf("%s is there already, and not a socket; choose another path, or remove it", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int failure = fd < 0 || connect(fd, (const struct sockaddr *)name, sizeof *name) == 0 ? 0 : errno;
    if (fd >= 0)
        close(fd);
    if (failure != ECONNREFUSED)
        return mem_printf("%s: a process listens there already; stop it, or choose another path", path);
    if (unlink(path) != 0)
        return mem_printf("%s: left over, and cannot be removed: %s", path, strerror(errno));
    return NULL;
}

/* Nobody gets in between bind and chmod: until listen() all are refused. */
static bool bind_unix(int fd, const struct sockaddr_un *name, unsigned mode, int backlog)
{
    return bind(fd, (const struct sockaddr *)name, sizeof *name) == 0 && chmod(name->sun_path, (mode_t)mode) == 0 &&
           listen(fd, backlog) == 0;
}

static struct http_unix *remember(const char *path)
{
    struct http_unix *file = MEM_NEW(struct http_unix);
    struct stat st = {0};
    file->path = mem_strdup(path);
    if (lstat(path, &st) == 0) {
        file->device = st.st_dev;
        file->inode = st.st_ino;
    }
    return file;
}

int http_listen_unix(const char *path, unsigned mode, int backlog, struct http_unix **file_r, char **error_r)
{
    struct sockaddr_un name;
    if (!set_path(&name, path)) {
        *error_r = mem_printf("%s: too long for a socket, which takes %zu bytes", path, sizeof name.sun_path - 1);
        return -1;
    }
    *error_r = clear_path(path, &name);
    if (*error_r)
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && bind_unix(fd, &name, mode, backlog)) {
        *file_r = remember(path);
        return fd;
    }
    *error_r = mem_printf("%s: %s; its folder must be there, and writable for this user", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

void http_remove_unix(struct http_unix *file)
{
    struct stat st;
    if (!file)
        return;
    if (lstat(file->path, &st) == 0 && st.st_dev == file->device && st.st_ino == file->inode)
        unlink(file->path);
    free(file->path);
    free(file);
}
