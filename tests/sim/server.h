/* A legacy server, scripted: SASL PLAIN (any password but "wrong") and ANONYMOUS, binds, answers pings in order. What
 * it is sent otherwise it writes down. Its bad habits are flags. */
#ifndef HOLDFAST_TESTS_SIM_SERVER_H
#define HOLDFAST_TESTS_SIM_SERVER_H

#include "world.h"
#include "xmpp/jid.h"
#include "xmpp/sasl.h"

struct server_conn;

enum server_order { SERVER_IN_ORDER, SERVER_OVERTAKES, SERVER_SWALLOWS }; /* what it does to a headline before a ping */

struct server {
    struct world *w;
    struct list conns; /* all that live, the newest last */
    struct parser_pool *parsers;
    unsigned opened, resources;
    bool hold_pings; /* answers to pings wait for server_answer_pings */
    bool silent;     /* pings are not even remembered */
    bool no_version; /* of before RFC 3920: XEP-0078 alone */
    bool refuse_bind;
    bool hold_binds;      /* binds wait for server_answer_binds */
    bool ignore_resource; /* gives one of its own, whatever is asked for */
    enum server_order order;
    const char *extra_ns; /* declarations in its stream header; NULL: none */
    const char *features; /* before login; NULL: the usual ones */
    void (*stanza)(void *ctx, struct server_conn *conn, const struct element *e); /* NULL: written down */
    void (*gone)(void *ctx, struct server_conn *conn); /* NULL is fine; its wire tells what the proxy has got of it */
    void *ctx;
};

struct server_conn {
    struct list link;
    struct server *server;
    struct wire *wire;
    struct stream *stream;
    unsigned number;
    char *account, *resource,
        *header;           /* bare JID once authenticated; resource once bound; how the client's stream began */
    bool available, ended; /* it has sent an end tag */
    struct list heard;     /* after login, but for what is answered at once */
    struct buf pongs;      /* that wait */
    char *bind;            /* that waits */
    unsigned pings, streams;
    unsigned long long written; /* bytes */
    void *user;                 /* the test's */
};

static inline void server_send(struct server_conn *conn, const char *text)
{
    conn->written += strlen(text);
    wire_send(conn->wire, text, strlen(text));
}

