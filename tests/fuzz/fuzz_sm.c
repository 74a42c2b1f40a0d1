/* Stream management against a model that keeps no state but what the protocol talks about.
 *
 * Input: a byte that picks where the counters stand at the beginning, then operations: a letter, some with a byte that
 * follows as their number. */
#include "base/mem.h"
#include "fuzz.h"
#include "xmpp/sm.h"

#define EVERY  5
#define DELAY  USEC_S
#define WINDOW (USEC_S / 2) /* an <r/> of the client's waits so long */

struct model {
    struct sm_out_leg out; /* not the model's, but what it goes along with: stream management on this connection */
    struct sm_in_leg in;
    usec now;
    uint64_t appended, written, acked, taken; /* downlink: counts */
    uint64_t cursor;                          /* the newest written on this connection */
    uint64_t asked;                           /* the newest that the newest <r/> covers, of this connection */
    bool asking;
    uint64_t promised;  /* uplink: what the client was told */
    uint64_t requested; /* the newest stanza ahead of an <r/> of this connection */
    bool open;          /* an <r/> of this connection has no answer at all yet */
    usec open_since;
};

static struct entry *entry_make(void)
{
    struct element e = {.kind = ELEMENT_PRESENCE, .bytes = SLICE_LIT("<presence/>"), .name = SLICE_LIT("presence")};
    e.open_end = e.close_at = e.bytes.n;
    e.name_end = sizeof "<presence" - 1;
    return entry_new(&e, SLICE_NONE, 0);
}

/* ---- downlink ---- */

static void write_next(struct sm_out *out, struct model *m)
{
    struct entry *e = sm_out_next(&m->out);
    FUZZ_CHECK(!e == (m->cursor == m->appended));
    if (!e)
        return;
    FUZZ_CHECK(e->number == m->cursor + 1);
    sm_out_wrote(out, &m->out, m->now);
    m->cursor = e->number;
    if (m->written < m->cursor)
        m->written = m->cursor;
}

/* The count that h stands for, by trying; *old: it lies behind. */
static bool meaning(const struct model *m, uint32_t h, uint64_t *count_r, bool *old)
{
    for (uint64_t count = m->acked; count <= m->written; count++) {
        if (sm_wire(count) == h) {
            *count_r = count;
            return true;
        }
    }
    uint32_t behind = sm_wire(m->acked) - h;
    *old = behind <= UINT32_C(1) << 31 && behind <= m->acked;
    return false;
}

static void ack(struct sm_out *out, struct model *m, uint32_t h)
{
    uint64_t count = 0, expected = 0;
    bool old = false, known = meaning(m, h, &expected, &old);
    enum sm_ack answer = sm_out_check(out, h, &count);
    FUZZ_CHECK(answer == (known ? SM_ACK_OK : old ? SM_ACK_OLD : SM_ACK_TOO_HIGH));
    if (answer == SM_ACK_TOO_HIGH)
        return;
    FUZZ_CHECK(count == (known ? expected : m->acked));
    sm_out_acked(out, &m->out, count);
    m->acked = count;
    if (m->cursor < count)
        m->cursor = count;
    if (m->asked < count)
        m->asked = count;
    sm_out_answered(out, &m->out, m->now, DELAY, 30 * USEC_S);
    m->asking = false;
}

static void take_all(struct sm_out *out, struct model *m)
{
    for (struct entry *e; (e = sm_out_take(out));) {
        FUZZ_CHECK(e->number == ++m->taken);
        entry_free(e);
    }
    FUZZ_CHECK(m->taken == m->acked);
}

static void ask_if_due(struct model *m)
{
    if (!sm_out_due(&m->out, m->now, EVERY, DELAY))
        return;
    FUZZ_CHECK(!m->asking);
    sm_out_asked(&m->out, m->now);
    m->asking = true;
    m->asked = m->cursor;
}

