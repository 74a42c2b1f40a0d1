#include "run/upstreams.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "upstream_choice.h"
#include "upstream_health.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Legs keep pointers to the facts of their server, and so does what lingers of ended sessions, for an hour at most
 * (sm.confirm_linger): what is no longer listed stays for so long behind its last session. */
#define FORGOTTEN_AFTER (2 * 3600 * USEC_S)

struct upstream {
    struct upstream_facts facts; /* first: all that others see of it */
    struct upstreams *all;
    struct list link;
    char *name, *host;
    int port;
    bool listed, drained;
    unsigned priority, weight;
    struct address *addresses;
    size_t n;
    char *why; /* there are no addresses */
    struct upstream_health health;
    char *fault; /* the last failure, in words */
    bool checking;
    usec idle_since; /* not listed and without sessions since then */
    _Atomic size_t sessions;
    _Atomic int64_t dials_ok, dials_failed;
};

struct upstreams {
    pthread_mutex_t lock; /* over all below but atomics */
    struct list list;     /* of struct upstream */
    size_t listed;
    char *why; /* the list is empty */
    struct upstream_facts service;
    _Atomic bool known;
    usec told_check; /* upstreams_next_check has promised to look then */
    void (*sooner)(void *ctx);
    void *ctx;
};

static usec mono_now(void)
{
    struct clock now;
    clock_read(&now);
    return now.mono;
}

static uint32_t chance(void)
{
    return random_below(UINT32_MAX);
}

static struct upstream *upstream_of(struct upstream_facts *facts)
{
    return CONTAINER_OF(facts, struct upstream, facts);
}

