#include "upstream_names.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/resolver.h"
#include <stdlib.h>
#include <string.h>

#define ADDRESSES_MAX 8
#define RETRY_FIRST   (2 * USEC_S) /* behind a failure; doubled with each further one */
#define RETRY_LAST    (30 * USEC_S)
#define LOOK_AGAIN    (10 * USEC_S) /* at names whose servers are down: they may have moved */

/* A question that is asked over and over. */
struct question {
    bool asking, answered, failing;
    usec asked_at, due;
    usec retry; /* behind the next failure */
    char *why;  /* the answer is empty */
};

struct host {
    struct list link;
    struct upstream_names *names;
    char *name;
    bool literal, wanted;
    struct question question;
    struct address address[ADDRESSES_MAX]; /* without port */
    size_t n;
};

struct upstream_names {
    struct loop *loop;
    struct resolver *resolver;
    struct upstreams *upstreams;
    struct counters *counters;
    struct timer timer;
    bool changed; /* since the list was published */
    bool closing;

    char *srv; /* the name of the SRV records; NULL: a plain list */
    struct question srv_question;
    unsigned srv_asked; /* how often srv was replaced: late answers to others are dropped */
    struct srv_record *servers;
    size_t n;
    struct list hosts; /* of the servers, and others that still owe an answer */

    usec hold_until; /* the list waits for names without answer, but not longer */
    void (*known)(void *ctx);
    void *ctx;
};

static usec now_of(const struct upstream_names *names)
{
    return loop_clock(names->loop)->mono;
}

/* Answers may come while questions are being asked: what follows from them is done by the timer. */
static void changed(struct upstream_names *names)
{
    names->changed = true;
    timers_arm(loop_timers(names->loop), &names->timer, now_of(names));
}

/* ---- questions ---- */

static void asked(struct question *q, usec now)
{
    q->asking = true;
    q->asked_at = now;
}

static void answered(struct upstream_names *names, struct question *q, const char *name, enum resolve_result result,
                     unsigned ttl, const char *text)
{
    usec now = now_of(names), valid = ttl * USEC_S;
    bool failed = result == RESOLVE_TIMEOUT || result == RESOLVE_FAILED;
    count(names->counters, result == RESOLVE_OK          ? METRIC_lookups_ok
                           : result == RESOLVE_NOT_FOUND ? METRIC_lookups_not_found
                                                         : METRIC_lookups_failed);
    if (failed && !q->failing)
        LOG(LOG_WARN, q->answered && !q->why ? "name servers fail, the last answer stays in use" : "name servers fail",
            LF("name", name), LF("detail", result == RESOLVE_TIMEOUT ? "timed out" : text));
    else if (!failed && q->failing)
        LOG(LOG_INFO, "name servers answer again", LF("name", name));
    if (!failed || !q->answered || q->why) {
        free(q->why);
        q->why = result == RESOLVE_OK ? NULL
                                      : mem_printf("resolve %s: %s", name,
                                                   result == RESOLVE_NOT_FOUND ? "not found"
                                                   : result == RESOLVE_TIMEOUT ? "timed out"
                                                                               : text);
    }
    q->asking = false;
    q->answered = true;
    q->failing = failed;
    if (failed) {
        q->retry = q->retry ? q->retry * 2 : RETRY_FIRST;
        q->retry = q->retry < RETRY_LAST ? q->retry : RETRY_LAST;
        q->due = now + q->retry;
    } else {
        q->retry = 0;
        q->due = now + (valid < NAMES_TTL_MIN ? NAMES_TTL_MIN : valid > NAMES_TTL_MAX ? NAMES_TTL_MAX : valid);
    }
}

/* ---- hosts ---- */

static void free_host(struct host *host)
{
    list_remove(&host->link);
    free(host->question.why);
    free(host->name);
    free(host);
}

static void on_addresses(void *ctx, enum resolve_result result, const struct address *addresses, size_t n, unsigned ttl,
                         const char *text)
{
    struct host *host = ctx;
    struct upstream_names *names = host->names;
    if (names->closing || !host->wanted) {
        host->question.asking = false;
        return;
    }
    answered(names, &host->question, host->name, result, ttl, text);
    if (!host->question.failing) {
        host->n = n < ADDRESSES_MAX ? n : ADDRESSES_MAX;
        for (size_t i = 0; i < host->n; i++)
            host->address[i] = addresses[i];
    }
    changed(names);
}

