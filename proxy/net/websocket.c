/* Upcalls are made from on_next and the upcalls of the transport below alone, each as the last thing these do: the
 * owner may free the WebSocket in them. */
#include "net/websocket.h"
#include "base/mem.h"
#include "loop_work.h"
#include "ws_frames.h"
#include <stdlib.h>

enum due {
    DUE_READY = 1,
    DUE_EARLY = 2, /* what came with the request is read */
    DUE_CLOSED = 4,
};

struct websocket {
    struct transport base;
    struct transport *below;
    struct loop *loop; /* NULL while detached */
    struct ws_frames frames;
    struct buf early;
    struct loop_task next, last;
    unsigned due;
    bool reading;
    enum transport_farewell farewell; /* 0: not finished */
};

static struct websocket *websocket_of(struct transport *base)
{
    return (struct websocket *)base;
}

static const struct websocket *websocket_const(const struct transport *base)
{
    return (const struct websocket *)base;
}

static void add_due(struct websocket *w, unsigned due)
{
    w->due |= due;
    if (w->due && w->loop)
        loop_queue(w->loop, LOOP_NEXT, &w->next);
}

/* --- Bytes of the client --- */

/* Who does not read gets no pongs either: nothing may grow without bound. */
static void send_answers(struct websocket *w, struct buf *answers)
{
    if (answers->n && (w->frames.over || transport_buffered(w->below) <= TRANSPORT_HIGH_WATER))
        transport_write(w->below, buf_slice(answers));
    buf_free(answers);
}

static void read_frames(struct websocket *w, struct slice in)
{
    struct loop *l = w->loop;
    struct buf messages = loop_take_buf(l), answers = {0};
    ws_frames_read(&w->frames, in, loop_clock(l)->mono, &messages, &answers);
    send_answers(w, &answers);
    if (w->frames.over) {
        transport_read_stop(w->below);
        add_due(w, DUE_CLOSED);
    }
    if (messages.n || w->frames.alive)
        w->base.events->bytes(w->base.ctx, messages.n ? messages.data + messages.off : "", messages.n);
    loop_give_buf(l, &messages);
}

static void on_bytes(void *ctx, const char *p, size_t n)
{
    struct websocket *w = ctx;
    if (w->early.n) /* its turn has not come yet */
        buf_append(&w->early, p, n);
    else if (!w->frames.over)
        read_frames(w, slice_of(p, n));
}

static void on_drained(void *ctx)
{
    struct websocket *w = ctx;
    w->base.events->drained(w->base.ctx);
}

static void on_closed(void *ctx, enum transport_end end, const char *detail)
{
    struct websocket *w = ctx;
    w->due = 0;
    w->frames.over = true;
    w->base.events->closed(w->base.ctx, end, detail);
}

static void on_ready(void *ctx)
{
    (void)ctx; /* it was before */
}

static const struct transport_events below_events = {on_ready, on_bytes, on_drained, on_closed};

/* --- What is due --- */

static void tell_closed(struct websocket *w)
{
    struct buf detail = {0};
    buf_printf(&detail, w->frames.broken ? "WebSocket closed for a fault, code %u" : "WebSocket closed, code %u",
               w->frames.code ? w->frames.code : 1005u);
    char *text = buf_steal(&detail);
    w->base.events->closed(w->base.ctx, w->frames.broken ? TRANSPORT_BROKEN : TRANSPORT_FIN, text);
    free(text);
}

static void read_early(struct websocket *w)
{
    struct buf early = w->early;
    w->early = (struct buf){0};
    read_frames(w, buf_slice(&early));
    buf_free(&early);
}

static void on_next(struct loop_task *task)
{
    struct websocket *w = CONTAINER_OF(task, struct websocket, next);
    unsigned one = w->due & -w->due;
    w->due &= ~one;
    add_due(w, 0);
    if (one == DUE_READY)
        w->base.events->ready(w->base.ctx);
    else if (one == DUE_EARLY && w->early.n && w->reading)
        read_early(w);
    else if (one == DUE_CLOSED)
        tell_closed(w);
}

/* --- The interface of transports --- */

