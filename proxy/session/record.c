#include "record.h"
#include <inttypes.h>
#include <stdlib.h>

void record_number(struct buf *out, int64_t n)
{
    buf_printf(out, "%" PRId64 "\n", n);
}

void record_text(struct buf *out, struct slice text)
{
    record_number(out, (int64_t)text.n);
    buf_add(out, text);
    BUF_LIT(out, "\n");
}

void record_entry(struct buf *out, const struct entry *e)
{
    record_number(out, (int64_t)e->number);
    record_number(out, e->arrived);
    record_number(out, e->name_end);
    record_number(out, e->open_end);
    record_number(out, e->close_at);
    record_number(out, e->class);
    record_number(out, e->delayed);
    record_number(out, e->receipted);
    record_number(out, e->stamp || e->origin); /* mail is stamped, and is the session's own from now on */
    record_text(out, entry_slice(e));
}

void record_queue(struct buf *out, const struct queue *q)
{
    record_number(out, (int64_t)q->count);
    for (const struct entry *e = q->first; e; e = e->next)
        record_entry(out, e);
}

/* ---- back ---- */

int64_t record_take_number(struct record_reader *r)
{
    char text[24], *end = text;
    const char *stop = r->rest.n ? memchr(r->rest.p, '\n', r->rest.n) : NULL;
    size_t n = stop ? (size_t)(stop - r->rest.p) : 0;
    if (r->bad || n == 0 || n >= sizeof text) {
        r->bad = true;
        return 0;
    }
    memcpy(text, r->rest.p, n);
    text[n] = '\0';
    int64_t number = strtoll(text, &end, 10);
    r->bad = *end != '\0';
    r->rest = slice_skip(r->rest, n + 1);
    return r->bad ? 0 : number;
}

size_t record_take_count(struct record_reader *r)
{
    int64_t n = record_take_number(r);
    r->bad |= n < 0 || (uint64_t)n > r->rest.n;
    return r->bad ? 0 : (size_t)n;
}

struct slice record_take_text(struct record_reader *r)
{
    size_t n = record_take_count(r);
    if (r->bad || r->rest.n <= n || r->rest.p[n] != '\n') {
        r->bad = true;
        return SLICE_NONE;
    }
    struct slice text = n ? slice_of(r->rest.p, n) : SLICE_NONE;
    r->rest = slice_skip(r->rest, n + 1);
    return text;
}

static int64_t take_at_most(struct record_reader *r, int64_t most)
{
    int64_t n = record_take_number(r);
    r->bad |= n < 0 || n > most;
    return r->bad ? 0 : n;
}

struct entry *record_take_entry(struct record_reader *r)
{
    struct entry head = {0};
    head.number = (uint64_t)record_take_number(r);
    head.arrived = record_take_number(r);
    head.name_end = (uint32_t)take_at_most(r, UINT32_MAX);
    head.open_end = (uint32_t)take_at_most(r, UINT32_MAX);
    head.close_at = (uint32_t)take_at_most(r, UINT32_MAX);
    head.class = (uint8_t)take_at_most(r, CLASS_PRESENCE);
    head.delayed = take_at_most(r, 1);
    head.receipted = take_at_most(r, 1);
    head.stamp = take_at_most(r, 1);
    struct slice bytes = record_take_text(r);
    r->bad |=
        bytes.n > UINT32_MAX || head.name_end > head.open_end || head.open_end > bytes.n || head.close_at > bytes.n;
    if (r->bad)
        return NULL;
    struct entry *e = entry_copy(bytes, head.arrived);
    e->number = head.number;
    e->name_end = head.name_end;
    e->open_end = head.open_end;
    e->close_at = head.close_at;
    e->class = head.class;
    e->delayed = head.delayed;
    e->receipted = head.receipted;
    e->stamp = head.stamp;
    return e;
}
