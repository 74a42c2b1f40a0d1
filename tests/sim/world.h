/* A world without sockets, threads and time of its own: workers whose contexts are the test's, wires as their
 * transports, a clock that moves when it is told to. Header only, as unit tests link one file each.
 *
 * By default everything moves at once and whole; with a seed, bytes travel in random portions, and some later than
 * others. */
#ifndef HOLDFAST_TESTS_SIM_WORLD_H
#define HOLDFAST_TESTS_SIM_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "session/answered.h"
#include "session/echoes.h"
#include "session/fates.h"
#include "session/session.h"
#include "store/memory.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define WORLD_WORKERS 2
#define WIRE_GIVES_UP (15 * USEC_S)
#define WORLD_WALL    (1700000000 * USEC_S)

struct world;
struct wire;

/* The far end of a wire: a client, or a connection of the server. */
struct wire_peer {
    void (*bytes)(void *ctx, const char *p, size_t n);
    void (*closed)(void *ctx, bool in_order); /* the proxy has ended it; the wire is gone when this returns */
};

/* A transport of the proxy's, and what is on its way in both directions. */
struct wire {
    struct transport t; /* first */
    struct transport_client client;
    struct list link;   /* world.wires */
    struct world *w;
    struct context *cx;           /* on whose worker it lives; NULL in between */
    const struct wire_peer *peer; /* NULL: nobody is there any more */
    void *peer_ctx;

    struct buf in;                /* to the proxy */
    unsigned long long delivered; /* bytes that the proxy has got */
    bool ready_due, fin_due, reset_due;
    enum transport_end reset_as;
    bool reading, over; /* no more upcalls */
    bool delayed;       /* nothing reaches the proxy */

    struct buf out, kernel; /* the transport's own buffer, and what has left it for the peer */
    size_t window;          /* what fits into `kernel`; 0: anything */
    bool stuck;             /* the peer takes nothing */
    usec give_up_at;        /* abandoned: then the kernel tells */
    bool drain_due;
    bool freed, abrupt; /* by the proxy */
};

struct message {
    struct list link;
    struct context *to;
    void (*run)(struct context *cx, void *arg);
    void *arg;
};

struct world {
    struct clock clock;
    struct settings settings;
    struct upstream_facts upstream;
    struct pacing pacing;
    struct answered *answered;
    struct echoes *echoes;
    struct hash_key fates_key;
    struct memory_store *memory_store;
    struct owner *owner;
    _Atomic int64_t memory;
    struct context worker[WORLD_WORKERS];
    struct counters *counters[WORLD_WORKERS];
    struct list wires, messages;
    unsigned ids, moves, starttls;
    int client_legs;  /* made and not left */
    size_t portion;   /* bytes travel in portions of that size; 0: whole */
    uint64_t seed;    /* 0: nothing is random */
    bool refuse_dial; /* the server cannot be reached */
    bool login_refused;
    usec login_late;
    char login_account[128]; /* of the last one that was tried */
    unsigned logins_tried, logins_ended[LOGIN_UNDECIDED + 1];
    void *server;
    void (*dialled)(void *server, struct wire *x);
};

/* ---- chance ---- */

static inline uint32_t world_random(struct world *w, uint32_t below)
{
    w->seed ^= w->seed << 13;
    w->seed ^= w->seed >> 7;
    w->seed ^= w->seed << 17;
    return (uint32_t)((w->seed >> 11) % below);
}

static inline size_t world_portion(struct world *w, size_t n)
{
    if (w->portion && n > w->portion)
        return w->portion;
    if (!w->seed || n == 0 || world_random(w, 4) == 0)
        return n;
    return world_random(w, 3) == 0 ? 0 : 1 + world_random(w, (uint32_t)n);
}

/* ---- wires, as the proxy sees them ---- */

static inline struct wire *wire_of(const struct transport *t)
{
    return (struct wire *)(uintptr_t)t;
}

static inline void wire_op_write(struct transport *t, const char *p, size_t n)
{
    struct wire *x = wire_of(t);
    assert_false(x->freed);
    assert_non_null(x->cx);
    buf_append(&x->out, p, n);
    x->drain_due |= x->out.n > TRANSPORT_HIGH_WATER;
}

