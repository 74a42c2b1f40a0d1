#include "run/worker.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/slab.h"
#include "health.h"
#include "net/dialer.h"
#include "net/proxied.h"
#include "net/tcp.h"
#include "net/web.h"
#include "peers.h"
#include "run/digest.h"
#include "session/client_leg.h"
#include "session/echoes.h"
#include "session/fates.h"
#include "session/session.h"
#include "site.h"
#include "storage.h"
#include "store/memory.h"
#include "upstream_names.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HANDSHAKE_TIMEOUT (15 * USEC_S)
#define HEADER_TIMEOUT    (5 * USEC_S) /* of the PROXY protocol; a lost packet is sent again within three */
#define DIAL_TIMEOUT      (10 * USEC_S)
#define BEAT              USEC_S       /* the loop turns at least that often */
#define SWEEP             (5 * USEC_S) /* rubbish collection of the store, by worker 0 */
#define STOP_TIME         (4 * USEC_S) /* for goodbyes to leave, at the end */
#define SPARE_ENTRIES     (256 * 1024) /* bytes of freed stanzas that wait for the next: what a turn can need */

struct port {
    struct list link;
    struct worker *worker;
    struct listener *listener;
    enum port_kind kind;
    bool shared;                  /* by all workers: this one accepts for them, in turn */
    unsigned next;                /* whose turn it is */
    unsigned long long exhausted; /* as counted so far */
};

struct worker {
    struct context cx; /* first: its ops find the worker by it */
    struct proxy_node *node;
    const struct config *config;
    unsigned index;
    pthread_t thread;
    struct loop *loop;
    struct dialer *dialer;
    struct storage_end *storage;
    struct proxied *proxied;
    struct web *web;
    struct peers *peers; /* NULL without listen.peer */
    struct inbox *inbox;
    struct tls_context *tls_server, *tls_upstream;
    struct list ports;
    bool accepting;               /* the ports were opened to the loop */
    struct health *health;        /* of worker 0 */
    struct upstream_names *names; /* of worker 0 */
    struct timer beat;
    usec beat_due;
    usec swept;
    usec stop_by; /* stopping: the latest end; 0 = running */
    _Atomic int64_t last_turn;
    _Atomic size_t sessions, clients;
};

static struct worker *self(struct context *cx)
{
    return CONTAINER_OF(cx, struct worker, cx);
}

/* ---- what sessions ask for ---- */

static struct transport *dial_routes(struct context *cx, const struct dial_route *routes, size_t n, const char *domain,
                                     const struct endpoints *client, const char *no_route)
{
    static const int version[] = {[PROXY_PROTOCOL_OFF] = 0, [PROXY_PROTOCOL_V1] = 1, [PROXY_PROTOCOL_V2] = 2};
    struct worker *w = self(cx);
    struct dial_target target = {
        .tls = cx->settings->upstream_tls == UPSTREAM_TLS_DIRECT ? w->tls_upstream : NULL,
        .tls_name = domain,
        .timeout = DIAL_TIMEOUT,
        .routes = routes,
        .route_count = n,
        .events = upstreams_dial_events(),
        .no_route = no_route,
        .proxy_header = version[w->config->proxy.upstream_proxy_protocol],
    };
    if (client)
        target.client = *client;
    return dialer_dial(w->dialer, &target);
}

static struct transport *dial(struct context *cx, const char *domain, const struct endpoints *client)
{
    struct dial_route routes[UPSTREAM_ROUTES];
    char why[UPSTREAM_WHY];
    size_t n = upstreams_routes(self(cx)->node->upstreams, routes, why);
    return dial_routes(cx, routes, n, domain, client, why);
}

static void upstream_noted(struct context *cx, struct upstream_facts *facts, enum upstream_note note,
                           const char *detail)
{
    upstreams_note(self(cx)->node->upstreams, facts, note, detail);
}

static void starttls_client(struct context *cx, struct transport *t)
{
    tcp_starttls(t, self(cx)->tls_server, NULL, HANDSHAKE_TIMEOUT);
}

static void starttls_upstream(struct context *cx, struct transport *t, const char *domain)
{
    tcp_starttls(t, self(cx)->tls_upstream, domain, HANDSHAKE_TIMEOUT);
}

static void previd_new(struct context *cx, struct slice account, char tag[TAG_SIZE], struct previd_secret *secret_r)
{
    storage_tag(self(cx)->node->storage, account, tag);
    random_bytes(secret_r->byte, sizeof secret_r->byte);
}

