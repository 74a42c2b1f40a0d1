#include "storage.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "redis/redis.h"
#include "run/digest.h"
#include "seal.h"
#include "session/session.h"
#include "store/memory.h"
#include "store/redis.h"
#include <errno.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define CONNECT_TIMEOUT (2 * USEC_S)
#define COMMAND_TIMEOUT (5 * USEC_S)
#define SETTLE          (30 * USEC_S) /* after an outage nothing is ended for so long */
#define SECRET_LEAST    32
#define TELL_AGAIN      (60 * USEC_S) /* that a key is missing: there may be thousands of texts */
#define SECRET_SIZE     65
/* The secret that nodes have agreed on in Redis lives that long behind the last one that has looked at it. */
#define SECRET_KEY   "hf:secret"
#define SECRET_TTL   "2592000000" /* ms: 30 days */
#define SECRET_RENEW (24 * 3600 * USEC_S)

struct storage {
    struct memory_store *memory;
    unsigned wait_replicas;
    char *ca;         /* NULL: the system's */
    bool secret_file; /* the secret is the operator's, and not agreed through Redis */
    _Atomic int64_t *bytes;
    char *node, boot[17], *peer; /* peer: where other nodes reach this one; NULL: nowhere */
    char secret[SECRET_SIZE];    /* what tags are made with: hex digits */
    _Atomic bool agreed;         /* the nodes' common one counts, and not this */
    char common[SECRET_SIZE];    /* written once, before `agreed` */
    struct redis_url *url;
    struct seal_keys *keys;
    char *password, *sentinel_password;
    pthread_mutex_t lock; /* of what follows */
    struct list ends;     /* struct storage_end.link */
};

struct storage_end {
    struct storage *storage;
    struct context *cx;
    struct redis_store *store;
    struct redis *redis;
    struct tls_context *tls;
    struct dialer *dialer; /* of its own: proxy.upstream_source is not for Redis */
    bool leads;            /* the first worker's: it speaks for the node towards Redis */
    struct list link;      /* storage.ends */
    char *away;            /* why it cannot give acks; NULL: it can */
    struct redis_promise promise;
    struct timers *timers;
    const struct clock *clock;
    struct timer renew;
    struct sealer *sealer;
    usec told_at; /* that a key is missing; 0: not yet */
};

/* ---- secrets ---- */

/* A file's first line, or all of it. NULL with *error_r. */
static char *read_secret(const char *path, const char *key, char **error_r)
{
    char text[4096];
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;
    if (!f || ferror(f) || n == sizeof text)
        *error_r = mem_printf("%s: cannot read %s: %s", key, path, n == sizeof text ? "too long" : strerror(errno));
    if (f)
        fclose(f);
    return *error_r ? NULL : mem_dup(slice_of(text, n));
}

static bool take_password(const char *path, const char *key, char **out, char **error_r)
{
    if (!path)
        return true;
    *out = read_secret(path, key, error_r);
    if (*out)
        (*out)[strcspn(*out, "\r\n")] = '\0';
    return *out != NULL;
}

/* Whatever the file holds, its digest is what is used. */
static bool take_cluster_secret(struct storage *s, const char *path, char **error_r)
{
    char text[4096];
    random_hex(s->secret, 32);
    if (!path)
        return true;
    s->secret_file = true;
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;
    if (!f)
        *error_r = mem_printf("proxy.secret_file: cannot read %s: %s", path, strerror(errno));
    else if (n < SECRET_LEAST)
        *error_r = mem_printf("proxy.secret_file: %s holds %zu bytes; it takes %d or more: openssl rand -out FILE 32",
                              path, n, SECRET_LEAST);
    if (f)
        fclose(f);
    digest_hex(slice_of(text, n), s->secret, 32);
    return !*error_r;
}

/* Which key is in use can be seen: so a rotation can be followed, node by node. */
static void tell_keys(struct storage *s)
{
    char first[SEAL_ID_SIZE];
    size_t n = seal_keys_count(s->keys, first);
    if (n)
        LOG(LOG_INFO, "what goes to redis is sealed", LF("key", first), LF_INT("keys", n));
}

