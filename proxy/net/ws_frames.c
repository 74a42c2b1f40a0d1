#include "ws_frames.h"
#include "base/utf8.h"
#include "net/transport.h"
#include <stdlib.h>
#include <string.h>

/* Browsers send no pings of their own, other clients one in seconds or minutes. What carries nothing is cheap to send
 * in masses: 20 a second, 200 at once. */
#define IDLE_COST  (USEC_S / 20)
#define IDLE_BURST (200 * IDLE_COST)

#define EMPTY_CLOSE 2 /* bytes */

static ssize_t on_recv(wslay_event_context_ptr ctx, uint8_t *p, size_t n, int flags, void *user)
{
    (void)flags;
    struct ws_frames *f = user;
    if (f->in.n == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    if (n > f->in.n)
        n = f->in.n;
    memcpy(p, f->in.p, n);
    f->in = slice_skip(f->in, n);
    f->unread += n;
    return (ssize_t)n;
}

static ssize_t on_send(wslay_event_context_ptr ctx, const uint8_t *p, size_t n, int flags, void *user)
{
    (void)ctx, (void)flags;
    struct ws_frames *f = user;
    buf_append(f->answers, p, n);
    return (ssize_t)n;
}

static void refuse(struct ws_frames *f, uint16_t code)
{
    if (f->over)
        return;
    f->over = f->broken = true;
    f->code = code;
    wslay_event_shutdown_read(f->wslay);
    wslay_event_queue_close(f->wslay, code, NULL, 0);
}

/* With the mask, which wslay demands; it also refuses lengths that are not spelled the shortest way. */
static size_t head_size(uint64_t payload)
{
    return 2 + (payload < 126 ? 0 : payload < 65536 ? 2 : 8) + 4;
}

static void on_frame(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_start_arg *frame, void *user)
{
    (void)ctx;
    struct ws_frames *f = user;
    f->opcode = frame->opcode;
    f->fin = frame->fin;
    f->left = frame->payload_length;
    f->unread -= head_size(frame->payload_length);
    if (frame->opcode == WSLAY_BINARY_FRAME)
        refuse(f, WSLAY_CODE_UNSUPPORTED_DATA);
    if (frame->opcode == WSLAY_CONNECTION_CLOSE && frame->payload_length == 1) /* half a code */
        refuse(f, WSLAY_CODE_PROTOCOL_ERROR);
    if (!wslay_is_ctrl_frame(frame->opcode))
        f->fragmented = !frame->fin;
    if (!wslay_is_ctrl_frame(frame->opcode) && frame->payload_length)
        return;
    f->alive = true;
    bucket_take(&f->idle, f->now, IDLE_COST);
    if (bucket_owes(&f->idle, f->now, IDLE_BURST))
        refuse(f, WSLAY_CODE_POLICY_VIOLATION);
}

/* A NUL is in no XML, and ours means something else: it becomes another character that is in none. */
static void add_text(struct buf *out, const uint8_t *data, size_t n)
{
    char *p = buf_reserve(out, n);
    memcpy(p, data, n);
    for (char *nul = p; (nul = memchr(nul, '\0', (size_t)(p + n - nul))) != NULL;)
        *nul = '\x01';
    buf_commit(out, n);
}

static void on_chunk(wslay_event_context_ptr ctx, const struct wslay_event_on_frame_recv_chunk_arg *chunk, void *user)
{
    (void)ctx;
    struct ws_frames *f = user;
    f->left -= chunk->data_length;
    f->unread -= chunk->data_length;
    if (!wslay_is_ctrl_frame(f->opcode) && !f->over && chunk->data_length)
        add_text(f->messages, chunk->data, chunk->data_length);
}

static void on_frame_end(wslay_event_context_ptr ctx, void *user)
{
    static const char end = TRANSPORT_MESSAGE_END;
    (void)ctx;
    struct ws_frames *f = user;
    if (!wslay_is_ctrl_frame(f->opcode) && f->fin && !f->over)
        buf_append(f->messages, &end, 1);
}

static void begin(struct ws_frames *f)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = on_recv,
        .send_callback = on_send,
        .on_frame_recv_start_callback = on_frame,
        .on_frame_recv_chunk_callback = on_chunk,
        .on_frame_recv_end_callback = on_frame_end,
    };
    if (wslay_event_context_server_init(&f->wslay, &callbacks, f) != 0)
        abort(); /* out of memory */
    wslay_event_config_set_no_buffering(f->wslay, 1);
}

void ws_frames_free(struct ws_frames *f)
{
    if (f->wslay)
        wslay_event_context_free(f->wslay);
    f->wslay = NULL;
}

/* ---- without wslay ---- */

#define MASK_SIZE 4

