/* What comes for a detached session and will be out of date soon: presence (the newest per sender) and chat states. It
 * waits beside the queue without numbers and is appended when the client is back. */
#include "base/index.h"
#include "base/log.h"
#include "base/mem.h"
#include "session_impl.h"
#include <stdlib.h>

struct parking {
    struct index *by_key; /* of struct parked */
    struct list order;
    size_t bytes;
};

struct parked {
    struct list link; /* oldest first */
    struct entry *entry;
    size_t key_n;
    char key[];
};

static struct slice key_of(const void *parked)
{
    const struct parked *p = parked;
    return slice_of(p->key, p->key_n);
}

static bool is_presence(const struct element *e)
{
    return e->kind == ELEMENT_PRESENCE && (!e->type.p || slice_eq_str(e->type, "unavailable"));
}

bool parking_wants(const struct element *e)
{
    return is_presence(e) || (e->kind == ELEMENT_MESSAGE && stanza_classify(e) == CLASS_CHAT_STATE);
}

static void count_parked(struct session *s, const struct entry *e, int sign)
{
    count_add(s->cx->counters, METRIC_parked_stanzas, sign);
    s->parking->bytes += (size_t)(sign * (int64_t)entry_cost(e->n));
    context_memory(s->cx, sign * (int64_t)entry_cost(e->n));
}

static struct entry *unpark(struct session *s, struct parked *p)
{
    struct entry *e = p->entry;
    count_parked(s, e, -1);
    index_remove(s->parking->by_key, key_of(p));
    list_remove(&p->link);
    free(p);
    return e;
}

static void discard(struct session *s, struct parked *p)
{
    struct entry *e = unpark(s, p);
    count(s->cx->counters,
          e->class == CLASS_PRESENCE ? METRIC_down_discarded_presence : METRIC_down_discarded_chat_state);
    fate_tell(s, FATE_DISCARDED, e);
    entry_free(e);
}

static void build_key(struct buf *key, enum element_kind kind, struct slice from)
{
    BUF_LIT(key, "");
    buf_append(key, kind == ELEMENT_PRESENCE ? "p" : "c", 1);
    buf_add(key, from);
}

static struct parked *find(struct session *s, enum element_kind kind, struct slice from)
{
    struct buf key = {0};
    build_key(&key, kind, from);
    struct parked *p = index_get(s->parking->by_key, buf_slice(&key));
    buf_free(&key);
    return p;
}

static bool is_crowded(const struct session *s)
{
    const struct settings *set = s->cx->settings;
    return index_count(s->parking->by_key) > set->sm.queue_stanzas || s->parking->bytes > set->sm.queue_bytes ||
           context_memory_full(s->cx);
}

static void begin(struct session *s)
{
    s->parking = MEM_NEW(struct parking);
    s->parking->by_key = index_new(key_of);
    list_init(&s->parking->order);
}

static void end(struct session *s)
{
    if (s->parking)
        index_free(s->parking->by_key);
    free(s->parking);
    s->parking = NULL;
}

void parking_park(struct session *s, const struct element *e)
{
    if (!s->parking)
        begin(s);
    struct parked *old = find(s, e->kind, e->from);
    if (old)
        discard(s, old);
    struct buf key = {0};
    build_key(&key, e->kind, e->from);
    struct parked *p = mem_alloc(sizeof *p + key.n);
    p->entry = entry_new(e, leg_extra_ns(&s->up->leg, e), s->cx->clock->wall);
    p->entry->id = fate_id(s->cx, e->id);
    fate_tell(s, FATE_PARKED, p->entry);
    p->key_n = key.n;
    memcpy(p->key, key.data + key.off, key.n);
    buf_free(&key);
    list_append(&s->parking->order, &p->link);
    index_put(s->parking->by_key, p);
    count_parked(s, p->entry, 1);
    while (index_count(s->parking->by_key) > 1 && is_crowded(s)) /* many senders: the oldest make room */
        discard(s, CONTAINER_OF(list_first(&s->parking->order), struct parked, link));
}

/* A real message of the same sender ends its `composing`. */
void parking_forget_chat_state(struct session *s, const struct element *e)
{
    struct parked *p = e->kind == ELEMENT_MESSAGE ? find(s, ELEMENT_MESSAGE, e->from) : NULL;
    if (p)
        discard(s, p);
}

void parking_append_all(struct session *s)
{
    for (struct list *it; s->parking && (it = list_first(&s->parking->order));)
        downlink_append(s, unpark(s, CONTAINER_OF(it, struct parked, link)));
    end(s);
}

void parking_discard_all(struct session *s)
{
    for (struct list *it; s->parking && (it = list_first(&s->parking->order));)
        discard(s, CONTAINER_OF(it, struct parked, link));
    end(s);
}

size_t parking_count(const struct session *s)
{
    return s->parking ? index_count(s->parking->by_key) : 0;
}

size_t parking_bytes(const struct session *s)
{
    return s->parking ? s->parking->bytes : 0;
}