struct storage *storage_new(const struct config *config, const char *name, _Atomic int64_t *memory, char **error_r)
{
    struct storage *s = MEM_NEW(struct storage);
    bool shared = strcmp(config->store.url, "memory:") != 0;
    s->wait_replicas = config->store.wait_replicas;
    s->ca = mem_strdup(config->store.ca);
    s->bytes = memory;
    s->node = mem_strdup(name);
    s->peer = mem_strdup(config->listen.peer_advertise ? config->listen.peer_advertise : config->listen.peer[0]);
    random_hex(s->boot, 8);
    pthread_mutex_init(&s->lock, NULL);
    list_init(&s->ends);
    s->memory = memory_store_new(config->settings.sm.mailbox_ttl, config->settings.sm.tombstone_ttl, NULL);
    memory_store_set_limit(s->memory, config->settings.limits.memory);
    if (shared)
        s->url = redis_url_parse(config->store.url, error_r);
    if ((shared && !s->url) || !take_cluster_secret(s, config->proxy.secret_file, error_r) ||
        !take_password(config->store.password_file, "store.password_file", &s->password, error_r) ||
        !take_password(config->store.sentinel_password_file, "store.sentinel_password_file", &s->sentinel_password,
                       error_r) ||
        !(s->keys = seal_keys_new(config->store.encryption_key_file, error_r))) {
        storage_free(s);
        return NULL;
    }
    tell_keys(s);
    return s;
}

bool storage_set_keys(struct storage *s, struct seal_keys *fresh)
{
    char before[SEAL_ID_SIZE], now[SEAL_ID_SIZE];
    seal_keys_count(s->keys, before);
    seal_keys_replace(s->keys, fresh);
    seal_keys_count(s->keys, now);
    tell_keys(s);
    return strcmp(before, now) != 0;
}

void storage_free(struct storage *s)
{
    if (!s)
        return;
    memory_store_free(s->memory);
    redis_url_free(s->url);
    seal_keys_free(s->keys);
    pthread_mutex_destroy(&s->lock);
    free(s->password);
    free(s->sentinel_password);
    free(s->ca);
    free(s->node);
    free(s->peer);
    free(s);
}

struct memory_store *storage_memory(struct storage *s)
{
    return s->memory;
}

bool storage_is_shared(const struct storage *s)
{
    return s->url != NULL;
}

void storage_tag(const struct storage *s, struct slice account, char tag[TAG_SIZE])
{
    const char *secret = atomic_load_explicit(&s->agreed, memory_order_acquire) ? s->common : s->secret;
    digest_keyed_hex(slice_str(secret), account, tag, (TAG_SIZE - 1) / 2);
}

void storage_peer_key(const struct storage *s, unsigned char key[STORAGE_PEER_KEY])
{
    digest_derive(slice_str(s->secret), "holdfast peer 1", key, STORAGE_PEER_KEY);
}

bool storage_is_ready(struct storage *s, struct buf *reasons)
{
    const char *told = NULL;
    pthread_mutex_lock(&s->lock);
    LIST_FOREACH_SAFE(it, next, &s->ends)
    {
        const char *away = CONTAINER_OF(it, struct storage_end, link)->away;
        if (away && (!told || strcmp(told, away) != 0))
            buf_printf(reasons, "store: %s\n", told = away);
    }
    pthread_mutex_unlock(&s->lock);
    return !told;
}

void storage_figures(struct storage *s, struct counters *c)
{
    static const enum metric rows[] = {
        [REDIS_PERSISTENCE_UNKNOWN] = METRIC_store_persistence_unknown,
        [REDIS_PERSISTENCE_NONE] = METRIC_store_persistence_none,
        [REDIS_PERSISTENCE_RDB] = METRIC_store_persistence_rdb,
        [REDIS_PERSISTENCE_EVERYSEC] = METRIC_store_persistence_everysec,
        [REDIS_PERSISTENCE_ALWAYS] = METRIC_store_persistence_always,
    };
    enum redis_persistence weakest = REDIS_PERSISTENCE_UNKNOWN;
    bool unsafe = false;
    if (!s->url)
        return;
    pthread_mutex_lock(&s->lock);
    LIST_FOREACH_SAFE(it, next, &s->ends)
    {
        const struct redis_promise *p = &CONTAINER_OF(it, struct storage_end, link)->promise;
        unsafe |= p->policy_unsafe;
        if (weakest == REDIS_PERSISTENCE_UNKNOWN || (p->persistence && p->persistence < weakest))
            weakest = p->persistence;
    }
    pthread_mutex_unlock(&s->lock);
    count_set(c, rows[weakest], 1);
    count_set(c, METRIC_store_eviction_unsafe, unsafe);
}

