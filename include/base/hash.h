/* SipHash-1-3: who does not know the key cannot choose bytes that collide. */
#ifndef HOLDFAST_BASE_HASH_H
#define HOLDFAST_BASE_HASH_H

#include "base/slice.h"
#include <stdint.h>

struct hash_key {
    uint64_t word[2];
};

struct hash_key hash_key_new(void); /* random */
uint64_t hash_of(const struct hash_key *key, struct slice bytes);

#endif
