#include "run/admission.h"
#include "base/map.h"
#include "base/mem.h"
#include "peer_prefix.h"
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

struct admission {
    pthread_mutex_t lock;
    size_t count;
    size_t changes;
    struct map *by_address; /* address -> number of connections, as a pointer */
};

struct admission *admission_new(void)
{
    struct admission *a = MEM_NEW(struct admission);
    pthread_mutex_init(&a->lock, NULL);
    a->by_address = map_new();
    return a;
}

void admission_free(struct admission *a)
{
    map_free(a->by_address);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

enum admission_result admission_enter(struct admission *a, const char *peer, size_t limit, size_t limit_per_address)
{
    char text[PEER_PREFIX_SIZE];
    struct slice address = peer_prefix(peer, text);
    enum admission_result result = ADMISSION_OK;
    pthread_mutex_lock(&a->lock);
    uintptr_t here = (uintptr_t)map_get(a->by_address, address);
    if (limit && a->count >= limit)
        result = ADMISSION_FULL;
    else if (limit_per_address && here >= limit_per_address)
        result = ADMISSION_ADDRESS_FULL;
    if (result == ADMISSION_OK) {
        a->count++;
        a->changes++;
        map_put(a->by_address, address, (void *)(here + 1));
    }
    pthread_mutex_unlock(&a->lock);
    return result;
}

void admission_leave(struct admission *a, const char *peer)
{
    char text[PEER_PREFIX_SIZE];
    struct slice address = peer_prefix(peer, text);
    pthread_mutex_lock(&a->lock);
    uintptr_t here = (uintptr_t)map_get(a->by_address, address);
    a->count--;
    a->changes++;
    if (here > 1)
        map_put(a->by_address, address, (void *)(here - 1));
    else
        map_remove(a->by_address, address);
    pthread_mutex_unlock(&a->lock);
}

size_t admission_count(struct admission *a)
{
    pthread_mutex_lock(&a->lock);
    size_t n = a->count;
    pthread_mutex_unlock(&a->lock);
    return n;
}

size_t admission_changes(struct admission *a)
{
    pthread_mutex_lock(&a->lock);
    size_t n = a->changes;
    pthread_mutex_unlock(&a->lock);
    return n;
}
