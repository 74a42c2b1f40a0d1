/* Whom the client has seen available: full JIDs of contacts, occupants of rooms. When the upstream leg was lost and a
 * fresh one took its place, those who are not seen again within a while have left in the gap, and the client is told.
 */
#include "base/map.h"
#include "base/mem.h"
#include "record.h"
#include "session_impl.h"
#include "xmpp/jid.h"
#include "xmpp/xml.h"
#include <stdlib.h>

/* Whom we do not remember is not told to have left: a client shows them until it asks. Those seen longest ago make
 * room: among them are the occupants of rooms that the client has left, whom no room takes leave of. */
#define SIGHTINGS_MAX 20000

struct sighting {
    struct list link; /* the one seen longest ago first */
    unsigned epoch;
    bool occupant;
    size_t n;
    char jid[];
};

struct sightings {
    struct map *by_jid;
    struct list all;
    unsigned epoch; /* of the upstream leg */
};

static struct slice jid_of(const struct sighting *g)
{
    return slice_of(g->jid, g->n);
}

static void drop(struct session *s, struct sighting *g)
{
    context_memory(s->cx, -(int64_t)(sizeof *g + g->n));
    map_remove(s->sightings->by_jid, jid_of(g));
    list_remove(&g->link);
    free(g);
}

static void add(struct session *s, struct slice jid, bool occupant)
{
    if (context_memory_full(s->cx))
        return;
    if (!s->sightings) {
        s->sightings = MEM_NEW(struct sightings);
        s->sightings->by_jid = map_new();
        list_init(&s->sightings->all);
    }
    if (map_count(s->sightings->by_jid) >= SIGHTINGS_MAX)
        drop(s, CONTAINER_OF(list_first(&s->sightings->all), struct sighting, link));
    struct sighting *g = mem_alloc(sizeof *g + jid.n);
    *g = (struct sighting){.epoch = s->sightings->epoch, .occupant = occupant, .n = jid.n};
    memcpy(g->jid, jid.p, jid.n);
    list_append(&s->sightings->all, &g->link);
    map_put(s->sightings->by_jid, jid_of(g), g);
    context_memory(s->cx, (int64_t)(sizeof *g + g->n));
}

void sightings_note(struct session *s, const struct element *e)
{
    bool available = !e->type.p;
    if ((!available && !slice_eq_str(e->type, "unavailable")) || !e->from.n || slice_eq(e->from, slice_str(s->jid)))
        return;
    struct sighting *g = s->sightings ? map_get(s->sightings->by_jid, e->from) : NULL;
    if (g && !available) {
        drop(s, g);
    } else if (g) {
        g->epoch = s->sightings->epoch;
        list_remove(&g->link);
        list_append(&s->sightings->all, &g->link);
    } else if (available && jid_bare(e->from).n < e->from.n) {
        add(s, e->from, e->facts & FACT_MUC_USER);
    }
}

void sightings_drop(struct session *s, struct slice jid)
{
    struct sighting *g = s->sightings ? map_get(s->sightings->by_jid, jid) : NULL;
    if (g)
        drop(s, g);
}

void sightings_rebuilt(struct session *s)
{
    if (s->sightings)
        s->sightings->epoch++;
}

static void tell_left(struct session *s, const struct sighting *g)
{
    struct buf out = {0};
    BUF_LIT(&out, "<presence type='unavailable'");
    xml_attr(&out, "from", jid_of(g));
    xml_attr(&out, "to", slice_str(s->jid));
    if (g->occupant)
        BUF_LIT(&out, "><x xmlns='" NS_MUC_USER "'><item affiliation='none' role='none'/></x></presence>");
    else
        BUF_LIT(&out, "/>");
    downlink_inject(s, CLASS_PRESENCE, buf_slice(&out));
    buf_free(&out);
}

void sightings_settle(struct session *s)
{
    struct sightings *all = s->sightings;
    for (struct list *it; all && (it = list_first(&all->all));) {
        struct sighting *g = CONTAINER_OF(it, struct sighting, link);
        if (g->epoch == all->epoch)
            return; /* the rest was seen later */
        tell_left(s, g);
        drop(s, g);
    }
}

void sightings_save(const struct session *s, struct buf *out)
{
    record_number(out, s->sightings ? (int64_t)map_count(s->sightings->by_jid) : 0);
    if (!s->sightings)
        return;
    LIST_FOREACH_SAFE(it, next, &s->sightings->all)
    {
        const struct sighting *g = CONTAINER_OF(it, struct sighting, link);
        record_number(out, g->occupant);
        record_text(out, jid_of(g));
    }
}

void sightings_load(struct session *s, struct record_reader *in)
{
    for (size_t n = record_take_count(in); n && !in->bad; n--) {
        bool occupant = record_take_number(in);
        struct slice jid = record_take_text(in);
        if (jid.n && !(s->sightings && map_get(s->sightings->by_jid, jid)))
            add(s, jid, occupant);
    }
}

void sightings_forget(struct session *s)
{
    for (struct list *it; s->sightings && (it = list_first(&s->sightings->all));)
        drop(s, CONTAINER_OF(it, struct sighting, link));
    if (s->sightings)
        map_free(s->sightings->by_jid);
    free(s->sightings);
    s->sightings = NULL;
}
