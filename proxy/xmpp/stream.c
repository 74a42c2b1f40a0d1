/* The way of the bytes: stream_feed -> parse (a parser is bound, and fed in chunks) -> expat's handlers -> upcalls.
 * What is whole and plainly written is read without expat: stream_feed -> feed_plain -> upcall.
 *
 * Indexes count the bytes that the parser at hand was given, its header included. They are taken inside the handlers:
 * outside, expat has forgotten them in most cases. A handler that wants an end (pause, restart, failure) calls halt();
 * what has to follow is done in settle(), when expat has returned. */
#include "xmpp/stream.h"
#include "base/mem.h"
#include "base/slab.h"
#include "header_reader.h"
#include "parser_pool.h"
#include "plain.h"
#include "plain_header.h"
#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#define CHUNK (16 * 1024) /* expat keeps a buffer as large as what it is given at once */

#define DEEP 100 /* expat keeps what it took for each level */

enum phase { PHASE_HEADER, PHASE_OPEN, PHASE_DONE };

enum halt {
    HALT_NONE,
    HALT_RENEW, /* another parser goes on behind this point */
    HALT_PAUSE,
    HALT_CLOSED,
    HALT_FAILED,
};

struct primer {
    char *header; /* that primes its parsers */
    char *extra_ns;
};

struct stream {
    struct parser_pool *pool;
    struct stream_limits limits;
    const struct stream_events *events;
    void *ctx;
    struct parser *parser;        /* only while something is incomplete */
    struct primer *primer;        /* what is not standard in its header; NULL: nothing */
    enum phase phase : 8;
    enum halt halt : 8; /* while feeding */
    bool framed;
    bool has_element; /* framed: the message at hand has had its one */
    bool feeding, freed, restarted;
};

struct stream *stream_new(enum slab_life life, struct parser_pool *pool, const struct stream_limits *limits,
                          const struct stream_events *events, void *ctx)
{
    struct stream *s = SLAB_NEW(life, struct stream);
    s->pool = pool;
    s->limits = *limits;
    s->events = events;
    s->ctx = ctx;
    return s;
}

static void release_parser(struct stream *s)
{
    if (!s->parser)
        return;
    if (s->parser->reader)
        header_reader_free(s->parser->reader);
    free(s->parser->reader);
    s->parser->reader = NULL;
    parser_pool_put(s->pool, s->parser);
    s->parser = NULL;
}

static void forget(struct stream *s)
{
    release_parser(s);
    if (s->primer) {
        free(s->primer->header);
        free(s->primer->extra_ns);
    }
    free(s->primer);
    s->primer = NULL;
    s->phase = PHASE_HEADER;
    s->restarted = false;
}

void stream_free(struct stream *s)
{
    if (s && s->feeding) {
        s->freed = true;
    } else if (s) {
        forget(s);
        slab_free(s);
    }
}

void stream_restart(struct stream *s)
{
    if (s->feeding)
        s->restarted = true; /* the upcall may still look at what it was given */
    else
        forget(s);
}

size_t stream_pending(const struct stream *s)
{
    return s->parser ? s->parser->hold.n : 0;
}

struct slice stream_extra_ns(const struct stream *s)
{
    return s->primer ? slice_str(s->primer->extra_ns) : SLICE_NONE;
}

void stream_set_pool(struct stream *s, struct parser_pool *pool)
{
    s->pool = pool;
}

void stream_set_limits(struct stream *s, const struct stream_limits *limits)
{
    s->limits = *limits;
}

void stream_set_events(struct stream *s, const struct stream_events *events, void *ctx)
{
    s->events = events;
    s->ctx = ctx;
}

void stream_set_framed(struct stream *s)
{
    s->framed = true;
}

/* ---- inside expat's handlers ---- */

static void halt(struct stream *s, enum halt why, size_t at)
{
    if (s->halt != HALT_NONE)
        return;
    s->halt = why;
    s->parser->halt_at = at;
    /* Where all that expat was given is used, it need not be stopped and can serve again. */
    if (at != s->parser->fed || why == HALT_CLOSED || why == HALT_FAILED) {
        XML_StopParser(s->parser->expat, XML_FALSE);
        s->parser->spoiled = true;
    }
}