static inline void wire_op_stop(struct transport *t)
{
    wire_of(t)->reading = false;
}

static inline void wire_op_start(struct transport *t)
{
    wire_of(t)->reading = true;
}

static inline size_t wire_op_buffered(const struct transport *t)
{
    return wire_of(t)->out.n;
}

static inline size_t wire_op_outstanding(const struct transport *t)
{
    return wire_of(t)->out.n + wire_of(t)->kernel.n;
}

static inline void wire_op_free(struct transport *t, bool graceful)
{
    struct wire *x = wire_of(t);
    assert_false(x->freed);
    x->freed = x->over = true;
    x->abrupt = !graceful;
}

static inline void wire_op_detach(struct transport *t)
{
    struct wire *x = wire_of(t);
    x->reading = false;
    x->cx = NULL;
}

static inline void wire_op_attach(struct transport *t, void *loop)
{
    wire_of(t)->cx = loop;
}

static const struct transport_ops wire_ops = {
    .write = wire_op_write,
    .read_stop = wire_op_stop,
    .read_start = wire_op_start,
    .buffered = wire_op_buffered,
    .outstanding = wire_op_outstanding,
    .free = wire_op_free,
    .detach = wire_op_detach,
    .attach = wire_op_attach,
};

static inline struct wire *wire_new(struct world *w, struct context *cx)
{
    struct wire *x = MEM_NEW(struct wire);
    x->t.ops = &wire_ops;
    x->t.kind = TRANSPORT_MEMORY;
    x->t.client = &x->client;
    snprintf(x->client.peer, sizeof x->client.peer, "wire-%u", ++w->ids);
    x->w = w;
    x->cx = cx;
    x->ready_due = true;
    list_append(&w->wires, &x->link);
    return x;
}

/* ---- wires, as the far end sees them ---- */

static inline void wire_send(struct wire *x, const char *p, size_t n)
{
    if (x && !x->freed)
        buf_append(&x->in, p, n);
}

/* In order: what was sent arrives first. */
static inline void wire_end(struct wire *x)
{
    x->fin_due = true;
}

/* At once: what is on its way is lost, in both directions. */
static inline void wire_cut(struct wire *x, enum transport_end as)
{
    x->peer = NULL;
    x->reset_due = true;
    x->reset_as = as;
    buf_free(&x->in);
    buf_free(&x->kernel);
}

/* The far end vanishes, and the proxy is not told. Either its kernel goes on taking bytes, or nobody does: then the
 * proxy's gives up in the end (TCP_USER_TIMEOUT). */
static inline void wire_abandon(struct wire *x, bool takes_bytes)
{
    x->peer = NULL;
    x->stuck = !takes_bytes;
    x->give_up_at = x->w->clock.mono + WIRE_GIVES_UP;
    buf_free(&x->in);
}

static inline bool wire_deliver(struct wire *x)
{
    const struct transport_events *up = x->t.events;
    if (x->over || !x->cx)
        return false;
    if (x->give_up_at && x->stuck && x->kernel.n && x->w->clock.mono >= x->give_up_at) {
        x->reset_due = true;
        x->reset_as = TRANSPORT_TIMEOUT;
    }
    if (x->reset_due) {
        x->over = true;
        up->closed(x->t.ctx, x->reset_as, "cut by the test");
        return true;
    }
    if (x->delayed)
        return false;
    if (x->ready_due) {
        x->ready_due = false;
        up->ready(x->t.ctx);
        return true;
    }
    if (x->drain_due && !x->out.n) {
        x->drain_due = false;
        up->drained(x->t.ctx);
        return true;
    }
    size_t n = x->reading ? world_portion(x->w, x->in.n) : 0;
    if (n) {
        char *copy = mem_copy(buf_slice(&x->in).p, n); /* of its own: a look beyond it is noticed */
        buf_consume(&x->in, n);
        x->delivered += n;
        up->bytes(x->t.ctx, copy, n);
        free(copy);
        return true;
    }
    if (x->fin_due && x->reading && !x->in.n) {
        x->over = true;
        up->closed(x->t.ctx, TRANSPORT_FIN, "ended by the test");
        return true;
    }
    return false;
}

