/* PROXY protocol headers: no beginning of a good one is taken for one or refused, what follows it changes nothing, and
 * what it tells can be written and read again. The input is what comes on the connection. */
#include "base/proxy_header.h"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct proxy_header h, early;
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
