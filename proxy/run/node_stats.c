#include "node_stats.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/process_metrics.h"
#include "run/upstream_metrics.h"
#include "run/versions.h"
#include "session/session.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#define STUCK_AFTER (5 * USEC_S) /* a loop turns once a second */
#define ANSWER_TIME 1            /* seconds that workers get to tell of their sessions */

static usec mono_now(void)
{
    struct clock now;
    clock_read(&now);
    return now.mono;
}

/* ---- health ---- */

bool node_is_alive(struct proxy_node *node, struct buf *reasons)
{
    bool alive = true;
    for (unsigned i = 0; i < node->worker_count; i++) {
        usec ago = mono_now() - worker_last_turn(node->workers[i]);
        if (ago > STUCK_AFTER) {
            buf_printf(reasons, "worker %u: stuck for %lld s\n", i, (long long)(ago / USEC_S));
            alive = false;
        }
    }
    return alive;
}

static bool alive(void *ctx, struct buf *reasons)
{
    return node_is_alive(ctx, reasons);
}

static bool ready(void *ctx, struct buf *reasons)
{
    struct proxy_node *node = ctx;
    bool good = node_is_alive(node, reasons);
    if (atomic_load(&node->draining)) {
        BUF_LIT(reasons, "draining\n");
        good = false;
    }
    return upstreams_ready(node->upstreams, reasons) && good;
}

/* ---- figures ---- */

/* What no worker counts goes into an array of the node's own; its only writer is the HTTP thread. */
static void take_node_figures(struct proxy_node *node)
{
    struct memory_store_figures mail = memory_store_figures(node->store);
    struct counters *c = node->counters;
    count_set(c, METRIC_mailbox_messages, (int64_t)mail.messages);
    count_set(c, METRIC_outbox_messages, (int64_t)mail.outbox);
    count_set(c, METRIC_mailbox_bytes, (int64_t)mail.bytes);
    count_set(c, METRIC_mailbox_doubled, (int64_t)mail.doubled);
    count_set(c, METRIC_mailbox_overflown, (int64_t)mail.overflown);
    count_set(c, METRIC_tombstones, (int64_t)mail.tombstones);
    count_set(c, METRIC_memory_bytes, atomic_load(&node->memory));
    count_set(c, METRIC_memory_limit_bytes, (int64_t)atomic_load(&node->memory_limit));
    count_set(c, METRIC_connections_limit, (int64_t)atomic_load(&node->connections_limit));
    count_set(c, METRIC_upstream_up, !atomic_load(&upstreams_service(node->upstreams)->down));
    count_set(c, METRIC_promise_weak, atomic_load(&node->confirm_none) || upstreams_any_unordered(node->upstreams));
    count_set(c, METRIC_draining, atomic_load(&node->draining));
    count_set(c, METRIC_certificate_expiry_timestamp_seconds, atomic_load(&node->certificate_expiry));
}

/* Those of the workers and of the node itself; free() it. */
static struct counters **all_counters(struct proxy_node *node)
{
    struct counters **c = mem_alloc((node->worker_count + 1) * sizeof *c);
    for (unsigned i = 0; i < node->worker_count; i++)
        c[i] = worker_counters(node->workers[i]);
    c[node->worker_count] = node->counters;
    return c;
}

static void metrics(void *ctx, struct buf *out)
{
    struct proxy_node *node = ctx;
    struct counters **c = all_counters(node);
    struct build_versions versions = {HOLDFAST_VERSION, versions_openssl(), versions_expat()};
    take_node_figures(node);
    counters_expose(out, c, node->worker_count + 1);
    upstream_metrics_expose(node->upstreams, out);
    process_metrics_expose(out, &versions);
    free(c);
}

static void figures(void *ctx, struct buf *out)
{
    struct proxy_node *node = ctx;
    struct counters **c = all_counters(node);
    take_node_figures(node);
    counters_expose_json(out, c, node->worker_count + 1);
    free(c);
    buf_printf(out, ",\"node\":\"%s\",\"version\":\"%s\",\"workers\":%u", node->name, HOLDFAST_VERSION,
               node->worker_count);
    BUF_LIT(out, ",");
    upstream_metrics_json(node->upstreams, out);
}

/* ---- sessions: each worker writes down its own, the HTTP thread waits ---- */

struct row {
    struct session_info info;
    char *jid, *peer, *transport;
};

/* Shared by the HTTP thread and the workers; freed by the last of them. */
struct gathering {
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned refs, missing;
    enum stats_state state;
    char sid[SID_SIZE]; /* "" = all */
    struct row *rows;
    size_t n, cap;
};

static void release(struct gathering *g)
{
    pthread_mutex_lock(&g->lock);
    bool last = --g->refs == 0;
    pthread_mutex_unlock(&g->lock);
    if (!last)
        return;
    for (size_t i = 0; i < g->n; i++) {
        free(g->rows[i].jid);
        free(g->rows[i].peer);
        free(g->rows[i].transport);
    }
    free(g->rows);
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->done);
    free(g);
}

static bool wanted(const struct gathering *g, const struct session_info *info)
{
    if (g->sid[0])
        return strcmp(g->sid, info->sid) == 0;
    switch (g->state) {
    case STATS_ANY:
        return true;
    case STATS_ATTACHED:
        return info->state == SESSION_ATTACHED;
    case STATS_DETACHED:
        return info->state == SESSION_DETACHED;
    case STATS_UNMANAGED:
        return info->state == SESSION_UNMANAGED;
    }
    return false;
}

