/* Writes down what a stream reports, as text: two ways of feeding the same bytes must give the same text. */
#ifndef HOLDFAST_TESTS_XMPP_RECORDER_H
#define HOLDFAST_TESTS_XMPP_RECORDER_H

#include "base/buf.h"
#include "base/mem.h"
#include "xmpp/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define HEADER "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"

static const struct stream_limits usual_limits = {
    .stanza_bytes = 64 * 1024, .tag_bytes = 16 * 1024, .depth = 64, .attributes = 50, .namespace_bytes = 1024};

struct recorder {
    struct buf text;
    struct stream *stream;
    unsigned opened, elements, closed, failed;
    enum stream_error error;
    enum stream_next next;  /* what every upcall answers */
    const char *pause_at;   /* name of the element to pause at, NULL for none */
    const char *restart_at; /* name of the element to restart the stream at */
    const char *free_at;    /* name of the element to free the stream at; also "opened", "closed", "failed" */
};

static inline void record_node(struct recorder *r, const struct node *n)
{
    buf_printf(&r->text, "(%.*s|%.*s", SLICE_ARG(n->ns), SLICE_ARG(n->name));
    for (const struct node_attr *a = n->attrs; a->name.p; a++)
        buf_printf(&r->text, " %.*s|%.*s=%.*s", SLICE_ARG(a->ns), SLICE_ARG(a->name), SLICE_ARG(a->value));
    buf_printf(&r->text, " text=%.*s bytes=%.*s", SLICE_ARG(n->text), SLICE_ARG(n->bytes));
    for (const struct node *child = n->first_child; child; child = child->next)
        record_node(r, child);
    BUF_LIT(&r->text, ")");
}

static inline void record_slice(struct recorder *r, const char *name, struct slice s)
{
    if (s.p)
        buf_printf(&r->text, " %s=%.*s", name, SLICE_ARG(s));
}

static inline bool record_is(const char *wanted, struct slice name)
{
    return wanted && slice_eq_str(name, wanted);
}

static inline enum stream_next record_opened(void *ctx, const struct stream_header *h)
{
    struct recorder *r = ctx;
    r->opened++;
    buf_printf(&r->text, "opened %.*s|%.*s", SLICE_ARG(h->ns), SLICE_ARG(h->name));
    record_slice(r, "default", h->default_ns);
    record_slice(r, "to", h->to);
    record_slice(r, "from", h->from);
    record_slice(r, "id", h->id);
    record_slice(r, "version", h->version);
    record_slice(r, "lang", h->lang);
    buf_printf(&r->text, " v1=%d extra=[%.*s]\n", h->has_version, SLICE_ARG(h->extra_ns));
    assert_true(slice_eq(h->extra_ns, stream_extra_ns(r->stream)));
    if (record_is(r->free_at, SLICE_LIT("opened")))
        stream_free(r->stream);
    return record_is(r->pause_at, SLICE_LIT("opened")) ? STREAM_PAUSE : r->next;
}

static inline enum stream_next record_element(void *ctx, const struct element *e)
{
    struct recorder *r = ctx;
    r->elements++;
    buf_printf(&r->text, "element kind=%d %.*s|%.*s", (int)e->kind, SLICE_ARG(e->ns), SLICE_ARG(e->name));
    record_slice(r, "id", e->id);
    record_slice(r, "to", e->to);
    record_slice(r, "from", e->from);
    record_slice(r, "type", e->type);
    record_slice(r, "receipt", e->receipt_id);
    record_slice(r, "thread", e->thread);
    buf_printf(&r->text, " facts=%x priority=%d open=%zu close=%zu name=%zu bytes=%.*s", (unsigned)e->facts,
               e->priority, e->open_end, e->close_at, e->name_end, SLICE_ARG(e->bytes));
    if (e->chat_state)
        buf_printf(&r->text, " chat_state=%d", (int)e->chat_state);
    if (e->facts & FACT_ASKS_OFFLINE)
        buf_printf(&r->text, " offline=%zu-%zu", e->offline_at, e->offline_end);
    if (e->tree)
        record_node(r, e->tree);
    BUF_LIT(&r->text, "\n");
    if (record_is(r->restart_at, e->name))
        stream_restart(r->stream);
    if (record_is(r->free_at, e->name))
        stream_free(r->stream);
    return record_is(r->pause_at, e->name) ? STREAM_PAUSE : r->next;
}

static inline void record_closed(void *ctx)
{
    struct recorder *r = ctx;
    r->closed++;
    BUF_LIT(&r->text, "closed\n");
    if (record_is(r->free_at, SLICE_LIT("closed")))
        stream_free(r->stream);
}

static inline void record_failed(void *ctx, enum stream_error error, const char *text)
{
    struct recorder *r = ctx;
    r->failed++;
    r->error = error;
    assert_non_null(text);
    buf_printf(&r->text, "failed %s\n", stream_error_name(error));
    if (record_is(r->free_at, SLICE_LIT("failed")))
        stream_free(r->stream);
}

static const struct stream_events record_events = {record_opened, record_element, record_closed, record_failed};

static inline void recorder_begin(struct recorder *r, struct parser_pool *pool, const struct stream_limits *limits)
{
    *r = (struct recorder){.next = STREAM_GO};
    r->stream = stream_new(SLAB_CONNECTION, pool, limits, &record_events, r);
}

static inline void recorder_end(struct recorder *r)
{
    stream_free(r->stream);
    buf_free(&r->text);
}

/* Each run of bytes is fed from an allocation of its own, so that a look beyond it is noticed. */
static inline size_t recorder_feed(struct recorder *r, const char *p, size_t n)
{
    char *copy = malloc(n ? n : 1);
    memcpy(copy, p, n);
    size_t used = stream_feed(r->stream, copy, n);
    free(copy);
    return used;
}

static inline size_t recorder_feed_str(struct recorder *r, const char *text)
{
    return recorder_feed(r, text, strlen(text));
}

/* Feeds all of it, a step at a time, going on after each pause. Stops when the stream has ended. */
static inline void recorder_feed_steps(struct recorder *r, const char *p, size_t n, size_t step)
{
    for (size_t done = 0; done < n && !r->closed && !r->failed;) {
        size_t end = done + step < n ? done + step : n;
        while (done < end && !r->closed && !r->failed)
            done += recorder_feed(r, p + done, end - done);
    }
}

#endif
