#include "base/proxy_header.h"
#include <arpa/inet.h>
#include <stdlib.h>

#define V1_MAX  107 /* with its CRLF */
#define V2_HEAD 16  /* signature, version and command, family and protocol, length */

#define V1_START     SLICE_LIT("PROXY ")
#define V2_SIGNATURE SLICE_LIT("\r\n\r\n\0\r\nQUIT\n")

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
enum { V2_UNSPEC, V2_INET, V2_INET6, V2_UNIX }; /* the upper half of byte 14; below: */
enum { V2_STREAM = 1, V2_DGRAM = 2 };

static enum proxy_header_result bad(struct proxy_header *out, const char *fault)
{
    *out = (struct proxy_header){.fault = fault};
    return PROXY_HEADER_BAD;
}

/* The bytes begin with it, as far as there are any. */
static bool may_become(struct slice bytes, struct slice start)
{
    return slice_starts(bytes, start) || slice_starts(start, bytes);
}

/* --- Version 1: a line of text --- */

/* Takes the text up to the next space (or the end) off the line, into a buffer with its NUL. False if it does not fit
 * or is empty. */
static bool next_word(struct slice *line, char *word, size_t size)
{
    const char *space = line->n ? memchr(line->p, ' ', line->n) : NULL;
    size_t n = space ? (size_t)(space - line->p) : line->n;
    if (!n || n >= size || memchr(line->p, '\0', n))
        return false;
    memcpy(word, line->p, n);
    word[n] = '\0';
    *line = slice_skip(*line, n);
    return true;
}

static bool skip_space(struct slice *line)
{
    bool space = line->n && line->p[0] == ' ';
    *line = slice_skip(*line, 1);
    return space;
}

/* Heading zeroes are not permitted. */
static bool parse_port(const char *word, uint16_t *port_r)
{
    size_t n = strlen(word);
    unsigned long port = strtoul(word, NULL, 10);
    *port_r = (uint16_t)port;
    return n <= 5 && !word[strspn(word, "0123456789")] && port <= 65535 && (word[0] != '0' || n == 1);
}

/* "192.0.2.1 192.0.2.2 56324 5222" */
static bool parse_v1_ends(struct slice line, enum endpoint_family family, struct endpoints *out)
{
    char word[INET6_ADDRSTRLEN];
    uint8_t source[16], destination[16];
    uint16_t source_port, destination_port;
    int af = family == ENDPOINT_V4 ? AF_INET : AF_INET6;
    if (!next_word(&line, word, sizeof word) || inet_pton(af, word, source) != 1 || !skip_space(&line) ||
        !next_word(&line, word, sizeof word) || inet_pton(af, word, destination) != 1 || !skip_space(&line) ||
        !next_word(&line, word, sizeof word) || !parse_port(word, &source_port) || !skip_space(&line) ||
        !next_word(&line, word, sizeof word) || !parse_port(word, &destination_port) || line.n)
        return false;
    out->source = endpoint_make(family, source, source_port);
    out->destination = endpoint_make(family, destination, destination_port);
    return true;
}

/* The size of the line with its CRLF; 0 while that has not come, SIZE_MAX if it cannot come any more. */
static size_t v1_size(struct slice bytes)
{
    for (size_t i = 0; i < bytes.n && i < V1_MAX; i++) {
        if (bytes.p[i] == '\n')
            return i > 0 && bytes.p[i - 1] == '\r' ? i + 1 : SIZE_MAX;
        if (i > 0 && bytes.p[i - 1] == '\r')
            return SIZE_MAX;
    }
    return bytes.n < V1_MAX ? 0 : SIZE_MAX;
}

static enum proxy_header_result parse_v1(struct slice bytes, struct proxy_header *out)
{
    size_t size = v1_size(bytes);
    if (size == 0)
        return PROXY_HEADER_MORE;
    if (size == SIZE_MAX)
        return bad(out, "a line of version 1 that does not end in CRLF");
    struct slice line = slice_skip(slice_of(bytes.p, size - 2), V1_START.n);
    char protocol[8];
    struct proxy_header h = {.size = size};
    bool good = next_word(&line, protocol, sizeof protocol);
    if (good && strcmp(protocol, "UNKNOWN") == 0) /* what else is there must be ignored */
        h.local = true;
    else if (good && strcmp(protocol, "TCP4") == 0)
        good = skip_space(&line) && parse_v1_ends(line, ENDPOINT_V4, &h.ends);
    else if (good && strcmp(protocol, "TCP6") == 0)
        good = skip_space(&line) && parse_v1_ends(line, ENDPOINT_V6, &h.ends);
    else
        return bad(out, "version 1 with a protocol other than TCP4, TCP6 and UNKNOWN");
    if (!good)
        return bad(out, "version 1 with malformed addresses");
    *out = h;
    return PROXY_HEADER_DONE;
}

