#include "base/endpoint.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t v4_in_v6[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct endpoint endpoint_make(enum endpoint_family family, const void *ip, uint16_t port)
{
    struct endpoint e = {.family = (uint8_t)family, .port = port};
    const uint8_t *bytes = ip;
    if (family == ENDPOINT_V6 && memcmp(bytes, v4_in_v6, sizeof v4_in_v6) == 0) {
        e.family = ENDPOINT_V4;
        bytes += sizeof v4_in_v6;
    }
    if (e.family != ENDPOINT_NONE)
        memcpy(e.ip, bytes, e.family == ENDPOINT_V4 ? 4 : 16);
    return e;
}

bool endpoint_eq(const struct endpoint *a, const struct endpoint *b)
{
    return a->family == b->family && a->port == b->port && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

char *endpoint_text(const struct endpoint *e, char out[ENDPOINT_TEXT])
{
    char host[INET6_ADDRSTRLEN] = "";
    out[0] = '\0';
    if (e->family != ENDPOINT_NONE) {
        inet_ntop(e->family == ENDPOINT_V4 ? AF_INET : AF_INET6, e->ip, host, sizeof host);
        snprintf(out, ENDPOINT_TEXT, e->family == ENDPOINT_V4 ? "%s:%u" : "[%s]:%u", host, e->port);
    }
    return out;
}

/* --- Networks --- */

/* Decimal digits up to max; -1 for anything else. */
static int parse_bits(const char *text, int max)
{
    if (!*text || strlen(text) > 3 || text[strspn(text, "0123456789")])
        return -1;
    int bits = atoi(text);
    return bits <= max ? bits : -1;
}

/* Whether the first bits of both are the same. */
static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    return memcmp(a, b, whole) == 0 && (rest == 0 || ((a[whole] ^ b[whole]) & (0xff00u >> rest)) == 0);
}

static bool is_clear_behind(const uint8_t ip[16], unsigned bits)
{
    static const uint8_t zero[16];
    uint8_t rest[16];
    memcpy(rest, ip, sizeof rest);
    memset(rest, 0, bits / 8);
    if (bits % 8)
        rest[bits / 8] &= (uint8_t)(0xff >> bits % 8);
    return memcmp(rest, zero, sizeof zero) == 0;
}

bool network_parse(struct network *out, const char *text)
{
    char host[INET6_ADDRSTRLEN];
    uint8_t ip[16];
    size_t n = strcspn(text, "/");
    if (n >= sizeof host)
        return false;
    memcpy(host, text, n);
    host[n] = '\0';
    bool v6 = strchr(host, ':') != NULL;
    if (inet_pton(v6 ? AF_INET6 : AF_INET, host, ip) != 1)
        return false;
    int most = v6 ? 128 : 32, bits = text[n] ? parse_bits(text + n + 1, most) : most;
    /* not endpoint_make: endpoints never are IPv4 inside IPv6, so that a network of these holds none */
    *out = (struct network){.first.family = v6 ? ENDPOINT_V6 : ENDPOINT_V4, .bits = (unsigned)bits};
    memcpy(out->first.ip, ip, v6 ? 16 : 4);
    return bits >= 0 && is_clear_behind(out->first.ip, out->bits);
}

bool network_holds(const struct network *n, const struct endpoint *e)
{
    return n->first.family == e->family && same_prefix(n->first.ip, e->ip, n->bits);
}