/* A previd that is none of ours gets a tag that no account has. */
static void sid_of(struct context *cx, struct slice previd, char sid[SID_SIZE])
{
    (void)cx;
    char hash[SID_SIZE];
    digest_hex(previd, hash, (SID_SIZE - 1) / 2);
    size_t tag = 0;
    while (tag < previd.n && previd.p[tag] && strchr("0123456789abcdef", previd.p[tag]))
        tag++;
    bool ours = tag == TAG_SIZE - 1 && previd.n > tag && previd.p[tag] == '-';
    snprintf(sid, SID_SIZE, "%.24s%s", ours ? previd.p : hash, hash + TAG_SIZE - 1);
}

static void client_arrives(void *owner, void *arg)
{
    struct worker *w = owner;
    w->clients++;
    client_leg_arrive(arg, &w->cx);
}

static void move(struct context *cx, struct client_leg *leg, int worker)
{
    struct worker *target = self(cx)->node->workers[worker];
    self(cx)->clients--;
    if (!inbox_post(target->inbox, client_arrives, leg)) /* that worker has stopped: so will this one, now */
        client_arrives(self(cx), leg);
}

static struct transport *dial_peer(struct context *cx, const char *address)
{
    return peers_dial(self(cx)->peers, address);
}

static void evict(void *owner, void *arg)
{
    struct worker *w = owner;
    struct session *s = registry_find(w->cx.registry, arg);
    struct session_info info;
    if (s) {
        session_info(s, &info);
        if (info.state == SESSION_DETACHED && !info.resuming) /* it may have been resumed meanwhile */
            session_end(s, CLOSE_EVICTED, GOODBYE_CUT);
    }
    free(arg);
}

static void mail(void *owner, void *arg)
{
    struct worker *w = owner;
    struct session *s = registry_find(w->cx.registry, arg);
    if (s)
        session_hint_mail(s);
    free(arg);
}

/* run frees it. */
static void post_copy(struct context *cx, int worker, void (*run)(void *owner, void *arg), void *copy)
{
    if (!inbox_post(self(cx)->node->workers[worker]->inbox, run, copy))
        free(copy);
}

static void post_evict(struct context *cx, const char *sid, int worker)
{
    post_copy(cx, worker, evict, mem_strdup(sid));
}

static void post_mail(struct context *cx, const char *sid, int worker)
{
    post_copy(cx, worker, mail, mem_strdup(sid));
}

static void echo(void *owner, void *arg)
{
    struct worker *w = owner;
    const uint64_t *key = arg;
    echo_told(&w->cx, *key);
    free(arg);
}

static void post_echo(struct context *cx, uint64_t key, int worker)
{
    post_copy(cx, worker, echo, mem_copy(&key, sizeof key));
}

static void client_left(struct context *cx, const char *peer)
{
    self(cx)->clients--;
    admission_leave(self(cx)->node->admission, peer);
}

static struct login_limits login_limits(const struct context *cx)
{
    return (struct login_limits){cx->settings->limits.login_failures_per_ip,
                                 cx->settings->limits.login_failures_per_account};
}

static bool login_allowed(struct context *cx, const char *peer, const char *account, struct login_pass *pass_r)
{
    static const enum metric limit[] = {[LOGIN_LIMIT_ADDRESS] = METRIC_limit_login_failures_per_ip,
                                        [LOGIN_LIMIT_ACCOUNT] = METRIC_limit_login_failures_per_account};
    struct login_limits limits = login_limits(cx);
    struct login_verdict v = login_guard_ask(self(cx)->node->login_guard, &limits, peer, account, cx->clock->mono);
    *pass_r = v.pass;
    if (v.by)
        count(cx->counters, limit[v.by]);
    return !v.refused;
}

static void login_ended(struct context *cx, const char *peer, const char *account, const struct login_pass *pass,
                        enum login_end end)
{
    struct login_limits limits = login_limits(cx);
    login_guard_ended(self(cx)->node->login_guard, &limits, peer, account, cx->clock->mono, pass, end);
}

static const struct context_ops context_ops = {
    .dial = dial,
    .upstream_noted = upstream_noted,
    .starttls_client = starttls_client,
    .starttls_upstream = starttls_upstream,
    .previd_new = previd_new,
    .sid_of = sid_of,
    .dial_peer = dial_peer,
    .move = move,
    .post_evict = post_evict,
    .post_mail = post_mail,
    .post_echo = post_echo,
    .login_allowed = login_allowed,
    .login_ended = login_ended,
    .client_left = client_left,
};