static void fail(struct stream *s, enum stream_error error, const char *text)
{
    if (s->halt == HALT_NONE) {
        s->parser->error = error;
        s->parser->text = text;
        halt(s, HALT_FAILED, s->parser->event_end);
    }
}

/* Where the thing begins that a handler was called for; notes where it ends. */
static size_t event_at(struct stream *s)
{
    size_t at = (size_t)XML_GetCurrentByteIndex(s->parser->expat);
    s->parser->event_end = at + (size_t)XML_GetCurrentByteCount(s->parser->expat);
    return at;
}

/* The bytes from one index to another, in one piece: the caller's own, or put together behind what was held. */
static struct slice bytes_between(struct stream *s, size_t from, size_t to)
{
    struct parser *p = s->parser;
    assert(p->in.p); /* handlers run while bytes are fed */
    if (from >= p->in_at)
        return slice_of(p->in.p + (from - p->in_at), to - from);
    assert(p->hold_at <= from && p->hold_at + p->hold.n == p->in_at);
    buf_append(&p->hold, p->in.p, to - p->in_at);
    return slice_of(buf_slice(&p->hold).p + (from - p->hold_at), to - from);
}

static char byte_at(const struct stream *s, size_t at)
{
    const struct parser *p = s->parser;
    const char *byte = at >= p->in_at ? p->in.p + (at - p->in_at) : p->hold.data + p->hold.off + (at - p->hold_at);
    return *byte;
}

static void halt_after_upcall(struct stream *s, enum stream_next next, bool renew)
{
    if (next == STREAM_PAUSE)
        halt(s, HALT_PAUSE, s->parser->event_end);
    else if (renew || s->freed || s->restarted)
        halt(s, HALT_RENEW, s->parser->event_end);
}

static unsigned count_attributes(struct stream *s, const char **atts)
{
    unsigned n = s->parser->declarations;
    s->parser->declarations = 0;
    for (; *atts; atts += 2)
        n++;
    s->parser->names = (s->parser->builder.depth ? s->parser->names : 0) + 1 + n;
    return n;
}

static bool names_fit(const struct stream *s)
{
    return !s->limits.names || s->parser->names <= s->limits.names;
}

static void header_start(struct stream *s, const char *name, const char **atts, size_t at)
{
    struct stream_header h;
    enum stream_error error;
    const char *text;
    size_t end = s->parser->event_end;
    if (!header_reader_finish(s->parser->reader, name, atts, &h, &error, &text)) {
        fail(s, error, text);
        return;
    }
    struct slice tag = bytes_between(s, at, end);
    assert(tag.p);
    if (tag.p[tag.n - 2] == '/') {
        fail(s, STREAM_BAD_FORMAT, "the stream is empty");
        return;
    }
    char *header = header_reader_prime(s->parser->reader, slice_of(tag.p + 1, strcspn(tag.p + 1, " \t\r\n>")));
    if (header) {
        s->primer = MEM_NEW(struct primer);
        *s->primer = (struct primer){header, h.extra_ns.n ? mem_dup(h.extra_ns) : NULL};
    }
    s->phase = PHASE_OPEN;
    halt_after_upcall(s, s->events->opened(s->ctx, &h), true);
}

static void on_start(void *ctx, const char *name, const char **atts)
{
    struct stream *s = ctx;
    if (s->halt != HALT_NONE)
        return;
    size_t at = event_at(s), end = s->parser->event_end;
    if (end - at > s->limits.tag_bytes)
        fail(s, STREAM_POLICY_VIOLATION, "a tag is too long");
    else if (count_attributes(s, atts) > s->limits.attributes)
        fail(s, STREAM_POLICY_VIOLATION, "a tag has too many attributes");
    else if (!names_fit(s))
        fail(s, STREAM_POLICY_VIOLATION, "an element has too many tags and attributes");
    else if (s->has_element)
        fail(s, STREAM_BAD_FORMAT, "a message has more than one element");
    else if (s->phase == PHASE_HEADER && !s->framed)
        header_start(s, name, atts, at);
    else if (s->parser->builder.depth >= s->limits.depth)
        fail(s, STREAM_POLICY_VIOLATION, "elements are nested too deep");
    else
        element_builder_start(&s->parser->builder, name, atts, at, end);
    s->parser->deep |= s->parser->builder.depth > DEEP;
}