static inline void wire_forget(struct wire *x)
{
    list_remove(&x->link);
    buf_free(&x->in);
    buf_free(&x->out);
    buf_free(&x->kernel);
    free(x);
}

/* What the proxy wrote goes out. The wire may be gone afterwards. */
static inline bool wire_flush(struct wire *x)
{
    bool moved = false;
    size_t room = x->window ? (x->window > x->kernel.n ? x->window - x->kernel.n : 0) : SIZE_MAX;
    size_t n = x->out.n < room ? x->out.n : room;
    if (n) {
        buf_append(&x->kernel, buf_slice(&x->out).p, n);
        buf_consume(&x->out, n);
        moved = true;
    }
    x->drain_due |= x->out.n > 0;
    n = x->stuck || !x->peer ? 0 : world_portion(x->w, x->kernel.n);
    if (!x->peer && !x->stuck)
        buf_clear(&x->kernel);
    if (n) {
        char *copy = mem_copy(buf_slice(&x->kernel).p, n);
        buf_consume(&x->kernel, n);
        x->peer->bytes(x->peer_ctx, copy, n);
        free(copy);
        moved = true;
    }
    if (!x->freed)
        return moved;
    if (!x->peer || x->abrupt || (!x->out.n && !x->kernel.n)) {
        if (x->peer)
            x->peer->closed(x->peer_ctx, !x->abrupt);
        wire_forget(x);
        return true;
    }
    return moved;
}

/* ---- what contexts ask for ---- */

static inline struct world *world_of(struct context *cx)
{
    return CONTAINER_OF(cx - cx->worker, struct world, worker);
}

static inline struct transport *world_op_dial(struct context *cx, const char *domain, const struct endpoints *client)
{
    struct world *w = world_of(cx);
    struct wire *x = wire_new(w, cx);
    (void)domain, (void)client;
    if (w->refuse_dial) {
        x->reset_due = true;
        x->reset_as = TRANSPORT_REFUSED;
    } else {
        w->dialled(w->server, x);
    }
    return &x->t;
}

static inline void world_op_starttls_client(struct context *cx, struct transport *t)
{
    world_of(cx)->starttls++;
    t->kind = TRANSPORT_KIND_TLS;
    wire_of(t)->ready_due = true;
}

static inline void world_op_starttls_upstream(struct context *cx, struct transport *t, const char *domain)
{
    (void)domain;
    world_op_starttls_client(cx, t);
}

static inline void world_op_previd(struct context *cx, struct slice account, char tag[TAG_SIZE],
                                   struct previd_secret *secret_r)
{
    unsigned number = ++world_of(cx)->ids;
    (void)account;
    snprintf(tag, TAG_SIZE, "tag-of-every-account-000");
    *secret_r = (struct previd_secret){{0}};
    for (size_t i = sizeof secret_r->byte; i--; number >>= 8)
        secret_r->byte[i] = (unsigned char)number;
}

static inline void world_op_sid(struct context *cx, struct slice previd, char sid[SID_SIZE])
{
    (void)cx;
    bool ours = previd.n == PREVID_SIZE - 1;
    snprintf(sid, SID_SIZE, "%.24s%.24s", ours ? previd.p : "tag-of-nobody-----------",
             ours ? previd.p + previd.n - 24 : "------------------------");
}

static inline void world_post(struct context *to, void (*run)(struct context *cx, void *arg), void *arg)
{
    struct message *m = MEM_NEW(struct message);
    m->to = to;
    m->run = run;
    m->arg = arg;
    list_append(&world_of(to)->messages, &m->link);
}

static inline void world_arrive(struct context *cx, void *arg)
{
    client_leg_arrive(arg, cx);
}

static inline void world_op_move(struct context *cx, struct client_leg *leg, int worker)
{
    world_of(cx)->moves++;
    world_post(&world_of(cx)->worker[worker], world_arrive, leg);
}

