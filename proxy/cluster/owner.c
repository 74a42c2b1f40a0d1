#include "cluster/owner.h"
#include "base/index.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/slab.h"
#include <pthread.h>
#include <stdlib.h>

struct account {
    struct list sessions; /* all */
    struct list detached; /* the oldest first */
    unsigned detached_count;
    char name[]; /* behind it, where the directory is tagged, how the account's sids begin */
};

struct place {
    struct list in_account, in_detached;
    struct account *account;
    const char *sid; /* lent */
    char *resource;
    int worker;
    bool available, proven;
    char proof[]; /* if it is proven */
};

struct owner {
    pthread_mutex_t lock;
    struct index *places;   /* of struct place, by sid */
    struct index *accounts; /* of struct account, by bare JID */
    struct index *tags;     /* of struct account, by tag; NULL: nobody asks by tag */
    struct map *claims;     /* sid -> anything: about to be taken over */
    size_t stranded;        /* places with a resource */
};

static struct slice sid_of(const void *place)
{
    return slice_str(((const struct place *)place)->sid);
}

static struct slice name_of(const void *account)
{
    return slice_str(((const struct account *)account)->name);
}

static struct slice tag_of(const void *account)
{
    const char *name = ((const struct account *)account)->name;
    return slice_of(name + strlen(name) + 1, TAG_SIZE - 1);
}

struct owner *owner_new(bool tagged)
{
    struct owner *o = MEM_NEW(struct owner);
    pthread_mutex_init(&o->lock, NULL);
    o->places = index_new(sid_of);
    o->accounts = index_new(name_of);
    o->tags = tagged ? index_new(tag_of) : NULL;
    o->claims = map_new();
    return o;
}

void owner_place_clear(struct owner_place *p)
{
    free(p->account);
    free(p->proof);
    free(p->resource);
    *p = (struct owner_place){0};
}

static struct account *account_of(struct owner *o, struct slice name, const char *sid)
{
    struct account *a = index_get(o->accounts, name);
    if (!a) {
        a = slab_zalloc(SLAB_SESSION, sizeof *a + name.n + 1 + (o->tags ? TAG_SIZE : 0));
        if (name.n)
            memcpy(a->name, name.p, name.n);
        if (o->tags)
            memcpy(a->name + name.n + 1, sid, TAG_SIZE - 1);
        list_init(&a->sessions);
        list_init(&a->detached);
        index_put(o->accounts, a);
        if (o->tags)
            index_put(o->tags, a);
    }
    return a;
}

void owner_add(struct owner *o, const char *sid, int worker, struct slice account, const char *proof)
{
    size_t proof_n = proof ? strlen(proof) + 1 : 0;
    struct place *p = slab_zalloc(SLAB_SESSION, sizeof *p + proof_n);
    p->sid = sid;
    p->worker = worker;
    p->proven = proof != NULL;
    if (proof)
        memcpy(p->proof, proof, proof_n);
    list_init(&p->in_detached);
    pthread_mutex_lock(&o->lock);
    p->account = account_of(o, account, sid);
    list_append(&p->account->sessions, &p->in_account);
    index_put(o->places, p);
    pthread_mutex_unlock(&o->lock);
}

static void leave_detached(struct place *p)
{
    if (list_is_linked(&p->in_detached)) {
        list_remove(&p->in_detached);
        p->account->detached_count--;
    }
}

static void set_resource(struct owner *o, struct place *p, struct slice resource)
{
    o->stranded -= p->resource != NULL;
    free(p->resource);
    p->resource = resource.n ? mem_dup(resource) : NULL;
    o->stranded += p->resource != NULL;
}

static void forget(struct owner *o, struct place *p)
{
    struct account *a = p->account;
    leave_detached(p);
    list_remove(&p->in_account);
    if (list_is_empty(&a->sessions)) {
        index_remove(o->accounts, name_of(a));
        if (o->tags && index_get(o->tags, tag_of(a)) == a)
            index_remove(o->tags, tag_of(a));
        slab_free(a);
    }
    set_resource(o, p, SLICE_NONE);
    slab_free(p);
}

void owner_remove(struct owner *o, const char *sid)
{
    pthread_mutex_lock(&o->lock);
    struct place *p = index_remove(o->places, slice_str(sid));
    if (p)
        forget(o, p);
    pthread_mutex_unlock(&o->lock);
}