static struct slice framed_lang(const struct node *open)
{
    for (const struct node_attr *a = open->attrs; a->name.p; a++)
        if (slice_eq_str(a->name, "lang") && slice_eq_str(a->ns, "http://www.w3.org/XML/1998/namespace"))
            return a->value;
    return SLICE_NONE;
}

/* What it declares ends with it: the namespaces of a framed stream are those of its protocol. */
static enum stream_next deliver_open(struct stream *s, const struct element *e)
{
    struct stream_header h = {
        .ns = SLICE_LIT(NS_STREAMS),
        .name = SLICE_LIT("stream"),
        .default_ns = SLICE_LIT(NS_CLIENT),
        .to = e->to,
        .from = e->from,
        .id = e->id,
        .version = node_attr(e->tree, "version"),
        .lang = framed_lang(e->tree),
    };
    h.has_version = header_is_version_1(h.version);
    s->phase = PHASE_OPEN;
    return s->events->opened(s->ctx, &h);
}

/* The elements that stand for header and end tag; true if this is one, or is where one should be. */
static bool deliver_framing(struct stream *s, const struct element *e, enum stream_next *next_r)
{
    bool framing = slice_eq_str(e->ns, NS_FRAMING);
    if (framing && slice_eq_str(e->name, "close"))
        halt(s, HALT_CLOSED, s->parser->event_end);
    else if (framing && slice_eq_str(e->name, "open") && s->phase == PHASE_HEADER)
        *next_r = deliver_open(s, e);
    else if (s->phase == PHASE_HEADER && !framing)
        fail(s, STREAM_INVALID_NAMESPACE, "a stream over WebSocket begins with <open/> of " NS_FRAMING);
    else if (framing)
        fail(s, STREAM_BAD_FORMAT,
             "<open/> and <close/> are all that there is of framing, and a stream is opened once");
    else
        return false;
    return true;
}

static void deliver(struct stream *s)
{
    struct parser *p = s->parser;
    size_t start = p->builder.start, end = p->event_end;
    if (end - start > s->limits.stanza_bytes) {
        fail(s, STREAM_POLICY_VIOLATION, "an element is too large");
        return;
    }
    const struct element *e = element_builder_finish(&p->builder, bytes_between(s, start, end));
    p->elements++;
    enum stream_next next = STREAM_GO;
    s->has_element = s->framed;
    if (!s->framed || !deliver_framing(s, e, &next))
        next = s->events->element(s->ctx, e);
    buf_clear(&p->hold);
    halt_after_upcall(s, next, parser_is_worn(p));
}

static void on_end(void *ctx, const char *name)
{
    struct stream *s = ctx;
    (void)name;
    if (s->halt != HALT_NONE)
        return;
    size_t at = event_at(s), end = s->parser->event_end;
    if (s->parser->builder.depth == 0 && s->framed) /* the end tag of what primed the parser */
        fail(s, STREAM_NOT_WELL_FORMED, "an end tag has no start tag");
    else if (s->parser->builder.depth == 0)
        halt(s, HALT_CLOSED, end);
    else if (element_builder_end(&s->parser->builder, at, end))
        deliver(s);
}

static void fail_text(struct stream *s)
{
    fail(s, STREAM_NOT_WELL_FORMED, "there is text between the elements of the stream");
}

static void on_text(void *ctx, const char *p, int n)
{
    struct stream *s = ctx;
    if (s->halt != HALT_NONE)
        return;
    event_at(s);
    if (s->parser->builder.depth)
        element_builder_text(&s->parser->builder, p, (size_t)n);
    else if (!slice_is_space(slice_of(p, (size_t)n)))
        fail_text(s);
}

