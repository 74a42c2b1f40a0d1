#include "session/answered.h"
#include "base/hash.h"
#include "base/mem.h"
#include <stdatomic.h>
#include <stdlib.h>

#define PLACES 4096

/* Two sessions that meet in a place may both be told that they are the first: that costs an answer too many. */
struct place {
    _Atomic uint64_t request, session; /* hashes */
};

struct answered {
    struct hash_key key;
    struct place places[PLACES];
};

struct answered *answered_new(void)
{
    struct answered *a = MEM_NEW(struct answered);
    a->key = hash_key_new();
    return a;
}

void answered_free(struct answered *a)
{
    free(a);
}

static uint64_t hash_of_request(const struct answered *a, struct slice account, const struct receipt *r,
                                enum receipt_kind kind)
{
    uint64_t all[] = {hash_of(&a->key, account), hash_of(&a->key, r->to), hash_of(&a->key, r->id), kind};
    return hash_of(&a->key, slice_of((const char *)all, sizeof all));
}

bool answered_note(struct answered *a, struct slice account, const char *sid, const struct receipt *r,
                   enum receipt_kind kind)
{
    uint64_t request = hash_of_request(a, account, r, kind), session = hash_of(&a->key, slice_str(sid));
    struct place *place = &a->places[request % PLACES];
    if (atomic_exchange(&place->request, request) == request)
        return atomic_load(&place->session) == session;
    atomic_store(&place->session, session);
    return true;
}