static inline void world_evict(struct context *cx, void *sid)
{
    struct session *s = registry_find(cx->registry, sid);
    struct session_info info;
    free(sid);
    if (!s)
        return;
    session_info(s, &info);
    if (info.state == SESSION_DETACHED && !info.resuming)
        session_end(s, CLOSE_EVICTED, GOODBYE_CUT);
}

static inline void world_mail(struct context *cx, void *sid)
{
    struct session *s = registry_find(cx->registry, sid);
    free(sid);
    if (s)
        session_hint_mail(s);
}

static inline void world_op_evict(struct context *cx, const char *sid, int worker)
{
    world_post(&world_of(cx)->worker[worker], world_evict, mem_strdup(sid));
}

static inline void world_op_mail(struct context *cx, const char *sid, int worker)
{
    world_post(&world_of(cx)->worker[worker], world_mail, mem_strdup(sid));
}

static inline void world_echo(struct context *cx, void *key)
{
    echo_told(cx, *(uint64_t *)key);
    free(key);
}

static inline void world_op_echo(struct context *cx, uint64_t key, int worker)
{
    world_post(&world_of(cx)->worker[worker], world_echo, mem_copy(&key, sizeof key));
}

static inline void world_op_left(struct context *cx, const char *peer)
{
    (void)peer;
    world_of(cx)->client_legs--;
}

static inline bool world_op_allowed(struct context *cx, const char *peer, const char *account,
                                    struct login_pass *pass_r)
{
    struct world *w = world_of(cx);
    (void)peer;
    snprintf(w->login_account, sizeof w->login_account, "%s", account);
    w->logins_tried++;
    *pass_r = (struct login_pass){.late = w->login_late, .charged = 7};
    return !w->login_refused;
}

static inline void world_op_ended(struct context *cx, const char *peer, const char *account,
                                  const struct login_pass *pass, enum login_end end)
{
    struct world *w = world_of(cx);
    (void)peer, (void)account;
    assert_int_equal(pass->charged, 7);
    w->logins_ended[end]++;
}

static inline void world_op_noted(struct context *cx, struct upstream_facts *facts, enum upstream_note note,
                                  const char *detail)
{
    (void)detail;
    if (note != UPSTREAM_REACHED)
        facts->broke = cx->clock->mono;
    facts->down = note == UPSTREAM_BROKE ? world_of(cx)->refuse_dial : note == UPSTREAM_FAILED;
}

static const struct context_ops world_ops = {
    .dial = world_op_dial,
    .upstream_noted = world_op_noted,
    .starttls_client = world_op_starttls_client,
    .starttls_upstream = world_op_starttls_upstream,
    .previd_new = world_op_previd,
    .sid_of = world_op_sid,
    .move = world_op_move,
    .post_evict = world_op_evict,
    .post_mail = world_op_mail,
    .post_echo = world_op_echo,
    .login_allowed = world_op_allowed,
    .login_ended = world_op_ended,
    .client_left = world_op_left,
};

/* ---- life ---- */

static inline void world_quiet(void *ctx, const char *line, size_t n)
{
    (void)ctx;
    (void)line;
    (void)n;
}

