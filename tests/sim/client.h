/* A client that does what it is told, and writes down what it hears. */
#ifndef HOLDFAST_TESTS_SIM_CLIENT_H
#define HOLDFAST_TESTS_SIM_CLIENT_H

#include "world.h"

#define CLIENT_HEADER                                                                                                  \
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.org' "           \
    "version='1.0'>"
#define CLIENT_BIND     "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
#define CLIENT_ENABLE   "<enable xmlns='urn:xmpp:sm:3' resume='true'/>"
#define CLIENT_R        "<r xmlns='urn:xmpp:sm:3'/>"
#define CLIENT_PRESENCE "<presence/>"

struct client {
    struct world *w;
    struct wire *wire; /* NULL: none */
    struct stream *stream;
    struct parser_pool *parsers;
    struct list heard;
    bool ended; /* the proxy's end tag has come */
    bool closed, in_order;
    bool counting; /* stream management is on */
    uint32_t h;    /* what we have got */
    char previd[PREVID_SIZE], jid[128];
    void (*element)(void *ctx, const struct element *e); /* NULL: written down */
    void *ctx;
};

static inline void client_send(struct client *c, const char *text)
{
    wire_send(c->wire, text, strlen(text));
}

static inline void client_printf(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline void client_printf(struct client *c, const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    client_send(c, text);
}

/* The SASL PLAIN message of RFC 4616, in base64. */
static inline void client_plain(char out[128], const char *user, const char *password)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char plain[90] = {0};
    size_t n = (size_t)snprintf((char *)plain + 1, sizeof plain - 1, "%s%c%s", user, 0, password) + 1, o = 0;
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)plain[i] << 16 | (unsigned)plain[i + 1] << 8 | plain[i + 2];
        for (size_t k = 0; k < 4; k++)
            out[o++] = k <= n - i ? digit[v >> (18 - 6 * k) & 63] : '=';
    }
    out[o] = '\0';
}