/* ---- connections ---- */

static bool admit_with(struct worker *w, const char *peer, size_t limit_per_ip)
{
    switch (admission_enter(w->node->admission, peer, w->cx.settings->limits.connections, limit_per_ip)) {
    case ADMISSION_OK:
        return true;
    case ADMISSION_FULL:
        count(w->cx.counters, METRIC_limit_connections);
        break;
    case ADMISSION_ADDRESS_FULL:
        count(w->cx.counters, METRIC_limit_connections_per_ip);
        break;
    }
    if (context_may_tell(&w->cx))
        LOG(LOG_INFO, "connection refused by a limit", LF("peer", peer));
    return false;
}

static bool admit(struct worker *w, const char *peer)
{
    return admit_with(w, peer, w->cx.settings->limits.connections_per_ip);
}

/* A connection on its way to becoming a client leg. */
struct arrival {
    struct worker *worker;
    int fd;
    enum port_kind kind;
    struct endpoint peer;           /* of the connection itself */
    char counted_as[ENDPOINT_TEXT]; /* the address by which it was admitted, while its request is awaited */
};

static bool is_among(const struct network_list *networks, const struct endpoint *e)
{
    for (size_t i = 0; i < networks->n; i++)
        if (network_holds(&networks->list[i], e))
            return true;
    return false;
}

/* ---- those that come by HTTP ---- */

static void on_secured(void *ctx)
{
    struct arrival *a = ctx;
    count(a->worker->cx.counters, METRIC_tls_handshakes_ok);
}

/* The client is behind a load balancer, and counts under its own address from now on. */
static bool readmit(struct arrival *a, const struct endpoint *client)
{
    char peer[ENDPOINT_TEXT];
    if (!admit(a->worker, endpoint_text(client, peer)))
        return false;
    admission_leave(a->worker->node->admission, a->counted_as);
    memcpy(a->counted_as, peer, sizeof a->counted_as);
    return true;
}

static bool on_request(void *ctx, const struct http_request *r, bool secure, struct endpoints *client, struct buf *out)
{
    static const char *const header[] = {"x-forwarded-for", "forwarded"};
    struct arrival *a = ctx;
    struct worker *w = a->worker;
    const struct network_list *balancers = &w->config->listen.ws_forwarded_from;
    bool behind = is_among(balancers, &client->source);
    if (behind) {
        client->source = http_forwarded(r, header[w->config->listen.ws_forwarded_header], balancers->list, balancers->n,
                                        &client->source);
        secure |= http_has_token(r, "X-Forwarded-Proto", "https");
    }
    enum metric answer = site_answer(w->config, r, secure, out);
    if (answer == METRIC_web_upgraded && behind && !readmit(a, &client->source)) {
        buf_clear(out);
        site_no_room(r, out);
        answer = METRIC_web_no_room;
    }
    count(w->cx.counters, answer);
    return answer == METRIC_web_upgraded;
}

static void on_upgraded(void *ctx, struct transport *websocket)
{
    struct arrival *a = ctx;
    a->worker->clients++;
    client_leg_new(&a->worker->cx, websocket);
    free(a);
}

static void on_web_over(void *ctx, enum web_end end, const char *detail)
{
    static const enum metric metric[] = {[WEB_REFUSED] = METRIC_web_refused,
                                         [WEB_LATE] = METRIC_web_late,
                                         [WEB_GONE] = METRIC_web_gone,
                                         [WEB_TLS_FAILED] = METRIC_tls_handshakes_failed};
    struct arrival *a = ctx;
    struct worker *w = a->worker;
    admission_leave(w->node->admission, a->counted_as);
    if (end != WEB_ANSWERED && end != WEB_PROBE) {
        count(w->cx.counters, metric[end]);
        if (end == WEB_LATE)
            count(w->cx.counters, METRIC_limit_login_timeout);
        if (context_may_tell(&w->cx))
            LOG(LOG_INFO, "no WebSocket", LF("peer", a->counted_as), LF("detail", detail));
    }
    free(a);
}

static const struct web_events web_events = {on_secured, on_request, on_upgraded, on_web_over};

