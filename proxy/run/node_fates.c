/* Where is a message: each worker copies its notes of that id, the thread of the control socket waits, merges and tells
 * them. */
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "node_control.h"
#include "question.h"
#include "session/fates.h"
#include "session/session.h"
#include <inttypes.h>
#include <stdlib.h>

#define ANSWER_TIME USEC_S
/* Ids are for those who make them; some count from one, in each session anew. */
#define NOTES_TOLD 500

struct part {
    struct fate_note notes[NOTES_TOLD]; /* a ring: the newest */
    size_t n;                           /* found in all */
    usec since;
    bool off;
};

struct trace {
    struct question question;
    uint64_t id;
    unsigned workers;
    struct part *parts;
};

static void trace_free(struct question *q)
{
    struct trace *t = CONTAINER_OF(q, struct trace, question);
    free(t->parts);
    free(t);
}

static void take(void *ctx, const struct fate_note *note)
{
    struct part *part = ctx;
    part->notes[part->n++ % NOTES_TOLD] = *note;
}

/* Nobody reads this worker's part before it has answered. */
static void trace_worker(void *owner, void *arg)
{
    struct context *cx = worker_context(owner);
    struct trace *t = arg;
    struct part *part = &t->parts[cx->worker];
    if (cx->fates)
        part->since = fates_each(cx->fates, t->id, take, part);
    else
        part->off = true;
    question_answer(&t->question);
}

/* ---- in order ---- */

static const struct fate_note *next_of(const struct part *part, size_t at)
{
    return at < part->n ? &part->notes[at % NOTES_TOLD] : NULL;
}

/* All that there is, of all workers, oldest first; free() it. A worker's own stay in their order, whatever the clock
 * says. */
static struct fate_note *merge(const struct trace *t, size_t *n_r)
{
    struct fate_note *all = mem_alloc((t->workers * NOTES_TOLD + 1) * sizeof *all);
    size_t *at = mem_zalloc(t->workers * sizeof *at), n = 0;
    for (unsigned w = 0; w < t->workers; w++)
        at[w] = t->parts[w].n > NOTES_TOLD ? t->parts[w].n - NOTES_TOLD : 0;
    for (;;) {
        const struct fate_note *first = NULL, *note;
        unsigned of = 0;
        for (unsigned w = 0; w < t->workers; w++) {
            note = next_of(&t->parts[w], at[w]);
            if (note && (!first || note->at < first->at)) {
                first = note;
                of = w;
            }
        }
        if (!first)
            break;
        all[n++] = *first;
        at[of]++;
    }
    free(at);
    *n_r = n;
    return all;
}

/* ---- in words ---- */

static const char *class_name(uint8_t class)
{
    static const char *const name[] = {
        [CLASS_KEEP] = "message",        [CLASS_MESSAGE] = "fleeting_message", [CLASS_CHAT_STATE] = "chat_state",
        [CLASS_GROUPCHAT] = "groupchat", [CLASS_IQ_REQUEST] = "iq_request",    [CLASS_IQ_REPLY] = "iq_reply",
        [CLASS_PRESENCE] = "presence"};
    return name[class];
}

static void add_note(struct buf *out, const struct fate_note *note)
{
    char stamp[CLOCK_STAMP_SIZE];
    buf_printf(out, "{\"time\":\"%s\",\"step\":\"%s\",\"direction\":\"%s\",\"class\":\"%s\",\"sid\":\"%s\"",
               clock_stamp(stamp, note->at), fate_step_name(note->step),
               fate_step_direction(note->step) == FATE_UPLINK ? "uplink" : "downlink", class_name(note->class),
               note->sid);
    if (note->leg)
        buf_printf(out, ",\"leg\":%" PRIu64, note->leg);
    if (note->number)
        buf_printf(out, ",\"number\":%" PRIu64, note->number);
    if (note->reason != CLOSE_REASON_COUNT)
        buf_printf(out, ",\"reason\":\"%s\"", close_reason_name((enum close_reason)note->reason));
    BUF_LIT(out, "}");
}

static bool has_other_nodes(struct proxy_node *node)
{
    return worker_context(node->workers[0])->store->kept != NULL;
}

static usec since(const struct trace *t)
{
    usec newest = 0;
    for (unsigned w = 0; w < t->workers; w++)
        newest = t->parts[w].since > newest ? t->parts[w].since : newest;
    return newest;
}

static enum control_result none(const struct trace *t, struct proxy_node *node, struct buf *out)
{
    char stamp[CLOCK_STAMP_SIZE];
    usec from = since(t);
    if (t->parts[0].off) {
        buf_add_str(out, "limits.fates is 0: nothing is noted");
        return CONTROL_REFUSED;
    }
    buf_printf(out, "node %s has noted nothing of a stanza with that id", node->name);
    if (from)
        buf_printf(out, "; it remembers what passed since %s", clock_stamp(stamp, from));
    if (has_other_nodes(node))
        BUF_LIT(out, "; ask the other nodes too");
    return CONTROL_UNKNOWN;
}

static enum control_result tell(const struct trace *t, struct proxy_node *node, struct slice id, struct buf *out)
{
    char stamp[CLOCK_STAMP_SIZE];
    size_t n, found = 0;
    struct fate_note *all = merge(t, &n);
    for (unsigned w = 0; w < t->workers; w++)
        found += t->parts[w].n;
    size_t from = n > NOTES_TOLD ? n - NOTES_TOLD : 0;
    BUF_LIT(out, "\"id\":");
    json_quote(out, id);
    BUF_LIT(out, ",\"node\":");
    json_quote(out, slice_str(node->name));
    buf_printf(out, ",\"other_nodes\":%s,\"left_out\":%zu,\"since\":", has_other_nodes(node) ? "true" : "false",
               found - (n - from));
    if (since(t))
        buf_printf(out, "\"%s\"", clock_stamp(stamp, since(t)));
    else
        BUF_LIT(out, "null");
    BUF_LIT(out, ",\"steps\":[");
    for (size_t i = from; i < n; i++) {
        if (i > from)
            BUF_LIT(out, ",\n");
        add_note(out, &all[i]);
    }
    BUF_LIT(out, "]");
    free(all);
    return n ? CONTROL_DONE : CONTROL_UNKNOWN;
}

enum control_result node_tell_message(void *ctx, struct slice id, struct buf *out)
{
    struct proxy_node *node = ctx;
    struct trace *t = MEM_NEW(struct trace);
    enum control_result result = CONTROL_LATE;
    question_init(&t->question, trace_free);
    t->id = fates_hash(&node->fates_key, id);
    t->workers = node->worker_count;
    t->parts = mem_zalloc(t->workers * sizeof *t->parts);
    for (unsigned w = 0; w < t->workers; w++)
        question_post(&t->question, worker_inbox(node->workers[w]), trace_worker);
    size_t found = 0;
    if (question_wait(&t->question, ANSWER_TIME)) {
        for (unsigned w = 0; w < t->workers; w++)
            found += t->parts[w].n;
        result = found ? tell(t, node, id, out) : none(t, node, out);
    } else {
        buf_add_str(out, "the workers did not answer in time");
    }
    question_release(&t->question);
    return result;
}