static inline void world_settings(struct settings *set)
{
    static char domain[] = "example.org", upstream[] = "server:5222", *domains[] = {domain, NULL};
    *set = (struct settings){.domains = domains, .upstream = upstream};
    set->sm.max = 600 * USEC_S;
    set->sm.max_cap = 3600 * USEC_S;
    set->sm.request_every = 5;
    set->sm.request_delay = USEC_S;
    set->sm.ack_timeout = 60 * USEC_S;
    set->sm.answer_delay = USEC_S;
    set->sm.probe = 300 * USEC_S;
    set->sm.confirm_every = 50;
    set->sm.confirm_delay = USEC_S;
    set->sm.confirm_timeout = 30 * USEC_S;
    set->sm.queue_stanzas = 5000;
    set->sm.queue_bytes = 8 << 20;
    set->sm.full_grace = 30 * USEC_S;
    set->sm.sessions_per_account = 10;
    set->sm.mailbox_ttl = 7 * 86400 * USEC_S;
    set->sm.tombstone_ttl = 86400 * USEC_S;
    set->sm.recognize_resent = true;
    set->sm.recognize_stanzas = 100;
    set->sm.recognize_window = 60 * USEC_S;
    set->receipts.synthesize = set->receipts.events = true;
    set->receipts.grace = 2 * USEC_S;
    set->receipts.paused_after = 30 * USEC_S;
    set->limits.stream = (struct stream_limits){
        .stanza_bytes = 256 << 10, .tag_bytes = 16 << 10, .depth = 64, .attributes = 100, .namespace_bytes = 1024};
    set->limits.server = (struct stream_limits){
        .stanza_bytes = 8 << 20, .tag_bytes = 8 << 20, .depth = 10000, .attributes = 10000, .namespace_bytes = 4096};
    set->limits.login_bytes = 64 << 10;
    set->limits.login = set->limits.stream;
    set->limits.login.names = 1000;
    set->limits.login_timeout = 30 * USEC_S;
}

static inline void world_init(struct world *w)
{
    if (!getenv("LOG"))
        log_set_sink(world_quiet, NULL);
    *w = (struct world){.clock = {.mono = 1000 * USEC_S, .wall = WORLD_WALL}};
    world_settings(&w->settings);
    list_init(&w->wires);
    list_init(&w->messages);
    w->memory_store = memory_store_new(w->settings.sm.mailbox_ttl, w->settings.sm.tombstone_ttl, &w->memory);
    w->owner = owner_new(false);
    w->answered = answered_new();
    w->echoes = echoes_new();
    for (int i = 0; i < WORLD_WORKERS; i++) {
        struct context *cx = &w->worker[i];
        context_init(cx);
        cx->ops = &world_ops;
        cx->settings = &w->settings;
        cx->clock = &w->clock;
        cx->timers = timers_new();
        cx->counters = w->counters[i] = counters_new();
        cx->store = memory_store_get(w->memory_store);
        cx->owner = w->owner;
        cx->parsers = parser_pool_new();
        cx->fates = fates_new(&w->fates_key, 1000);
        cx->registry = registry_new();
        cx->upstream = &w->upstream;
        cx->pacing = &w->pacing;
        cx->answered = w->answered;
        cx->echoes = w->echoes;
        cx->memory = &w->memory;
        cx->worker = i;
        cx->workers = WORLD_WORKERS;
        cx->loop = cx;
    }
}

static inline int64_t world_sum(struct world *w, enum metric m)
{
    return counters_sum(w->counters, WORLD_WORKERS, m);
}

/* ---- time ---- */

static inline bool world_turn(struct world *w, struct context *cx)
{
    bool moved = false;
    LIST_FOREACH_SAFE(it, next, &w->messages)
    {
        struct message *m = CONTAINER_OF(it, struct message, link);
        if (m->to != cx)
            continue;
        list_remove(it);
        m->run(cx, m->arg);
        free(m);
        moved = true;
    }
    LIST_FOREACH_SAFE(it, next, &w->wires)
    {
        struct wire *x = CONTAINER_OF(it, struct wire, link);
        moved |= x->cx == cx && wire_deliver(x);
    }
    moved |= timers_run(cx->timers, w->clock.mono, 1000) > 0;
    moved |= !list_is_empty(&cx->dirty) || !list_is_empty(&cx->deferred);
    context_turn_end(cx);
    LIST_FOREACH_SAFE(it, next, &w->wires)
    {
        struct wire *x = CONTAINER_OF(it, struct wire, link);
        moved |= (x->cx == cx || (!x->cx && x->freed)) && wire_flush(x);
    }
    return moved;
}

/* Turns until nothing moves any more. With a seed some of it may stay on its way. */
static inline void world_run(struct world *w)
{
    bool moved = true;
    for (unsigned round = 0; moved; round++) {
        if (round == 200000)
            fail_msg("the world does not come to rest");
        moved = false;
        for (int i = 0; i < WORLD_WORKERS; i++)
            moved |= world_turn(w, &w->worker[i]);
    }
}