static bool add_row(void *ctx, struct session *s)
{
    struct gathering *g = ctx;
    struct row row = {0};
    session_info(s, &row.info);
    if (!wanted(g, &row.info))
        return true;
    row.jid = mem_strdup(row.info.jid);
    row.peer = mem_strdup(row.info.peer);
    row.transport = mem_strdup(row.info.transport);
    if (g->n == g->cap) {
        g->cap = g->cap ? g->cap * 2 : 64;
        g->rows = mem_realloc(g->rows, g->cap * sizeof *g->rows);
    }
    g->rows[g->n++] = row;
    return true;
}

static void gather(void *owner, void *arg)
{
    struct worker *w = owner;
    struct gathering *g = arg;
    pthread_mutex_lock(&g->lock);
    registry_each(worker_context(w)->registry, add_row, g);
    if (--g->missing == 0)
        pthread_cond_signal(&g->done);
    pthread_mutex_unlock(&g->lock);
    release(g);
}

/* NULL if the workers did not answer in time. */
static struct gathering *gather_sessions(struct proxy_node *node, enum stats_state state, struct slice sid)
{
    struct gathering *g = MEM_NEW(struct gathering);
    struct timespec until;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->done, NULL);
    g->state = state;
    if (sid.n)
        memcpy(g->sid, sid.p, sid.n < SID_SIZE ? sid.n : SID_SIZE - 1);
    g->refs = 1 + node->worker_count;
    g->missing = node->worker_count;
    for (unsigned i = 0; i < node->worker_count; i++) {
        if (!inbox_post(worker_inbox(node->workers[i]), gather, g)) {
            pthread_mutex_lock(&g->lock);
            g->missing--;
            g->refs--;
            pthread_mutex_unlock(&g->lock);
        }
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ANSWER_TIME;
    pthread_mutex_lock(&g->lock);
    int late = 0;
    while (g->missing && !late)
        late = pthread_cond_timedwait(&g->done, &g->lock, &until);
    bool complete = g->missing == 0;
    pthread_mutex_unlock(&g->lock);
    if (complete)
        return g;
    release(g);
    return NULL;
}

static int by_unacked(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return (x->info.unacked < y->info.unacked) - (x->info.unacked > y->info.unacked);
}

static int by_age(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return (x->info.age < y->info.age) - (x->info.age > y->info.age);
}

static int by_sid(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return strcmp(x->info.sid, y->info.sid);
}

static void json_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, ",\"%s\":", name);
    if (!text) {
        BUF_LIT(out, "null");
        return;
    }
    BUF_LIT(out, "\"");
    for (const char *p = text; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_printf(out, "\\%c", *p);
        else if ((unsigned char)*p < 0x20)
            buf_printf(out, "\\u%04x", (unsigned char)*p);
        else
            buf_append(out, p, 1);
    }
    BUF_LIT(out, "\"");
}

static void row_json(struct buf *out, const struct row *r)
{
    const struct session_info *i = &r->info;
    buf_printf(out, "{\"sid\":\"%s\",\"state\":\"%s\"", i->sid, session_state_name(i->state));
    json_text(out, "jid", r->jid);
    json_text(out, "peer", r->peer);
    json_text(out, "transport", r->transport);
    buf_printf(out,
               ",\"age_seconds\":%.3f,\"state_seconds\":%.3f,\"unacked\":%zu,\"unacked_bytes\":%zu,"
               "\"oldest_unacked_seconds\":%.3f,\"unconfirmed\":%zu,\"unconfirmed_bytes\":%zu,\"parked\":%zu,"
               "\"received\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"resumes\":%" PRIu64 "}",
               (double)i->age / 1e6, (double)i->since_attach / 1e6, i->unacked, i->unacked_bytes,
               (double)i->oldest_unacked / 1e6, i->unconfirmed, i->unconfirmed_bytes, i->parked, i->received, i->sent,
               i->resumes);
}

static void row_text(struct buf *out, const struct row *r)
{
    const struct session_info *i = &r->info;
    buf_printf(out, "%-32s %-9s %8lld %7zu %9zu %11zu %6zu %7" PRIu64 " %-4s %-24s %s\n", i->sid,
               session_state_name(i->state), (long long)(i->age / USEC_S), i->unacked, i->unacked_bytes, i->unconfirmed,
               i->parked, i->resumes, r->transport ? r->transport : "-", r->peer ? r->peer : "-",
               r->jid ? r->jid : "-");
}

static bool sessions(void *ctx, const struct stats_query *q, struct buf *out)
{
    static int (*const order[])(const void *, const void *) = {
        [STATS_BY_UNACKED] = by_unacked, [STATS_BY_AGE] = by_age, [STATS_BY_SID] = by_sid};
    struct gathering *g = gather_sessions(ctx, q->state, SLICE_NONE);
    if (!g)
        return false;
    if (g->n)
        qsort(g->rows, g->n, sizeof *g->rows, order[q->sort]);
    if (q->json)
        BUF_LIT(out, "[");
    else
        BUF_LIT(out,
                "SID                              STATE          AGE UNACKED     BYTES UNCONFIRMED PARKED RESUMES VIA  "
                "PEER                     JID\n");
    for (size_t i = 0; i < g->n && i < q->limit; i++) {
        if (q->json && i)
            BUF_LIT(out, ",\n");
        (q->json ? row_json : row_text)(out, &g->rows[i]);
    }
    if (q->json)
        BUF_LIT(out, "]\n");
    release(g);
    return true;
}

static bool session(void *ctx, struct slice sid, struct buf *out)
{
    if (sid.n != SID_SIZE - 1)
        return true;
    struct gathering *g = gather_sessions(ctx, STATS_ANY, sid);
    if (!g)
        return false;
    if (g->n)
        row_json(out, &g->rows[0]);
    release(g);
    return true;
}

struct stats_source node_stats_source(struct proxy_node *node)
{
    return (struct stats_source){node, ready, alive, metrics, figures, sessions, session};
}