static void on_cdata_start(void *ctx)
{
    struct stream *s = ctx;
    if (s->halt != HALT_NONE)
        return;
    event_at(s);
    if (s->parser->builder.depth == 0)
        fail_text(s);
}

static void on_cdata_end(void *ctx)
{
    struct stream *s = ctx;
    if (s->halt == HALT_NONE)
        event_at(s);
}

static void on_namespace(void *ctx, const char *prefix, const char *uri)
{
    struct stream *s = ctx;
    s->parser->declarations++;
    if (uri && strlen(uri) > s->limits.namespace_bytes)
        fail(s, STREAM_POLICY_VIOLATION, "a namespace is too long");
    else if (s->parser->reader)
        header_reader_declare(s->parser->reader, prefix, uri);
}

#define TEXT_RESTRICTED "comments, processing instructions, DTDs and entities are not allowed in XMPP"

static void fail_restricted(struct stream *s)
{
    fail(s, STREAM_RESTRICTED_XML, TEXT_RESTRICTED);
}

static void on_comment(void *ctx, const char *text)
{
    (void)text;
    fail_restricted(ctx);
}

static void on_instruction(void *ctx, const char *target, const char *text)
{
    (void)target, (void)text;
    fail_restricted(ctx);
}

static void on_doctype(void *ctx, const char *name, const char *sysid, const char *pubid, int internal)
{
    (void)name, (void)sysid, (void)pubid, (void)internal;
    fail_restricted(ctx);
}

static void on_declaration(void *ctx, const char *version, const char *encoding, int standalone)
{
    struct stream *s = ctx;
    (void)version, (void)standalone;
    event_at(s);
    if (encoding && strcasecmp(encoding, "UTF-8") != 0)
        fail(s, STREAM_UNSUPPORTED_ENCODING, "the encoding of XMPP is UTF-8");
}

/* ---- around them ---- */

static void bind_parser(struct stream *s)
{
    if (s->phase == PHASE_HEADER && !s->framed) {
        s->parser = parser_new(NULL);
        s->parser->reader = MEM_NEW(struct header_reader);
    } else {
        s->parser = s->primer ? parser_new(s->primer->header) : parser_pool_get(s->pool);
    }
    XML_Parser expat = s->parser->expat;
    XML_SetUserData(expat, s);
    XML_SetElementHandler(expat, on_start, on_end);
    XML_SetCharacterDataHandler(expat, on_text);
    XML_SetCdataSectionHandler(expat, on_cdata_start, on_cdata_end);
    XML_SetStartNamespaceDeclHandler(expat, on_namespace);
    XML_SetCommentHandler(expat, on_comment);
    XML_SetProcessingInstructionHandler(expat, on_instruction);
    XML_SetStartDoctypeDeclHandler(expat, on_doctype);
    XML_SetXmlDeclHandler(expat, on_declaration);
}

/* Whether what comes behind the last event begins like something restricted and like nothing else. */
static bool is_restricted_ahead(const struct stream *s)
{
    const struct parser *p = s->parser;
    size_t n = p->fed - p->event_end;
    char begin[6] = "";
    for (size_t i = 0; i < n && i < sizeof begin; i++)
        begin[i] = byte_at(s, p->event_end + i);
    if (n < 2 || begin[0] != '<')
        return false;
    if (begin[1] == '!')
        return n > 2 && begin[2] != '[';
    bool declaration = s->phase == PHASE_HEADER && !s->framed && memcmp(begin, "<?xml ", n < 5 ? n : 5) == 0;
    return begin[1] == '?' && !declaration;
}

static void fail_by_expat(struct stream *s)
{
    enum XML_Error error = XML_GetErrorCode(s->parser->expat);
    if (is_restricted_ahead(s)) { /* to expat, a DTD inside the stream is just an invalid token */
        fail_restricted(s);
        return;
    }
    switch (error) {
    case XML_ERROR_UNDEFINED_ENTITY:
    case XML_ERROR_MISPLACED_XML_PI:
        fail_restricted(s);
        break;
    case XML_ERROR_UNBOUND_PREFIX: /* RFC 6120 4.9.3.2 for the stream itself, 4.9.3.13 within */
        fail(s, s->phase == PHASE_HEADER ? STREAM_BAD_NAMESPACE_PREFIX : STREAM_NOT_WELL_FORMED,
             XML_ErrorString(error));
        break;
    case XML_ERROR_UNKNOWN_ENCODING:
    case XML_ERROR_INCORRECT_ENCODING:
        fail(s, STREAM_UNSUPPORTED_ENCODING, XML_ErrorString(error));
        break;
    default:
        fail(s, STREAM_NOT_WELL_FORMED, XML_ErrorString(error));
    }
}

