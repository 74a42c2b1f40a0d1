#include "upstream_choice.h"
#include "base/mem.h"
#include <stdlib.h>

struct place {
    const struct upstream_candidate *of;
    size_t index;
    bool stands_back;
    uint32_t lot; /* between equals */
};

/* RFC 2782: weight 0 beside others has a very small chance; if all have it they are equal. */
static uint64_t weight_of(const struct upstream_candidate *c)
{
    return c->weight ? c->weight * UINT64_C(100) : 1;
}

static int compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int by_turn(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->of->priority != y->of->priority)
        return compare(x->of->priority, y->of->priority);
    if (x->stands_back != y->stands_back)
        return x->stands_back - y->stands_back;
    /* (sessions + 1) / weight, without the division */
    int load = compare((x->of->sessions + 1) * weight_of(y->of), (y->of->sessions + 1) * weight_of(x->of));
    return load ? load : compare(x->lot, y->lot);
}

size_t upstream_choose(const struct upstream_candidate *c, size_t n, uint32_t (*random)(uint32_t bound), size_t *order)
{
    struct place *places = mem_zalloc((n + 1) * sizeof *places);
    bool any_up = false;
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        any_up |= !c[i].down;
    for (size_t i = 0; i < n; i++)
        if (!any_up || !c[i].down)
            places[count++] = (struct place){&c[i], i, random(100) >= c[i].share, random(UINT32_MAX)};
    qsort(places, count, sizeof *places, by_turn);
    for (size_t i = 0; i < count; i++)
        order[i] = places[i].index;
    free(places);
    return count;
}
