/* The slots of Redis Cluster; with one server it has all of them. redis_slot is in redis/redis.h. */
#ifndef HOLDFAST_REDIS_SLOT_H
#define HOLDFAST_REDIS_SLOT_H

#include "redis/redis.h"

#define SLOTS REDIS_SLOTS

#endif
