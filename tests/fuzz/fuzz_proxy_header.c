/* What stands ahead of a connection. PROXY protocol headers: no beginning of a good one is taken for one or refused,
 * what follows it changes nothing, and what it tells can be written and read again. The greeting on the peer port:
 * likewise, but that nothing may follow. The input is what comes on the connection. */
#include "base/proxy_header.h"
#include "cluster/peer.h"
#include "fuzz.h"

/* Copies of the exact size: a reader beyond the end is caught. */
static enum proxy_header_result parse(const uint8_t *data, size_t n, struct proxy_header *out)
{
    char *exact = malloc(n + 1);
    FUZZ_CHECK(exact);
    memcpy(exact + 1, data, n);
    enum proxy_header_result result = proxy_header_parse(slice_of(exact + 1, n), out);
    free(exact);
    return result;
}

static void write_and_read(const struct proxy_header *h, int version)
{
    struct buf out = {0};
    struct proxy_header again;
    proxy_header_write(&out, version, &h->ends);
    FUZZ_CHECK(proxy_header_parse(buf_slice(&out), &again) == PROXY_HEADER_DONE);
    FUZZ_CHECK(again.size == out.n && again.local == !h->ends.source.family);
    FUZZ_CHECK(endpoint_eq(&again.ends.source, &h->ends.source));
    FUZZ_CHECK(endpoint_eq(&again.ends.destination, &h->ends.destination));
    buf_free(&out);
}

static enum peer_hello_result read_exactly(const uint8_t *data, size_t n, struct peer_hello *out)
{
    char *exact = malloc(n + 1);
    FUZZ_CHECK(exact);
    memcpy(exact + 1, data, n);
    enum peer_hello_result result = peer_hello_read(slice_of(exact + 1, n), out);
    free(exact);
    return result;
}

static void greet(const uint8_t *data, size_t n)
{
    struct peer_hello hello, again;
    struct buf line = {0};
    if (read_exactly(data, n, &hello) != PEER_HELLO_OK)
        return;
    FUZZ_CHECK(n <= PEER_HELLO_MAX && hello.hops > 0 && hello.hops <= PEER_HOPS);
    FUZZ_CHECK(hello.account[0] && hello.node[0] && strlen(hello.sid) == SID_SIZE - 1);
    for (size_t i = 0; i < n; i++)
        FUZZ_CHECK(read_exactly(data, i, &again) == PEER_HELLO_MORE);
    peer_hello_write(&line, &hello);
    FUZZ_CHECK(peer_hello_read(buf_slice(&line), &again) == PEER_HELLO_OK);
    FUZZ_CHECK(hello.hops == again.hops && hello.h == again.h && strcmp(hello.sid, again.sid) == 0);
    FUZZ_CHECK(strcmp(hello.account, again.account) == 0 && strcmp(hello.node, again.node) == 0);
    FUZZ_CHECK(strcmp(hello.client, again.client) == 0);
    peer_hello_clear(&hello);
    peer_hello_clear(&again);
    buf_free(&line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct proxy_header h, early;
    greet(data, n);
    enum proxy_header_result result = parse(data, n, &h);
    if (result == PROXY_HEADER_BAD) {
        FUZZ_CHECK(h.fault && *h.fault);
        return 0;
    }
    size_t size = result == PROXY_HEADER_DONE ? h.size : n;
    FUZZ_CHECK(size <= n && size < PROXY_HEADER_MAX + (result == PROXY_HEADER_DONE));
    for (size_t i = 0; i < size; i++)
        FUZZ_CHECK(parse(data, i, &early) == PROXY_HEADER_MORE);
    if (result == PROXY_HEADER_MORE)
        return 0;
    FUZZ_CHECK(parse(data, size, &early) == PROXY_HEADER_DONE && early.size == size);
    FUZZ_CHECK(!h.ends.source.family == !h.ends.destination.family && !(h.local && h.ends.source.family));
    write_and_read(&h, 1);
    write_and_read(&h, 2);
    return 0;
}
