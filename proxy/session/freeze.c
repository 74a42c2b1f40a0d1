/* A session as a record, and back. Over a clean stop of the node (store.file): when the server has confirmed what it
 * can, all that the session is made of becomes a record in the store; the next start makes a stranded session of it,
 * whose client logs in anew. In a store that outlives the node (keeping.c) the queues are kept beside the record. */
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "chat_states.h"
#include "contacts.h"
#include "receipts.h"
#include "record.h"
#include "resent.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include <stdlib.h>

#define FORMAT 3
/* For the last confirmations: what is still unconfirmed then is sent twice. */
#define CONFIRM_TIME (2 * USEC_S)

bool session_freeze(struct session *s)
{
    if (!session_can_strand(s) || s->freeze_by)
        return s->freeze_by != 0;
    s->freeze_by = s->cx->clock->mono + CONFIRM_TIME;
    if (s->resuming)
        client_leg_close(s->resuming, CLOSE_SHUTDOWN, GOODBYE_CUT);
    if (s->client)
        client_leg_close(s->client, CLOSE_SHUTDOWN, GOODBYE_CUT);
    session_dirty(s);
    return true;
}

/* ---- to bytes ---- */

static void save_identity(const struct session *s, struct buf *out)
{
    struct owner_place place = {0};
    char previd[PREVID_SIZE];
    owner_find(s->cx->owner, s->sid, &place);
    record_number(out, FORMAT);
    record_text(out, slice_str(session_previd(s, previd)));
    record_text(out, slice_str(s->jid));
    record_text(out, session_domain(s));
    record_text(out, slice_str(place.proof));
    record_text(out, slice_str(session_sm_ns(s)));
    record_number(out, s->max);
    record_number(out, s->cx->clock->wall - (s->cx->clock->mono - s->born));
    record_number(out, s->cx->clock->wall - (s->cx->clock->mono - s->changed));
    owner_place_clear(&place);
}

static void save_counts(const struct session *s, struct buf *out)
{
    record_number(out, (int64_t)s->in.safe);
    record_number(out, (int64_t)s->in.told);
    record_number(out, (int64_t)s->out.acked);
    record_number(out, (int64_t)s->out.written);
    record_number(out, (int64_t)s->resumes);
    record_number(out, (int64_t)s->stanzas_up);
    record_number(out, (int64_t)s->stanzas_down);
    record_number(out, s->told.available);
}

void freeze_head(const struct session *s, struct buf *out)
{
    save_identity(s, out);
    save_counts(s, out);
}

void freeze_rest(struct session *s, struct buf *out)
{
    setup_save(s, out);
    rooms_save(s, out);
    sightings_save(s, out);
    pending_save(s, out);
    contacts_save(s->contacts, out);
    receipts_save(s, out);
    chat_states_save(s, out);
    resent_save(s, out);
}

static void freeze(struct session *s)
{
    struct buf out = {0};
    rebuild_caught_up(s);
    receipts_last_call(s);
    parking_append_all(s);
    freeze_head(s, &out);
    record_queue(&out, &s->out.queue);
    record_queue(&out, s->lingering ? s->lingering : &(struct queue){0});
    record_queue(&out, &s->unconfirmed);
    freeze_rest(s, &out);
    s->cx->store->ops->session_put(s->cx->store, s->sid, buf_slice(&out));
    buf_free(&out);
    LOG(LOG_INFO, "session kept over the stop", LF("sid", s->sid), LF_INT("unacked", s->out.queue.count),
        LF_INT("unconfirmed", s->unconfirmed.count));
    session_put_away(s);
}

static void release(struct session *s)
{
    rebuild_caught_up(s);
    receipts_last_call(s);
    parking_append_all(s);
    keeping_release(s);
}

void freeze_turn(struct session *s)
{
    if (!s->freeze_by || session_is_releasing(s) || s->state != SESSION_DETACHED)
        return;
    bool settled = uplink_is_safe(s) && (!s->kept || !s->unconfirmed.count);
    if (s->up && !settled && s->cx->clock->mono < s->freeze_by)
        return;
    if (s->kept)
        release(s);
    else
        freeze(s);
}

/* ---- and back ---- */

static usec mono_of(const struct context *cx, usec wall)
{
    usec ago = cx->clock->wall - wall;
    return cx->clock->mono - (ago > 0 ? ago : 0);
}

