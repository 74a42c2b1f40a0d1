#include "net/address.h"
#include <arpa/inet.h>
#include <stdio.h>
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

char *address_text(const struct address *a, char out[ADDRESS_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "";
    if (a->sa.sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr)) {
        inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof host);
        snprintf(out, ADDRESS_TEXT, "[%s]:%d", host, address_port(a));
    } else {
        const void *v4 = a->sa.sa_family == AF_INET6 ? (const void *)&a->v6.sin6_addr.s6_addr[12]
                                                     : (const void *)&a->v4.sin_addr;
        inet_ntop(AF_INET, v4, host, sizeof host);
        snprintf(out, ADDRESS_TEXT, "%s:%d", host, address_port(a));
    }
    return out;
}

char *address_of_peer(int fd, char out[ADDRESS_TEXT])
{
    struct sockaddr_storage sa = {0};
    socklen_t n = sizeof sa;
    struct address a;
    out[0] = '\0';
    if (getpeername(fd, (struct sockaddr *)&sa, &n) == 0 && address_copy(&a, (struct sockaddr *)&sa, n))
        address_text(&a, out);
    return out;
}