/* What is incomplete must stay within the limits too, or memory would not. */
static void check_incomplete(struct stream *s)
{
    const struct parser *p = s->parser;
    if (is_restricted_ahead(s))
        fail_restricted(s);
    else if (p->fed - p->event_end > s->limits.tag_bytes)
        fail(s, STREAM_POLICY_VIOLATION, "a tag is too long");
    else if (p->builder.depth && p->fed - p->builder.start > s->limits.stanza_bytes)
        fail(s, STREAM_POLICY_VIOLATION, "an element is too large");
}

/* expat takes two bytes at the beginning that look so for UTF-16, whatever encoding it was told (RFC 6120 11.6: UTF-8
 * alone). */
static bool begins_in_utf16(const struct stream *s)
{
    const struct parser *p = s->parser;
    for (size_t i = 0; s->phase == PHASE_HEADER && !s->framed && p->in_at + i < 2 && i < p->in.n; i++)
        if (p->in.p[i] == '\0' || (unsigned char)p->in.p[i] >= 0xfe)
            return true;
    return false;
}

static void parse(struct stream *s)
{
    struct slice in = s->parser->in;
    if (begins_in_utf16(s))
        fail(s, STREAM_UNSUPPORTED_ENCODING, "the encoding of XMPP is UTF-8");
    for (size_t done = 0; done < in.n && s->halt == HALT_NONE;) {
        size_t n = in.n - done < CHUNK ? in.n - done : CHUNK;
        enum XML_Status status = parser_feed(s->parser, slice_of(in.p + done, n));
        done += n;
        if (s->halt != HALT_NONE)
            break;
        if (status != XML_STATUS_OK)
            fail_by_expat(s);
        else
            check_incomplete(s);
    }
}

static bool is_at_rest(const struct stream *s)
{
    const struct parser *p = s->parser;
    return (s->framed || s->phase == PHASE_OPEN) && p->builder.depth == 0 && p->event_end >= p->in_at &&
           slice_is_space(slice_skip(p->in, p->event_end - p->in_at));
}

static void hold_rest(struct stream *s)
{
    struct parser *p = s->parser;
    if (p->hold.n == 0) {
        p->hold_at = p->builder.depth ? p->builder.start : p->event_end;
        assert(p->hold_at >= p->in_at);
        buf_add(&p->hold, slice_skip(p->in, p->hold_at - p->in_at));
    } else {
        buf_add(&p->hold, p->in);
    }
}

/* expat has returned: what follows from how it ended. Returns how many of the bytes are used. */
static size_t settle(struct stream *s)
{
    const struct parser *p = s->parser;
    size_t used = p->in.n;
    if (s->halt == HALT_NONE) {
        if (is_at_rest(s))
            release_parser(s);
        else
            hold_rest(s);
        return used;
    }
    used = p->halt_at > p->in_at ? p->halt_at - p->in_at : 0;
    enum stream_error error = p->error;
    const char *text = p->text;
    release_parser(s);
    if (s->halt == HALT_CLOSED || s->halt == HALT_FAILED)
        s->phase = PHASE_DONE;
    if (s->halt == HALT_CLOSED)
        s->events->closed(s->ctx);
    else if (s->halt == HALT_FAILED)
        s->events->failed(s->ctx, error, text);
    if (s->restarted)
        forget(s);
    return used;
}

/* An element that needs no expat, at the beginning of the bytes. 0: there is none. The parser is taken for its builder
 * alone: upcalls may feed other streams. */
