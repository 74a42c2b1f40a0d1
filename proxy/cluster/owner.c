#include "cluster/owner.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/slab.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct account {
    struct list sessions; /* all */
    struct list detached; /* the oldest first */
    unsigned detached_count;
    char tag[TAG_SIZE]; /* as its sids begin */
    char name[];
};

struct place {
    struct list in_account, in_detached;
    struct account *account;
    char *proof, *resource;
    int worker;
    bool available;
    char sid[SID_SIZE];
};

struct owner {
    pthread_mutex_t lock;
    struct map *places;   /* sid -> struct place */
    struct map *accounts; /* bare JID -> struct account */
    struct map *tags;     /* tag -> struct account; NULL: nobody asks by tag */
    struct map *claims;   /* sid -> anything: about to be taken over */
    size_t stranded;      /* places with a resource */
};

struct owner *owner_new(bool tagged)
{
    struct owner *o = MEM_NEW(struct owner);
    pthread_mutex_init(&o->lock, NULL);
    o->places = map_new();
    o->accounts = map_new();
    o->tags = tagged ? map_new() : NULL;
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
    struct account *a = map_get(o->accounts, name);
    if (!a) {
        a = slab_zalloc(SLAB_SESSION, sizeof *a + name.n + 1);
        if (name.n)
            memcpy(a->name, name.p, name.n);
        list_init(&a->sessions);
        list_init(&a->detached);
        snprintf(a->tag, sizeof a->tag, "%s", sid);
        map_put_lent(o->accounts, slice_str(a->name), a);
        if (o->tags)
            map_put_lent(o->tags, slice_str(a->tag), a);
    }
    return a;
}

void owner_add(struct owner *o, const char *sid, int worker, struct slice account, const char *proof)
{
    struct place *p = SLAB_NEW(SLAB_SESSION, struct place);
    memcpy(p->sid, sid, SID_SIZE);
    p->worker = worker;
    p->proof = mem_strdup(proof);
    list_init(&p->in_detached);
    pthread_mutex_lock(&o->lock);
    p->account = account_of(o, account, sid);
    list_append(&p->account->sessions, &p->in_account);
    map_put_lent(o->places, slice_str(p->sid), p);
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
        map_remove(o->accounts, slice_str(a->name));
        if (o->tags && map_get(o->tags, slice_str(a->tag)) == a)
            map_remove(o->tags, slice_str(a->tag));
        slab_free(a);
    }
    free(p->proof);
    set_resource(o, p, SLICE_NONE);
    slab_free(p);
}

void owner_remove(struct owner *o, const char *sid)
{
    pthread_mutex_lock(&o->lock);
    struct place *p = map_remove(o->places, slice_str(sid));
    if (p)
        forget(o, p);
    pthread_mutex_unlock(&o->lock);
}

bool owner_begin_claim(struct owner *o, const char *sid)
{
    pthread_mutex_lock(&o->lock);
    bool begins = !map_get(o->places, slice_str(sid)) && !map_get(o->claims, slice_str(sid));
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
    out->proof = mem_strdup(p->proof);
    out->resource = mem_strdup(p->resource);
}

bool owner_find(struct owner *o, const char *sid, struct owner_place *place_r)
{
    pthread_mutex_lock(&o->lock);
    struct place *p = map_get(o->places, slice_str(sid));
    if (p)
        copy_place(p, place_r);
    pthread_mutex_unlock(&o->lock);
    return p != NULL;
}

bool owner_detached(struct owner *o, const char *sid, unsigned limit, struct owner_place *oldest_r)
{
    bool over = false;
    pthread_mutex_lock(&o->lock);
    struct place *p = map_get(o->places, slice_str(sid));
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
    struct place *p = map_get(o->places, slice_str(sid));
    if (p)
        leave_detached(p);
    pthread_mutex_unlock(&o->lock);
}

void owner_set_available(struct owner *o, const char *sid, bool available)
{
    pthread_mutex_lock(&o->lock);
    struct place *p = map_get(o->places, slice_str(sid));
    if (p)
        p->available = available;
    pthread_mutex_unlock(&o->lock);
}

static bool find_available(struct owner *o, struct map *by, struct slice key, struct owner_place *place_r)
{
    bool found = false;
    pthread_mutex_lock(&o->lock);
    struct account *a = by ? map_get(by, key) : NULL;
    if (a) {
        LIST_FOREACH_SAFE(it, next, &a->sessions)
        {
            struct place *p = CONTAINER_OF(it, struct place, in_account);
            if (!found && p->available) {
                copy_place(p, place_r);
                found = true;
            }
        }
    }
    pthread_mutex_unlock(&o->lock);
    return found;
}

bool owner_find_available(struct owner *o, struct slice account, struct owner_place *place_r)
{
    return find_available(o, o->accounts, account, place_r);
}

bool owner_find_tagged(struct owner *o, struct slice tag, struct owner_place *place_r)
{
    return find_available(o, o->tags, tag, place_r);
}

static bool free_place(void *ctx, struct slice key, void *value)
{
    (void)key;
    forget(ctx, value);
    return true;
}

void owner_free(struct owner *o)
{
    if (!o)
        return;
    map_each(o->places, free_place, o);
    map_free(o->places);
    map_free(o->claims);
    map_free(o->accounts);
    map_free(o->tags);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

void owner_set_stranded(struct owner *o, const char *sid, struct slice resource)
{
    pthread_mutex_lock(&o->lock);
    struct place *p = map_get(o->places, slice_str(sid));
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