/* A load balancer's address has no limit of its own. */
static void begin_web(struct worker *w, const struct arrival *a, const struct endpoints *told)
{
    const struct endpoint *source = told->source.family ? &told->source : &a->peer;
    struct arrival *copy = mem_copy(a, sizeof *a);
    bool behind = is_among(&w->config->listen.ws_forwarded_from, source);
    endpoint_text(source, copy->counted_as);
    if (!admit_with(w, copy->counted_as, behind ? 0 : w->cx.settings->limits.connections_per_ip)) {
        close(a->fd);
        free(copy);
        return;
    }
    web_hold(w->web, a->fd, a->kind == PORT_WSS ? w->tls_server : NULL, w->cx.settings->limits.login_timeout, told,
             &web_events, copy);
}

/* ---- those that speak XMPP from the beginning ---- */

/* told: who the client is, if not the connection's peer; none = that one. */
static void begin_client(struct worker *w, const struct arrival *a, const struct endpoints *told)
{
    char peer[ENDPOINT_TEXT];
    if (a->kind == PORT_WS || a->kind == PORT_WSS) {
        begin_web(w, a, told);
        return;
    }
    if (!admit(w, endpoint_text(told->source.family ? &told->source : &a->peer, peer))) {
        close(a->fd);
        return;
    }
    w->clients++;
    client_leg_new(&w->cx,
                   tcp_accept(w->loop, a->fd, a->kind == PORT_TLS ? w->tls_server : NULL, HANDSHAKE_TIMEOUT, told));
}

/* A client that another node relays. Its address had its limit there. */
static bool peer_client_arrived(void *ctx, struct transport *t, const struct peer_hello *hello)
{
    struct worker *w = ctx;
    if (admission_enter(w->node->admission, transport_peer(t), w->cx.settings->limits.connections, 0) != ADMISSION_OK) {
        count(w->cx.counters, METRIC_limit_connections);
        return false;
    }
    w->clients++;
    client_leg_relayed(&w->cx, t, hello);
    return true;
}

static const struct peers_events peers_events = {peer_client_arrived};

static void count_header(struct worker *w, enum proxied_result result)
{
    static const enum metric metric[] = {
        [PROXIED_TOLD] = METRIC_proxy_headers_told,   [PROXIED_LOCAL] = METRIC_proxy_headers_local,
        [PROXIED_PROBE] = METRIC_proxy_headers_probe, [PROXIED_CUT] = METRIC_proxy_headers_cut,
        [PROXIED_LATE] = METRIC_proxy_headers_late,   [PROXIED_BAD] = METRIC_proxy_headers_bad,
    };
    count(w->cx.counters, metric[result]);
}

static void on_header(void *ctx, enum proxied_result result, int fd, const struct endpoints *ends, const char *detail)
{
    struct arrival *a = ctx;
    struct worker *w = a->worker;
    char peer[ENDPOINT_TEXT];
    a->fd = fd;
    endpoint_text(&a->peer, peer);
    admission_leave(w->node->admission, peer); /* until now it counted as the load balancer's */
    count_header(w, result);
    if (fd >= 0)
        begin_client(w, a, ends);
    else if (result == PROXIED_PROBE || context_may_tell(&w->cx))
        LOG(result == PROXIED_PROBE ? LOG_DEBUG : LOG_WARN, "no PROXY protocol header: connection closed",
            LF("peer", peer), LF("detail", detail));
    free(a);
}

static const struct proxied_events proxied_events = {on_header};

static bool is_proxied(const struct worker *w, const struct endpoint *peer)
{
    return w->config->listen.proxy_protocol && is_among(&w->config->listen.proxy_from, peer);
}

/* The load balancer's address has no limit of its own. */
static void hold_back(struct worker *w, const struct arrival *a)
{
    char peer[ENDPOINT_TEXT];
    endpoint_text(&a->peer, peer);
    if (admission_enter(w->node->admission, peer, w->cx.settings->limits.connections, 0) != ADMISSION_OK) {
        count(w->cx.counters, METRIC_limit_connections);
        close(a->fd);
        return;
    }
    LOG(LOG_DEBUG, "PROXY protocol header awaited", LF("peer", peer));
    proxied_hold(w->proxied, a->fd, HEADER_TIMEOUT, &proxied_events, mem_copy(a, sizeof *a));
}

static void arrive(struct arrival *a)
{
    struct worker *w = a->worker;
    if (is_proxied(w, &a->peer))
        hold_back(w, a);
    else
        begin_client(w, a, &(struct endpoints){0});
}

static void connection_arrives(void *owner, void *arg)
{
    struct arrival *a = arg;
    a->worker = owner;
    arrive(a);
    free(a);
}