static inline void server_printf(struct server_conn *conn, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void server_printf(struct server_conn *conn, const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    server_send(conn, text);
}

static inline char *server_jid(const struct server_conn *conn)
{
    return mem_printf("%s/%s", conn->account, conn->resource);
}

static inline enum stream_next server_on_opened(void *ctx, const struct stream_header *h)
{
    struct server_conn *conn = ctx;
    conn->streams++;
    free(conn->header);
    conn->header = mem_printf("to=%.*s from=%.*s lang=%.*s", SLICE_ARG(h->to), SLICE_ARG(h->from), SLICE_ARG(h->lang));
    server_printf(conn,
                  "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" NS_STREAMS
                  "' id='stream-%u-%u' from='example.org'%s%s>",
                  conn->number, conn->streams, conn->server->no_version ? "" : " version='1.0'",
                  conn->server->extra_ns ? conn->server->extra_ns : "");
    if (conn->server->no_version)
        return STREAM_GO;
    if (conn->account)
        server_send(conn, "<stream:features><bind xmlns='" NS_BIND "'/><session xmlns='" NS_SESSION
                          "'/><ack xmlns='" NS_OLD_ACK "'/></stream:features>");
    else
        server_send(conn, conn->server->features
                              ? conn->server->features
                              : "<stream:features><starttls xmlns='" NS_TLS "'/><mechanisms xmlns='" NS_SASL
                                "'><mechanism>PLAIN</mechanism><mechanism>ANONYMOUS</mechanism></mechanisms>"
                                "</stream:features>");
    return STREAM_GO;
}

static inline void server_auth(struct server_conn *conn, const struct element *e)
{
    struct buf plain = {0};
    struct slice mechanism = node_attr(e->tree, "mechanism");
    bool anonymous = slice_eq_str(mechanism, "ANONYMOUS");
    if (slice_eq_str(mechanism, "X-SCRIPTED")) { /* the test answers */
        heard_add(&conn->heard, "", e->bytes);
        return;
    }
    if (anonymous)
        conn->account = mem_printf("anonymous-%u@example.org", conn->number);
    else if (sasl_base64_decode(&plain, e->tree->text) && plain.n) {
        char *text = buf_steal(&plain); /* authzid NUL authcid NUL password */
        const char *authcid = text + strlen(text) + 1;
        if (strcmp(authcid + strlen(authcid) + 1, "wrong") != 0)
            conn->account = mem_printf("%s@example.org", authcid);
        free(text);
    }
    buf_free(&plain);
    if (!conn->account) {
        server_send(conn, "<failure xmlns='" NS_SASL "'><not-authorized/></failure>");
        return;
    }
    server_send(conn, "<success xmlns='" NS_SASL "'/>");
    stream_restart(conn->stream);
}

static inline void server_answer_bind(struct server_conn *conn)
{
    if (conn->bind && conn->server->refuse_bind)
        server_printf(conn, "<iq type='error' id='%s'><error type='cancel'/></iq>", conn->bind);
    else if (conn->bind)
        server_printf(conn, "<iq type='result' id='%s'><bind xmlns='" NS_BIND "'><jid>%s/%s</jid></bind></iq>",
                      conn->bind, conn->account, conn->resource);
    free(conn->bind);
    conn->bind = NULL;
}

static inline void server_bind(struct server_conn *conn, const struct element *e)
{
    const struct node *wish = node_child(node_child(e->tree, NS_BIND, "bind"), NS_BIND, "resource");
    bool granted = wish && wish->text.n && !conn->server->ignore_resource;
    free(conn->resource);
    conn->resource = granted ? mem_dup(wish->text) : mem_printf("r%u", ++conn->server->resources);
    free(conn->bind);
    conn->bind = mem_dup(e->id);
    if (!conn->server->hold_binds)
        server_answer_bind(conn);
}

static inline void server_answer_binds(struct server *server)
{
    LIST_FOREACH_SAFE(it, next, &server->conns)
    server_answer_bind(CONTAINER_OF(it, struct server_conn, link));
}

static inline void server_ping(struct server_conn *conn, const struct element *e)
{
    conn->pings++;
    if (conn->server->silent)
        return;
    buf_printf(&conn->pongs, "<iq type='result' id='%.*s' from='example.org'/>", SLICE_ARG(e->id));
    if (conn->server->hold_pings)
        return;
    char *pongs = buf_steal(&conn->pongs);
    server_send(conn, pongs);
    free(pongs);
}

static inline void server_answer_pings(struct server *server)
{
    LIST_FOREACH_SAFE(it, next, &server->conns)
    {
        struct server_conn *conn = CONTAINER_OF(it, struct server_conn, link);
        char *pongs = buf_steal(&conn->pongs);
        if (pongs)
            server_send(conn, pongs);
        free(pongs);
    }
}

/* The proxy's headline to its own full JID: comes back ahead of the pong, behind it, or not at all. */
static inline void server_headline(struct server_conn *conn, const struct element *e)
{
    if (conn->server->order == SERVER_SWALLOWS)
        return;
    char *text = mem_dup(e->bytes);
    if (conn->server->order == SERVER_IN_ORDER)
        server_send(conn, text);
    else
        heard_add(&conn->heard, "LATER ", e->bytes); /* the test sends it */
    free(text);
}

static inline void server_iq_auth(struct server_conn *conn, const struct element *e)
{
    const struct node *query = node_child(e->tree, NS_IQ_AUTH, "query");
    const struct node *user = node_child(query, NS_IQ_AUTH, "username"),
                      *res = node_child(query, NS_IQ_AUTH, "resource");
    if (slice_eq_str(e->type, "set") && user && res) {
        conn->account = mem_printf("%.*s@example.org", SLICE_ARG(user->text));
        conn->resource = mem_dup(res->text);
    }
    server_printf(conn, "<iq type='result' id='%.*s'/>", SLICE_ARG(e->id));
}

static inline enum stream_next server_on_element(void *ctx, const struct element *e)
{
    struct server_conn *conn = ctx;
    bool domain = !e->to.n || jid_domain_eq(e->to, SLICE_LIT("example.org"));
    if (element_is(e, NS_SASL, "auth"))
        server_auth(conn, e);
    else if (e->facts & FACT_BIND)
        server_bind(conn, e);
    else if (e->facts & FACT_IQ_AUTH)
        server_iq_auth(conn, e);
    else if ((e->facts & FACT_PING) && domain && slice_eq_str(e->type, "get"))
        server_ping(conn, e);
    else if (slice_starts(e->id, SLICE_LIT("hfo-")))
        server_headline(conn, e);
    else if (conn->server->stanza)
        conn->server->stanza(conn->server->ctx, conn, e);
    else
        heard_add(&conn->heard, "", e->bytes);
    if (e->kind == ELEMENT_PRESENCE && !e->to.n)
        conn->available = !slice_eq_str(e->type, "unavailable");
    return STREAM_GO;
}

static inline void server_on_end(void *ctx)
{
    struct server_conn *conn = ctx;
    conn->ended = true;
    heard_add(&conn->heard, "END", SLICE_NONE);
    server_send(conn, "</stream:stream>");
    wire_end(conn->wire);
}

static inline void server_on_failed(void *ctx, enum stream_error error, const char *text)
{
    struct server_conn *conn = ctx;
    if (conn->wire->freed) /* its last words, to a stream that was about to be opened anew */
        return;
    fail_msg("the proxy sent the server what is no XMPP: %s, %s", stream_error_name(error), text);
}

static const struct stream_events server_stream_events = {server_on_opened, server_on_element, server_on_end,
                                                          server_on_failed};

static inline void server_on_bytes(void *ctx, const char *p, size_t n)
{
    struct server_conn *conn = ctx;
    while (n) {
        size_t used = stream_feed(conn->stream, p, n);
        if (!used)
            break;
        p += used;
        n -= used;
    }
}

static inline void server_conn_free(struct server_conn *conn)
{
    if (conn->server->gone)
        conn->server->gone(conn->server->ctx, conn);
    list_remove(&conn->link);
    stream_free(conn->stream);
    heard_clear(&conn->heard);
    buf_free(&conn->pongs);
    free(conn->account);
    free(conn->resource);
    free(conn->bind);
    free(conn->header);
    free(conn);
}

static inline void server_on_closed(void *ctx, bool in_order)
{
    struct server_conn *conn = ctx;
    (void)in_order;
    server_conn_free(conn);
}

static const struct wire_peer server_peer = {server_on_bytes, server_on_closed};

static inline void server_dialled(void *ctx, struct wire *x)
{
    struct server *server = ctx;
    struct server_conn *conn = MEM_NEW(struct server_conn);
    static const struct stream_limits limits = {
        .stanza_bytes = 1 << 20, .tag_bytes = 1 << 16, .depth = 100, .attributes = 100, .namespace_bytes = 4096};
    conn->server = server;
    conn->number = ++server->opened;
    conn->wire = x;
    conn->stream = stream_new(SLAB_CONNECTION, server->parsers, &limits, &server_stream_events, conn);
    list_init(&conn->heard);
    list_append(&server->conns, &conn->link);
    x->peer = &server_peer;
    x->peer_ctx = conn;
}

static inline void server_init(struct server *server, struct world *w)
{
    *server = (struct server){.w = w, .parsers = parser_pool_new()};
    list_init(&server->conns);
    w->server = server;
    w->dialled = server_dialled;
}

/* Its connection breaks. */
static inline void server_cut(struct server_conn *conn)
{
    wire_cut(conn->wire, TRANSPORT_RESET);
    server_conn_free(conn);
}

static inline void server_die(struct server *server)
{
    LIST_FOREACH_SAFE(it, next, &server->conns)
    server_cut(CONTAINER_OF(it, struct server_conn, link));
}

/* Before world_free: what is under way still arrives, then the far ends are gone. */
static inline void server_free(struct server *server)
{
    parser_pool_free(server->parsers);
}

/* The newest connection; there must be one. */
static inline struct server_conn *server_newest(struct server *server)
{
    assert_false(list_is_empty(&server->conns));
    return CONTAINER_OF(server->conns.prev, struct server_conn, link);
}

static inline unsigned server_count(const struct server *server)
{
    unsigned n = 0;
    for (const struct list *it = server->conns.next; it != &server->conns; it = it->next)
        n++;
    return n;
}

#endif
