#include "base/slab.h"
#include "base/list.h"
#include "base/mem.h"
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SLAB_BYTES 65536
#define SLABS      (1U << 18) /* 16 GiB of addresses: a million TLS sessions. What comes then is malloc's */
#define STEP       32         /* slabs that a thread makes its own at once */
#define GRAIN      16
#define LARGEST    8192
#define SIZES      (LARGEST / GRAIN + 1)
#define SPARE      16 /* empty slabs that are kept for a moment: what handshakes need comes and goes */

struct object {
    struct object *next;
};

/* They stand apart from the memory that they describe: it is touched by its users alone, and costs nothing when it is
 * given back. */
struct slab {
    struct list link; /* in one of the lists of its heap; in none when it is full */
    struct heap *heap;
    struct object *free;                  /* freed ones */
    struct list *roomy;                   /* where it is while it has room */
    uint32_t size, used, fresh, capacity; /* in objects, but for size; behind the first `fresh` nobody has been yet */
};

struct heap {
    struct heap *next; /* of those of all threads; they stay, as objects may outlive the thread that made them */
    _Atomic(struct object *) strays; /* freed by other threads */
    struct list spare, bare;         /* empty slabs: with their memory, and without */
    size_t spare_count;
    struct list roomy[SLAB_LIVES][SIZES]; /* slabs with room for objects of (index * GRAIN) bytes */
};

/* The library's hooks have no context: so there is one area in the process, and a heap of each thread. */
static struct {
    char *memory; /* NULL: there is none */
    struct slab *slabs;
    atomic_uint used;
    _Atomic(struct heap *) heaps;
} area;
static _Thread_local struct heap *mine;

void slab_init(void)
{
    size_t n = (size_t)SLABS * SLAB_BYTES;
    if (area.memory)
        return;
    void *slabs = mmap(NULL, SLABS * sizeof *area.slabs, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *memory = mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slabs == MAP_FAILED || memory == MAP_FAILED)
        return;                          /* what there is of it costs nothing */
    madvise(memory, n, MADV_NOHUGEPAGE); /* a huge page would be as good as never free as a whole */
    area.slabs = slabs;
    area.memory = memory;
}

/* Of an object; NULL: it is malloc's. */
static struct slab *slab_of(const void *p)
{
    uintptr_t offset = (uintptr_t)p - (uintptr_t)area.memory;
    return area.memory && offset < (uintptr_t)SLABS * SLAB_BYTES ? &area.slabs[offset / SLAB_BYTES] : NULL;
}

static char *memory_of(const struct slab *slab)
{
    return area.memory + (size_t)(slab - area.slabs) * SLAB_BYTES;
}

static struct heap *heap_new(void)
{
    struct heap *heap = MEM_NEW(struct heap);
    list_init(&heap->spare);
    list_init(&heap->bare);
    for (size_t i = 0; i < SLAB_LIVES * SIZES; i++)
        list_init(&heap->roomy[i / SIZES][i % SIZES]);
    heap->next = atomic_load(&area.heaps);
    while (!atomic_compare_exchange_weak(&area.heaps, &heap->next, heap))
        ;
    return heap;
}

/* More of the area for this heap. */
static void extend(struct heap *heap)
{
    if (atomic_load_explicit(&area.used, memory_order_relaxed) >= SLABS)
        return;
    unsigned first = atomic_fetch_add_explicit(&area.used, STEP, memory_order_relaxed);
    if (first >= SLABS || mprotect(memory_of(&area.slabs[first]), STEP * SLAB_BYTES, PROT_READ | PROT_WRITE) != 0)
        return;
    for (struct slab *slab = &area.slabs[first]; slab < &area.slabs[first + STEP]; slab++) {
        slab->heap = heap;
        list_append(&heap->bare, &slab->link);
    }
}

/* An empty slab, the one that was used last if there are pages to it. NULL: all are in use. */
static struct slab *take_empty(struct heap *heap)
{
    struct list *link = heap->spare.prev;
    if (heap->spare_count) {
        heap->spare_count--;
    } else {
        if (list_is_empty(&heap->bare))
            extend(heap);
        link = list_first(&heap->bare);
    }
    if (!link)
        return NULL;
    list_remove(link);
    return CONTAINER_OF(link, struct slab, link);
}

