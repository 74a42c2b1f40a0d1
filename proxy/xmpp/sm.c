#include "xmpp/sm.h"

bool sm_parse_h(struct slice text, uint32_t *h_r)
{
    uint64_t value = 0;
    if (text.n == 0 || text.n > 10)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text.p[i] - '0');
    }
    if (value > UINT32_MAX)
        return false;
    *h_r = (uint32_t)value;
    return true;
}

bool sm_parse_bool(struct slice text)
{
    return slice_eq_str(text, "true") || slice_eq_str(text, "1");
}

void sm_in_attach(struct sm_in *in)
{
    in->asked = false;
    in->asked_from = in->asked_upto = in->owed = 0;
    in->answer_by = 0;
}

void sm_in_request(struct sm_in *in, usec now, usec answer_delay)
{
    if (!in->asked) {
        in->asked_from = in->received;
        in->answer_by = now + answer_delay;
    }
    in->asked = true;
    in->asked_upto = in->received;
}

bool sm_in_due(const struct sm_in *in, usec now)
{
    if (in->asked)
        return in->safe >= in->asked_from || now >= in->answer_by;
    return in->owed && in->safe >= in->owed;
}

void sm_in_told(struct sm_in *in, usec now, usec answer_delay)
{
    bool early = in->asked && in->safe >= in->asked_from && in->safe < in->asked_upto;
    if (in->asked && in->safe < in->asked_from)
        in->owed = in->asked_upto; /* short of any request: made good without being asked (XEP-0198 4 allows it) */
    else if (in->safe >= in->owed)
        in->owed = 0;
    in->asked = early; /* the newer requests go on waiting */
    if (early) {
        in->asked_from = in->safe + 1;
        in->answer_by = now + answer_delay;
    }
    in->told = in->safe;
}

void sm_out_attach(struct sm_out *out)
{
    out->next = out->queue.first;
    out->sent = out->asked = out->acked;
    out->asking = false;
    out->asked_time = out->unasked_since = out->ask_again_at = out->ask_again_wait = 0;
}

void sm_out_append(struct sm_out *out, struct entry *e)
{
    queue_append(&out->queue, e);
    if (!out->next)
        out->next = e;
}

struct entry *sm_out_next(const struct sm_out *out)
{
    return out->next;
}

void sm_out_wrote(struct sm_out *out, usec now)
{
    if (out->sent <= out->asked)
        out->unasked_since = now;
    out->sent = out->next->number;
    if (out->written < out->sent)
        out->written = out->sent;
    out->next = out->next->next;
}

enum sm_ack sm_out_check(const struct sm_out *out, uint32_t h, uint64_t *count_r)
{
    uint32_t ahead = h - sm_wire(out->acked); /* modulo 2^32 */
    *count_r = out->acked;
    if (ahead <= out->written - out->acked) {
        *count_r = out->acked + ahead;
        return SM_ACK_OK;
    }
    return ahead >= UINT32_C(1) << 31 && out->acked >= (uint64_t)(uint32_t)-ahead ? SM_ACK_OLD : SM_ACK_TOO_HIGH;
}

void sm_out_acked(struct sm_out *out, uint64_t count)
{
    if (count <= out->acked)
        return;
    out->acked = count;
    /* an ack may tell of more than was written on this connection: what an earlier one had carried over */
    while (out->next && out->next->number <= count)
        out->next = out->next->next;
    if (out->sent < count)
        out->sent = count;
    if (out->asked < count)
        out->asked = count;
}

struct entry *sm_out_take(struct sm_out *out)
{
    return queue_take(&out->queue, out->acked);
}

void sm_out_answered(struct sm_out *out, usec now, usec request_delay, usec longest)
{
    out->asking = false;
    if (out->acked >= out->asked) {
        out->ask_again_at = out->ask_again_wait = 0;
        return;
    }
    if (out->ask_again_at)
        return;
    out->ask_again_wait = out->ask_again_wait ? out->ask_again_wait * 2 : request_delay;
    if (out->ask_again_wait > longest)
        out->ask_again_wait = longest;
    out->ask_again_at = now + out->ask_again_wait;
}

bool sm_out_due(const struct sm_out *out, usec now, unsigned every, usec delay)
{
    if (out->asking)
        return false;
    if (out->ask_again_at && now >= out->ask_again_at)
        return true;
    return out->sent > out->asked && (out->sent - out->asked >= every || now >= out->unasked_since + delay);
}

usec sm_out_due_at(const struct sm_out *out, usec delay)
{
    if (out->asking)
        return -1;
    usec at = out->sent > out->asked ? out->unasked_since + delay : -1;
    if (out->ask_again_at && (at < 0 || out->ask_again_at < at))
        at = out->ask_again_at;
    return at;
}

void sm_out_asked(struct sm_out *out, usec now)
{
    out->asking = true;
    out->asked = out->sent;
    out->asked_time = now;
    out->ask_again_at = 0;
}
