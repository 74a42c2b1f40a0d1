/* The greeting on the peer port: no beginning of a good line is taken for one or refused, and what it tells can be
 * written and read again. */
#include "cluster/peer.h"
#include "fuzz.h"

/* Copies of the exact size: a reader beyond the end is caught. */
static enum peer_hello_result read_exactly(const uint8_t *data, size_t n, struct peer_hello *out)
{
    char *exact = malloc(n + 1);
    FUZZ_CHECK(exact);
    memcpy(exact + 1, data, n);
    enum peer_hello_result result = peer_hello_read(slice_of(exact + 1, n), out);
    free(exact);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct peer_hello hello, again;
    struct buf line = {0};
    if (read_exactly(data, n, &hello) != PEER_HELLO_OK)
        return 0;
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
    return 0;
}
