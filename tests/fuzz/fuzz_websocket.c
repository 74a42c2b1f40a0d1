/* The way into a WebSocket: a request's head is read the same however it comes; frames give the same messages however
 * they are cut into reads, and messages the same elements; an element that is written as a message is the same element
 * there.
 *
 * The first byte tells what the rest is:
 *   H  a request           F  frames, as they come
 *   M  messages, a line for each, to be put into frames; the second byte is the size of fragments, 0 for none */
#include "../../proxy/net/ws_frames.h"
#include "base/buf.h"
#include "base/mem.h"
#include "fuzz.h"
#include "net/http.h"
#include "net/websocket.h"
#include "xmpp/framing.h"

static enum http_result parse(struct slice in, struct http_request *r)
{
    char *exact = malloc(in.n + 1); /* a reader beyond the end is caught */
    FUZZ_CHECK(exact);
    memcpy(exact + 1, in.p, in.n);
    enum http_result result = http_request_parse(slice_of(exact + 1, in.n), r);
    free(exact);
    return result;
}

static void try_request(struct slice in)
{
    struct http_request r, early;
    struct network network;
    struct endpoint peer = endpoint_make(ENDPOINT_V4, "\x7f\0\0\x01", 1);
    enum http_result result = http_request_parse(in, &r);
    FUZZ_CHECK((result == HTTP_BAD) == (r.fault != NULL));
    for (size_t i = 0; result == HTTP_DONE && i < r.size; i++)
        FUZZ_CHECK(parse(slice_of(in.p, i), &early) == HTTP_MORE);
    if (result != HTTP_DONE)
        return;
    FUZZ_CHECK(parse(slice_of(in.p, r.size), &early) == HTTP_DONE && early.header_count == r.header_count);
    FUZZ_CHECK(network_parse(&network, "127.0.0.0/8"));
    http_forwarded(&r, "x-forwarded-for", &network, 1, &peer);
    http_forwarded(&r, "forwarded", &network, 1, &peer);
    struct buf out = {0};
    const char *fault = NULL;
    unsigned status = websocket_accept(&r, "xmpp", &out, &fault);
    FUZZ_CHECK(status ? fault && !out.n : out.n > 0);
    buf_free(&out);
}

/* ---- messages ---- */

static enum stream_next on_opened(void *ctx, const struct stream_header *h)
{
    buf_printf(ctx, "opened %.*s %.*s\n", SLICE_ARG(h->to), SLICE_ARG(h->version));
    return STREAM_GO;
}

struct copy {
    struct slice ns, name, id;
    bool same;
};

static enum stream_next on_copy(void *ctx, const struct element *e)
{
    struct copy *c = ctx;
    c->same = slice_eq(c->ns, e->ns) && slice_eq(c->name, e->name) && slice_eq(c->id, e->id);
    return STREAM_GO;
}

static enum stream_next ignore_opened(void *ctx, const struct stream_header *h)
{
    (void)ctx, (void)h;
    return STREAM_GO;
}

static void ignore_closed(void *ctx)
{
    (void)ctx;
}

static void ignore_failed(void *ctx, enum stream_error error, const char *text)
{
    (void)ctx, (void)error, (void)text;
}

static const struct stream_limits limits = {
    .stanza_bytes = 64 * 1024, .tag_bytes = 16 * 1024, .depth = 32, .attributes = 50, .namespace_bytes = 1024};

static void write_again(const struct element *e)
{
    static const struct stream_events events = {ignore_opened, on_copy, ignore_closed, ignore_failed};
    struct copy c = {e->ns, e->name, e->id, false};
    struct parser_pool *pool = parser_pool_new();
    struct stream *s = stream_new(SLAB_CONNECTION, pool, &limits, &events, &c);
    struct slice parts[FRAMING_PARTS];
    struct buf message = {0};
    stream_set_framed(s);
    BUF_LIT(&message, "<open xmlns='" NS_FRAMING "'/>\0");
    size_t n = framing_message(e->bytes, parts);
    for (size_t i = 0; i < n; i++)
        buf_add(&message, parts[i]);
    buf_append(&message, "", 1);
    stream_feed(s, message.data + message.off, message.n);
    FUZZ_CHECK(c.same);
    stream_free(s);
    buf_free(&message);
    parser_pool_free(pool);
}

static enum stream_next on_element(void *ctx, const struct element *e)
{
    buf_printf(ctx, "element %.*s %.*s %.*s\n", SLICE_ARG(e->ns), SLICE_ARG(e->name), SLICE_ARG(e->bytes));
    write_again(e);
    return STREAM_GO;
}

static void on_closed(void *ctx)
{
    BUF_LIT((struct buf *)ctx, "closed\n");
}

static void on_failed(void *ctx, enum stream_error error, const char *text)
{
    (void)text; /* depends on how much is looked at at once */
    (void)error;
    BUF_LIT((struct buf *)ctx, "failed\n");
}

/* What a stream makes of it, as text. The last message ends in any case: of an incomplete one a fault may not be seen
 * yet.
 */
