/* Framing: however the bytes are cut into reads, and wherever their reader pauses, the same events come out; and what
 * is incomplete costs no more memory than the limits allow. Byte by byte all of it goes through expat, in one piece
 * what is plainly written does not: the two ways must agree.
 *
 * Input: a line of options, then the stream. Options are letters and sizes of reads:
 *   h  the usual header comes first          s  small limits
 *   w  the stream is framed (with h: its header, too)
 *   r  the stream is there eight times over  p  the reader pauses behind each element when it gets the bytes in pieces
 *   1 to 9, 0  the sizes of the pieces, taken in turns; `0` is 64 */
#include "base/buf.h"
#include "base/mem.h"
#include "fuzz.h"
#include "xmpp/stream.h"
#include <sanitizer/allocator_interface.h>

#define HEADER "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" NS_STREAMS "' version='1.0'>"

struct reader {
    struct stream *stream;
    struct buf seen; /* the events, as text */
    bool pauses, ended, failed;
    enum stream_error error;
};

static void see(struct reader *r, const char *what, struct slice s)
{
    buf_printf(&r->seen, "%s%s=%zu:", what, s.p ? "" : "?", s.n);
    buf_add(&r->seen, s);
}

static void see_tree(struct reader *r, const struct node *n)
{
    for (; n; n = n->next) {
        see(r, "node", n->ns);
        see(r, "name", n->name);
        see(r, "text", n->text);
        see(r, "bytes", n->bytes);
        for (const struct node_attr *a = n->attrs; a && a->name.p; a++) {
            see(r, "attr", a->ns);
            see(r, "", a->name);
            see(r, "", a->value);
        }
        BUF_LIT(&r->seen, "(");
        see_tree(r, n->first_child);
        BUF_LIT(&r->seen, ")");
    }
}

static enum stream_next on_opened(void *ctx, const struct stream_header *h)
{
    struct reader *r = ctx;
    see(r, "\nopened", h->name);
    see(r, "ns", h->ns);
    see(r, "default", h->default_ns);
    see(r, "to", h->to);
    see(r, "from", h->from);
    see(r, "id", h->id);
    see(r, "version", h->version);
    see(r, "lang", h->lang);
    see(r, "extra", h->extra_ns);
    buf_printf(&r->seen, " %d", h->has_version);
    return r->pauses ? STREAM_PAUSE : STREAM_GO;
}

static enum stream_next on_element(void *ctx, const struct element *e)
{
    struct reader *r = ctx;
    FUZZ_CHECK(e->bytes.n >= 4 && e->bytes.p[0] == '<' && e->bytes.p[e->bytes.n - 1] == '>');
    FUZZ_CHECK(e->name_end <= e->open_end && e->open_end <= e->close_at && e->close_at <= e->bytes.n);
    FUZZ_CHECK(e->bytes.p[e->open_end - 1] == '>');
    FUZZ_CHECK(e->close_at == e->bytes.n || slice_starts(slice_skip(e->bytes, e->close_at), SLICE_LIT("</")));
    see(r, "\nelement", e->bytes);
    see(r, "ns", e->ns);
    see(r, "name", e->name);
    see(r, "id", e->id);
    see(r, "to", e->to);
    see(r, "from", e->from);
    see(r, "type", e->type);
    see(r, "receipt", e->receipt_id);
    see(r, "thread", e->thread);
    buf_printf(&r->seen, " %d %x %d %d %zu %zu %zu", e->kind, e->facts, e->priority, e->chat_state, e->name_end,
               e->open_end, e->close_at);
    if (e->facts & FACT_ASKS_OFFLINE) {
        FUZZ_CHECK(e->open_end <= e->offline_at && e->offline_at < e->offline_end && e->offline_end <= e->close_at);
        buf_printf(&r->seen, " offline %zu %zu", e->offline_at, e->offline_end);
    }
    see_tree(r, e->tree);
    if (slice_eq_str(e->name, "success"))
        stream_restart(r->stream);
    return r->pauses ? STREAM_PAUSE : STREAM_GO;
}

static void on_closed(void *ctx)
{
    struct reader *r = ctx;
    FUZZ_CHECK(!r->ended);
    r->ended = true;
    BUF_LIT(&r->seen, "\nclosed");
}

static void on_failed(void *ctx, enum stream_error error, const char *text)
{
    struct reader *r = ctx;
    FUZZ_CHECK(!r->ended && text && *text);
    r->ended = r->failed = true;
    r->error = error;
}

static const struct stream_events events = {on_opened, on_element, on_closed, on_failed};

/* Feeds one read, on and on where the reader has paused. */
static void feed(struct reader *r, struct slice in)
{
    while (in.n && !r->ended) {
        char *copy = mem_copy(in.p, in.n); /* of its own: a look beyond it, or at it later, is noticed */
        size_t used = stream_feed(r->stream, copy, in.n);
        free(copy);
        FUZZ_CHECK(used <= in.n && (used || r->ended));
        in = slice_skip(in, used);
    }
}

