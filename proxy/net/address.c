#include "net/address.h"
#include <arpa/inet.h>
#include <string.h>

bool address_parse(struct address *out, const char *host, int port)
{
    memset(out, 0, sizeof *out); /* a union: all of its members */
    if (inet_pton(AF_INET, host, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        out->n = sizeof out->v4;
    } else if (inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1) {
        out->v6.sin6_family = AF_INET6;
        out->n = sizeof out->v6;
    } else {
        return false;
    }
    address_set_port(out, port);
    return true;
}

bool address_copy(struct address *out, const struct sockaddr *sa, socklen_t n)
{
    *out = (struct address){0};
    if ((sa->sa_family == AF_INET && n == sizeof out->v4) || (sa->sa_family == AF_INET6 && n == sizeof out->v6)) {
        memcpy(&out->sa, sa, n);
        out->n = n;
        return true;
    }
    return false;
}

int address_port(const struct address *a)
{
    return ntohs(a->sa.sa_family == AF_INET6 ? a->v6.sin6_port : a->v4.sin_port);
}

void address_set_port(struct address *a, int port)
{
    if (a->sa.sa_family == AF_INET6)
        a->v6.sin6_port = htons((uint16_t)port);
    else
        a->v4.sin_port = htons((uint16_t)port);
}

struct endpoint address_endpoint(const struct address *a)
{
    if (a->n == 0)
        return (struct endpoint){0};
    bool v6 = a->sa.sa_family == AF_INET6;
    return endpoint_make(v6 ? ENDPOINT_V6 : ENDPOINT_V4,
                         v6 ? (const void *)&a->v6.sin6_addr : (const void *)&a->v4.sin_addr,
                         (uint16_t)address_port(a));
}

char *address_text(const struct address *a, char out[ADDRESS_TEXT])
{
    struct endpoint e = address_endpoint(a);
    return endpoint_text(&e, out);
}

static struct endpoint end_of(int fd, int (*name)(int fd, struct sockaddr *sa, socklen_t *n))
{
    struct sockaddr_storage sa = {0};
    socklen_t n = sizeof sa;
    struct address a;
    bool good = name(fd, (struct sockaddr *)&sa, &n) == 0 && address_copy(&a, (struct sockaddr *)&sa, n);
    return good ? address_endpoint(&a) : (struct endpoint){0};
}

struct endpoints address_ends(int fd)
{
    return (struct endpoints){end_of(fd, getpeername), end_of(fd, getsockname)};
}
