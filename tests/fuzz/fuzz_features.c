/* The server's features, rewritten for the client: the outcome parses, holds what must pass, and nothing that must be
 * cut.
 *
 * Input: a line of options (`t` adds STARTTLS, `q` requires it, `m` adds stream management, `n` declares a prefix in
 * the stream's header), then what is inside <stream:features/>. */
#include "base/mem.h"
#include "fuzz.h"
#include "xmpp/features.h"
#include "xmpp/stream.h"

#define HEADER "<stream:stream xmlns='jabber:client' xmlns:stream='" NS_STREAMS "' version='1.0'"

static const struct stream_limits limits = {
    .stanza_bytes = 256 << 10, .tag_bytes = 16 << 10, .depth = 64, .attributes = 100, .namespace_bytes = 4096};

struct server {
    struct stream *stream;
    struct features_change change;
};

struct client {
    struct features_offer offer;
    unsigned elements;
};

static enum stream_next opened(void *ctx, const struct stream_header *h)
{
    (void)ctx, (void)h;
    return STREAM_GO;
}

static void closed(void *ctx)
{
    (void)ctx;
}

static void failed(void *ctx, enum stream_error error, const char *text)
{
    (void)ctx, (void)error, (void)text;
}

static enum stream_next client_element(void *ctx, const struct element *e)
{
    struct client *c = ctx;
    FUZZ_CHECK(features_is(e));
    c->elements++;
    features_read(e, &c->offer);
    return STREAM_GO;
}

static void client_closed(void *ctx)
{
    (void)ctx;
    FUZZ_CHECK(!"the features end the stream");
}

static void client_failed(void *ctx, enum stream_error error, const char *text)
{
    (void)ctx;
    fprintf(stderr, "%s: %s\n", stream_error_name(error), text);
    FUZZ_CHECK(!"the features are no XMPP");
}

static const struct stream_events client_events = {opened, client_element, client_closed, client_failed};

static void read_back(struct client *c, struct slice features)
{
    struct parser_pool *pool = parser_pool_new();
    struct stream *stream = stream_new(SLAB_CONNECTION, pool, &limits, &client_events, c);
    stream_feed(stream, HEADER ">", sizeof HEADER);
    FUZZ_CHECK(stream_feed(stream, features.p, features.n) == features.n);
    FUZZ_CHECK(stream_pending(stream) == 0);
    stream_free(stream);
    parser_pool_free(pool);
}

static void compare(const struct features_change *change, const struct features_offer *was,
                    const struct features_offer *is)
{
    FUZZ_CHECK(is->starttls == change->add_starttls);
    FUZZ_CHECK(is->starttls_required == (change->add_starttls && change->starttls_required));
    FUZZ_CHECK(is->sm2 == change->add_sm && is->sm3 == change->add_sm);
    FUZZ_CHECK(!is->plus_offered && !is->external_offered && !is->sasl2 && !is->old_ack && !is->compression);
    FUZZ_CHECK(is->mechanisms == was->mechanisms_left && is->mechanisms_left == was->mechanisms_left);
    FUZZ_CHECK(is->bind == was->bind && is->session == was->session && is->iq_auth == was->iq_auth);
    FUZZ_CHECK(is->session_optional == was->session_optional && is->registration == was->registration);
}

static enum stream_next server_element(void *ctx, const struct element *e)
{
    struct server *s = ctx;
    struct features_offer offer, again;
    struct client client = {0};
    struct buf out = {0};
    if (!features_is(e))
        return STREAM_GO;
    s->change.extra_ns = stream_extra_ns(s->stream);
    features_rewrite(&out, e, &s->change, &offer);
    features_read(e, &again);
    FUZZ_CHECK(offer.mechanisms == again.mechanisms && offer.bind == again.bind && offer.sm3 == again.sm3);
    read_back(&client, buf_slice(&out));
    FUZZ_CHECK(client.elements == 1);
    compare(&s->change, &offer, &client.offer);
    buf_free(&out);
    return STREAM_GO;
}

static const struct stream_events server_events = {opened, server_element, closed, failed};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct slice in = slice_of((const char *)data, n), options;
    struct buf bytes = {0};
    struct server s = {0};
    if (!fuzz_line(&in, &options) || in.n > 4096) /* more nodes than a tree has are a case of their own */
        return 0;
    BUF_LIT(&bytes, HEADER);
    for (size_t i = 0; i < options.n; i++) {
        s.change.add_starttls |= options.p[i] == 't';
        s.change.starttls_required |= options.p[i] == 'q';
        s.change.add_sm |= options.p[i] == 'm';
    }
    if (options.n && memchr(options.p, 'n', options.n))
        BUF_LIT(&bytes, " xmlns:ack='" NS_OLD_ACK "' xmlns:x='urn:xmpp:features:x'");
    BUF_LIT(&bytes, "><stream:features>");
    buf_add(&bytes, in);
    BUF_LIT(&bytes, "</stream:features>");
    struct parser_pool *pool = parser_pool_new();
    s.stream = stream_new(SLAB_CONNECTION, pool, &limits, &server_events, &s);
    stream_feed(s.stream, buf_slice(&bytes).p, bytes.n);
    stream_free(s.stream);
    parser_pool_free(pool);
    buf_free(&bytes);
    return 0;
}