/* No tail stays unacked for longer than that. */
static void check_out(const struct sm_out *out, const struct model *m)
{
    usec at = sm_out_due_at(&m->out, DELAY);
    FUZZ_CHECK(out->queue.last_number == m->appended && out->queue.count == m->appended - m->taken);
    FUZZ_CHECK(out->acked == m->acked && out->written == m->written && m->out.sent == m->cursor);
    FUZZ_CHECK(m->out.asking == m->asking && m->out.asked == m->asked);
    if (m->asking) {
        FUZZ_CHECK(at == -1 && !sm_out_due(&m->out, m->now, EVERY, DELAY));
        return;
    }
    FUZZ_CHECK(m->cursor == m->asked || (at >= 0 && at <= m->now + DELAY));
    FUZZ_CHECK(m->cursor - m->asked < EVERY || sm_out_due(&m->out, m->now, EVERY, DELAY));
    FUZZ_CHECK(at < 0 || sm_out_due(&m->out, at, EVERY, DELAY));
    FUZZ_CHECK(at <= m->now || m->cursor - m->asked >= EVERY || !sm_out_due(&m->out, at - 1, EVERY, DELAY));
}

/* ---- uplink ---- */

static void request(struct sm_in *in, struct model *m)
{
    sm_in_request(in, &m->in, m->now, WINDOW);
    m->requested = in->received;
    if (!m->open)
        m->open_since = m->now;
    m->open = true;
}

static void tell_if_due(struct sm_in *in, struct model *m)
{
    for (int answers = 0; sm_in_due(in, &m->in, m->now); answers++) {
        FUZZ_CHECK(answers < 2 && in->safe >= m->promised);
        m->promised = in->safe;
        m->open = false;
        sm_in_told(in, &m->in, m->now, WINDOW);
        FUZZ_CHECK(in->told == m->promised);
    }
}

static void check_in(const struct sm_in *in, const struct model *m)
{
    FUZZ_CHECK(!m->open || m->now < m->open_since + WINDOW);            /* answered in time, with whatever is safe */
    FUZZ_CHECK(in->safe < m->requested || m->promised >= m->requested); /* and in the end with all of it */
}

/* ---- */

static void operation(struct sm_out *out, struct sm_in *in, struct model *m, char op, uint8_t number)
{
    switch (op) {
    case 'a': /* a stanza for the client */
        sm_out_append(out, &m->out, entry_make());
        m->appended++;
        break;
    case 'w':
        write_next(out, m);
        break;
    case 'k': /* <a/>, near to what is right */
        ack(out, m, sm_wire(m->acked) + number - 8);
        break;
    case 'K': /* and far */
        ack(out, m, (uint32_t)number << 24 | number);
        break;
    case 't':
        take_all(out, m);
        break;
    case 'n': /* a new connection; what was acked has been taken */
        take_all(out, m);
        m->out = sm_out_attach(out);
        m->in = (struct sm_in_leg){0};
        m->cursor = m->asked = m->acked;
        m->asking = m->open = false;
        m->requested = 0;
        break;
    case 'u': /* a stanza of the client's */
        in->received++;
        break;
    case 's': /* one of them is safe */
        in->safe += in->safe < in->received;
        break;
    case 'S':
        in->safe = in->received;
        break;
    case 'r':
        request(in, m);
        break;
    case '.': /* time passes */
        m->now += number * (USEC_S / 64);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const uint64_t begin[] = {0, UINT32_MAX - 3, UINT64_C(1) << 31, (UINT64_C(5) << 32) - 2};
    struct slice input = slice_of((const char *)data, n);
    uint64_t at = begin[fuzz_byte(&input) % 4];
    struct sm_out out = {.queue = {.last_number = at}, .acked = at, .written = at};
    struct sm_in in = {.received = at, .safe = at, .told = at};
    struct model m = {.out = sm_out_attach(&out),
                      .now = 1000 * USEC_S,
                      .appended = at,
                      .written = at,
                      .acked = at,
                      .taken = at,
                      .cursor = at,
                      .asked = at,
                      .promised = at};
    while (input.n) {
        char op = (char)fuzz_byte(&input);
        operation(&out, &in, &m, op, op == 'k' || op == 'K' || op == '.' ? fuzz_byte(&input) : 0);
        tell_if_due(&in, &m);
        check_in(&in, &m);
        check_out(&out, &m);
        ask_if_due(&m);
    }
    take_all(&out, &m);
    queue_free(&out.queue);
    uint32_t h;
    struct slice text = slice_of((const char *)data, n);
    if (sm_parse_h(text, &h)) {
        char *copy = mem_dup(text);
        FUZZ_CHECK(strtoull(copy, NULL, 10) == h);
        free(copy);
    }
    return 0;
}