/* A socket that all workers share would wake them all for each connection, and one of them would get most: so one
 * accepts, and deals out. */
static void deal_out(struct port *p, struct arrival *a)
{
    struct proxy_node *node = a->worker->node;
    struct worker *target = node->workers[p->next++ % node->worker_count];
    if (target == a->worker) {
        arrive(a);
        return;
    }
    void *copy = mem_copy(a, sizeof *a);
    if (!inbox_post(target->inbox, connection_arrives, copy)) { /* that worker has stopped: so will this one, now */
        close(a->fd);
        free(copy);
    }
}

static void on_accepted(void *ctx, int fd, const struct endpoint *peer)
{
    struct port *p = ctx;
    struct arrival a = {.worker = p->worker, .fd = fd, .kind = p->kind, .peer = *peer};
    if (p->shared)
        deal_out(p, &a);
    else
        arrive(&a);
}

static const struct listener_events listener_events = {on_accepted};

void worker_add_listener(struct worker *w, struct listener *l, enum port_kind kind, bool shared)
{
    if (kind == PORT_PEER) {
        peers_add_listener(w->peers, l);
        return;
    }
    struct port *p = MEM_NEW(struct port);
    p->shared = shared;
    p->worker = w;
    p->listener = l;
    p->kind = kind;
    list_append(&w->ports, &p->link);
}

/* Clients that come before the upstreams are known wait in the queues of the listening sockets. */
static void open_ports(void *owner, void *arg)
{
    struct worker *w = owner;
    (void)arg;
    if (w->accepting)
        return;
    w->accepting = true;
    LIST_FOREACH_SAFE(it, next, &w->ports)
    {
        struct port *p = CONTAINER_OF(it, struct port, link);
        listener_start(p->listener, w->loop, &listener_events, p);
    }
    if (w->peers)
        peers_start(w->peers);
}

static void close_ports(struct worker *w)
{
    LIST_FOREACH_SAFE(it, next, &w->ports)
    {
        struct port *p = CONTAINER_OF(it, struct port, link);
        list_remove(it);
        listener_free(p->listener);
        free(p);
    }
}

/* Connections of which it is not known yet what they want. */
static void drop_waiting(struct worker *w)
{
    proxied_drop(w->proxied);
    web_drop(w->web);
}

/* ---- the loop ---- */

static void count_exhausted(struct worker *w)
{
    LIST_FOREACH_SAFE(it, next, &w->ports)
    {
        struct port *p = CONTAINER_OF(it, struct port, link);
        unsigned long long now = listener_exhausted(p->listener);
        count_add(w->cx.counters, METRIC_limit_descriptors, (int64_t)(now - p->exhausted));
        p->exhausted = now;
    }
}

static bool end_now(void *ctx, struct session *s)
{
    (void)ctx;
    if (!session_abandon(s))
        session_end(s, CLOSE_SHUTDOWN, GOODBYE_CUT);
    return true;
}

static void arm_beat(struct worker *w, usec after)
{
    w->beat_due = w->cx.clock->mono + after;
    timers_arm(w->cx.timers, &w->beat, w->beat_due);
}

static void observe_lag(struct worker *w)
{
    struct clock now;
    clock_read(&now);
    count_observe(w->cx.counters, METRIC_loop_lag, now.mono - w->beat_due);
}

static void on_beat(void *ctx)
{
    struct worker *w = ctx;
    usec now = w->cx.clock->mono;
    observe_lag(w);
    count_exhausted(w);
    storage_look(w->storage);
    slab_tidy();
    if (w->index == 0 && now - w->swept >= SWEEP) {
        w->swept = now;
        memory_store_sweep(storage_memory(w->node->storage), w->cx.clock->wall);
    }
    bool quiet = loop_closing(w->loop) == 0 && list_is_empty(&w->cx.partings) && registry_count(w->cx.registry) == 0;
    if (w->stop_by && (now >= w->stop_by || quiet)) {
        registry_each(w->cx.registry, end_now, NULL); /* none, unless time was short */
        partings_end(&w->cx);
        leftovers_end(&w->cx);
        loop_stop(w->loop);
        return;
    }
    arm_beat(w, w->stop_by ? BEAT / 50 : BEAT);
}

static void on_turn_end(void *ctx)
{
    struct worker *w = ctx;
    context_turn_end(&w->cx);
    if (w->cx.store->turn)
        w->cx.store->turn(w->cx.store);
    atomic_store_explicit(&w->last_turn, w->cx.clock->mono, memory_order_relaxed);
    atomic_store_explicit(&w->sessions, registry_count(w->cx.registry), memory_order_relaxed);
}