/* The next timer of any worker, -1 if there is none. */
static inline usec world_next_timer(const struct world *w)
{
    usec at = -1;
    for (int i = 0; i < WORLD_WORKERS; i++) {
        usec next = timers_next(w->worker[i].timers);
        if (next >= 0 && (at < 0 || next < at))
            at = next;
    }
    return at;
}

/* Time passes, from one timer to the next. */
static inline void world_wait(struct world *w, usec span)
{
    usec until = w->clock.mono + span;
    world_run(w);
    for (usec at; (at = world_next_timer(w)) >= 0 && at <= until; world_run(w)) {
        usec step = at > w->clock.mono ? at - w->clock.mono : 0;
        w->clock.mono += step;
        w->clock.wall += step;
    }
    w->clock.wall += until - w->clock.mono;
    w->clock.mono = until;
    world_run(w);
}

static inline bool world_end_session(void *ctx, struct session *s)
{
    (void)ctx;
    session_end(s, CLOSE_SHUTDOWN, GOODBYE_CUT);
    return true;
}

/* As a worker that stops. */
static inline void world_stop(struct world *w)
{
    for (int i = 0; i < WORLD_WORKERS; i++) {
        registry_each(w->worker[i].registry, world_end_session, NULL);
        LIST_FOREACH_SAFE(it, next, &w->worker[i].clients)
        client_leg_close(CONTAINER_OF(it, struct client_leg, in_clients), CLOSE_SHUTDOWN, GOODBYE_CUT);
        partings_end(&w->worker[i]);
        leftovers_end(&w->worker[i]);
    }
    world_run(w);
}

/* All that must hold when no session and no leg is left. */
static inline void world_check_books(struct world *w)
{
    static const enum metric zero[] = {
        METRIC_connections_tcp,     METRIC_connections_tls,   METRIC_sessions_attached, METRIC_sessions_detached,
        METRIC_sessions_unmanaged,  METRIC_unacked_stanzas,   METRIC_unacked_bytes,     METRIC_parked_stanzas,
        METRIC_unconfirmed_stanzas, METRIC_unconfirmed_bytes, METRIC_mailbox_lent,      METRIC_connections_logging_in,
    };
    for (size_t i = 0; i < sizeof zero / sizeof *zero; i++)
        if (world_sum(w, zero[i]) != 0)
            fail_msg("gauge %zu of the list is %" PRId64 " at the end", i, world_sum(w, zero[i]));
    struct memory_store_figures mail = memory_store_figures(w->memory_store);
    assert_int_equal(w->memory, (int64_t)(mail.bytes + mail.tombstone_bytes));
    assert_int_equal(w->client_legs, 0);
    assert_int_equal(world_sum(w, METRIC_down_mailbox), mail.box[BOX_MAIL].put);
    for (int i = 0; i < BOXES; i++)
        assert_int_equal(mail.box[i].put + mail.box[i].loaded, (i == BOX_MAIL ? mail.messages : mail.outbox) +
                                                                   mail.box[i].done + mail.box[i].expired +
                                                                   mail.box[i].overflown + mail.box[i].purged);
}

static inline int64_t world_sum_all(struct world *w, const enum metric *m, size_t n)
{
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += world_sum(w, m[i]);
    return sum;
}

#define WORLD_SUM(w, ...)                                                                                              \
    world_sum_all(w, (const enum metric[]){__VA_ARGS__},                                                               \
                  sizeof((const enum metric[]){__VA_ARGS__}) / sizeof(enum metric))