#define EACH(u, it, one)                                                                                               \
    LIST_FOREACH_SAFE(it, next_##it, &(u)->list)                                                                       \
    for (struct upstream *one = CONTAINER_OF(it, struct upstream, link); one; one = NULL)

/* ---- life ---- */

struct upstreams *upstreams_new(void (*sooner)(void *ctx), void *ctx)
{
    struct upstreams *u = MEM_NEW(struct upstreams);
    pthread_mutex_init(&u->lock, NULL);
    list_init(&u->list);
    u->told_check = INT64_MAX;
    u->sooner = sooner;
    u->ctx = ctx;
    return u;
}

static void free_one(struct upstream *one)
{
    list_remove(&one->link);
    free(one->name);
    free(one->host);
    free(one->addresses);
    free(one->why);
    free(one->fault);
    free(one);
}

void upstreams_free(struct upstreams *u)
{
    if (!u)
        return;
    EACH(u, it, one)
    free_one(one);
    pthread_mutex_destroy(&u->lock);
    free(u->why);
    free(u);
}

/* ---- the list ---- */

static char *name_of(const char *host, int port)
{
    return mem_printf(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
}

static struct upstream *find(struct upstreams *u, const char *name)
{
    EACH(u, it, one)
    if (strcasecmp(one->name, name) == 0)
        return one;
    return NULL;
}

static struct upstream *add(struct upstreams *u, const struct upstream_entry *entry, char *name)
{
    struct upstream *one = MEM_NEW(struct upstream);
    one->all = u;
    one->facts.name = one->name = name;
    one->host = mem_strdup(entry->host);
    one->port = entry->port;
    list_append(&u->list, &one->link);
    return one;
}

static bool same_addresses(const struct upstream *one, const struct upstream_entry *entry)
{
    if (one->n != entry->n)
        return false;
    for (size_t i = 0; i < entry->n; i++) {
        char a[ADDRESS_TEXT], b[ADDRESS_TEXT];
        if (strcmp(address_text(&one->addresses[i], a), address_text(&entry->addresses[i], b)) != 0)
            return false;
    }
    return true;
}

static void take_entry(struct upstreams *u, const struct upstream_entry *entry, usec now)
{
    char *name = name_of(entry->host, entry->port);
    struct upstream *one = find(u, name);
    bool was_listed = one && one->listed;
    if (one)
        free(name);
    else
        one = add(u, entry, name);
    if (!was_listed)
        LOG(LOG_INFO, "upstream listed", LF("upstream", one->name), LF_INT("addresses", entry->n),
            LF_INT("priority", entry->priority), LF_INT("weight", entry->weight));
    if (!same_addresses(one, entry)) {
        if (was_listed)
            LOG(LOG_INFO, "upstream has other addresses", LF("upstream", one->name), LF_INT("addresses", entry->n));
        free(one->addresses);
        one->addresses = entry->n ? mem_copy(entry->addresses, entry->n * sizeof *entry->addresses) : NULL;
        one->n = entry->n;
        one->health.check_at = now;
    }
    free(one->why);
    one->why = mem_strdup(entry->why);
    one->priority = entry->priority;
    one->weight = entry->weight;
    one->listed = true;
}

static bool is_usable(const struct upstream *one)
{
    return one->listed && !one->drained && one->n && one->health.state != UPSTREAM_DOWN;
}

/* What is derived from the states of all. */
static void settle(struct upstreams *u)
{
    bool usable = false;
    EACH(u, it, one)
    {
        usable |= is_usable(one);
        atomic_store(&one->facts.down, one->health.state == UPSTREAM_DOWN || !one->n);
    }
    atomic_store(&u->service.down, !usable);
}

static void forget_old(struct upstreams *u, usec now)
{
    EACH(u, it, one)
    {
        if (one->listed || one->checking || atomic_load(&one->sessions))
            one->idle_since = now;
        else if (now - one->idle_since > FORGOTTEN_AFTER)
            free_one(one);
    }
}

/* Call without the lock. */
static void look_sooner(struct upstreams *u, bool sooner)
{
    if (sooner)
        u->sooner(u->ctx);
}

static usec next_check(struct upstreams *u)
{
    usec next = INT64_MAX;
    EACH(u, it, one)
    if (one->listed && one->n && !one->checking && one->health.check_at < next)
        next = one->health.check_at;
    return next;
}

/* Whether the one who checks must be told; he is told once. */
static bool is_sooner(struct upstreams *u)
{
    usec next = next_check(u);
    if (next >= u->told_check)
        return false;
    u->told_check = next;
    return true;
}

void upstreams_set(struct upstreams *u, const struct upstream_entry *entries, size_t n, const char *why)
{
    usec now = mono_now();
    pthread_mutex_lock(&u->lock);
    EACH(u, it, one)
    {
        bool stays = false;
        for (size_t i = 0; i < n && !stays; i++)
            stays = one->port == entries[i].port && strcasecmp(one->host, entries[i].host) == 0;
        if (one->listed && !stays) {
            one->listed = false;
            LOG(LOG_INFO, "upstream no longer listed", LF("upstream", one->name),
                LF_INT("sessions", atomic_load(&one->sessions)));
        }
    }
    for (size_t i = 0; i < n; i++)
        take_entry(u, &entries[i], now);
    u->listed = n;
    free(u->why);
    u->why = mem_strdup(why);
    settle(u);
    forget_old(u, now);
    bool sooner = is_sooner(u);
    pthread_mutex_unlock(&u->lock);
    atomic_store(&u->known, true);
    look_sooner(u, sooner);
}

bool upstreams_known(const struct upstreams *u)
{
    return atomic_load(&u->known);
}

bool upstreams_is_down(struct upstreams *u, const char *host)
{
    bool down = false;
    pthread_mutex_lock(&u->lock);
    EACH(u, it, one)
    if (one->listed && one->health.state == UPSTREAM_DOWN && (!host || strcasecmp(one->host, host) == 0))
        down = true;
    pthread_mutex_unlock(&u->lock);
    return down;
}

/* ---- dials ---- */

static size_t add_routes(const struct upstream *one, void *server, struct dial_route *routes, size_t room)
{
    size_t n = 0;
    for (; n < one->n && n < room && n < UPSTREAM_ROUTES_ONE; n++)
        routes[n] = (struct dial_route){one->addresses[n], server};
    return n;
}

/* The reason why there is nobody to dial. */
static void explain(struct upstreams *u, char why[UPSTREAM_WHY])
{
    snprintf(why, UPSTREAM_WHY, "%s", u->why ? u->why : "no upstream server is known");
    EACH(u, it, one)
    if (one->listed)
        snprintf(why, UPSTREAM_WHY, "%s", one->n ? "the upstream servers are drained" : one->why);
}

size_t upstreams_routes(struct upstreams *u, struct dial_route routes[UPSTREAM_ROUTES], char why[UPSTREAM_WHY])
{
    usec now = mono_now();
    size_t n = 0, count = 0;
    why[0] = '\0';
    pthread_mutex_lock(&u->lock);
    struct upstream **who = mem_alloc((u->listed + 1) * sizeof *who);
    struct upstream_candidate *candidates = mem_alloc((u->listed + 1) * sizeof *candidates);
    size_t *order = mem_alloc((u->listed + 1) * sizeof *order);
    EACH(u, it, one)
    {
        if (!one->listed || one->drained || !one->n)
            continue;
        who[n] = one;
        candidates[n++] = (struct upstream_candidate){
            .priority = one->priority,
            .weight = one->weight,
            .sessions = atomic_load(&one->sessions),
            .down = one->health.state == UPSTREAM_DOWN,
            .share = health_share(&one->health, now),
        };
    }
    n = upstream_choose(candidates, n, random_below, order);
    for (size_t i = 0; i < n && count < UPSTREAM_ROUTES; i++)
        count += add_routes(who[order[i]], &who[order[i]]->facts, routes + count, UPSTREAM_ROUTES - count);
    if (!count)
        explain(u, why);
    pthread_mutex_unlock(&u->lock);
    free(who);
    free(candidates);
    free(order);
    return count;
}

static void told(struct upstream *one, bool good, const char *detail)
{
    struct upstreams *u = one->all;
    usec now = mono_now();
    if (!good)
        atomic_store(&one->facts.broke, now);
    if (good || detail) {
        free(one->fault);
        one->fault = good ? NULL : mem_strdup(detail);
    }
    if (!health_note(&one->health, good, now, chance()))
        return;
    settle(u);
    if (!good)
        LOG(LOG_WARN, "upstream unreachable", LF("upstream", one->name), LF("detail", detail));
    else
        LOG(LOG_INFO, one->health.came_back ? "upstream is back" : "upstream is up", LF("upstream", one->name));
}

void upstreams_note(struct upstreams *u, struct upstream_facts *facts, enum upstream_note note, const char *detail)
{
    if (facts == &u->service)
        return; /* none could be connected: the dial has told of each */
    struct upstream *one = upstream_of(facts);
    pthread_mutex_lock(&u->lock);
    if (note == UPSTREAM_BROKE) {
        usec now = mono_now();
        atomic_store(&one->facts.broke, now);
        health_suspect(&one->health, now);
    } else {
        atomic_fetch_add(note == UPSTREAM_REACHED ? &one->dials_ok : &one->dials_failed, 1);
        told(one, note == UPSTREAM_REACHED, detail);
    }
    bool sooner = is_sooner(u);
    pthread_mutex_unlock(&u->lock);
    look_sooner(u, sooner);
}

static void on_entered(void *server)
{
    atomic_fetch_add(&upstream_of(server)->sessions, 1);
}

static void on_left(void *server)
{
    atomic_fetch_sub(&upstream_of(server)->sessions, 1);
}

static void on_failed(void *server, enum transport_end end, const char *detail)
{
    struct upstream *one = upstream_of(server);
    (void)end;
    upstreams_note(one->all, server, UPSTREAM_FAILED, detail);
    on_left(server);
}

const struct dial_events *upstreams_dial_events(void)
{
    static const struct dial_events events = {on_entered, on_failed, on_left};
    return &events;
}

struct upstream_facts *upstreams_service(struct upstreams *u)
{
    return &u->service;
}

/* ---- checks ---- */

usec upstreams_next_check(struct upstreams *u)
{
    pthread_mutex_lock(&u->lock);
    forget_old(u, mono_now());
    usec next = u->told_check = next_check(u);
    pthread_mutex_unlock(&u->lock);
    return next;
}

bool upstreams_take_check(struct upstreams *u, struct upstream_check *out)
{
    usec now = mono_now();
    struct upstream *due = NULL;
    pthread_mutex_lock(&u->lock);
    EACH(u, it, one)
    if (!due && one->listed && one->n && !one->checking && one->health.check_at <= now)
        due = one;
    if (due) {
        due->checking = true;
        out->facts = &due->facts;
        out->host = mem_strdup(due->host);
        out->n = add_routes(due, NULL, out->routes, UPSTREAM_ROUTES_ONE);
    }
    pthread_mutex_unlock(&u->lock);
    return due != NULL;
}

void upstreams_checked(struct upstreams *u, struct upstream_facts *facts, bool good, const char *detail)
{
    struct upstream *one = upstream_of(facts);
    pthread_mutex_lock(&u->lock);
    one->checking = false;
    told(one, good, detail);
    bool sooner = is_sooner(u);
    pthread_mutex_unlock(&u->lock);
    look_sooner(u, sooner);
}

/* ---- the operator ---- */

bool upstreams_set_drained(struct upstreams *u, const char *name, bool drained)
{
    pthread_mutex_lock(&u->lock);
    struct upstream *one = find(u, name);
    if (one && one->drained != drained) {
        one->drained = drained;
        settle(u);
        LOG(LOG_INFO, drained ? "upstream drained" : "upstream no longer drained", LF("upstream", one->name));
    }
    pthread_mutex_unlock(&u->lock);
    return one != NULL;
}

static void add_reason(const struct upstream *one, usec now, struct buf *reasons)
{
    buf_printf(reasons, "upstream: %s ", one->name);
    if (one->drained)
        BUF_LIT(reasons, "drained\n");
    else if (!one->n)
        buf_printf(reasons, "unknown: %s\n", one->why);
    else if (one->health.state == UPSTREAM_UNTRIED)
        BUF_LIT(reasons, "not tried yet\n");
    else
        buf_printf(reasons, "unreachable for %lld s: %s\n", (long long)((now - one->health.since) / USEC_S),
                   one->fault ? one->fault : "?");
}

bool upstreams_ready(struct upstreams *u, struct buf *reasons)
{
    bool ready = false;
    pthread_mutex_lock(&u->lock);
    EACH(u, it, one)
    ready |= is_usable(one) && one->health.state == UPSTREAM_UP;
    if (!ready) {
        usec now = mono_now();
        EACH(u, it, one)
        if (one->listed)
            add_reason(one, now, reasons);
        if (!u->listed)
            buf_printf(reasons, "upstream: %s\n", u->why ? u->why : "not known yet");
    }
    pthread_mutex_unlock(&u->lock);
    return ready;
}

struct upstream_info *upstreams_info(struct upstreams *u, size_t *n_r)
{
    struct upstream_info *info = NULL;
    size_t n = 0;
    pthread_mutex_lock(&u->lock);
    EACH(u, it, one)
    {
        size_t sessions = atomic_load(&one->sessions);
        if (!one->listed && !sessions)
            continue;
        info = mem_realloc(info, (n + 1) * sizeof *info);
        info[n++] = (struct upstream_info){
            .name = mem_strdup(one->name),
            .listed = one->listed,
            .up = one->n && one->health.state == UPSTREAM_UP,
            .drained = one->drained,
            .sessions = sessions,
            .dials_ok = atomic_load(&one->dials_ok),
            .dials_failed = atomic_load(&one->dials_failed),
        };
    }
    pthread_mutex_unlock(&u->lock);
    *n_r = n;
    return info;
}

void upstreams_info_free(struct upstream_info *info, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(info[i].name);
    free(info);
}

bool upstreams_any_unordered(struct upstreams *u)
{
    bool any = false;
    pthread_mutex_lock(&u->lock);
    EACH(u, it, one)
    any |= one->listed && atomic_load(&one->facts.order) == ORDER_BAD;
    pthread_mutex_unlock(&u->lock);
    return any;
}