/* What was written in this turn has left. */
static void on_turn_done(void *ctx)
{
    struct worker *w = ctx;
    usec took = loop_last_turn(w->loop);
    count_observe(w->cx.counters, METRIC_turn_time, took);
    for (int i = 0; i < 2; i++) {
        struct relay_sample *sample = &w->cx.relay[i];
        if (sample->taken)
            count_observe(w->cx.counters, (enum metric)(METRIC_relay_up + i), sample->waited + took);
        sample->taken = false;
    }
}

/* ---- the upstreams, on worker 0 ---- */

static struct transport *dial_check(struct context *cx, const struct dial_route *routes, size_t n, const char *domain)
{
    return dial_routes(cx, routes, n, domain, NULL, "no address");
}

static void on_known(void *ctx)
{
    struct worker *w = ctx;
    for (unsigned i = 0; i < w->node->worker_count; i++)
        inbox_post(w->node->workers[i]->inbox, open_ports, NULL);
}

static void use_upstreams(struct worker *w, const struct config *config)
{
    upstream_names_use(w->names, &config->upstream, config->settings.upstream_tls == UPSTREAM_TLS_DIRECT, on_known, w);
}

/* On the loop, whose clock stood still until it ran: a check that begins by an old one would be late at once. */
static void begin_upstreams(void *owner, void *arg)
{
    static const struct health_ops health_ops = {dial_check};
    struct worker *w = owner;
    const struct config *config = w->config;
    (void)arg;
    w->names = upstream_names_new(w->loop, config->proxy.resolver, w->node->upstreams, w->cx.counters);
    use_upstreams(w, config);
    w->health = health_new(&w->cx, w->node->upstreams, &health_ops);
}

static void end_upstreams(struct worker *w)
{
    health_free(w->health);
    upstream_names_free(w->names);
    w->health = NULL;
    w->names = NULL;
}

static void *run(void *arg)
{
    struct worker *w = arg;
    char name[16];
    snprintf(name, sizeof name, "worker %u", w->index);
    pthread_setname_np(pthread_self(), name);
    arm_beat(w, BEAT);
    if (w->index == 0)
        inbox_post(w->inbox, begin_upstreams, NULL);
    loop_run(w->loop);
    return NULL;
}

/* ---- life ---- */

/* Its share of limits.fates. What was noted is forgotten. */
static void make_fates(struct worker *w, size_t notes)
{
    size_t share = (notes + w->cx.workers - 1) / w->cx.workers;
    if (fates_size(w->cx.fates) == share)
        return;
    fates_free(w->cx.fates);
    w->cx.fates = share ? fates_new(&w->node->fates_key, share) : NULL;
}

bool worker_tls(const struct config *config, struct tls_tickets *tickets, struct tls_context **server_r,
                struct tls_context **upstream_r, char **error_r)
{
    *server_r = *upstream_r = NULL;
    if (config->tls.pair_count &&
        !(*server_r = tls_server_new(config->tls.pairs, config->tls.pair_count, tickets, error_r)))
        return false;
    if (config->settings.upstream_tls == UPSTREAM_TLS_NONE)
        return true;
    *upstream_r =
        tls_client_new(config->proxy.upstream_ca, config->proxy.upstream_verify, config->upstream.hosts, error_r);
    if (!*upstream_r)
        tls_free(*server_r);
    return *upstream_r != NULL;
}

static void open_peers(struct worker *w)
{
    unsigned char key[STORAGE_PEER_KEY];
    _Static_assert(sizeof key == TLS_PSK_SIZE, "the key of the secret is the key of TLS");
    storage_peer_key(w->node->storage, key);
    w->peers = peers_new(&w->cx, key, w->config->proxy.resolver, &peers_events, w);
    w->cx.has_peer_port = true;
}