static inline void client_auth(struct client *c, const char *user)
{
    char plain[128];
    client_plain(plain, user, "secret");
    client_printf(c, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>", plain);
}

static inline enum stream_next client_on_opened(void *ctx, const struct stream_header *h)
{
    struct client *c = ctx;
    char text[200];
    snprintf(text, sizeof text, "HEADER id=%.*s from=%.*s version=%.*s", SLICE_ARG(h->id), SLICE_ARG(h->from),
             SLICE_ARG(h->version));
    if (!c->element)
        heard_add(&c->heard, text, SLICE_NONE);
    return STREAM_GO;
}

static inline void client_copy(char *out, size_t size, struct slice s)
{
    snprintf(out, size, "%.*s", SLICE_ARG(s));
}

static inline enum stream_next client_on_element(void *ctx, const struct element *e)
{
    struct client *c = ctx;
    if (slice_eq_str(e->name, "success") || slice_eq_str(e->name, "proceed"))
        stream_restart(c->stream);
    if (element_is_stanza(e))
        c->h += c->counting;
    if (slice_eq_str(e->name, "enabled")) {
        c->counting = true;
        c->h = 0;
        client_copy(c->previd, sizeof c->previd, node_attr(e->tree, "id"));
    } else if (slice_eq_str(e->name, "resumed")) {
        c->counting = true;
    }
    const struct node *jid = node_child(node_child(e->tree, NS_BIND, "bind"), NS_BIND, "jid");
    if (jid)
        client_copy(c->jid, sizeof c->jid, jid->text);
    if (c->element)
        c->element(c->ctx, e);
    else
        heard_add(&c->heard, "", e->bytes);
    return STREAM_GO;
}

static inline void client_on_end(void *ctx)
{
    struct client *c = ctx;
    c->ended = true;
    if (!c->element)
        heard_add(&c->heard, "END", SLICE_NONE);
}

static inline void client_on_failed(void *ctx, enum stream_error error, const char *text)
{
    (void)ctx;
    fail_msg("the proxy sent the client what is no XMPP: %s, %s", stream_error_name(error), text);
}

static const struct stream_events client_stream_events = {client_on_opened, client_on_element, client_on_end,
                                                          client_on_failed};

static inline void client_on_bytes(void *ctx, const char *p, size_t n)
{
    struct client *c = ctx;
    while (n && c->wire) {
        size_t used = stream_feed(c->stream, p, n);
        if (!used)
            break;
        p += used;
        n -= used;
    }
}

static inline void client_on_closed(void *ctx, bool in_order)
{
    struct client *c = ctx;
    c->wire = NULL;
    c->closed = true;
    c->in_order = in_order;
    c->counting = false;
}

static const struct wire_peer client_peer = {client_on_bytes, client_on_closed};

static inline void client_init(struct client *c, struct world *w)
{
    static const struct stream_limits limits = {
        .stanza_bytes = 1 << 20, .tag_bytes = 1 << 16, .depth = 100, .attributes = 100, .namespace_bytes = 4096};
    *c = (struct client){.w = w, .parsers = parser_pool_new()};
    c->stream = stream_new(SLAB_CONNECTION, c->parsers, &limits, &client_stream_events, c);
    list_init(&c->heard);
}

static inline void client_connect(struct client *c, int worker)
{
    assert_null(c->wire);
    c->wire = wire_new(c->w, &c->w->worker[worker]);
    c->wire->peer = &client_peer;
    c->wire->peer_ctx = c;
    c->ended = c->closed = c->counting = false;
    stream_restart(c->stream);
    c->w->client_legs++;
    client_leg_new(&c->w->worker[worker], &c->wire->t);
}

static inline void client_forget_wire(struct client *c)
{
    c->wire = NULL;
    c->counting = false;
}

/* The connection breaks; what was under way is lost. */
static inline void client_cut(struct client *c)
{
    wire_cut(c->wire, TRANSPORT_RESET);
    client_forget_wire(c);
}

static inline void client_abandon(struct client *c, bool takes_bytes)
{
    wire_abandon(c->wire, takes_bytes);
    client_forget_wire(c);
}

static inline void client_free(struct client *c)
{
    if (c->wire)
        client_cut(c);
    stream_free(c->stream);
    parser_pool_free(c->parsers);
    heard_clear(&c->heard);
}

static inline void client_expect(struct client *c, const char *start)
{
    heard_expect(&c->heard, "the client", start);
}

/* Runs the world, then looks. */
static inline void client_hears(struct client *c, const char *start)
{
    world_run(c->w);
    client_expect(c, start);
}

static inline void client_hears_nothing(struct client *c)
{
    world_run(c->w);
    heard_nothing(&c->heard, "the client");
}

static inline void client_forget_heard(struct client *c)
{
    world_run(c->w);
    heard_clear(&c->heard);
}

/* To where a bind or a resumption may come. */
static inline void client_login(struct client *c, int worker, const char *user)
{
    client_connect(c, worker);
    client_send(c, CLIENT_HEADER);
    world_run(c->w);
    client_auth(c, user);
    world_run(c->w);
    client_send(c, CLIENT_HEADER);
    client_forget_heard(c);
}

/* A session with stream management, available. */
static inline void client_enter(struct client *c, int worker, const char *user)
{
    client_login(c, worker, user);
    client_send(c, CLIENT_BIND);
    world_run(c->w);
    client_send(c, CLIENT_ENABLE CLIENT_PRESENCE CLIENT_R);
    client_forget_heard(c);
    assert_true(c->counting);
    assert_true(c->previd[0]);
}

static inline void client_resume(struct client *c, int worker, const char *user, uint32_t h)
{
    client_login(c, worker, user);
    client_printf(c, "<resume xmlns='urn:xmpp:sm:3' previd='%s' h='%" PRIu32 "'/>", c->previd, h);
    world_run(c->w);
}

static inline struct session *client_session(struct client *c)
{
    char sid[SID_SIZE];
    for (int i = 0; i < WORLD_WORKERS; i++) {
        struct context *cx = &c->w->worker[i];
        cx->ops->sid_of(cx, slice_str(c->previd), sid);
        struct session *s = registry_find(cx->registry, sid);
        if (s)
            return s;
    }
    return NULL;
}

#endif