static void load_identity(struct session *s, struct record_reader *in, struct slice *proof)
{
    in->bad |= record_take_number(in) != FORMAT;
    in->bad |= !previd_read(record_take_text(in), &s->secret);
    struct slice jid = record_take_text(in), domain = record_take_text(in);
    session_name(s, jid, domain);
    *proof = record_take_text(in);
    s->sm2 = slice_eq_str(record_take_text(in), NS_SM2);
    s->max = record_take_number(in);
    s->born = mono_of(s->cx, record_take_number(in));
    s->changed = mono_of(s->cx, record_take_number(in));
}

static void load_counts(struct session *s, struct record_reader *in)
{
    s->in.safe = (uint64_t)record_take_number(in);
    s->in.told = (uint64_t)record_take_number(in);
    s->out.acked = (uint64_t)record_take_number(in);
    s->out.written = (uint64_t)record_take_number(in);
    s->resumes = (uint32_t)record_take_number(in);
    s->stanzas_up = (uint64_t)record_take_number(in);
    s->stanzas_down = (uint64_t)record_take_number(in);
    s->told.available = record_take_number(in);
}

/* Numbers are contiguous and end where they are known to. */
static void load_queue(struct session *s, struct record_reader *in, struct queue *q, uint64_t before)
{
    q->last_number = before;
    for (size_t n = record_take_count(in); n && !in->bad; n--) {
        struct entry *e = record_take_entry(in);
        in->bad |= !e || e->number != q->last_number + 1;
        if (in->bad) {
            entry_free(e);
            return;
        }
        context_memory(s->cx, (int64_t)entry_cost(e->n));
        queue_append(q, e);
        fate_mark(s->cx, e);
    }
}

static void count_restored(struct session *s)
{
    struct counters *c = s->cx->counters;
    count_add(c, METRIC_restored_down, (int64_t)s->out.queue.count);
    count_add(c, METRIC_unacked_stanzas, (int64_t)s->out.queue.count);
    count_add(c, METRIC_unacked_bytes, (int64_t)s->out.queue.bytes);
    count_add(c, METRIC_restored_up, (int64_t)s->unconfirmed.count);
    count_add(c, METRIC_unconfirmed_stanzas, (int64_t)s->unconfirmed.count);
    count_add(c, METRIC_unconfirmed_bytes, (int64_t)s->unconfirmed.bytes);
}

/* The number of the first one of a queue, looked at in the record; its queue begins behind the one before. */
static void load_queues(struct session *s, struct record_reader *in)
{
    load_queue(s, in, &s->out.queue, s->out.acked);
    struct record_reader look = *in;
    bool lingers = record_take_count(&look) > 0;
    uint64_t first = lingers ? (uint64_t)record_take_number(&look) : s->in.safe + 1;
    struct queue lingering = {0};
    load_queue(s, in, &lingering, first - 1);
    in->bad |= lingers && lingering.last_number != s->in.safe;
    if (lingering.count) {
        s->lingering = SLAB_NEW(SLAB_SESSION, struct queue);
        *s->lingering = lingering;
    }
    load_queue(s, in, &s->unconfirmed, s->in.safe);
    s->in.received = s->unconfirmed.last_number;
}

bool thaw(struct session *s, struct slice record, void (*queues)(struct session *s, struct record_reader *in))
{
    struct record_reader in = {.rest = record};
    struct slice proof;
    load_identity(s, &in, &proof);
    load_counts(s, &in);
    queues(s, &in);
    setup_load(s, &in);
    rooms_load(s, &in);
    sightings_load(s, &in);
    pending_load(s, &in);
    contacts_load(s, &in);
    receipts_load(s, &in); /* behind its queue and its contacts */
    chat_states_load(s, &in);
    resent_load(s, &in);
    if (in.bad || in.rest.n || s->account_n == 0 || s->account_n >= s->jid_n) {
        LOG(LOG_ERROR, "a kept session cannot be read", LF("sid", s->sid), LF_INT("at", record.n - in.rest.n));
        return false;
    }
    char *text = proof.n ? mem_dup(proof) : NULL;
    count_restored(s);
    session_stand_by(s, text);
    free(text);
    return true;
}

bool session_thaw(struct context *cx, const char *sid, struct slice record)
{
    struct session *s = session_blank(cx);
    memcpy(s->sid, sid, SID_SIZE);
    if (!thaw(s, record, load_queues)) {
        session_drop_blank(s);
        return false;
    }
    LOG(LOG_INFO, "session back from the store", LF("sid", s->sid), LF_INT("unacked", s->out.queue.count),
        LF_INT("unconfirmed", s->unconfirmed.count));
    return true;
}
