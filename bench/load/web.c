#include "load/web.h"
#include "common/scan.h"

enum {
    FRAME_TEXT = 0x81,
    FRAME_CLOSE = 0x88,
    MASKED = 0x80,
    MASK_SIZE = 4,
    SHORT_MAX = 125,
    LONG_16 = 126,
    LONG_64 = 127
};

void web_ask(struct buf *wire)
{
    BUF_LIT(wire, "GET /xmpp-websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Protocol: xmpp\r\n\r\n");
}

bool web_agree(struct web *w, struct slice *bytes, struct buf *incomplete)
{
    static const char end[] = "\r\n\r\n";
    size_t before = incomplete->n;
    buf_add(incomplete, *bytes);
    if (!incomplete->n)
        return true;
    const char *begin = buf_slice(incomplete).p, *at = memmem(begin, incomplete->n, end, strlen(end));
    size_t used = at ? (size_t)(at - begin) + strlen(end) - before : bytes->n;
    *bytes = slice_skip(*bytes, used);
    if (!at)
        return true;
    w->open = slice_starts(buf_slice(incomplete), SLICE_LIT("HTTP/1.1 101 "));
    buf_free(incomplete);
    return w->open;
}

static void head(struct buf *wire, size_t n)
{
    uint8_t bytes[10] = {FRAME_TEXT};
    unsigned wide = n <= SHORT_MAX ? 0 : n <= UINT16_MAX ? 2 : 8;
    bytes[1] = (uint8_t)(MASKED | (wide == 0 ? n : wide == 2 ? LONG_16 : LONG_64));
    for (unsigned i = 0; i < wide; i++)
        bytes[2 + i] = (uint8_t)((uint64_t)n >> (8 * (wide - 1 - i)));
    buf_append(wire, bytes, 2 + wide);
}

/* On a stream it has inherited its namespace; alone it has to name it. */
static void add_element(struct buf *text, struct slice element)
{
    static const struct slice stanzas[] = {{"message", 7}, {"iq", 2}, {"presence", 8}};
    size_t name = 0;
    for (unsigned i = 0; i < sizeof(stanzas) / sizeof(*stanzas); i++)
        if (scan_is(element, stanzas[i]))
            name = 1 + stanzas[i].n;
    buf_append(text, element.p, name);
    if (name)
        BUF_LIT(text, " xmlns='jabber:client'");
    buf_add(text, slice_skip(element, name));
}

static void add_frame(struct buf *wire, struct slice text)
{
    static const uint8_t mask[MASK_SIZE] = {0x37, 0xfa, 0x21, 0x3d};
    head(wire, text.n);
    buf_append(wire, mask, sizeof(mask));
    char *to = buf_reserve(wire, text.n);
    for (size_t i = 0; i < text.n; i++)
        to[i] = (char)(text.p[i] ^ mask[i % MASK_SIZE]);
    buf_commit(wire, text.n);
}

void web_wrap(struct buf *wire, struct slice elements)
{
    struct scan scan = {.depth = 1};
    struct slice element;
    struct buf text = {0};
    while (scan_next(&scan, elements, &element) == SCAN_ELEMENT) {
        add_element(&text, element);
        add_frame(wire, buf_slice(&text));
        buf_clear(&text);
    }
    buf_free(&text);
}

/* Bytes that the head of this frame has; its first two tell. */
static unsigned head_size(const struct web *w)
{
    if (w->have < 2)
        return 2;
    return w->head[1] == LONG_16 ? 4 : w->head[1] == LONG_64 ? 10 : 2;
}

static uint64_t payload_size(const struct web *w)
{
    uint64_t n = 0;
    for (unsigned i = 2; i < w->have; i++)
        n = n << 8 | w->head[i];
    return w->have == 2 ? w->head[1] : n;
}

bool web_unwrap(struct web *w, struct slice bytes, struct buf *text)
{
    while (bytes.n) {
        if (w->left) {
            size_t n = w->left < bytes.n ? (size_t)w->left : bytes.n;
            buf_append(text, bytes.p, n);
            w->left -= n;
            bytes = slice_skip(bytes, n);
            continue;
        }
        w->head[w->have++] = (uint8_t)bytes.p[0];
        bytes = slice_skip(bytes, 1);
        if (w->have < head_size(w))
            continue;
        if (w->head[0] == FRAME_CLOSE)
            return false;
        w->left = payload_size(w);
        w->have = 0;
    }
    return true;
}