static void ask_host(struct host *host)
{
    asked(&host->question, now_of(host->names));
    resolver_lookup(host->names->resolver, host->name, 0, on_addresses, host);
}

static struct host *find_host(struct upstream_names *names, const char *name)
{
    LIST_FOREACH_SAFE(it, next, &names->hosts)
    {
        struct host *host = CONTAINER_OF(it, struct host, link);
        if (strcasecmp(host->name, name) == 0)
            return host;
    }
    return NULL;
}

static void want_host(struct upstream_names *names, const char *name)
{
    struct host *host = find_host(names, name);
    if (!host) {
        host = MEM_NEW(struct host);
        host->names = names;
        host->name = mem_strdup(name);
        host->literal = address_parse(&host->address[0], name, 0);
        host->n = host->literal;
        host->question.answered = host->literal;
        list_append(&names->hosts, &host->link);
    }
    host->wanted = true;
}

/* Those that are not wanted and owe no answer. */
static void drop_hosts(struct upstream_names *names)
{
    LIST_FOREACH_SAFE(it, next, &names->hosts)
    {
        struct host *host = CONTAINER_OF(it, struct host, link);
        if (!host->wanted && !host->question.asking)
            free_host(host);
    }
}

static void want_hosts(struct upstream_names *names)
{
    LIST_FOREACH_SAFE(it, next, &names->hosts)
    CONTAINER_OF(it, struct host, link)->wanted = false;
    for (size_t i = 0; i < names->n; i++)
        want_host(names, names->servers[i].host);
    drop_hosts(names);
    names->hold_until = now_of(names) + NAMES_WAIT;
}

/* ---- SRV records ---- */

static void free_servers(struct upstream_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->servers[i].host);
    free(names->servers);
    names->servers = NULL;
    names->n = 0;
}

static void take_records(struct upstream_names *names, const struct srv_record *records, size_t n)
{
    free_servers(names);
    names->servers = mem_zalloc((n + 1) * sizeof *names->servers);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(records[i].host, ".") == 0)
            continue;
        names->servers[names->n] = records[i];
        names->servers[names->n++].host = mem_strdup(records[i].host);
    }
    if (n && !names->n) {
        free(names->srv_question.why);
        names->srv_question.why = mem_printf("resolve %s: the domain says that it has no such service", names->srv);
    }
    want_hosts(names);
}

struct srv_asked {
    struct upstream_names *names;
    unsigned number;
};

static void on_records(void *ctx, enum resolve_result result, const struct srv_record *records, size_t n, unsigned ttl,
                       const char *text)
{
    struct srv_asked *ask = ctx;
    struct upstream_names *names = ask->names;
    bool late = names->closing || ask->number != names->srv_asked;
    free(ask);
    if (late)
        return;
    answered(names, &names->srv_question, names->srv, result, ttl, text);
    if (!names->srv_question.failing)
        take_records(names, records, n);
    changed(names);
}

static void ask_srv(struct upstream_names *names)
{
    struct srv_asked ask = {names, names->srv_asked};
    asked(&names->srv_question, now_of(names));
    resolver_lookup_srv(names->resolver, names->srv, on_records, mem_copy(&ask, sizeof ask));
}

/* ---- the list ---- */

static bool is_complete(const struct upstream_names *names)
{
    if (names->srv && !names->srv_question.answered)
        return false;
    LIST_FOREACH_SAFE(it, next, &names->hosts)
    {
        const struct host *host = CONTAINER_OF(it, struct host, link);
        if (host->wanted && !host->question.answered)
            return false;
    }
    return true;
}