/* ---- a worker's end ---- */

static void tag_of(void *ctx, struct slice account, char tag[TAG_SIZE])
{
    struct storage_end *e = ctx;
    storage_tag(e->storage, account, tag);
}

static void seal(void *ctx, struct slice tag, struct slice plain, struct buf *out)
{
    struct storage_end *e = ctx;
    sealer_seal(e->sealer, tag, plain, out);
}

static enum redis_opened open_sealed(void *ctx, struct slice tag, struct slice sealed, struct buf *out)
{
    struct storage_end *e = ctx;
    char id[SEAL_ID_SIZE];
    if (sealer_open(e->sealer, tag, sealed, out))
        return OPENED;
    if (!sealer_lacks_key(e->sealer, sealed, id))
        return OPENED_DAMAGED;
    if (!e->told_at || e->clock->mono - e->told_at >= TELL_AGAIN) {
        e->told_at = e->clock->mono;
        LOG(LOG_ERROR, "what redis holds is sealed with a key that store.encryption_key_file does not name",
            LF("key", id), LF_SLICE("account", tag));
    }
    return OPENED_LOCKED;
}

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* Tells other threads how it stands with Redis. */
static void publish(struct storage_end *e)
{
    const char *why = redis_why_away(e->redis);
    pthread_mutex_lock(&e->storage->lock);
    redis_promise(e->redis, &e->promise);
    if (!is_same_text(e->away, why)) {
        free(e->away);
        e->away = mem_strdup(why);
    }
    pthread_mutex_unlock(&e->storage->lock);
}

static void ask_secret(struct storage_end *e);

static void on_secret(void *ctx, enum redis_answer a, const struct redisReply *reply)
{
    struct storage_end *e = ctx;
    struct storage *s = e->storage;
    bool told = a == REDIS_DONE && reply->type == REDIS_REPLY_STRING && (size_t)reply->len < sizeof s->common;
    if (a != REDIS_DONE || atomic_load(&s->agreed))
        return;
    memcpy(s->common, told ? reply->str : s->secret, told ? (size_t)reply->len + 1 : sizeof s->secret);
    atomic_store_explicit(&s->agreed, true, memory_order_release);
    LOG(LOG_INFO, "secret agreed through Redis: name one in proxy.secret_file to keep it from who can read there");
}

static void on_renew(void *ctx)
{
    ask_secret(ctx);
}

/* Nodes without proxy.secret_file take the first one's, so that they find each other's mailboxes. */
static void ask_secret(struct storage_end *e)
{
    struct storage *s = e->storage;
    const char *own = atomic_load(&s->agreed) ? s->common : s->secret;
    struct slice set[] = {SLICE_LIT("SET"), SLICE_LIT(SECRET_KEY), slice_str(own),       SLICE_LIT("NX"),
                          SLICE_LIT("GET"), SLICE_LIT("PX"),       SLICE_LIT(SECRET_TTL)};
    struct slice renew[] = {SLICE_LIT("PEXPIRE"), SLICE_LIT(SECRET_KEY), SLICE_LIT(SECRET_TTL)};
    unsigned slot = redis_slot(SLICE_LIT(SECRET_KEY));
    if (s->secret_file)
        return;
    redis_send(e->redis, slot, sizeof set / sizeof *set, set, on_secret, e);
    redis_send(e->redis, slot, sizeof renew / sizeof *renew, renew, NULL, NULL);
    timers_arm(e->timers, &e->renew, e->clock->mono + SECRET_RENEW);
}

static void on_back(void *ctx, unsigned first, unsigned last, bool fresh)
{
    struct storage_end *e = ctx;
    redis_store_events()->back(e->store, first, last, fresh);
    publish(e);
    if (e->leads)
        ask_secret(e);
}