/* Each stanza that came in has met a fate, or is still here (the second promise); true at the end of any turn. */
static inline void world_check_fates(struct world *w)
{
    int64_t down = WORLD_SUM(w, METRIC_stanzas_down_message, METRIC_stanzas_down_presence, METRIC_stanzas_down_iq);
    down += WORLD_SUM(w, METRIC_stanzas_injected, METRIC_restored_down);
    int64_t fates = WORLD_SUM(w, METRIC_down_acked, METRIC_down_kept, METRIC_down_relayed, METRIC_down_mailbox,
                              METRIC_down_bounced, METRIC_down_swallowed, METRIC_down_discarded_presence,
                              METRIC_down_discarded_chat_state, METRIC_down_discarded_groupchat,
                              METRIC_down_discarded_iq, METRIC_down_discarded_message, METRIC_down_purged);
    int64_t here = WORLD_SUM(w, METRIC_unacked_stanzas, METRIC_parked_stanzas) - world_sum(w, METRIC_mailbox_lent);
    assert_int_equal(down, fates + here);
    int64_t up =
        WORLD_SUM(w, METRIC_stanzas_up_message, METRIC_stanzas_up_presence, METRIC_stanzas_up_iq, METRIC_restored_up);
    assert_int_equal(up, WORLD_SUM(w, METRIC_up_confirmed, METRIC_up_kept, METRIC_up_swallowed, METRIC_up_relayed,
                                   METRIC_up_returned, METRIC_up_bounced, METRIC_unconfirmed_stanzas));
}

/* Ends what is left, checks the books, frees all. The far ends must have been freed by their owners before. */
static inline void world_free(struct world *w)
{
    uint64_t seed = w->seed;
    w->seed = 0;
    w->portion = 0;
    LIST_FOREACH_SAFE(it, next, &w->wires)
    {
        struct wire *x = CONTAINER_OF(it, struct wire, link);
        x->stuck = x->delayed = false;
        x->window = 0;
    }
    world_stop(w);
    LIST_FOREACH_SAFE(it, next, &w->wires)
    {
        struct wire *x = CONTAINER_OF(it, struct wire, link);
        x->peer = NULL;
    }
    world_run(w);
    w->seed = seed;
    world_check_fates(w);
    world_check_books(w);
    assert_true(list_is_empty(&w->wires));
    assert_true(list_is_empty(&w->messages));
    for (int i = 0; i < WORLD_WORKERS; i++) {
        struct context *cx = &w->worker[i];
        assert_int_equal(registry_count(cx->registry), 0);
        registry_free(cx->registry);
        parser_pool_free(cx->parsers);
        fates_free(cx->fates);
        timers_free(cx->timers);
        counters_free(cx->counters);
        buf_free(&cx->scratch);
    }
    owner_free(w->owner);
    answered_free(w->answered);
    echoes_free(w->echoes);
    memory_store_free(w->memory_store);
    log_set_sink(NULL, NULL);
}

/* ---- what a far end has heard, as text, one entry for each element ---- */

struct heard {
    struct list link;
    char text[];
};

static inline void heard_add(struct list *all, const char *before, struct slice s)
{
    size_t n = strlen(before);
    struct heard *h = mem_alloc(sizeof *h + n + s.n + 1);
    memcpy(h->text, before, n);
    memcpy(h->text + n, s.n ? s.p : "", s.n);
    h->text[n + s.n] = '\0';
    list_append(all, &h->link);
}

static inline void heard_clear(struct list *all)
{
    for (struct list *it; (it = list_first(all));) {
        list_remove(it);
        free(CONTAINER_OF(it, struct heard, link));
    }
}

/* The next one, which must begin with `start`; free() it. */
static inline char *heard_take(struct list *all, const char *who, const char *start)
{
    struct list *it = list_first(all);
    if (!it)
        fail_msg("%s has heard nothing, but should have: %s", who, start);
    struct heard *h = CONTAINER_OF(it, struct heard, link);
    if (strncmp(h->text, start, strlen(start)) != 0)
        fail_msg("%s has heard: %s\n but should have: %s", who, h->text, start);
    list_remove(it);
    char *text = mem_strdup(h->text);
    free(h);
    return text;
}

static inline void heard_expect(struct list *all, const char *who, const char *start)
{
    free(heard_take(all, who, start));
}

static inline void heard_nothing(struct list *all, const char *who)
{
    if (!list_is_empty(all))
        fail_msg("%s has heard: %s\n but should have heard nothing", who,
                 CONTAINER_OF(list_first(all), struct heard, link)->text);
}

#endif