/* Whether any of it is beyond ASCII. p has room for it. */
static bool unmask(char *p, const char *masked, size_t n, const char mask[MASK_SIZE])
{
    uint64_t all = 0, word, key;
    size_t i = 0;
    memcpy(&key, mask, MASK_SIZE);
    memcpy((char *)&key + MASK_SIZE, mask, MASK_SIZE);
    for (; n - i >= sizeof word; i += sizeof word) {
        memcpy(&word, masked + i, sizeof word);
        word ^= key;
        all |= word;
        memcpy(p + i, &word, sizeof word);
    }
    for (; i < n; i++) {
        p[i] = (char)(masked[i] ^ mask[i % MASK_SIZE]);
        all |= (unsigned char)p[i];
    }
    return all & 0x8080808080808080u;
}

static bool is_utf8(struct slice s)
{
    for (size_t n; s.n && (n = utf8_size(s)) > 0; s = slice_skip(s, n))
        ;
    return s.n == 0;
}

/* Of a whole text message in one frame with a length of one or two bytes; 0: it is something else. */
static size_t plain_head(struct slice in, size_t *payload)
{
    const unsigned char *p = (const unsigned char *)in.p;
    if (in.n < 2 + MASK_SIZE || p[0] != (0x80 | WS_TEXT) || p[1] < 0x81 || p[1] > 0x80 + 126)
        return 0;
    bool wide = p[1] == 0x80 + 126;
    *payload = wide ? (size_t)(p[2] << 8 | p[3]) : p[1] - 0x80u;
    return wide && *payload < 126 ? 0 : 2 + (wide ? 2 : 0) + MASK_SIZE;
}

/* Messages that are whole and sent as nearly all are need no wslay, which looks at each byte by itself, and whose state
 * is large. All else, right or wrong, is left to it. Returns the size of the frame; 0: it is for wslay. */
static size_t take_plain(struct slice in, struct buf *messages)
{
    size_t n, head = plain_head(in, &n);
    if (!head || in.n < head + n)
        return 0;
    char *p = buf_reserve(messages, n + 1);
    bool beyond_ascii = unmask(p, in.p + head, n, in.p + head - MASK_SIZE);
    if (memchr(p, '\0', n) || (beyond_ascii && !is_utf8(slice_of(p, n))))
        return 0;
    p[n] = TRANSPORT_MESSAGE_END;
    buf_commit(messages, n + 1);
    return head + n;
}

/* ---- */

/* wslay reads no more when it has had, or sent, a Close. Where the head of a frame is wrong it gives no code. */
static void note_end(struct ws_frames *f)
{
    if (f->over || wslay_event_get_read_enabled(f->wslay))
        return;
    f->over = true;
    f->broken = !wslay_event_get_close_received(f->wslay);
    f->code = f->broken ? wslay_event_get_status_code_sent(f->wslay) : wslay_event_get_status_code_received(f->wslay);
    if (f->broken && f->code == WSLAY_CODE_NO_STATUS_RCVD) {
        f->answers->n -= EMPTY_CLOSE;
        f->code = WSLAY_CODE_PROTOCOL_ERROR;
        ws_frame_close(f->answers, f->code);
    }
}

void ws_frames_read(struct ws_frames *f, struct slice in, usec now, struct buf *messages, struct buf *answers)
{
    f->alive = false;
    if (f->over)
        return;
    if (!f->wslay) {
        for (size_t used; (used = take_plain(in, messages)) > 0; in = slice_skip(in, used))
            ;
        if (!in.n)
            return;
        begin(f);
    }
    f->in = in;
    f->now = now;
    f->messages = messages;
    f->answers = answers;
    int read = wslay_event_recv(f->wslay), sent = wslay_event_send(f->wslay);
    if (read == WSLAY_ERR_NOMEM || sent == WSLAY_ERR_NOMEM)
        abort();
    note_end(f);
    if (f->over || (!f->unread && !f->left && !f->fragmented))
        ws_frames_free(f);
}

size_t ws_frame_head(uint8_t head[WS_HEAD_MAX], enum ws_opcode opcode, uint64_t n)
{
    size_t wide = n < 126 ? 0 : n < 65536 ? 2 : 8;
    head[0] = (uint8_t)(0x80 | opcode);
    head[1] = (uint8_t)(wide == 0 ? n : wide == 2 ? 126 : 127);
    for (size_t i = 0; i < wide; i++)
        head[2 + i] = (uint8_t)(n >> (8 * (wide - 1 - i)));
    return 2 + wide;
}

void ws_frame_close(struct buf *out, uint16_t code)
{
    uint8_t frame[WS_HEAD_MAX + 2];
    size_t n = ws_frame_head(frame, WS_CLOSE, 2);
    frame[n++] = (uint8_t)(code >> 8);
    frame[n++] = (uint8_t)code;
    buf_append(out, frame, n);
}