static size_t feed_plain_element(struct stream *s, struct slice in)
{
    struct parser *p = parser_pool_get(s->pool);
    size_t n = plain_read(in, &s->limits, &p->builder);
    enum stream_next next = STREAM_GO;
    if (n && s->framed && slice_eq_str(p->builder.element.ns, NS_FRAMING))
        n = 0;
    if (n) {
        s->has_element = s->framed;
        next = s->events->element(s->ctx, element_builder_finish(&p->builder, slice_of(in.p, n)));
    }
    parser_pool_put(s->pool, p);
    s->halt = next == STREAM_PAUSE ? HALT_PAUSE : HALT_NONE;
    if (s->restarted)
        forget(s);
    return n;
}

/* Likewise a header. */
static size_t feed_plain_header(struct stream *s, struct slice in)
{
    struct stream_header h;
    size_t n = plain_header_read(in, &s->limits, &h);
    if (!n)
        return 0;
    s->phase = PHASE_OPEN;
    s->halt = s->events->opened(s->ctx, &h) == STREAM_PAUSE ? HALT_PAUSE : HALT_NONE;
    if (s->restarted)
        forget(s);
    return n;
}

/* Likewise the end of the stream. */
static size_t feed_plain_end(struct stream *s, struct slice in)
{
    size_t n = plain_header_end(in);
    if (!n)
        return 0;
    s->phase = PHASE_DONE;
    s->halt = HALT_CLOSED;
    s->events->closed(s->ctx);
    if (s->restarted)
        forget(s);
    return n;
}

static size_t feed_plain(struct stream *s, struct slice in)
{
    if (s->phase == PHASE_HEADER)
        return s->framed ? 0 : feed_plain_header(s, in);
    if (s->primer || s->has_element)
        return 0;
    size_t n = feed_plain_element(s, in);
    return n || s->framed ? n : feed_plain_end(s, in);
}

/* Goes over as much as one parser does, or one thing that is plain. */
static size_t feed_once(struct stream *s, const char *p, size_t n)
{
    size_t space = 0;
    if (!s->parser) {
        while (space < n && slice_is_space(slice_of(p + space, 1)))
            space++;
        if (space == n)
            return n;
        size_t plain = feed_plain(s, slice_of(p + space, n - space));
        if (plain)
            return space + plain;
        bind_parser(s);
    }
    s->parser->in = slice_of(p + space, n - space);
    s->parser->in_at = s->parser->fed;
    s->halt = HALT_NONE;
    parse(s);
    return space + settle(s);
}

/* Outside of expat. */
static void fail_message(struct stream *s, enum stream_error error, const char *text)
{
    release_parser(s);
    s->phase = PHASE_DONE;
    s->events->failed(s->ctx, error, text);
}

/* Messages without an element, white space at the most, are let pass: people send them to keep connections alive. */
static void message_end(struct stream *s)
{
    s->has_element = false;
    if (!s->parser)
        return;
    s->halt = HALT_FAILED;                                      /* there is nothing for the handlers to do */
    if (parser_finish(s->parser) == XML_ERROR_UNDEFINED_ENTITY) /* it may have put off looking at that */
        fail_message(s, STREAM_RESTRICTED_XML, TEXT_RESTRICTED);
    else
        fail_message(s, STREAM_NOT_WELL_FORMED, "a message ends before its element does");
}

/* As feed_once, for as much of it as belongs to one message. */
static size_t feed_message(struct stream *s, const char *p, size_t n)
{
    const char *end = memchr(p, STREAM_MESSAGE_END, n);
    if (end == p) {
        message_end(s);
        return 1;
    }
    return feed_once(s, p, end ? (size_t)(end - p) : n);
}

size_t stream_feed(struct stream *s, const char *p, size_t n)
{
    size_t used = 0;
    s->feeding = true;
    s->halt = HALT_NONE;
    while (used < n && !s->freed && s->phase != PHASE_DONE && (s->halt == HALT_NONE || s->halt == HALT_RENEW))
        used += s->framed ? feed_message(s, p + used, n - used) : feed_once(s, p + used, n - used);
    s->feeding = false;
    if (s->freed)
        stream_free(s);
    return used;
}
