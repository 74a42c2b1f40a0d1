#include "xmpp/queue.h"
#include "base/mem.h"
#include "xmpp/stanza.h"
#include <stdlib.h>

enum stanza_class stanza_classify(const struct element *e)
{
    if (e->kind == ELEMENT_PRESENCE)
        return CLASS_PRESENCE;
    if (e->kind == ELEMENT_IQ)
        return slice_eq_str(e->type, "get") || slice_eq_str(e->type, "set") ? CLASS_IQ_REQUEST : CLASS_IQ_REPLY;
    if (slice_eq_str(e->type, "groupchat"))
        return CLASS_GROUPCHAT;
    if (slice_eq_str(e->type, "error") || slice_eq_str(e->type, "headline") ||
        (e->facts & (FACT_CARBON | FACT_ARCHIVED)))
        return CLASS_MESSAGE;
    if (e->facts & FACT_PAYLOAD)
        return CLASS_KEEP;
    return e->facts & FACT_CHAT_STATE ? CLASS_CHAT_STATE : CLASS_MESSAGE;
}

/* Of a presence there is no tree; a name cannot be spelled otherwise. Too much is taken for secret, nothing too little.
 */
bool stanza_is_secret(const struct element *e)
{
    if (e->kind == ELEMENT_PRESENCE)
        return (e->facts & FACT_MUC_JOIN) && memmem(e->bytes.p, e->bytes.n, "password", 8);
    return e->kind == ELEMENT_IQ && slice_eq_str(e->type, "set") &&
           ((e->facts & (FACT_REGISTER | FACT_IQ_AUTH)) || node_child(e->tree, NS_MUC_OWNER, "query"));
}

/* ---- memory ---- */

static size_t class_of(size_t n)
{
    return (sizeof(struct entry) + n) / ENTRY_STEP;
}

static struct entry *allocate(struct entry_pool *pool, size_t n)
{
    size_t class = class_of(n), room = (class + 1) * ENTRY_STEP;
    struct entry *entry = pool && class < ENTRY_CLASSES ? pool->free[class] : NULL;
    if (!entry)
        return mem_alloc(room);
    pool->free[class] = entry->next;
    pool->bytes -= room;
    return entry;
}

void entry_give(struct entry_pool *pool, struct entry *e)
{
    size_t class = class_of(e->n), room = (class + 1) * ENTRY_STEP;
    if (class >= ENTRY_CLASSES || pool->bytes + room > pool->most) {
        entry_free(e);
        return;
    }
    free(e->origin);
    e->next = pool->free[class];
    pool->free[class] = e;
    pool->bytes += room;
}

void entry_pool_clear(struct entry_pool *pool)
{
    for (size_t i = 0; i < ENTRY_CLASSES; i++)
        for (struct entry *e; (e = pool->free[i]); free(e))
            pool->free[i] = e->next;
    pool->bytes = 0;
}

static struct entry *copy(struct entry_pool *pool, struct slice bytes, usec arrived)
{
    struct entry *entry = allocate(pool, bytes.n);
    *entry = (struct entry){.arrived = arrived, .n = (uint32_t)bytes.n};
    if (bytes.n)
        memcpy(entry->bytes, bytes.p, bytes.n);
    return entry;
}

struct entry *entry_take(struct entry_pool *pool, const struct element *e, struct slice extra_ns, usec arrived)
{
    struct buf declared = {0};
    struct stanza_bytes bytes = stanza_bytes_of(e);
    size_t added = extra_ns.n ? stanza_write_declared(&declared, &bytes, extra_ns) : 0;
    struct entry *entry = copy(pool, added ? buf_slice(&declared) : e->bytes, arrived);
    entry->name_end = (uint32_t)e->name_end;
    entry->open_end = (uint32_t)(e->open_end + added);
    entry->close_at = (uint32_t)(e->close_at + added);
    entry->class = (uint8_t)stanza_classify(e);
    entry->delayed = e->facts & FACT_DELAY;
    buf_free(&declared);
    return entry;
}

struct entry *entry_new(const struct element *e, struct slice extra_ns, usec arrived)
{
    return entry_take(NULL, e, extra_ns, arrived);
}

struct entry *entry_copy(struct slice bytes, usec arrived)
{
    return copy(NULL, bytes, arrived);
}

struct entry *entry_clone(const struct entry *e)
{
    struct entry *clone = allocate(NULL, e->n); /* with the room that entry_give counts on */
    memcpy(clone, e, sizeof *e + e->n);
    clone->next = NULL;
    clone->origin = mem_strdup(e->origin);
    return clone;
}

void entry_free(struct entry *e)
{
    if (e) {
        free(e->origin);
        free(e);
    }
}

void queue_append(struct queue *q, struct entry *e)
{
    e->number = q->last_number + 1;
    queue_move(q, e);
}

void queue_move(struct queue *q, struct entry *e)
{
    e->next = NULL;
    q->last_number = e->number;
    if (q->last)
        q->last->next = e;
    else
        q->first = e;
    q->last = e;
    q->count++;
    q->bytes += entry_cost(e->n);
}

struct entry *queue_take(struct queue *q, uint64_t upto)
{
    struct entry *e = q->first;
    if (!e || e->number > upto)
        return NULL;
    q->first = e->next;
    if (!q->first)
        q->last = NULL;
    q->count--;
    q->bytes -= entry_cost(e->n);
    e->next = NULL;
    return e;
}

void queue_free(struct queue *q)
{
    for (struct entry *e; (e = queue_take(q, UINT64_MAX));)
        entry_free(e);
}
