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

void sm_in_request(const struct sm_in *in, struct sm_in_leg *leg, usec now, usec answer_delay)
{
    if (!leg->asked) {
        leg->asked_from = in->received;
        leg->answer_by = now + answer_delay;
    }
    leg->asked = true;
    leg->asked_upto = in->received;
}

bool sm_in_due(const struct sm_in *in, const struct sm_in_leg *leg, usec now)
{
    if (leg->asked)
        return in->safe >= leg->asked_from || now >= leg->answer_by;
    return leg->owed && in->safe >= leg->owed;
}

void sm_in_told(struct sm_in *in, struct sm_in_leg *leg, usec now, usec answer_delay)
{
    bool early = leg->asked && in->safe >= leg->asked_from && in->safe < leg->asked_upto;
    if (leg->asked && in->safe < leg->asked_from)
        leg->owed = leg->asked_upto; /* short of any request: made good without being asked (XEP-0198 4 allows it) */
    else if (in->safe >= leg->owed)
        leg->owed = 0;
    leg->asked = early; /* the newer requests go on waiting */
    if (early) {
        leg->asked_from = in->safe + 1;
        leg->answer_by = now + answer_delay;
    }
    in->told = in->safe;
}

struct sm_out_leg sm_out_attach(const struct sm_out *out)
{
    return (struct sm_out_leg){.next = out->queue.first, .sent = out->acked, .asked = out->acked};
}

void sm_out_append(struct sm_out *out, struct sm_out_leg *leg, struct entry *e)
{
    queue_append(&out->queue, e);
    if (leg && !leg->next)
        leg->next = e;
}

struct entry *sm_out_next(const struct sm_out_leg *leg)
{
    return leg->next;
}

void sm_out_wrote(struct sm_out *out, struct sm_out_leg *leg, usec now)
{
    if (leg->sent <= leg->asked)
        leg->unasked_since = now;
    leg->sent = leg->next->number;
    if (out->written < leg->sent)
        out->written = leg->sent;
    leg->next = leg->next->next;
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

/* An ack may tell of more than was written on this connection: what an earlier one had carried over. */
static void skip_acked(struct sm_out_leg *leg, uint64_t count)
{
    while (leg->next && leg->next->number <= count)
        leg->next = leg->next->next;
    if (leg->sent < count)
        leg->sent = count;
    if (leg->asked < count)
        leg->asked = count;
}

void sm_out_acked(struct sm_out *out, struct sm_out_leg *leg, uint64_t count)
{
    if (count <= out->acked)
        return;
    out->acked = count;
    if (leg)
        skip_acked(leg, count);
}

struct entry *sm_out_take(struct sm_out *out)
{
    return queue_take(&out->queue, out->acked);
}

void sm_out_answered(const struct sm_out *out, struct sm_out_leg *leg, usec now, usec request_delay, usec longest)
{
    leg->asking = false;
    if (out->acked >= leg->asked) {
        leg->ask_again_at = leg->ask_again_wait = 0;
        return;
    }
    if (leg->ask_again_at)
        return;
    leg->ask_again_wait = leg->ask_again_wait ? leg->ask_again_wait * 2 : request_delay;
    if (leg->ask_again_wait > longest)
        leg->ask_again_wait = longest;
    leg->ask_again_at = now + leg->ask_again_wait;
}

bool sm_out_due(const struct sm_out_leg *leg, usec now, unsigned every, usec delay)
{
    if (leg->asking)
        return false;
    if (leg->ask_again_at && now >= leg->ask_again_at)
        return true;
    return leg->sent > leg->asked && (leg->sent - leg->asked >= every || now >= leg->unasked_since + delay);
}

usec sm_out_due_at(const struct sm_out_leg *leg, usec delay)
{
    if (leg->asking)
        return -1;
    usec at = leg->sent > leg->asked ? leg->unasked_since + delay : -1;
    if (leg->ask_again_at && (at < 0 || leg->ask_again_at < at))
        at = leg->ask_again_at;
    return at;
}

void sm_out_asked(struct sm_out_leg *leg, usec now)
{
    leg->asking = true;
    leg->asked = leg->sent;
    leg->asked_time = now;
    leg->ask_again_at = 0;
}