static void write_head(struct websocket *w, enum ws_opcode opcode, uint64_t n)
{
    uint8_t head[WS_HEAD_MAX];
    transport_write(w->below, slice_of((const char *)head, ws_frame_head(head, opcode, n)));
}

static void op_write_message(struct transport *base, const struct slice *parts, size_t n)
{
    struct websocket *w = websocket_of(base);
    uint64_t size = 0;
    if (w->farewell || w->frames.over)
        return;
    for (size_t i = 0; i < n; i++)
        size += parts[i].n;
    write_head(w, WS_TEXT, size);
    for (size_t i = 0; i < n; i++)
        transport_write(w->below, parts[i]);
}

static void op_write(struct transport *base, const char *p, size_t n)
{
    op_write_message(base, &(struct slice){p, n}, 1);
}

static void op_ping(struct transport *base)
{
    struct websocket *w = websocket_of(base);
    if (!w->farewell && !w->frames.over)
        write_head(w, WS_PING, 0);
}

static void op_finish(struct transport *base, enum transport_farewell farewell)
{
    struct websocket *w = websocket_of(base);
    if (!w->farewell)
        w->farewell = farewell;
}

static void op_read_stop(struct transport *base)
{
    struct websocket *w = websocket_of(base);
    w->reading = false;
    transport_read_stop(w->below);
}

static void op_read_start(struct transport *base)
{
    struct websocket *w = websocket_of(base);
    w->reading = true;
    if (w->early.n)
        add_due(w, DUE_EARLY);
    if (!w->frames.over)
        transport_read_start(w->below);
}

static void op_yield(struct transport *base, bool yields)
{
    transport_yield(websocket_of(base)->below, yields);
}

static size_t op_buffered(const struct transport *base)
{
    return transport_buffered(websocket_const(base)->below);
}

static size_t op_outstanding(const struct transport *base)
{
    return transport_outstanding(websocket_const(base)->below);
}

static void release(struct loop_task *last)
{
    struct websocket *w = CONTAINER_OF(last, struct websocket, last);
    ws_frames_free(&w->frames);
    buf_free(&w->early);
    free(w);
}

static void op_free(struct transport *base, bool graceful)
{
    struct websocket *w = websocket_of(base);
    if (w->farewell && !w->frames.over) {
        struct buf close = {0};
        ws_frame_close(&close, (uint16_t)w->farewell);
        transport_write(w->below, buf_slice(&close));
        buf_free(&close);
    }
    loop_unqueue(&w->next);
    transport_free(&w->below, graceful);
    w->base.events = NULL;
    if (w->loop)
        loop_queue(w->loop, LOOP_FREE, &w->last);
    else
        release(&w->last);
}

static void op_detach(struct transport *base)
{
    struct websocket *w = websocket_of(base);
    w->reading = false;
    loop_unqueue(&w->next);
    transport_detach(w->below);
    w->loop = NULL;
}

static void op_attach(struct transport *base, void *loop)
{
    struct websocket *w = websocket_of(base);
    w->loop = loop;
    transport_attach(w->below, loop);
    add_due(w, 0);
}

static const struct transport_ops websocket_ops = {
    .write = op_write,
    .write_message = op_write_message,
    .ping = op_ping,
    .finish = op_finish,
    .read_stop = op_read_stop,
    .read_start = op_read_start,
    .yield = op_yield,
    .buffered = op_buffered,
    .outstanding = op_outstanding,
    .free = op_free,
    .detach = op_detach,
    .attach = op_attach,
};

struct transport *websocket_new(struct loop *l, struct transport *below, struct slice early)
{
    struct websocket *w = MEM_NEW(struct websocket);
    w->base = (struct transport){.ops = &websocket_ops, .client = below->client};
    w->base.kind = below->kind == TRANSPORT_KIND_TLS ? TRANSPORT_WSS : TRANSPORT_WS;
    w->below = below;
    w->loop = l;
    buf_add(&w->early, early);
    loop_task_init(&w->next, on_next);
    loop_task_init(&w->last, release);
    transport_set_events(below, &below_events, w);
    transport_read_stop(below);
    add_due(w, DUE_READY);
    return &w->base;
}