/* What one stream may hold: its element, a tag more and what expat keeps beside it; a node takes many times the bytes
 * that it stands for, but there are not more than so many. */
static size_t memory_allowed(const struct stream_limits *limits)
{
    return 4 * (limits->stanza_bytes + limits->tag_bytes) + ELEMENT_NODES * 512 + 512 * 1024;
}

static void run(struct reader *r, bool framed, const struct stream_limits *limits, struct slice in, struct slice sizes)
{
    struct parser_pool *pool = parser_pool_new();
    size_t turn = 0, before = __sanitizer_get_current_allocated_bytes();
    r->stream = stream_new(SLAB_CONNECTION, pool, limits, &events, r);
    if (framed)
        stream_set_framed(r->stream);
    while (in.n && !r->ended) {
        size_t n = sizes.n ? (size_t)(sizes.p[turn++ % sizes.n] - '0') : in.n;
        if (n == 0)
            n = 64;
        if (n > in.n)
            n = in.n;
        feed(r, slice_of(in.p, n));
        in = slice_skip(in, n);
        FUZZ_CHECK(r->ended || stream_pending(r->stream) <= limits->stanza_bytes + limits->tag_bytes);
        FUZZ_CHECK(__sanitizer_get_current_allocated_bytes() - before <= r->seen.cap + memory_allowed(limits));
    }
    if (r->ended)
        FUZZ_CHECK(stream_feed(r->stream, "<a/>", 4) == 0);
    stream_free(r->stream);
    parser_pool_free(pool);
}

/* Of two faults in one place, which is told may depend on how much is seen at once: a tag too long, and bad further on;
 * a first byte that is bad, and a second one that makes it look like another encoding. */
static bool depends_on_reads(enum stream_error error)
{
    return error == STREAM_POLICY_VIOLATION || error == STREAM_UNSUPPORTED_ENCODING;
}

static void compare(const struct reader *whole, const struct reader *cut)
{
    FUZZ_CHECK(slice_eq(buf_slice(&whole->seen), buf_slice(&cut->seen)));
    FUZZ_CHECK(whole->ended == cut->ended && whole->failed == cut->failed);
    FUZZ_CHECK(!whole->failed || whole->error == cut->error || depends_on_reads(whole->error) ||
               depends_on_reads(cut->error));
}

/* Of a stream whose header was taken: the two bytes at the beginning that tell an encoding. */
static bool is_utf8(struct slice in)
{
    while (in.n && slice_is_space(slice_of(in.p, 1)))
        in = slice_skip(in, 1);
    return slice_starts(in, SLICE_LIT("\xef\xbb\xbf")) || (in.n > 1 && in.p[0] == '<' && in.p[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct stream_limits limits = {
        .stanza_bytes = 256 << 10, .tag_bytes = 16 << 10, .depth = 64, .attributes = 100, .namespace_bytes = 4096};
    struct slice in = slice_of((const char *)data, n), options = SLICE_NONE, sizes = SLICE_NONE;
    struct buf bytes = {0}, digits = {0};
    struct reader whole = {0}, cut = {0}, single = {0};
    unsigned times = 1;
    bool framed = false;
    if (!fuzz_line(&in, &options))
        return 0;
    for (size_t i = 0; i < options.n; i++) {
        char c = options.p[i];
        if (c >= '0' && c <= '9')
            buf_append(&digits, &c, 1);
        else if (c == 'w')
            framed = true;
        else if (c == 'h' && framed)
            BUF_LIT(&bytes, "<open xmlns='" NS_FRAMING "' version='1.0'/>\0");
        else if (c == 'h')
            BUF_LIT(&bytes, HEADER);
        else if (c == 's')
            limits = (struct stream_limits){
                .stanza_bytes = 300, .tag_bytes = 100, .depth = 5, .attributes = 4, .namespace_bytes = 4096};
        else if (c == 'r')
            times = 8;
        else if (c == 'p')
            cut.pauses = true;
    }
    while (times--)
        buf_add(&bytes, in);
    BUF_LIT(&bytes, ">"); /* a fault within a tag may be told as late as with the next of these */
    sizes = digits.n ? buf_slice(&digits) : SLICE_LIT("1");
    run(&whole, framed, &limits, buf_slice(&bytes), SLICE_NONE);
    run(&cut, framed, &limits, buf_slice(&bytes), sizes);
    run(&single, framed, &limits, buf_slice(&bytes), SLICE_LIT("1"));
    compare(&whole, &cut);
    compare(&whole, &single);
    FUZZ_CHECK(framed || !whole.seen.n || is_utf8(buf_slice(&bytes)));
    buf_free(&bytes);
    buf_free(&digits);
    buf_free(&whole.seen);
    buf_free(&cut.seen);
    buf_free(&single.seen);
    return 0;
}