static void give_back(struct slab *slab)
{
    madvise(memory_of(slab), SLAB_BYTES, MADV_DONTNEED);
    list_append(&slab->heap->bare, &slab->link);
}

static void put_empty(struct slab *slab)
{
    struct heap *heap = slab->heap;
    list_remove(&slab->link);
    if (heap->spare_count == SPARE) {
        give_back(slab);
        return;
    }
    heap->spare_count++;
    list_append(&heap->spare, &slab->link);
}

static void free_own(struct slab *slab, struct object *object)
{
    object->next = slab->free;
    slab->free = object;
    if (slab->used-- == slab->capacity)
        list_append(slab->roomy, &slab->link);
    if (slab->used == 0)
        put_empty(slab);
}

/* What others have freed. */
static void collect(struct heap *heap)
{
    if (!atomic_load_explicit(&heap->strays, memory_order_relaxed))
        return;
    struct object *object = atomic_exchange_explicit(&heap->strays, NULL, memory_order_acquire);
    for (struct object *next; object; object = next) {
        next = object->next;
        free_own(slab_of(object), object);
    }
}

static struct slab *first_of(const struct list *roomy)
{
    struct list *link = list_first(roomy);
    return link ? CONTAINER_OF(link, struct slab, link) : NULL;
}

/* One with room; NULL: there is none. */
static struct slab *slab_for(struct heap *heap, enum slab_life life, size_t size)
{
    struct list *roomy = &heap->roomy[life][size / GRAIN];
    struct slab *slab = first_of(roomy);
    if (slab)
        return slab;
    collect(heap);
    if ((slab = first_of(roomy)))
        return slab;
    slab = take_empty(heap);
    if (!slab)
        return NULL;
    slab->free = NULL;
    slab->roomy = roomy;
    slab->size = (uint32_t)size;
    slab->capacity = SLAB_BYTES / slab->size;
    slab->used = slab->fresh = 0;
    list_append(slab->roomy, &slab->link);
    return slab;
}

void *slab_alloc(enum slab_life life, size_t n)
{
    if (n == 0)
        return NULL;
    if (n > LARGEST || !area.memory)
        return malloc(n);
    if (!mine)
        mine = heap_new();
    struct slab *slab = slab_for(mine, life, (n + GRAIN - 1) & ~(size_t)(GRAIN - 1));
    if (!slab)
        return malloc(n);
    struct object *object = slab->free;
    if (object)
        slab->free = object->next;
    else
        object = (struct object *)(memory_of(slab) + (size_t)slab->fresh++ * slab->size);
    if (++slab->used == slab->capacity)
        list_remove(&slab->link);
    return object;
}

void *slab_zalloc(enum slab_life life, size_t n)
{
    return memset(mem_check(slab_alloc(life, n)), 0, n);
}

static void free_stray(struct heap *heap, struct object *object)
{
    object->next = atomic_load_explicit(&heap->strays, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&heap->strays, &object->next, object, memory_order_release,
                                                  memory_order_relaxed))
        ;
}

void slab_free(void *p)
{
    if (!p)
        return;
    struct slab *slab = slab_of(p);
    if (!slab)
        free(p);
    else if (slab->heap == mine)
        free_own(slab, p);
    else
        free_stray(slab->heap, p);
}

void slab_tidy(void)
{
    if (!mine)
        return;
    collect(mine);
    for (; mine->spare_count; mine->spare_count--) {
        struct list *link = list_first(&mine->spare);
        list_remove(link);
        give_back(CONTAINER_OF(link, struct slab, link));
    }
}

void *slab_realloc(enum slab_life life, void *p, size_t n)
{
    struct slab *slab = slab_of(p);
    if (!slab && p && n)
        return realloc(p, n);
    size_t had = slab ? slab->size : 0;
    if (n && n <= had && had - n < GRAIN)
        return p;
    void *other = slab_alloc(life, n);
    if (n && !other)
        return NULL;
    if (had && n)
        memcpy(other, p, n < had ? n : had);
    slab_free(p);
    return other;
}
