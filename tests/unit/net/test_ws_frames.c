/* Frames give the same messages whether they come whole, and mostly without wslay, or byte by byte, and through it. */
#include "../../../proxy/net/ws_frames.h"
#include "support.h"

struct got {
    struct buf messages, answers;
    bool over, broken;
    uint16_t code;
};

static struct got read_in(struct slice frames, size_t piece)
{
    struct ws_frames f = {0};
    struct got got = {0};
    for (; frames.n; frames = slice_skip(frames, piece < frames.n ? piece : frames.n))
        ws_frames_read(&f, slice_of(frames.p, piece < frames.n ? piece : frames.n), 0, &got.messages, &got.answers);
    got.over = f.over;
    got.broken = f.broken;
    got.code = f.code;
    ws_frames_free(&f);
    return got;
}

static void got_free(struct got *got)
{
    buf_free(&got->messages);
    buf_free(&got->answers);
}

static void add_frame(struct buf *out, uint8_t first, const char *payload, size_t n)
{
    static const char mask[] = {'\x5a', '\xff', '\x01', '\x80'};
    uint8_t head[WS_HEAD_MAX];
    size_t size = ws_frame_head(head, WS_TEXT, n);
    head[0] = first;
    head[1] |= 0x80;
    buf_append(out, (const char *)head, size);
    buf_append(out, mask, sizeof mask);
    char *p = buf_reserve(out, n);
    for (size_t i = 0; i < n; i++)
        p[i] = (char)(payload[i] ^ mask[i % sizeof mask]);
    buf_commit(out, n);
}

static void assert_same(struct buf *frames)
{
    struct got whole = read_in(buf_slice(frames), frames->n), bytes = read_in(buf_slice(frames), 1);
    assert_int_equal(whole.over, bytes.over);
    assert_int_equal(whole.broken, bytes.broken);
    assert_int_equal(whole.code, bytes.code);
    assert_true(slice_eq(buf_slice(&whole.answers), buf_slice(&bytes.answers)));
    if (whole.broken)
        assert_true(slice_starts(buf_slice(&bytes.messages), buf_slice(&whole.messages)));
    else
        assert_true(slice_eq(buf_slice(&whole.messages), buf_slice(&bytes.messages)));
    got_free(&whole);
    got_free(&bytes);
}

static void all_lengths_of_a_length(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 7, 8, 9, 15, 16, 17, 124, 125, 126, 127, 128, 255, 256, 65535, 65536, 65537};
    char *text = mem_alloc(65537);
    for (size_t i = 0; i < 65537; i++)
        text[i] = (char)('a' + i % 26);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct buf frames = {0};
        add_frame(&frames, 0x81, text, lengths[i]);
        struct got got = read_in(buf_slice(&frames), frames.n);
        assert_int_equal(got.messages.n, lengths[i] + 1);
        assert_memory_equal(got.messages.data + got.messages.off, text, lengths[i]);
        assert_int_equal(got.messages.data[got.messages.off + lengths[i]], TRANSPORT_MESSAGE_END);
        got_free(&got);
        assert_same(&frames);
        buf_free(&frames);
    }
    free(text);
}

static void whole_or_in_bytes(void **state)
{
    (void)state;
    static const struct {
        uint8_t first;
        const char *payload;
        size_t n;
        uint16_t code; /* of what ends it; 0: nothing does */
    } frame[] = {
#define CASE(first, literal, code) {first, literal, sizeof(literal) - 1, code}
        CASE(0x81, "<message/>", 0),
        CASE(0x81,
             "<m>gr\xc3\xbc\xc3\x9f"
             "e, \xe4\xb8\xad \xf0\x9f\x98\x80</m>",
             0),
        CASE(0x81, "nul \0 inside", 0),
        CASE(0x81, "\xef\xbf\xbe", 0),
        CASE(0x81, "cut \xc3", 1007),
        CASE(0x81, "over-long \xc0\xaf", 1007),
        CASE(0x81, "surrogate \xed\xa0\x80", 1007),
        CASE(0x82, "binary", 1003),
        CASE(0x01, "a beginning", 0),
        CASE(0x89, "ping", 0),
        CASE(0xc1, "a reserved bit", 1002),
        CASE(0x83, "an unknown opcode", 1002),
        CASE(0x80, "the end of nothing", 1002),
        CASE(0x88, "\x03\xe8", 1000),
#undef CASE
    };
    for (size_t i = 0; i < sizeof frame / sizeof *frame; i++) {
        struct buf frames = {0};
        add_frame(&frames, 0x81, "before", 6);
        add_frame(&frames, frame[i].first, frame[i].payload, frame[i].n);
        struct got got = read_in(buf_slice(&frames), frames.n);
        assert_int_equal(got.over, frame[i].code != 0);
        assert_int_equal(got.code, frame[i].code);
        assert_memory_equal(got.messages.data + got.messages.off, "before", 7);
        got_free(&got);
        add_frame(&frames, frame[i].first == 0x01 ? 0x80 : 0x81, "behind", 6);
        assert_same(&frames);
        buf_free(&frames);
    }
}

/* RFC 6455 5.1: a client masks; 5.2: lengths are spelled the shortest way. */
static void what_is_not_masked_or_too_wide_is_refused(void **state)
{
    (void)state;
    const struct slice frame[] = {
        SLICE_LIT("\x81\x01x"),
        SLICE_LIT("\x81\xfe\x00\x01\0\0\0\0x"),
        SLICE_LIT("\x81\xff\0\0\0\0\0\0\0\x01\0\0\0\0x"),
    };
    for (size_t i = 0; i < sizeof frame / sizeof *frame; i++) {
        struct got got = read_in(frame[i], frame[i].n);
        assert_true(got.over && got.broken);
        assert_int_equal(got.code, 1002);
        assert_int_equal(got.messages.n, 0);
        got_free(&got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_lengths_of_a_length),
        cmocka_unit_test(whole_or_in_bytes),
        cmocka_unit_test(what_is_not_masked_or_too_wide_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