struct worker *worker_new(struct proxy_node *node, unsigned index, char **error_r)
{
    struct tls_context *server, *upstream;
    if (!worker_tls(node->config, node->tickets, &server, &upstream, error_r))
        return NULL;
    struct worker *w = MEM_NEW(struct worker);
    w->node = node;
    w->config = node->config;
    w->index = index;
    w->tls_server = server;
    w->tls_upstream = upstream;
    w->loop = loop_new();
    w->dialer = dialer_new(w->loop);
    if (node->config->proxy.resolver)
        dialer_set_servers(w->dialer, node->config->proxy.resolver);
    dialer_set_sources(w->dialer, node->config->proxy.upstream_source);
    w->proxied = proxied_new(w->loop);
    w->web = web_new(w->loop);
    w->inbox = inbox_new(w->loop, w);
    w->beat = (struct timer){.fire = on_beat, .ctx = w};
    list_init(&w->ports);
    context_init(&w->cx);
    w->cx.ops = &context_ops;
    w->cx.settings = &node->config->settings;
    w->cx.clock = loop_clock(w->loop);
    w->cx.timers = loop_timers(w->loop);
    w->cx.counters = counters_new();
    w->cx.owner = node->owner;
    w->cx.parsers = parser_pool_new();
    w->cx.entries.most = SPARE_ENTRIES;
    w->cx.registry = registry_new();
    w->cx.upstream = upstreams_service(node->upstreams);
    w->cx.pacing = &node->pacing;
    w->cx.answered = node->answered;
    w->cx.echoes = node->echoes;
    w->cx.memory = &node->memory;
    w->cx.worker = (int)index;
    w->cx.workers = node->config->proxy.workers;
    w->cx.loop = w->loop;
    make_fates(w, node->config->settings.limits.fates);
    w->cx.node = node->name;
    if (node->config->listen.peer[0])
        open_peers(w);
    atomic_store(&w->last_turn, w->cx.clock->mono);
    loop_on_turn_end(w->loop, on_turn_end, w);
    loop_on_turn_done(w->loop, on_turn_done, w);
    if (!storage_join(node->storage, &w->cx, node->config->proxy.resolver, index, &w->storage, error_r)) {
        worker_free(w);
        return NULL;
    }
    return w;
}

void worker_start(struct worker *w)
{
    if (pthread_create(&w->thread, NULL, run, w) != 0) {
        LOG(LOG_ERROR, "no thread could be started");
        abort();
    }
}

void worker_free(struct worker *w)
{
    close_ports(w);
    end_upstreams(w);
    timers_cancel(w->cx.timers, &w->beat);
    storage_leave(w->storage);
    peers_free(w->peers);
    dialer_free(w->dialer);
    drop_waiting(w);
    proxied_free(w->proxied);
    web_free(w->web);
    registry_free(w->cx.registry);
    parser_pool_free(w->cx.parsers);
    fates_free(w->cx.fates);
    entry_pool_clear(&w->cx.entries);
    buf_free(&w->cx.scratch);
    counters_free(w->cx.counters);
    inbox_free(w->inbox);
    loop_free(w->loop);
    tls_free(w->tls_server);
    tls_free(w->tls_upstream);
    free(w);
}

void worker_join(struct worker *w)
{
    pthread_join(w->thread, NULL);
}

/* ---- from other threads ---- */

struct reload {
    const struct config *config;
    struct tls_context *server, *upstream;
    void (*taken)(void *owner, void *arg);
    void *arg;
};

static void replace(struct tls_context **old, struct tls_context *new)
{
    if (new) {
        tls_free(*old);
        *old = new;
    }
}

static void do_reload(void *owner, void *arg)
{
    struct worker *w = owner;
    struct reload *r = arg;
    bool moved = strcmp(w->cx.settings->upstream, r->config->settings.upstream) != 0;
    w->config = r->config;
    w->cx.settings = &r->config->settings;
    make_fates(w, r->config->settings.limits.fates);
    replace(&w->tls_server, r->server);
    replace(&w->tls_upstream, r->upstream);
    if (moved && w->names)
        use_upstreams(w, r->config);
    inbox_post(w->node->inbox, r->taken, r->arg);
    free(r);
}

void worker_reload(struct worker *w, const struct config *config, struct tls_context *server,
                   struct tls_context *upstream, void (*taken)(void *owner, void *arg), void *arg)
{
    struct reload r = {config, server, upstream, taken, arg};
    void *copy = mem_copy(&r, sizeof r);
    if (!inbox_post(w->inbox, do_reload, copy)) {
        tls_free(server);
        tls_free(upstream);
        free(copy);
    }
}

static void do_reseal(void *owner, void *arg)
{
    struct worker *w = owner;
    (void)arg;
    storage_reseal(w->storage);
}

void worker_reseal(struct worker *w)
{
    inbox_post(w->inbox, do_reseal, NULL);
}