static void on_away(void *ctx, unsigned first, unsigned last, const char *why)
{
    struct storage_end *e = ctx;
    redis_store_events()->away(e->store, first, last, why);
    publish(e);
}

static void on_told(void *ctx, struct slice message)
{
    struct storage_end *e = ctx;
    redis_store_events()->told(e->store, message);
}

static const struct redis_events redis_events = {on_back, on_away, on_told};

static void on_released(void *ctx, const char *sid)
{
    struct storage_end *e = ctx;
    takeovers_released(e->cx, sid);
}

static void on_mail(void *ctx, const char *tag)
{
    struct storage_end *e = ctx;
    sessions_hint_mail(e->cx, tag);
}

static struct redis_store *store_new(struct storage_end *e, struct context *cx, unsigned index)
{
    struct storage *s = e->storage;
    const struct settings *set = cx->settings;
    return redis_store_new(&(struct redis_store_options){
        .node = s->node,
        .boot = s->boot,
        .peer = s->peer,
        .timers = cx->timers,
        .clock = cx->clock,
        .counters = cx->counters,
        .memory = s->bytes,
        .tag_of = tag_of,
        .seal = seal,
        .open = open_sealed,
        .released = on_released,
        .mail = on_mail,
        .ctx = e,
        .max = set->sm.max,
        .mailbox_ttl = set->sm.mailbox_ttl,
        .tombstone_ttl = set->sm.tombstone_ttl,
        .settle = SETTLE,
        .waits = s->wait_replicas > 0,
        .heartbeat = e->leads,
        .reaper = index,
        .reapers = cx->workers ? cx->workers : 1,
    });
}

static struct redis *connect_redis(struct storage_end *e, struct context *cx)
{
    struct storage *s = e->storage;
    return redis_new(&(struct redis_options){
        .url = s->url,
        .loop = cx->loop,
        .dialer = e->dialer,
        .tls = e->tls,
        .password = s->password,
        .sentinel_password = s->sentinel_password,
        .wait_replicas = s->wait_replicas,
        .connect_timeout = CONNECT_TIMEOUT,
        .command_timeout = COMMAND_TIMEOUT,
        .channel = redis_store_channel(e->store),
        .shared_channel = redis_store_shared_channel,
        .counters = cx->counters,
        .events = &redis_events,
        .ctx = e,
    });
}

bool storage_join(struct storage *s, struct context *cx, const char *resolver, unsigned index,
                  struct storage_end **end_r, char **error_r)
{
    *end_r = NULL;
    if (!s->url) {
        cx->store = memory_store_get(s->memory);
        return true;
    }
    struct storage_end *e = MEM_NEW(struct storage_end);
    e->storage = s;
    e->leads = index == 0;
    e->cx = cx;
    e->timers = cx->timers;
    e->clock = cx->clock;
    e->renew = (struct timer){.fire = on_renew, .ctx = e};
    if (s->url->tls && !(e->tls = tls_client_new(s->ca, true, NULL, error_r))) {
        free(e);
        return false;
    }
    if (e->tls)
        tls_forgo_alpn(e->tls);
    e->dialer = dialer_new(cx->loop);
    if (resolver)
        dialer_set_servers(e->dialer, resolver);
    e->sealer = sealer_new(s->keys);
    e->store = store_new(e, cx, index);
    e->redis = connect_redis(e, cx);
    redis_store_connect(e->store, e->redis);
    cx->store = redis_store_get(e->store);
    publish(e);
    pthread_mutex_lock(&s->lock);
    list_append(&s->ends, &e->link);
    pthread_mutex_unlock(&s->lock);
    *end_r = e;
    return true;
}

void storage_reseal(struct storage_end *e)
{
    if (e)
        redis_store_reseal(e->store);
}

void storage_look(struct storage_end *e)
{
    if (e)
        publish(e);
}

void storage_leave(struct storage_end *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->storage->lock);
    list_remove(&e->link);
    pthread_mutex_unlock(&e->storage->lock);
    timers_cancel(e->timers, &e->renew);
    redis_free(e->redis);
    redis_store_free(e->store);
    dialer_free(e->dialer);
    tls_free(e->tls);
    sealer_free(e->sealer);
    free(e->away);
    free(e);
}