static char *hear(struct slice messages, size_t piece)
{
    static const struct stream_events events = {on_opened, on_element, on_closed, on_failed};
    struct buf seen = {0};
    struct parser_pool *pool = parser_pool_new();
    struct stream *s = stream_new(SLAB_CONNECTION, pool, &limits, &events, &seen);
    stream_set_framed(s);
    for (size_t i = 0; i < messages.n; i += piece)
        stream_feed(s, messages.p + i, messages.n - i < piece ? messages.n - i : piece);
    stream_feed(s, &(const char){STREAM_MESSAGE_END}, 1);
    stream_free(s);
    parser_pool_free(pool);
    return buf_steal(&seen);
}

static void hear_both_ways(struct slice messages)
{
    char *whole = hear(messages, messages.n + 1), *pieces = hear(messages, 1);
    FUZZ_CHECK(strcmp(whole, pieces) == 0);
    free(whole);
    free(pieces);
}

/* ---- frames ---- */

struct result {
    struct buf messages, answers;
    bool over, broken, in_close; /* the last frame was a Close */
    uint16_t code;
};

static struct result read_frames(struct slice in, size_t piece)
{
    struct result r = {0};
    struct ws_frames f = {0};
    for (size_t i = 0; i < in.n && !f.over; i += piece)
        ws_frames_read(&f, slice_of(in.p + i, in.n - i < piece ? in.n - i : piece), 1, &r.messages, &r.answers);
    r.over = f.over;
    r.broken = f.broken;
    r.code = f.code;
    r.in_close = f.opcode == WS_CLOSE;
    FUZZ_CHECK(!r.over || !f.wslay);
    ws_frames_free(&f);
    return r;
}

static void free_result(struct result *r)
{
    buf_free(&r->messages);
    buf_free(&r->answers);
}

/* A pong may be left out ahead of a Close. */
static bool ends_alike(const struct buf *a, const struct buf *b)
{
    size_t n = a->n < b->n ? a->n : b->n;
    return n >= 2 && slice_eq(slice_skip(buf_slice(a), a->n - n), slice_skip(buf_slice(b), b->n - n));
}

#define NO_UTF8 1007 /* RFC 6455 7.4.1 */

/* That the text of a Close is no UTF-8 is seen at once where many bytes come together, else when the frame is whole; by
 * then its code may be what is wrong with it. */
static bool is_same_end(const struct result *whole, const struct result *pieces)
{
    if (whole->broken && whole->code == NO_UTF8 && whole->in_close && pieces->in_close)
        return true;
    return whole->over == pieces->over && whole->broken == pieces->broken && whole->code == pieces->code;
}

/* Of a message that is no UTF-8 there is more or less ahead of the fault. */
static void try_frames(struct slice in)
{
    struct result whole = read_frames(in, in.n + 1), pieces = read_frames(in, 1);
    struct slice a = buf_slice(&whole.messages), b = buf_slice(&pieces.messages);
    FUZZ_CHECK(is_same_end(&whole, &pieces));
    FUZZ_CHECK(!whole.over ? slice_eq(buf_slice(&whole.answers), buf_slice(&pieces.answers))
                           : whole.code != pieces.code || ends_alike(&whole.answers, &pieces.answers));
    FUZZ_CHECK(slice_starts(b, a) && (whole.broken || a.n == b.n));
    hear_both_ways(a);
    free_result(&whole);
    free_result(&pieces);
}

static void add_frame(struct buf *out, struct slice payload, bool first, bool last)
{
    uint8_t head[WS_HEAD_MAX];
    size_t n = ws_frame_head(head, WS_TEXT, payload.n);
    head[0] = (uint8_t)((last ? 0x80 : 0) | (first ? WS_TEXT : 0));
    head[1] |= 0x80;
    buf_append(out, head, n);
    buf_append(out, "mask", 4);
    for (size_t i = 0; i < payload.n; i++)
        buf_append(out, &(char){(char)(payload.p[i] ^ "mask"[i % 4])}, 1);
}

static void add_message(struct buf *out, struct slice message, size_t size)
{
    for (size_t i = 0; i < message.n; i += size) {
        size_t n = message.n - i < size ? message.n - i : size;
        add_frame(out, slice_of(message.p + i, n), i == 0, i + n == message.n);
    }
}

static void try_messages(struct slice in)
{
    size_t size = fuzz_byte(&in);
    struct buf frames = {0}, sent = {0};
    struct slice line;
    while (fuzz_line(&in, &line)) {
        if (!line.n)
            continue;
        add_message(&frames, line, size ? size : line.n);
        buf_add(&sent, line);
        buf_append(&sent, "", 1);
    }
    struct result r = read_frames(buf_slice(&frames), 1000);
    FUZZ_CHECK(r.broken || r.messages.n == sent.n);
    for (size_t i = 0; !r.broken && i < sent.n; i++) /* a NUL inside of a message has become another character */
        FUZZ_CHECK(r.messages.data[r.messages.off + i] == sent.data[sent.off + i] ||
                   r.messages.data[r.messages.off + i] == '\x01');
    hear_both_ways(buf_slice(&r.messages));
    free_result(&r);
    buf_free(&frames);
    buf_free(&sent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_of((const char *)data, n);
    switch (fuzz_byte(&in)) {
    case 'H':
        try_request(in);
        break;
    case 'F':
        try_frames(in);
        break;
    case 'M':
        try_messages(in);
        break;
    default:
        break;
    }
    return 0;
}