static void do_check_upstreams(void *owner, void *arg)
{
    struct worker *w = owner;
    (void)arg;
    if (w->health)
        health_look(w->health);
}

void worker_check_upstreams(struct worker *w)
{
    inbox_post(w->inbox, do_check_upstreams, NULL);
}

static void do_refuse(void *owner, void *arg)
{
    struct worker *w = owner;
    (void)arg;
    close_ports(w);
    web_drop(w->web);
    if (w->peers)
        peers_refuse(w->peers);
    LIST_FOREACH_SAFE(it, next, &w->cx.clients)
    {
        struct client_leg *c = CONTAINER_OF(it, struct client_leg, in_clients);
        if (c->phase <= CLIENT_OPENING)
            client_leg_fail(c, CLOSE_DRAIN, STREAM_SYSTEM_SHUTDOWN, NULL, NULL);
    }
}

void worker_refuse(struct worker *w)
{
    inbox_post(w->inbox, do_refuse, NULL);
}

static void cut(struct client_leg *c)
{
    struct session *s = c->phase == CLIENT_BOUND ? c->session : NULL;
    struct session_info info;
    if (s)
        session_info(s, &info);
    /* who cannot resume is told properly; who is about to is not */
    bool resuming = !s && c->phase >= CLIENT_AUTHENTICATED;
    if (!resuming && (!s || info.state == SESSION_UNMANAGED))
        client_leg_fail(c, CLOSE_DRAIN, STREAM_SYSTEM_SHUTDOWN, NULL, NULL);
    else
        client_leg_close(c, CLOSE_DRAIN, GOODBYE_CUT);
}

/* Two passes: those that have been silent for a while, then whoever comes. */
static void do_shed(void *owner, void *arg)
{
    struct worker *w = owner;
    size_t left = (size_t)(uintptr_t)arg;
    for (usec quiet = 10 * USEC_S; quiet >= 0 && left; quiet -= 10 * USEC_S) {
        LIST_FOREACH_SAFE(it, next, &w->cx.clients)
        {
            struct client_leg *c = CONTAINER_OF(it, struct client_leg, in_clients);
            if (!left || w->cx.clock->mono - c->leg.last_input < quiet)
                continue;
            cut(c);
            left--;
        }
    }
}

void worker_shed(struct worker *w, size_t legs)
{
    inbox_post(w->inbox, do_shed, (void *)(uintptr_t)legs);
}

static bool end_session(void *ctx, struct session *s)
{
    const struct worker *w = ctx;
    bool kept = w->node->config->store.file || storage_is_shared(w->node->storage);
    if (!kept || !session_freeze(s))
        session_end(s, CLOSE_SHUTDOWN, GOODBYE_CUT);
    return true;
}

static void do_stop(void *owner, void *arg)
{
    struct worker *w = owner;
    (void)arg;
    if (w->stop_by)
        return;
    close_ports(w);
    drop_waiting(w);
    if (w->peers)
        peers_stop(w->peers);
    end_upstreams(w);
    registry_each(w->cx.registry, end_session, w);
    LIST_FOREACH_SAFE(it, next, &w->cx.clients)
    client_leg_close(CONTAINER_OF(it, struct client_leg, in_clients), CLOSE_SHUTDOWN, GOODBYE_CUT);
    w->stop_by = w->cx.clock->mono + STOP_TIME;
    inbox_close(w->inbox);
    /* what the last messages brought */
    drop_waiting(w);
    LIST_FOREACH_SAFE(it, next, &w->cx.clients)
    client_leg_close(CONTAINER_OF(it, struct client_leg, in_clients), CLOSE_SHUTDOWN, GOODBYE_CUT);
    arm_beat(w, BEAT / 50);
}

void worker_stop(struct worker *w)
{
    inbox_post(w->inbox, do_stop, NULL);
}

usec worker_last_turn(const struct worker *w)
{
    return atomic_load_explicit(&w->last_turn, memory_order_relaxed);
}

struct counters *worker_counters(struct worker *w)
{
    return w->cx.counters;
}

struct inbox *worker_inbox(struct worker *w)
{
    return w->inbox;
}

size_t worker_sessions(const struct worker *w)
{
    return atomic_load(&w->sessions);
}

size_t worker_clients(const struct worker *w)
{
    return atomic_load(&w->clients);
}

struct context *worker_context(struct worker *w)
{
    return &w->cx;
}

const struct tls_context *worker_tls_server(const struct worker *w)
{
    return w->tls_server;
}