/* --- Version 2: binary --- */

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static const char *v2_fault(const uint8_t *head)
{
    static const size_t ends_size[] = {0, 12, 36, 216};
    size_t n = get16(head + 14);
    unsigned family = head[13] >> 4, protocol = head[13] & 15;
    if (head[12] != V2_LOCAL && head[12] != V2_PROXY)
        return head[12] >> 4 == 2 ? "version 2 with an unknown command" : "an unknown version";
    if (V2_HEAD + n > PROXY_HEADER_MAX)
        return "version 2, too long";
    if (head[12] == V2_LOCAL)
        return NULL; /* its family is to be ignored */
    if (family > V2_UNIX || protocol > V2_DGRAM)
        return "version 2 with an unknown family or protocol";
    return n < ends_size[family] ? "version 2, too short for its addresses" : NULL;
}

static struct endpoints v2_ends(const uint8_t *p, enum endpoint_family family)
{
    size_t n = family == ENDPOINT_V4 ? 4 : 16;
    return (struct endpoints){endpoint_make(family, p, get16(p + 2 * n)),
                              endpoint_make(family, p + n, get16(p + 2 * n + 2))};
}

static enum proxy_header_result parse_v2(struct slice bytes, struct proxy_header *out)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    if (bytes.n < V2_HEAD)
        return PROXY_HEADER_MORE;
    const char *fault = v2_fault(p);
    struct proxy_header h = {.size = V2_HEAD + (size_t)get16(p + 14), .local = p[12] == V2_LOCAL};
    if (fault)
        return bad(out, fault);
    if (bytes.n < h.size)
        return PROXY_HEADER_MORE;
    if (!h.local && p[13] == (V2_INET << 4 | V2_STREAM))
        h.ends = v2_ends(p + V2_HEAD, ENDPOINT_V4);
    else if (!h.local && p[13] == (V2_INET6 << 4 | V2_STREAM))
        h.ends = v2_ends(p + V2_HEAD, ENDPOINT_V6);
    *out = h;
    return PROXY_HEADER_DONE;
}

enum proxy_header_result proxy_header_parse(struct slice bytes, struct proxy_header *out)
{
    if (slice_starts(bytes, V1_START))
        return parse_v1(bytes, out);
    if (slice_starts(bytes, V2_SIGNATURE))
        return parse_v2(bytes, out);
    if (may_become(bytes, V1_START) || may_become(bytes, V2_SIGNATURE))
        return PROXY_HEADER_MORE;
    return bad(out, "no PROXY protocol header");
}

/* --- Writing --- */

/* As IPv6, with IPv4 inside where it is that. */
static void ip_as_v6(const struct endpoint *e, uint8_t out[16])
{
    static const uint8_t v4_in_v6[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    memcpy(out, e->ip, 16);
    if (e->family == ENDPOINT_V4) {
        memcpy(out, v4_in_v6, 12);
        memcpy(out + 12, e->ip, 4);
    }
}

static void write_v1(struct buf *out, bool v4, const uint8_t source[16], const uint8_t destination[16],
                     const struct endpoints *client)
{
    char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
    int af = v4 ? AF_INET : AF_INET6;
    inet_ntop(af, source, from, sizeof from);
    inet_ntop(af, destination, to, sizeof to);
    buf_printf(out, "PROXY %s %s %s %u %u\r\n", v4 ? "TCP4" : "TCP6", from, to, client->source.port,
               client->destination.port);
}

static void write_v2(struct buf *out, bool v4, const uint8_t source[16], const uint8_t destination[16],
                     const struct endpoints *client)
{
    size_t n = v4 ? 4 : 16;
    const uint16_t port[2] = {htons(client->source.port), htons(client->destination.port)};
    const uint8_t head[4] = {V2_PROXY, (uint8_t)((v4 ? V2_INET : V2_INET6) << 4 | V2_STREAM), 0,
                             (uint8_t)(2 * n + sizeof port)};
    buf_add(out, V2_SIGNATURE);
    buf_append(out, head, sizeof head);
    buf_append(out, source, n);
    buf_append(out, destination, n);
    buf_append(out, port, sizeof port);
}

void proxy_header_write(struct buf *out, int version, const struct endpoints *client)
{
    if (!client || !client->source.family || !client->destination.family) {
        const uint8_t local[4] = {V2_LOCAL};
        buf_add(out, version == 1 ? SLICE_LIT("PROXY UNKNOWN\r\n") : V2_SIGNATURE);
        buf_append(out, local, version == 1 ? 0 : sizeof local);
        return;
    }
    bool v4 = client->source.family == ENDPOINT_V4 && client->destination.family == ENDPOINT_V4;
    uint8_t source[16], destination[16];
    memcpy(source, client->source.ip, 16);
    memcpy(destination, client->destination.ip, 16);
    if (!v4) {
        ip_as_v6(&client->source, source);
        ip_as_v6(&client->destination, destination);
    }
    (version == 1 ? write_v1 : write_v2)(out, v4, source, destination, client);
}