static void publish(struct upstream_names *names)
{
    struct upstream_entry *entries = mem_zalloc((names->n + 1) * sizeof *entries);
    struct address *addresses = mem_zalloc((names->n * ADDRESSES_MAX + 1) * sizeof *addresses), *next = addresses;
    for (size_t i = 0; i < names->n; i++) {
        const struct srv_record *server = &names->servers[i];
        const struct host *host = find_host(names, server->host);
        const char *why = host->question.answered ? host->question.why : "the name servers have not answered yet";
        entries[i] = (struct upstream_entry){server->host, server->port, server->priority,    server->weight,
                                             next,         host->n,      host->n ? NULL : why};
        for (size_t j = 0; j < host->n; j++, next++) {
            *next = host->address[j];
            address_set_port(next, server->port);
        }
    }
    const char *why = names->srv_question.answered ? names->srv_question.why : "the name servers have not answered yet";
    upstreams_set(names->upstreams, entries, names->n, names->n ? NULL : why);
    free(entries);
    free(addresses);
    void (*known)(void *ctx) = names->known;
    names->known = NULL;
    if (known)
        known(names->ctx);
}

static usec due_of(const struct upstream_names *names, const struct question *q, const char *host)
{
    usec again = q->asked_at + LOOK_AGAIN;
    return again < q->due && upstreams_is_down(names->upstreams, host) ? again : q->due;
}

/* Asks what is due; returns when something will be. */
static usec ask_due(struct upstream_names *names)
{
    usec now = now_of(names), next = now + LOOK_AGAIN;
    if (names->srv && !names->srv_question.asking) {
        usec due = due_of(names, &names->srv_question, NULL);
        if (due <= now)
            ask_srv(names);
        else if (due < next)
            next = due;
    }
    LIST_FOREACH_SAFE(it, after, &names->hosts)
    {
        struct host *host = CONTAINER_OF(it, struct host, link);
        if (host->literal || !host->wanted || host->question.asking)
            continue;
        usec due = due_of(names, &host->question, host->name);
        if (due <= now)
            ask_host(host);
        else if (due < next)
            next = due;
    }
    return next;
}

static void turn(void *ctx)
{
    struct upstream_names *names = ctx;
    usec now = now_of(names), next = ask_due(names);
    drop_hosts(names);
    if (names->changed && (is_complete(names) || now >= names->hold_until)) {
        names->changed = false;
        publish(names);
    } else if (names->changed && names->hold_until < next) {
        next = names->hold_until;
    }
    timers_arm(loop_timers(names->loop), &names->timer, next);
}

/* ---- the module's face ---- */

struct upstream_names *upstream_names_new(struct loop *l, const char *resolver, struct upstreams *upstreams,
                                          struct counters *counters)
{
    struct upstream_names *names = MEM_NEW(struct upstream_names);
    names->loop = l;
    names->upstreams = upstreams;
    names->counters = counters;
    names->resolver = resolver_new(l);
    names->timer = (struct timer){.fire = turn, .ctx = names};
    list_init(&names->hosts);
    if (resolver && !resolver_set_servers(names->resolver, resolver))
        LOG(LOG_ERROR, "the name servers of proxy.resolver cannot be used", LF("servers", resolver));
    return names;
}

static void forget_list(struct upstream_names *names)
{
    free_servers(names);
    free(names->srv);
    free(names->srv_question.why);
    names->srv = NULL;
    names->srv_question = (struct question){0};
    names->srv_asked++;
}

void upstream_names_free(struct upstream_names *names)
{
    if (!names)
        return;
    names->closing = true;
    resolver_free(names->resolver);
    timers_cancel(loop_timers(names->loop), &names->timer);
    forget_list(names);
    LIST_FOREACH_SAFE(it, next, &names->hosts)
    free_host(CONTAINER_OF(it, struct host, link));
    free(names);
}

static void use_list(struct upstream_names *names, const struct config_servers *servers)
{
    names->servers = mem_zalloc((servers->n + 1) * sizeof *names->servers);
    names->n = servers->n;
    for (size_t i = 0; i < servers->n; i++)
        names->servers[i] = (struct srv_record){.host = mem_strdup(servers->hosts[i]), .port = servers->ports[i]};
}

void upstream_names_use(struct upstream_names *names, const struct config_servers *servers, bool direct,
                        void (*known)(void *ctx), void *ctx)
{
    forget_list(names);
    names->known = known;
    names->ctx = ctx;
    names->changed = true;
    if (servers->srv)
        names->srv = mem_printf("_%s._tcp.%s", direct ? "xmpps-client" : "xmpp-client", servers->hosts[0]);
    else
        use_list(names, servers);
    want_hosts(names);
    turn(names);
}
