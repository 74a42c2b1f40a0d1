#include "facts.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The value of "name:" at the beginning of a line of INFO. */
static struct slice value_of(struct slice info, const char *name)
{
    size_t n = strlen(name);
    while (info.n) {
        const char *end = memchr(info.p, '\n', info.n);
        struct slice line = slice_of(info.p, end ? (size_t)(end - info.p) : info.n);
        info = slice_skip(info, line.n + 1);
        if (line.n > n && line.p[n] == ':' && memcmp(line.p, name, n) == 0) {
            line = slice_skip(line, n + 1);
            if (line.n && line.p[line.n - 1] == '\r')
                line.n--;
            return line;
        }
    }
    return SLICE_NONE;
}

static void copy_value(char *out, size_t size, struct slice info, const char *name)
{
    struct slice v = value_of(info, name);
    snprintf(out, size, "%.*s", SLICE_ARG(v));
}

static bool is_set(struct slice info, const char *name)
{
    struct slice v = value_of(info, name);
    return v.n && !slice_eq_str(v, "0");
}

void facts_read(struct facts *f, struct slice info)
{
    char count[16];
    copy_value(f->run_id, sizeof f->run_id, info, "run_id");
    copy_value(f->version, sizeof f->version, info, "redis_version");
    copy_value(f->policy, sizeof f->policy, info, "maxmemory_policy");
    copy_value(count, sizeof count, info, "connected_slaves");
    f->replicas = (unsigned)strtoul(count, NULL, 10);
    f->master = slice_eq_str(value_of(info, "role"), "master");
    f->loading = is_set(info, "loading");
    f->aof = is_set(info, "aof_enabled");
    f->bounded = is_set(info, "maxmemory");
}

enum redis_persistence facts_persistence(const struct facts *f)
{
    if (f->aof)
        return strcmp(f->fsync, "always") == 0 ? REDIS_PERSISTENCE_ALWAYS
               : strcmp(f->fsync, "no") == 0   ? REDIS_PERSISTENCE_RDB /* when the kernel likes: as bad */
                                               : REDIS_PERSISTENCE_EVERYSEC;
    return f->saves_known && !*f->save ? REDIS_PERSISTENCE_NONE : REDIS_PERSISTENCE_RDB;
}

bool facts_policy_is_unsafe(const struct facts *f)
{
    return f->bounded && *f->policy && strcmp(f->policy, "noeviction") != 0;
}

static const char *describe_persistence(const struct facts *f)
{
    if (f->aof && strcmp(f->fsync, "always") == 0)
        return "appendfsync always: a restart of Redis loses nothing";
    if (f->aof && strcmp(f->fsync, "no") == 0)
        return "appendfsync no: a crash of its machine loses up to half a minute";
    if (f->aof && *f->fsync)
        return "appendfsync everysec: a crash of its machine loses up to two seconds";
    if (f->aof)
        return "AOF, but CONFIG GET appendfsync is refused: a crash of its machine may lose seconds";
    if (!f->saves_known)
        return "no AOF: a restart of Redis loses all since its last snapshot, if it makes any";
    return *f->save ? "no AOF: a restart of Redis loses all since its last snapshot"
                    : "no persistence: a restart of Redis loses all";
}

void facts_describe(const struct facts *f, unsigned wait_replicas, struct buf *out)
{
    buf_add_str(out, describe_persistence(f));
    if (!f->aof || strcmp(f->fsync, "always") != 0)
        BUF_LIT(out, " (nodes that live write again what they hold)");
    if (facts_policy_is_unsafe(f))
        buf_printf(out, "; maxmemory-policy %s: Redis throws sessions away when it is full, set noeviction", f->policy);
    if (!f->replicas && !wait_replicas)
        BUF_LIT(out, "; no replica: what is on the disk of this Redis is all there is");
    else if (f->replicas < wait_replicas)
        buf_printf(out, "; %u replicas are connected, store.wait_replicas wants %u: nothing can be committed",
                   f->replicas, wait_replicas);
    else if (!wait_replicas)
        BUF_LIT(out, "; a failover may lose the last commits (store.wait_replicas = 0)");
    else
        buf_printf(out, "; each commit is on %u of %u replicas", wait_replicas, f->replicas);
}
