#include "session/fates.h"
#include "base/mem.h"
#include "session_impl.h"
#include "xmpp/xml.h"
#include <stdlib.h>

struct fates {
    struct hash_key key;
    size_t size;
    uint64_t count; /* notes ever made; the next one's place is that modulo size */
    struct fate_note ring[];
};

static const struct {
    const char *name;
    enum fate_direction direction;
} steps[] = {
#define STEP_(upper, lower, direction) [FATE_##upper] = {#lower, FATE_##direction},
    FATE_STEPS(STEP_)
#undef STEP_
};

const char *fate_step_name(enum fate_step step)
{
    return steps[step].name;
}

enum fate_direction fate_step_direction(enum fate_step step)
{
    return steps[step].direction;
}

/* ---- the ring ---- */

struct fates *fates_new(const struct hash_key *key, size_t size)
{
    struct fates *f = mem_zalloc(sizeof *f + size * sizeof f->ring[0]);
    f->key = *key;
    f->size = size;
    return f;
}

void fates_free(struct fates *f)
{
    free(f);
}

size_t fates_size(const struct fates *f)
{
    return f ? f->size : 0;
}

uint64_t fates_hash(const struct hash_key *key, struct slice id)
{
    uint64_t hash = hash_of(key, id);
    return hash ? hash : 1;
}

void fates_add(struct fates *f, const struct fate_note *note)
{
    f->ring[f->count++ % f->size] = *note;
}

usec fates_each(const struct fates *f, uint64_t id, void (*visit)(void *ctx, const struct fate_note *note), void *ctx)
{
    uint64_t first = f->count > f->size ? f->count - f->size : 0;
    for (uint64_t i = first; i < f->count; i++)
        if (f->ring[i % f->size].id == id)
            visit(ctx, &f->ring[i % f->size]);
    return first ? f->ring[first % f->size].at : 0;
}

/* ---- what sessions note ---- */

uint64_t fate_id(const struct context *cx, struct slice id)
{
    return cx->fates && id.n ? fates_hash(&cx->fates->key, id) : 0;
}

void fate_mark(const struct context *cx, struct entry *e)
{
    const struct node *root;
    if (!cx->fates || e->id || !e->n)
        return;
    struct xml_tree *tree = xml_tree_parse(entry_slice(e), &root);
    if (tree)
        e->id = fate_id(cx, node_attr(root, "id"));
    xml_tree_free(tree);
}

void fate_mark_queue(const struct context *cx, const struct queue *q)
{
    for (struct entry *e = q->first; cx->fates && e; e = e->next)
        fate_mark(cx, e);
}

void fate_note_of(struct context *cx, const char *sid, uint64_t leg, enum fate_step step, enum close_reason reason,
                  const struct entry *e)
{
    struct fate_note note = {.at = cx->clock->wall,
                             .id = e->id,
                             .number = e->number,
                             .leg = leg,
                             .step = (uint8_t)step,
                             .class = e->class,
                             .reason = (uint8_t)reason};
    memcpy(note.sid, sid, SID_SIZE);
    fates_add(cx->fates, &note);
}

/* The connection that the step has to do with. */
static uint64_t leg_of(const struct session *s, enum fate_step step)
{
    bool upstream = step == FATE_QUEUED || step == FATE_PARKED || step == FATE_CONFIRMED || step == FATE_REPEATED ||
                    step == FATE_POSTED || step == FATE_RECEIPT;
    if (upstream)
        return s->up ? s->up->number : 0;
    return s->client ? s->client->number : 0;
}

void fate_note_step(struct session *s, enum fate_step step, const struct entry *e)
{
    fate_note_of(s->cx, s->sid, leg_of(s, step), step, CLOSE_REASON_COUNT, e);
}

void fate_note_element(struct session *s, enum fate_step step, const struct element *e)
{
    fate_note_step(s, step, &(struct entry){.id = fate_id(s->cx, e->id), .class = (uint8_t)stanza_classify(e)});
}
