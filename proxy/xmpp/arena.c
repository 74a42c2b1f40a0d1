#include "arena.h"
#include "base/mem.h"
#include <stdlib.h>

#define FIRST_BLOCK 2048

struct arena_block {
    struct arena_block *older;
    size_t cap;
    char data[];
};

static void add_block(struct arena *a, size_t n)
{
    size_t cap = a->block ? 2 * a->block->cap : FIRST_BLOCK;
    if (cap < n)
        cap = n;
    struct arena_block *block = mem_alloc(sizeof *block + cap);
    block->older = a->block;
    block->cap = cap;
    a->block = block;
    a->used = 0;
}

char *arena_bytes(struct arena *a, size_t n)
{
    if (!a->block || a->block->cap - a->used < n)
        add_block(a, n);
    char *p = a->block->data + a->used;
    a->used += n;
    return p;
}

void *arena_alloc(struct arena *a, size_t n)
{
    const size_t align = sizeof(void *);
    a->used = (a->used + align - 1) / align * align;
    if (a->block && a->used > a->block->cap)
        a->used = a->block->cap;
    /* A fresh block is aligned by itself, and a full one leaves no room: n is never 0 here. */
    return memset(arena_bytes(a, n), 0, n);
}

struct slice arena_copy(struct arena *a, struct slice s)
{
    char *p = arena_bytes(a, s.n);
    if (s.n)
        memcpy(p, s.p, s.n);
    return slice_of(p, s.n);
}

void arena_reset(struct arena *a)
{
    while (a->block && a->block->older) {
        struct arena_block *block = a->block;
        a->block = block->older;
        free(block);
    }
    /* The oldest block is the small one, unless its first user asked for more than that. */
    if (a->block && a->block->cap > FIRST_BLOCK) {
        free(a->block);
        a->block = NULL;
    }
    a->used = 0;
}

void arena_free(struct arena *a)
{
    arena_reset(a);
    free(a->block);
    a->block = NULL;
}