bool owner_begin_claim(struct owner *o, const char *sid)
{
    pthread_mutex_lock(&o->lock);
    bool begins = !index_get(o->places, slice_str(sid)) && !map_get(o->claims, slice_str(sid));
    if (begins)
        map_put(o->claims, slice_str(sid), o);
    pthread_mutex_unlock(&o->lock);
    return begins;
}

void owner_end_claim(struct owner *o, const char *sid)
{
    pthread_mutex_lock(&o->lock);
    map_remove(o->claims, slice_str(sid));
    pthread_mutex_unlock(&o->lock);
}

static void copy_place(const struct place *p, struct owner_place *out)
{
    memcpy(out->sid, p->sid, SID_SIZE);
    out->worker = p->worker;
    out->account = mem_strdup(p->account->name);
    out->proof = p->proven ? mem_strdup(p->proof) : NULL;
    out->resource = mem_strdup(p->resource);
}

bool owner_find(struct owner *o, const char *sid, struct owner_place *place_r)
{
    pthread_mutex_lock(&o->lock);
    struct place *p = index_get(o->places, slice_str(sid));
    if (p)
        copy_place(p, place_r);
    pthread_mutex_unlock(&o->lock);
    return p != NULL;
}

bool owner_detached(struct owner *o, const char *sid, unsigned limit, struct owner_place *oldest_r)
{
    bool over = false;
    pthread_mutex_lock(&o->lock);
    struct place *p = index_get(o->places, slice_str(sid));
    if (p && !list_is_linked(&p->in_detached)) {
        list_append(&p->account->detached, &p->in_detached);
        p->account->detached_count++;
    }
    if (p && p->account->detached_count > limit) {
        struct place *oldest = CONTAINER_OF(list_first(&p->account->detached), struct place, in_detached);
        leave_detached(oldest); /* named once */
        copy_place(oldest, oldest_r);
        over = true;
    }
    pthread_mutex_unlock(&o->lock);
    return over;
}

void owner_attached(struct owner *o, const char *sid)
{
    pthread_mutex_lock(&o->lock);
    struct place *p = index_get(o->places, slice_str(sid));
    if (p)
        leave_detached(p);
    pthread_mutex_unlock(&o->lock);
}

void owner_set_available(struct owner *o, const char *sid, bool available)
{
    pthread_mutex_lock(&o->lock);
    struct place *p = index_get(o->places, slice_str(sid));
    if (p)
        p->available = available;
    pthread_mutex_unlock(&o->lock);
}

/* One of the account's; NULL: there is no account. The directory is locked. */
static bool copy_available(const struct account *a, struct owner_place *place_r)
{
    for (const struct list *it = a ? a->sessions.next : NULL; a && it != &a->sessions; it = it->next) {
        const struct place *p = CONTAINER_OF(it, struct place, in_account);
        if (p->available) {
            copy_place(p, place_r);
            return true;
        }
    }
    return false;
}

bool owner_find_available(struct owner *o, struct slice account, struct owner_place *place_r)
{
    pthread_mutex_lock(&o->lock);
    bool found = copy_available(index_get(o->accounts, account), place_r);
    pthread_mutex_unlock(&o->lock);
    return found;
}

bool owner_find_tagged(struct owner *o, struct slice tag, struct owner_place *place_r)
{
    pthread_mutex_lock(&o->lock);
    bool found = copy_available(o->tags ? index_get(o->tags, tag) : NULL, place_r);
    pthread_mutex_unlock(&o->lock);
    return found;
}

static bool free_place(void *ctx, void *place)
{
    forget(ctx, place);
    return true;
}

void owner_free(struct owner *o)
{
    if (!o)
        return;
    index_each(o->places, free_place, o);
    index_free(o->places);
    map_free(o->claims);
    index_free(o->accounts);
    index_free(o->tags);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

void owner_set_stranded(struct owner *o, const char *sid, struct slice resource)
{
    pthread_mutex_lock(&o->lock);
    struct place *p = index_get(o->places, slice_str(sid));
    if (p)
        set_resource(o, p, resource);
    pthread_mutex_unlock(&o->lock);
}

bool owner_any_stranded(struct owner *o)
{
    pthread_mutex_lock(&o->lock);
    bool any = o->stranded > 0;
    pthread_mutex_unlock(&o->lock);
    return any;
}
